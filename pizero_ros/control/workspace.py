"""Where a base may drive: its motion ends before the edge of an area on the floor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.embodiment.schema import Workspace

_LINEAR = ('linear.x', 'linear.y')


class PlanarPose(NamedTuple):
    """Where a base is: m, m, rad in the odometry's frame, and when."""

    x: float
    y: float
    yaw: float
    stamp_ns: int


class WorkspaceGuard:
    """Takes the linear part out of base commands that would lead out of the area.

    What counts is where the base would come to rest: its position, carried on by the age of that
    position and by one control step, plus the way it needs to brake. From outside, only motion
    back in is let through. Without a fresh position there is no linear motion.
    """

    def __init__(
        self, workspace: Workspace, values: JointValues, max_age_ns: int, step_ns: int
    ) -> None:
        """Guard one base.

        Args:
            workspace: The area.
            values: Axes and limits of the group.
            max_age_ns: Oldest usable position.
            step_ns: Control period.
        """
        self.workspace = workspace
        self._max_age_ns = max_age_ns
        self._step_ns = step_ns
        self._columns = [values.names.index(n) if n in values.names else None for n in _LINEAR]
        limits = [values.acceleration[c] for c in self._columns if c is not None]
        self._braking = float(min(limits, default=math.inf))
        self._pose: PlanarPose | None = None

    def locate(self, pose: PlanarPose) -> None:
        """Note where the base is."""
        self._pose = pose

    def reset(self) -> None:
        """Forget where the base was."""
        self._pose = None

    def fault(
        self, asked: npt.NDArray[np.float64], sent: npt.NDArray[np.float64], now_ns: int
    ) -> str:
        """Tell why the linear part of a command must not be sent; empty if it may.

        Args:
            asked: float64 [J], the command.
            sent: float64 [J], the command before it, which the base still follows.
            now_ns: When.
        """
        motions = [self._linear(values) for values in (asked, sent)]
        if not any(any(motion) for motion in motions):
            return ''
        pose = self._pose
        if pose is None:
            return f'no position on {self.workspace.topic}'
        age_ns = now_ns - pose.stamp_ns
        if not -self._max_age_ns <= age_ns <= self._max_age_ns:
            return f'the position on {self.workspace.topic} is {age_ns * 1e-9:.2f} s old'
        if not all(map(math.isfinite, pose[:3])):
            return f'the position on {self.workspace.topic} is not finite'
        for motion in motions:
            if text := self._leaves(pose, motion, (max(age_ns, 0) + self._step_ns) * 1e-9):
                return text
        return ''

    def without_linear(self, asked: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return a command [J] with its linear part at zero."""
        still: npt.NDArray[np.float64] = asked.copy()
        still[[column for column in self._columns if column is not None]] = 0.0
        return still

    def _linear(self, values: npt.NDArray[np.float64]) -> tuple[float, float]:
        x, y = (0.0 if c is None else float(values[c]) for c in self._columns)
        return x, y

    def _leaves(self, pose: PlanarPose, motion: tuple[float, float], ahead_s: float) -> str:
        cos, sin = math.cos(pose.yaw), math.sin(pose.yaw)
        forward, left = motion
        # The time that braking takes comes from the speed, whatever its direction.
        reach_s = ahead_s + math.hypot(forward, left) / (2.0 * self._braking)
        ways = (
            ('x', pose.x, cos * forward - sin * left, self.workspace.x),
            ('y', pose.y, sin * forward + cos * left, self.workspace.y),
        )
        for axis, at, speed, (lower, upper) in ways:
            rest = at + speed * reach_s
            if (speed > 0.0 and rest > upper) or (speed < 0.0 and rest < lower):
                return (
                    f'at {axis} = {at:.2f} m, {speed:+.2f} m/s would lead to {rest:.2f} m, '
                    f'the workspace is [{lower:g}, {upper:g}]'
                )
        return ''
