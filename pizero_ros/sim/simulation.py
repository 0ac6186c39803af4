"""Simulated time against wall-clock time: advances robot and controllers to a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pizero_ros.sim.controllers import SimulatedControllers
    from pizero_ros.sim.robot import SimulatedRobot

LARGEST_BACKLOG_NS = 100_000_000
"""Physics that falls further behind the wall clock than this gives up the rest."""


class Simulation:
    """A robot under its controllers, on one clock.

    Simulated time follows the wall clock. Where the machine is too slow it falls behind instead
    of catching up in one leap, and ``stamp_ns`` then either jumps with the wall clock or, with
    ``own_clock``, stays the simulation's own, for ``/clock``.
    """

    def __init__(
        self,
        robot: SimulatedRobot,
        controllers: SimulatedControllers,
        *,
        own_clock: bool = False,
        gives_up: bool = True,
    ) -> None:
        """Join robot and controllers; ``start`` sets the clock.

        Args:
            robot: The physics.
            controllers: What moves it.
            own_clock: Stamps advance with the physics only, for publishing as ``/clock``.
            gives_up: Whether it falls behind a clock that it cannot follow; ``False`` for one
                that waits.
        """
        self.robot = robot
        self.controllers = controllers
        self._own_clock = own_clock
        self._gives_up = gives_up
        self.start(0)

    def start(self, wall_ns: int) -> None:
        """Let the present simulated time be the wall-clock time ``wall_ns``."""
        self._start_ns = wall_ns - round(self.robot.time_s * 1e9)
        self._wall_origin_ns = self._start_ns
        self._clock_offset_ns = 0
        self._stamp_origin_ns = self._start_ns

    @property
    def stamp_ns(self) -> int:
        """Time stamp of the present state, ns."""
        return self.stamp_of(self.robot.time_s)

    def stamp_of(self, time_s: float) -> int:
        """Return the time stamp of a simulated time, ns."""
        return self._stamp_origin_ns + round(time_s * 1e9)

    def ratio(self, wall_ns: int) -> float:
        """Return simulated time per wall-clock time since the start; 1.0 keeps up."""
        elapsed_ns = wall_ns - self._start_ns
        return self.robot.time_s * 1e9 / elapsed_ns if elapsed_ns > 0 else 1.0

    def set_clock_offset(self, offset_ns: int) -> None:
        """Let the clock differ by so much from what it would be; stamps jump by the change."""
        self._stamp_origin_ns += offset_ns - self._clock_offset_ns
        self._clock_offset_ns = offset_ns

    def advance(self, wall_ns: int) -> None:
        """Bring physics to the wall-clock time ``wall_ns``, controllers before each step."""
        behind_ns = wall_ns - self._wall_origin_ns - round(self.robot.time_s * 1e9)
        if self._gives_up and behind_ns > LARGEST_BACKLOG_NS:
            lost_ns = behind_ns - LARGEST_BACKLOG_NS
            self._wall_origin_ns += lost_ns
            if not self._own_clock:
                self._stamp_origin_ns += lost_ns
        self.robot.step_to((wall_ns - self._wall_origin_ns) * 1e-9, self._control)

    def _control(self, time_s: float) -> None:
        self.controllers.update(self.stamp_of(time_s))
