"""What the demonstrator commanded, read from a recording, at any moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

GAP_INTERVALS = 3
"""Intervals without a sample after which nobody knows what a motion did in between."""

TWIST_HOLDS_NS = 500_000_000
"""How long a base goes on without a command: the default of ``cmd_vel_timeout`` in
diff_drive_controller_parameter.yaml of ros2_controllers."""


@dataclass(frozen=True)
class Timing:
    """What a robot's period and its bases mean for one track.

    Attributes:
        slack_ns: How far a moment may lie from a sample and still be at it.
        gap_ns: Longest time between two samples that is no gap.
        speeds: Places of the track's columns that are speeds of a base.
    """

    slack_ns: int
    gap_ns: int
    speeds: tuple[int, ...]


@dataclass(frozen=True)
class Track:
    """The commands of one topic, or of those of its joints that it names together.

    Attributes:
        topic: Where they were recorded.
        columns: Numbers of the C columns that they command.
        stamps_ns: int64 [T], increasing: when each was given.
        received_ns: int64 [T]: when each was recorded.
        values: float64 [T, C], raw.
        held: Whether a command holds until the next one (goals that are sent on change, twists),
            or is one sample of a motion.
    """

    topic: str
    columns: tuple[int, ...]
    stamps_ns: Integers
    received_ns: Integers
    values: Floats
    held: bool

    def interval_ns(self, otherwise_ns: int) -> int:
        """Return the median time between two samples; ``otherwise_ns`` if there is only one."""
        between = np.diff(self.stamps_ns)
        return round(float(np.median(between))) if len(between) else otherwise_ns

    def at(self, times_ns: Integers, timing: Timing, *, extended: bool) -> Floats:
        """Return the commands at some moments.

        Motions are interpolated linearly between samples. Before the first command nothing is
        known; in a gap and after the end of a motion only if ``extended``: the last command
        before it. The speeds of a base hold for ``TWIST_HOLDS_NS``; then it stands.

        Args:
            times_ns: int64 [N].
            timing: Of this track.
            extended: Whether to hold the last command where nothing is recorded.

        Returns:
            float64 [N, C], NaN where unknown.
        """
        number = np.searchsorted(self.stamps_ns, times_ns + timing.slack_ns, side='right') - 1
        started = number >= 0
        last = np.maximum(number, 0)
        found: Floats = self.values[last].copy()
        silent = times_ns - self.stamps_ns[last] > TWIST_HOLDS_NS
        if not self.held:
            known = self._interpolate(times_ns, last, timing, found)
            if not extended:
                found[~known] = np.nan
            silent &= ~known
        stands = np.ix_(silent, np.array(timing.speeds, np.intp))
        found[stands] = np.where(np.isnan(found[stands]), np.nan, 0.0)
        found[~started] = np.nan
        return found

    def _interpolate(
        self, times_ns: Integers, last: Integers, timing: Timing, found: Floats
    ) -> npt.NDArray[np.bool_]:
        """Write the motion into ``found`` where it is known; return where that is, bool [N]."""
        left = self.stamps_ns[last]
        right = self.stamps_ns[np.minimum(last + 1, len(self.stamps_ns) - 1)]
        gaps = self.gaps(timing)
        after_gap, before_gap = np.append(False, gaps), np.append(gaps, False)
        at_left = np.abs(times_ns - left) <= timing.slack_ns
        known: npt.NDArray[np.bool_] = at_left | ((times_ns <= right) & ~before_gap[last])
        # A moment at the edge of a gap is at that sample, not a little way across.
        times_ns = np.where(at_left & (after_gap | before_gap)[last], left, times_ns)
        # Seconds since the first sample: nanoseconds since 1970 do not fit into a float64.
        samples = (self.stamps_ns - self.stamps_ns[0]) * 1e-9
        wanted = (times_ns[known] - self.stamps_ns[0]) * 1e-9
        for column, values in enumerate(self.values.T):
            found[known, column] = np.interp(wanted, samples, values)
        return known

    def gaps(self, timing: Timing) -> npt.NDArray[np.bool_]:
        """Return after which of all samples but the last one a motion is unknown, bool [T-1]."""
        apart: npt.NDArray[np.bool_] = np.diff(self.stamps_ns) > timing.gap_ns
        return apart & (not self.held)

    def speed(self, end: int, gap_ns: int) -> Floats:
        """Return how fast the last two samples before number ``end`` went, float64 [C], per ns.

        There is no speed across a gap or from a single sample: 0.
        """
        if end < 2:
            return np.zeros(len(self.columns))
        between_ns = int(self.stamps_ns[end - 1] - self.stamps_ns[end - 2])
        moved = self.values[end - 1] - self.values[end - 2]
        if between_ns > gap_ns:
            moved = np.zeros_like(moved)
        speed: Floats = np.where(np.isnan(moved), 0.0, moved) / between_ns
        return speed


class RecordedActions:
    """The demonstrator as a function of time."""

    def __init__(self, embodiment: Embodiment, tracks: Sequence[Track], words: str) -> None:
        """Join tracks.

        Args:
            embodiment: The robot.
            tracks: One or more; no column in two of them.
            words: Where they came from, for the report; what is left out is added.
        """
        self.columns = Columns.of(embodiment)
        self.tracks = tuple(tracks)
        self._period_ns = round(1e9 / embodiment.rate_hz)
        self._slack_ns = round(ROUNDING_PERIODS * self._period_ns)
        self._timings = tuple(self._timing(track) for track in self.tracks)
        # The densest motion sets the pace; goals that are sent on change have none.
        self._main = max(tracks, key=lambda track: (not track.held, len(track.columns)))
        self.gaps, shortest_ns = self._count_gaps()
        self.words = words
        if self.gaps:
            many = '1 gap' if self.gaps == 1 else f'{self.gaps} gaps'
            verb = 'is' if self.gaps == 1 else 'are'
            self.words += f'; {many} longer than {shortest_ns * 1e-9:.3g} s {verb} left out'

    def at(self, times_ns: Integers, *, extended: bool = False) -> Floats:
        """Return what was commanded at some moments.

        Args:
            times_ns: int64 [N], on the clock of header stamps.
            extended: Whether motions hold their last command in gaps and after the end.

        Returns:
            float64 [N, J], raw; NaN where the recording does not say.
        """
        found = np.full((len(times_ns), len(self.columns)), np.nan)
        for track, timing in zip(self.tracks, self._timings, strict=True):
            found[:, track.columns] = track.at(times_ns, timing, extended=extended)
        return found

    def before(self, time_ns: int) -> Floats:
        """Return the last commands that were given before a moment.

        What was given at that very moment is the answer to it, and not known yet. Of goals that
        are sent on change it is what held one action period earlier.

        Args:
            time_ns: The moment.

        Returns:
            float64 [J], raw; NaN where there was none.
        """
        found = np.full(len(self.columns), np.nan)
        for track, timing in zip(self.tracks, self._timings, strict=True):
            if track.held:
                earlier = np.array([time_ns - self._period_ns], np.int64)
                exact = replace(timing, slack_ns=0)
                found[list(track.columns)] = track.at(earlier, exact, extended=True)[0]
                continue
            end = self._end_before(track, time_ns)
            if end:
                values = track.values[end - 1].copy()
                if time_ns - int(track.stamps_ns[end - 1]) > max(TWIST_HOLDS_NS, timing.gap_ns):
                    values[list(timing.speeds)] = 0.0
                found[list(track.columns)] = values
        return found

    def extrapolated(self, time_ns: int, offsets_ns: Integers) -> Floats:
        """Return how the last two commands before a moment would go on from it.

        Goals that are sent on change, and motions in a gap, stay as they are.

        Args:
            time_ns: The moment.
            offsets_ns: int64 [N]: how long after it.

        Returns:
            float64 [N, J], raw; NaN where there was no command.
        """
        found: Floats = np.repeat(self.before(time_ns)[None], len(offsets_ns), axis=0)
        for track, timing in zip(self.tracks, self._timings, strict=True):
            end = self._end_before(track, time_ns)
            if track.held or not end:
                continue
            last_ns = int(track.stamps_ns[end - 1])
            if time_ns - last_ns <= timing.gap_ns:
                ahead_ns = (time_ns - last_ns) + offsets_ns
                found[:, track.columns] += ahead_ns[:, None] * track.speed(end, timing.gap_ns)
        return found

    def moments(self) -> Integers:
        """Return when each recorded step arrived, int64 [T], increasing."""
        received_ns = self._main.received_ns
        if self._main.held:
            return np.arange(received_ns[0], received_ns[-1] + 1, self._period_ns, dtype=np.int64)
        return received_ns

    def steps_in(self, seconds: float) -> int:
        """Return how many recorded steps a time has, at least 1, by their median interval."""
        held = self._main.held
        interval_ns = self._period_ns if held else self._main.interval_ns(self._period_ns)
        return max(1, round(seconds * 1e9 / interval_ns))

    def _timing(self, track: Track) -> Timing:
        interval_ns = track.interval_ns(self._period_ns)
        twist = set(self.columns.where(kind='twist'))
        return Timing(
            slack_ns=self._slack_ns,
            gap_ns=GAP_INTERVALS * max(self._period_ns, interval_ns) + self._slack_ns,
            speeds=tuple(n for n, column in enumerate(track.columns) if column in twist),
        )

    def _count_gaps(self) -> tuple[int, int]:
        """Return the number of gaps in motions, and what the shortest of them exceeds, in ns."""
        count, exceeded = 0, list[int]()
        for track, timing in zip(self.tracks, self._timings, strict=True):
            here = int(track.gaps(timing).sum())
            count += here
            if here:
                exceeded.append(timing.gap_ns - self._slack_ns)
        return count, min(exceeded, default=0)

    def _end_before(self, track: Track, time_ns: int) -> int:
        """Return how many samples of a track were given before a moment."""
        before_ns = time_ns - self._slack_ns
        return int(np.searchsorted(track.stamps_ns, before_ns, side='left'))
