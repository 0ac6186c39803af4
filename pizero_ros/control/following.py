"""Do the arms go where they are told? Deaf or refusing controllers and stuck sensors show here."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment

LAG_NS = 200_000_000
"""Time that a healthy arm may be behind its command, on top of the age of its joint states: the
simulated ones are 50 ms behind, teleoperated ones up to 150 ms."""

TOLERANCE_S = 0.1
"""Distance that is still following, as the way at the velocity limit in this time: 0.2 rad at
2 rad/s. It leaves room for the sag of weak servos and for contact."""

PATIENCE_NS = 300_000_000
"""A shorter excursion is a disturbance."""


class FollowingWatch:
    """Compares where the arms are with all places where they were recently told to be.

    A joint follows if it is between the lowest and the highest command of the last ``LAG_NS`` and
    the age of a joint state, within a tolerance. Called from one thread.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Watch the joints of all trajectory groups but grippers, which are there to be blocked.

        Args:
            embodiment: The robot.
        """
        arms = [group for group in embodiment.actions if group.output == 'joint_trajectory']
        joints = [(group.name, joint) for group in arms for joint in group.joints]
        self._groups = [name for name, _ in joints]
        self._names = [joint.name for _, joint in joints]
        self._tolerance = np.array([joint.velocity * TOLERANCE_S for _, joint in joints])
        oldest_s = max((source.max_age_s for source in embodiment.state), default=0.0)
        self._window_ns = LAG_NS + round(oldest_s * 1e9)
        self._commands: deque[tuple[int, npt.NDArray[np.float64]]] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget everything: commands before a stop or a jump of the clock say nothing."""
        self._commands.clear()
        self._since_ns = np.full(len(self._names), -1, np.int64)

    def check(
        self, commanded: Mapping[str, float], measured: Mapping[str, float], now_ns: int
    ) -> str:
        """Look at one moment; call it at every control tick.

        Args:
            commanded: Joint name → commanded raw position, of the joints that were commanded.
            measured: Joint name → raw position, of the joints whose position is known.
            now_ns: The node's time.

        Returns:
            What does not follow, by how much; empty if all is well or nothing is known.
        """
        if self._commands and now_ns < self._commands[-1][0]:
            self.reset()
        self._commands.append((now_ns, self._array(commanded)))
        while now_ns - self._commands[0][0] > self._window_ns:
            self._commands.popleft()
        if now_ns - self._commands[0][0] < LAG_NS:
            return ''
        recent = [positions for _, positions in self._commands]
        # A joint that was not commanded at some time is not judged yet: NaN compares as False.
        lowest, highest = np.min(recent, axis=0), np.max(recent, axis=0)
        at = self._array(measured)
        distance = np.maximum(lowest - at, at - highest)
        astray = distance > self._tolerance
        self._since_ns[~astray] = -1
        self._since_ns[astray & (self._since_ns < 0)] = now_ns
        lost = astray & (now_ns - self._since_ns >= PATIENCE_NS)
        if not lost.any():
            return ''
        worst = int(np.argmax(np.where(lost, distance / self._tolerance, -1.0)))
        return (
            f'{self._groups[worst]} does not follow: {self._names[worst]} is at {at[worst]:.3g}, '
            f'{distance[worst]:.3g} from its commands of the last '
            f'{self._window_ns * 1e-9:.2g} s: arm blocked, controller deaf or refusing, sensor '
            'stuck, or the joint states are a recording (parameter replay)'
        )

    def _array(self, values: Mapping[str, float]) -> npt.NDArray[np.float64]:
        return np.array([values.get(name, np.nan) for name in self._names])
