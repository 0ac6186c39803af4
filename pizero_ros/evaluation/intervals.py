"""Shares and means of few trials, with 95 % intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pizero_ros.replay.comparison import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

Z = 1.959963984540054
"""Of the normal distribution, for 95 %."""


class Share(NamedTuple):
    """A share of trials, and where that of all such trials may lie."""

    hits: int
    n: int
    share: float
    low: float
    high: float


class Mean(NamedTuple):
    """A mean over trials, and where that of all such trials may lie; None for one trial."""

    n: int
    mean: float
    low: float | None
    high: float | None


def share(count: int, n: int) -> Share | None:
    """Return a share with its Wilson score interval, which is right for few trials too.

    Args:
        count: Trials for which it holds.
        n: All trials; ``None`` is returned for 0.
    """
    if not n:
        return None
    p = count / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    # At the ends it touches 0 and 1; rounding must not leave the share itself outside.
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return Share(count, n, p, min(low, p), max(high, p))


def mean(values: Sequence[float]) -> Mean | None:
    """Return a mean with its bootstrap percentile interval, always the same for the same values.

    Args:
        values: One for each trial; ``None`` is returned for none.
    """
    return Mean(*interval(values)) if len(values) else None
