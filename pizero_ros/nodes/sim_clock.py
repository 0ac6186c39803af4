"""Simulated time that waits for who lives by it, so that a busy machine is slow and not wrong."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CAMERAS, JOINTS, PEER = 'cameras', 'joints', 'peer'
"""Who may hold the time up."""

PEER_LEAD_NS = 100_000_000
"""How far the simulation may be ahead of what its peer has seen: five control periods."""


class PacedClock:
    """Goes at a given speed, but never past what somebody has asked it to wait at.

    Any thread may call it.
    """

    def __init__(self, speed: float, *, waits: bool) -> None:
        """Begin at the system's time.

        Args:
            speed: Simulated seconds per second at most.
            waits: Whether ``wait_at`` has any effect.
        """
        self.waits = waits
        self._speed = speed
        self._lock = threading.Lock()
        self._limits: dict[str, int] = {}
        self._looked_ns = time.monotonic_ns()
        self._now_ns = time.time_ns()

    def now_ns(self) -> int:
        """Return the simulated time; it never goes back."""
        with self._lock:
            looked_ns = time.monotonic_ns()
            ahead_ns = self._now_ns + round((looked_ns - self._looked_ns) * self._speed)
            self._looked_ns = looked_ns
            limit_ns = min(self._limits.values(), default=ahead_ns)
            self._now_ns = max(min(ahead_ns, limit_ns), self._now_ns)
            return self._now_ns

    def wait_at(self, who: str, time_ns: int) -> None:
        """Do not go past a time until the same one names a later one."""
        if self.waits:
            with self._lock:
                self._limits[who] = max(time_ns, self._limits.get(who, 0))

    def regularly(self, rate_hz: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Return a callback that does nothing while simulated time hardly goes on.

        Args:
            rate_hz: Calls per simulated second.
            callback: What to call then.
        """
        least_ns = round(0.9e9 / rate_hz)
        last_ns = 0

        def call() -> None:
            nonlocal last_ns
            now_ns = self.now_ns()
            if now_ns - last_ns >= least_ns:
                last_ns = now_ns
                callback()

        return call if self.waits else callback
