"""Where a base may drive: its motion ends before the edge of an area on the floor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.embodiment.schema import Workspace

_AXES = ('linear.x', 'linear.y', 'angular.z')

_PARTS = 8
"""Into how many straight parts the way of a turning, braking base is divided."""


class PlanarPose(NamedTuple):
    """Where a base is: m, m, rad in the odometry's frame, and when."""

    x: float
    y: float
    yaw: float
    stamp_ns: int


class WorkspaceGuard:
    """Takes the linear part out of base commands that would lead out of the area.

    What counts is the way until the base has come to rest: from its position, on by the age of
    that position and one control step, then braking, straight or turning. From outside, no
    motion further out is let through. Without a fresh position there is no linear motion.
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
        self._columns = [values.names.index(n) if n in values.names else None for n in _AXES]
        limits = [values.acceleration[c] for c in self._columns[:2] if c is not None]
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
        motions = [self._motion(values) for values in (asked, sent)]
        if not any(any(motion[:2]) for motion in motions):
            return ''
        pose = self._pose
        if pose is None:
            return f'no position on {self.workspace.topic}'
        age_ns = now_ns - pose.stamp_ns
        if not -self._max_age_ns <= age_ns <= self._max_age_ns:
            return f'the position on {self.workspace.topic} is {age_ns * 1e-9:.2f} s old'
        if not all(map(math.isfinite, pose[:3])):
            return f'the position on {self.workspace.topic} is not finite'
        ahead_s = (max(age_ns, 0) + self._step_ns) * 1e-9
        for forward, left, _ in motions:
            # It brakes in a straight line, or turning as it does or as it is asked to.
            for turn in {0.0, *(motion[2] for motion in motions)}:
                if text := self._leaves(pose, (forward, left), turn, ahead_s):
                    return text
        return ''

    def without_linear(self, asked: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return a command [J] with its linear part at zero."""
        still: npt.NDArray[np.float64] = asked.copy()
        still[[column for column in self._columns[:2] if column is not None]] = 0.0
        return still

    def _motion(self, values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        forward, left, turn = (0.0 if c is None else float(values[c]) for c in self._columns)
        return forward, left, turn

    def _leaves(
        self, pose: PlanarPose, linear: tuple[float, float], turn: float, ahead_s: float
    ) -> str:
        """Tell how the base would get out if it drove on for a while and then braked, turning."""
        forward, left = linear
        braking_s = math.hypot(forward, left) / self._braking
        x, y = pose.x, pose.y
        for duration_s, begin_s, share in _phases(ahead_s, braking_s):
            yaw = pose.yaw + turn * (begin_s + duration_s / 2.0)
            cos, sin = math.cos(yaw), math.sin(yaw)
            x += (cos * forward - sin * left) * share * duration_s
            y += (sin * forward + cos * left) * share * duration_s
            for axis, now, then, (lower, upper) in (
                ('x', pose.x, x, self.workspace.x),
                ('y', pose.y, y, self.workspace.y),
            ):
                if (then > max(now, upper)) or (then < min(now, lower)):
                    return (
                        f'from {axis} = {now:.2f} m the base would come to {then:.2f} m, the '
                        f'workspace is [{lower:g}, {upper:g}]'
                    )
        return ''


def _phases(ahead_s: float, braking_s: float) -> list[tuple[float, float, float]]:
    """Return duration, begin and mean share of the speed of driving on, then braking in parts."""
    part_s = braking_s / _PARTS
    return [
        (ahead_s, 0.0, 1.0),
        *((part_s, ahead_s + k * part_s, 1.0 - (k + 0.5) / _PARTS) for k in range(_PARTS)),
    ]
