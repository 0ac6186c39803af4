"""π0's own scheduling: infer, execute n steps, infer again when they have been executed."""

from __future__ import annotations

from pizero_ros.control.single_flight import SingleFlight
from pizero_ros.control.trajectory import steps_ns


class OpenLoop(SingleFlight):
    """The robot rests at the last of the n steps while it infers."""

    mode = 'open_loop'

    def _due_ns(self) -> int:
        return self._end_ns

    def _limit(self) -> int:
        return min(self._embodiment.published_steps, self._embodiment.executed_steps)

    def _patience_ns(self) -> int:
        # Resting for one inference is this mode's normal course, not starvation.
        return self.delay_ns + steps_ns(2, self._embodiment.rate_hz)
