"""Infer while executing: the next chunk replaces this one after its executed steps."""

from __future__ import annotations

from pizero_ros.control.single_flight import SingleFlight
from pizero_ros.control.trajectory import steps_ns


class Asynchronous(SingleFlight):
    """Asks so early that the next chunk arrives when ``executed_steps`` have been executed.

    A chunk's steps are counted from its acceptance. If inference takes longer than they last,
    it is asked for at once, and never while one is under way.
    """

    mode = 'async'

    def _due_ns(self) -> int:
        executed_ns = steps_ns(self._embodiment.executed_steps, self._embodiment.rate_hz)
        return self._accepted_ns + max(executed_ns - self.delay_ns, 0)
