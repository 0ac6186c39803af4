"""What a group has been told: the current command at any time, and holds made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.spline import Knots
from pizero_ros.control.trajectory import steps_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues

HOLD_STEPS = 2
"""Length of a hold in control periods: short enough to stop, long enough not to be a jump."""


class CurrentCommand(NamedTuple):
    """Where a group is being sent at one time: float64 [J] each, raw units."""

    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]


class ExecutingTrajectory:
    """The trajectory that one group follows, as its controller interpolates it.

    A new command starts where the old one is at its stamp, which is what a controller with
    ``interpolate_from_desired_state`` (or the newer replacement rule) does.
    """

    def __init__(self, values: JointValues, rate_hz: float) -> None:
        self._values = values
        self._rate_hz = rate_hz
        self._knots: Knots | None = None

    @property
    def commanded(self) -> bool:
        """Whether anything has been commanded since the last reset."""
        return self._knots is not None

    def current(self, now_ns: int, measured: Mapping[str, float]) -> CurrentCommand | None:
        """Sample the current command.

        Args:
            now_ns: When.
            measured: Joint name → raw position, used until something has been commanded.

        Returns:
            The command, or None if nothing was commanded and a joint is not measured, or is
            measured as a value that is not finite.
        """
        if self._knots is not None:
            return CurrentCommand(*self._knots.sample(now_ns))
        positions = np.array([measured.get(name, np.nan) for name in self._values.names])
        if not np.isfinite(positions).all():
            return None
        return CurrentCommand(positions, np.zeros_like(positions))

    def ahead(
        self, times_ns: npt.NDArray[np.int64], current: CurrentCommand
    ) -> npt.NDArray[np.float64]:
        """Return where the group is going to be sent if nothing replaces what it follows.

        Args:
            times_ns: int64 [N], not before now.
            current: What ``current`` returns for now; it counts until something is commanded.

        Returns:
            float64 [N, J], raw units; past the end of the trajectory its last position.
        """
        knots = self._knots
        if knots is None:
            return np.tile(current.positions, (len(times_ns), 1))
        return np.stack([knots.sample(int(time_ns))[0] for time_ns in times_ns])

    def replace(self, command: TrajectoryCommand, now_ns: int, current: CurrentCommand) -> None:
        """Follow a new command from ``current``, which is the current command at ``now_ns``."""
        start = Knots.of(
            np.array([now_ns], np.int64), current.positions[None], current.velocities[None]
        )
        points = Knots.of(
            (command.stamp_ns or now_ns) + command.time_from_start_ns,
            command.positions,
            command.velocities,
        )
        self._knots = Knots.joined(start, points)

    def hold(
        self, current: CurrentCommand, measured: Mapping[str, float] | None = None
    ) -> TrajectoryCommand:
        """Build the command that stops a group at its current command.

        Its stamp is 0, "start now", because a hold must not be refused as past when it was slow
        on its way.

        Args:
            current: The current command.
            measured: Joint name → raw position. A joint that is far from its command, because
                nobody obeys, gets as long as it needs at its velocity limit: whoever obeys again
                must not leap.
        """
        positions = current.positions[None].copy()
        at = np.array([(measured or {}).get(name, np.nan) for name in self._values.names])
        needed_s = np.abs(current.positions - at) / self._values.velocity
        longest_ns = round(float(np.max(needed_s, initial=0.0, where=np.isfinite(needed_s))) * 1e9)
        return TrajectoryCommand(
            group=self._values.group.name,
            stamp_ns=0,
            joint_names=self._values.names,
            positions=positions,
            velocities=np.zeros_like(positions) if self._values.group.velocities else None,
            time_from_start_ns=np.array(
                [max(steps_ns(HOLD_STEPS, self._rate_hz), longest_ns)], np.int64
            ),
        )

    def reset(self) -> None:
        """Forget what was commanded; the measured position counts again."""
        self._knots = None
