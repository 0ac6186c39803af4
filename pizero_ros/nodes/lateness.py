"""How late the control timer calls back, against its own grid."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

_KEPT = 1000
"""Ticks that the figures are of: 20 s at 50 Hz."""


class LatePercentiles(NamedTuple):
    """How late ticks were, in seconds."""

    p50: float
    p95: float
    largest: float


class Lateness:
    """Follows a timer that calls back at multiples of its period, or skips them if it is too late.

    Ticks while an inference was under way are kept apart: the difference is what inference does
    to the executor. One thread writes, any may read.
    """

    def __init__(self, period_ns: int) -> None:
        """Start without a grid.

        Args:
            period_ns: Of the timer.
        """
        self._period_ns = period_ns
        self._due_ns: int | None = None
        self._late_s = {name: deque[float](maxlen=_KEPT) for name in ('idle', 'inferring')}

    def tick(self, now_ns: int, until_next_ns: int, *, inferring: bool) -> None:
        """Take in a call of the timer, at its beginning.

        Args:
            now_ns: The timer's clock.
            until_next_ns: Time to its next call.
            inferring: Whether an inference is under way.
        """
        due_ns = now_ns + until_next_ns - self._period_ns
        before_ns, self._due_ns = self._due_ns, due_ns
        if before_ns is None or due_ns < before_ns:
            return  # The first one, or the clock was set back.
        # Behind skipped calls it is the first of them that is late.
        late_ns = now_ns - min(before_ns + self._period_ns, due_ns)
        self._late_s['inferring' if inferring else 'idle'].append(max(late_ns, 0) * 1e-9)

    def percentiles(self) -> dict[str, LatePercentiles]:
        """Return ``idle`` and ``inferring`` → figures, for those that there are."""
        found = {name: np.array(tuple(late_s)) for name, late_s in self._late_s.items()}
        return {
            name: LatePercentiles(
                *(float(value) for value in (*np.percentile(late_s, (50, 95)), late_s.max()))
            )
            for name, late_s in found.items()
            if len(late_s)
        }
