"""The recorded actions of an episode as one track, whichever evaluation was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.replay.episode import Episode


def recorded_track(
    episode: Episode,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return what the demonstrator commanded, over the whole recording.

    Args:
        episode: With one evaluation at least, or none.

    Returns:
        Times, int64 [T], rising, and values, float64 [T, J], raw, NaN where unknown. From the
        evaluation as deployed if there is one, else from what the open-loop chunks were compared
        with, which begins at the first query.
    """
    for deployed in episode.deployed.values():
        return deployed.time_ns, deployed.recorded
    for asked in episode.open_loop.values():
        steps = np.arange(asked.recorded.shape[1]) * round(1e9 / episode.rate_hz)
        times = (asked.observed_ns[:, None] + steps).ravel()
        values = asked.recorded.reshape(len(times), len(episode.columns))
        # Queries overlap; an observation is some milliseconds older than the query, each another.
        slots = np.round((times - episode.start_ns) * 1e-9 * episode.rate_hz).astype(np.int64)
        known = np.isfinite(values).any(axis=1)
        _, first = np.unique(slots[known], return_index=True)
        return times[known][first], values[known][first]
    return np.empty(0, np.int64), np.empty((0, len(episode.columns)))
