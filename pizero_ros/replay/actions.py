"""What the demonstrator commanded, read from a recording, at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.replay.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

ROUNDING_PERIODS = 0.1
"""Periods by which a moment may miss the first or last action and still be at it: stamps are
rounded, and those of cameras and joints differ by nanoseconds."""


@dataclass(frozen=True)
class Track:
    """The commands of one topic.

    Attributes:
        topic: Where they were recorded.
        columns: Numbers of the C columns that they command.
        stamps_ns: int64 [T], increasing: when each was given.
        received_ns: int64 [T]: when each was recorded.
        values: float64 [T, C], raw.
        held: Whether a command holds until the next one (goals that are sent on change), or is
            one sample of a motion.
    """

    topic: str
    columns: tuple[int, ...]
    stamps_ns: Integers
    received_ns: Integers
    values: Floats
    held: bool

    def at(self, times_ns: Integers, slack_ns: int, *, extended: bool) -> Floats:
        """Return the commands at some moments.

        Motions are interpolated linearly between samples. Before the first command nothing is
        known; after the last one of a motion only if ``extended``, as that last one.

        Args:
            times_ns: int64 [N].
            slack_ns: How far outside a moment may lie and still count.
            extended: Whether to hold the last command for ever.

        Returns:
            float64 [N, C], NaN where unknown.
        """
        first, last = self.stamps_ns[0], self.stamps_ns[-1]
        if self.held:
            number = np.searchsorted(self.stamps_ns, times_ns + slack_ns, side='right') - 1
            found: Floats = self.values[np.maximum(number, 0)].copy()
        else:
            # Seconds since the first sample: nanoseconds since 1970 do not fit into a float64.
            known = (self.stamps_ns - first) * 1e-9
            wanted = (times_ns - first) * 1e-9
            found = np.empty((len(times_ns), len(self.columns)))
            for column, values in enumerate(self.values.T):
                found[:, column] = np.interp(wanted, known, values)
            if not extended:
                found[times_ns > last + slack_ns] = np.nan
        found[times_ns < first - slack_ns] = np.nan
        return found


class RecordedActions:
    """The demonstrator as a function of time."""

    def __init__(self, embodiment: Embodiment, tracks: Sequence[Track], words: str) -> None:
        """Join tracks.

        Args:
            embodiment: The robot.
            tracks: One or more; no column in two of them.
            words: Where they came from, for the report.
        """
        self.columns = Columns.of(embodiment)
        self.words = words
        self.tracks = tuple(tracks)
        self._period_ns = round(1e9 / embodiment.rate_hz)
        # The densest motion sets the pace; goals that are sent on change have none.
        self._main = max(tracks, key=lambda track: (not track.held, len(track.columns)))

    def at(self, times_ns: Integers, *, extended: bool = False) -> Floats:
        """Return what was commanded at some moments.

        Args:
            times_ns: int64 [N], on the clock of header stamps.
            extended: Whether motions hold their last command after the end.

        Returns:
            float64 [N, J], raw; NaN where the recording does not say.
        """
        found = np.full((len(times_ns), len(self.columns)), np.nan)
        slack_ns = round(ROUNDING_PERIODS * self._period_ns)
        for track in self.tracks:
            found[:, track.columns] = track.at(times_ns, slack_ns, extended=extended)
        return found

    def before(self, time_ns: int, count: int) -> Floats:
        """Return the last commands that were given before a moment, oldest first.

        What was given at that very moment is the answer to it, and not known yet.

        Args:
            time_ns: The moment.
            count: How many, one action period apart for goals that are sent on change.

        Returns:
            float64 [count, J], raw; NaN where there were fewer.
        """
        found = np.full((count, len(self.columns)), np.nan)
        before_ns = time_ns - round(ROUNDING_PERIODS * self._period_ns)
        for track in self.tracks:
            if track.held:
                times_ns = time_ns - self._period_ns * np.arange(count, 0, -1, dtype=np.int64)
                found[:, track.columns] = track.at(times_ns, 0, extended=True)
                continue
            end = int(np.searchsorted(track.stamps_ns, before_ns, side='left'))
            last = track.values[max(end - count, 0) : end]
            if len(last):
                rows = np.arange(count - len(last), count)
                found[np.ix_(rows, np.array(track.columns))] = last
        return found

    def moments(self) -> Integers:
        """Return when each recorded step arrived, int64 [T], increasing."""
        received_ns = self._main.received_ns
        if self._main.held:
            return np.arange(received_ns[0], received_ns[-1] + 1, self._period_ns, dtype=np.int64)
        return received_ns
