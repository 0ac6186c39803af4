"""Percentiles of the last N latencies by phase."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


class Percentiles(NamedTuple):
    """p50, p95 and p99 of one phase, in seconds."""

    p50: float
    p95: float
    p99: float


class LatencyWindow:
    """Durations of the last ``size`` chunks, by phase. Not thread-safe: one writer, who reads."""

    def __init__(self, size: int = 200) -> None:
        """Keep the last ``size`` entries of each phase."""
        self._size = size
        self._phases: dict[str, deque[float]] = {}

    def add(self, durations_s: Mapping[str, float]) -> None:
        """Add one chunk's durations in seconds."""
        for phase, duration in durations_s.items():
            self._phases.setdefault(phase, deque(maxlen=self._size)).append(duration)

    def percentiles(self) -> dict[str, Percentiles]:
        """Return phase → percentiles, in the order in which the phases first came."""
        return {
            phase: Percentiles(*np.percentile(np.fromiter(window, float), (50, 95, 99)).tolist())
            for phase, window in self._phases.items()
        }
