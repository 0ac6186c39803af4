"""The clock of a stream: header stamps, order, gaps, rate, and everything that is counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pizero_ros.observation.refusal import Reason

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import StampSource

JUMP_NS = 1_000_000_000
"""Stamps that go back by more than this mean that the clock was set back (a looped bag); less is
a message that was overtaken."""

RATE_WINDOW = 50
"""Messages over which the rate is measured."""

GAP_PERIODS = 1.5
"""A longer gap than this many nominal periods counts as missing messages; less is jitter."""


@dataclass(slots=True)
class Counters:
    """Totals of one stream since start; a reset leaves them.

    ``late``: older than its limit on arrival. ``out_of_order``: not newer than what was held, and
    dropped. ``unstamped``: no header stamp where one is needed, and dropped. ``malformed``: arrays
    that contradict each other, and dropped. ``black``, ``frozen``, ``noisy``, ``undecodable``: of
    the frames that were looked at.
    """

    received: int = 0
    missing: int = 0
    late: int = 0
    out_of_order: int = 0
    unstamped: int = 0
    malformed: int = 0
    black: int = 0
    frozen: int = 0
    noisy: int = 0
    undecodable: int = 0


@dataclass(frozen=True)
class StreamStatus:
    """One stream at one moment, for diagnostics.

    Attributes:
        topic: The stream.
        required: Whether there is no observation without it.
        age_s: Age of what is held, ``None`` if nothing is.
        max_age_s: Age from which it is stale.
        rate_hz: Measured rate of arrival.
        nominal_hz: Declared rate.
        fault: What was wrong at the last look, empty if nothing.
        counters: A copy of the counters.
    """

    topic: str
    required: bool
    age_s: float | None
    max_age_s: float
    rate_hz: float
    nominal_hz: float
    fault: str
    counters: Counters


class StreamClock:
    """Order, age, gaps and rate of one topic's messages: all O(1) per message."""

    def __init__(self, topic: str, stamp: StampSource, max_age_s: float, rate_hz: float) -> None:
        """Start empty; the arguments are those of the embodiment."""
        self.topic = topic
        self.max_age_s = max_age_s
        self.rate_hz = rate_hz
        self.counters = Counters()
        self.newest_ns: int | None = None
        self._by_header = stamp == 'header'
        self._period_ns = 1e9 / rate_hz
        self._arrivals: deque[int] = deque(maxlen=RATE_WINDOW)

    def stamp(self, header_ns: int, received_ns: int) -> int | None:
        """Count a message; return the stamp it goes by, ``None`` if it has none."""
        self.counters.received += 1
        self._arrivals.append(received_ns)
        if not self._by_header:
            return received_ns
        if header_ns <= 0:
            self.counters.unstamped += 1
            return None
        return header_ns

    def advance(self, stamp_ns: int, received_ns: int) -> None:
        """Take in the stamp of a message that is kept."""
        if received_ns - stamp_ns > self.max_age_s * 1e9:
            self.counters.late += 1
        if self.newest_ns is None:
            self.newest_ns = stamp_ns
            return
        gap = stamp_ns - self.newest_ns
        if gap > GAP_PERIODS * self._period_ns:
            self.counters.missing += round(gap / self._period_ns) - 1
        self.newest_ns = max(self.newest_ns, stamp_ns)

    def absent(self) -> Reason:
        """Say that nothing is held, and why."""
        if self.counters.unstamped:
            detail = (
                f'{self.counters.unstamped} messages without a header stamp; '
                "set 'stamp: receive' to go by their arrival"
            )
            return Reason('missing', self.topic, detail)
        return Reason('missing', self.topic, 'no message yet')

    def age_fault(self, stamp_ns: int, now_ns: int) -> Reason | None:
        """Return what is wrong with the age of a stamp, ``None`` if it is within the limit."""
        age_s = (now_ns - stamp_ns) * 1e-9
        if age_s > self.max_age_s:
            detail = f'{age_s:.3f} s old, limit {self.max_age_s:g} s'
            return Reason('stale', self.topic, detail)
        if age_s < -self.max_age_s:
            # Never stale, so a dead publisher with a fast clock would pass for a live one.
            detail = (
                f'stamped {-age_s:.3f} s in the future; synchronise the clocks, '
                "or set 'stamp: receive'"
            )
            return Reason('future', self.topic, detail)
        return None

    def measured_hz(self, now_ns: int) -> float:
        """Return the rate of arrival; it decays once messages stop."""
        if len(self._arrivals) < 2:
            return 0.0
        until = max(self._arrivals[-1], now_ns - round(self._period_ns))
        span = until - self._arrivals[0]
        return (len(self._arrivals) - 1) * 1e9 / span if span > 0 else 0.0

    def reset(self) -> None:
        """Forget everything but the totals."""
        self.newest_ns = None
        self._arrivals.clear()

    def status(
        self, now_ns: int, *, required: bool, age_s: float | None, fault: str
    ) -> StreamStatus:
        """Return a snapshot."""
        return StreamStatus(
            topic=self.topic,
            required=required,
            age_s=age_s,
            max_age_s=self.max_age_s,
            rate_hz=self.measured_hz(now_ns),
            nominal_hz=self.rate_hz,
            fault=fault,
            counters=replace(self.counters),
        )


def jumps_back(stamp_ns: int, newest_ns: int | None) -> bool:
    """Return whether ``stamp_ns`` lies so far back that the clock must have been set back."""
    return newest_ns is not None and stamp_ns < newest_ns - JUMP_NS
