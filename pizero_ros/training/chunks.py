"""The actions of a sample: what the demonstrator did from an observation on."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.replay.actions import ROUNDING_PERIODS
from pizero_ros.replay.columns import Columns, RawActions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.actions import RecordedActions


class Chunks:
    """Recorded actions as robot vectors, cut where a demonstration ends."""

    def __init__(
        self,
        name: str,
        embodiment: Embodiment,
        recorded: RecordedActions,
        changes_ns: Sequence[int],
        end_ns: int,
    ) -> None:
        """Check that every value can be learnt from.

        Args:
            name: Of the demonstration, for messages.
            embodiment: The robot.
            recorded: Its actions.
            changes_ns: When other instructions took over, increasing: what comes then is
                the answer to another instruction.
            end_ns: End of the recording.

        Raises:
            DatasetError: If a joint has no actions, or one that is not finite.
        """
        columns = Columns.of(embodiment)
        _check_values(name, columns, recorded)
        self._recorded = recorded
        self._changes_ns = list(changes_ns)
        self._end_ns = end_ns
        self._vector = RawActions(embodiment).vector
        self._twist = columns.where(kind='twist')
        # As long as a step may miss the moment to which it belongs.
        self._slack_ns = round(ROUNDING_PERIODS * 1e9 / embodiment.rate_hz)
        steps = np.arange(embodiment.horizon)
        self._offsets_ns = np.round(steps * 1e9 / embodiment.rate_hz).astype(np.int64)

    def at(
        self, stamp_ns: int, now_ns: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]] | None:
        """Return the chunk that belongs to an observation.

        Args:
            stamp_ns: Of the observation: action k belongs to this + k / rate.
            now_ns: When it was taken.

        Returns:
            float64 [H, action width], robot vector, and bool [H], False where the demonstration
            had ended, or is not known: there the last action is repeated, and the base stands
            still. ``None`` if
            not even the first action is known.
        """
        times_ns = stamp_ns + self._offsets_ns
        next_change = bisect_right(self._changes_ns, now_ns)
        end_ns = self._end_ns + self._slack_ns
        if next_change < len(self._changes_ns):
            end_ns = self._changes_ns[next_change] - self._slack_ns - 1
        raw = self._recorded.at(times_ns)
        known = np.isfinite(raw).all(axis=1) & (times_ns <= end_ns)
        valid = np.logical_and.accumulate(known)
        count = int(valid.sum())
        if not count:
            return None
        raw[count:] = raw[count - 1]
        # A base that went on at its last speed would be taught to leave.
        raw[count:, self._twist] = 0.0
        return self._vector(raw), valid


def _check_values(name: str, columns: Columns, recorded: RecordedActions) -> None:
    names = [column.name for column in columns.columns]
    told = {column for track in recorded.tracks for column in track.columns}
    missing = [joint for column, joint in enumerate(names) if column not in told]
    if missing:
        raise DatasetError.at(
            name,
            recorded.words,
            found=f'no actions of {", ".join(missing)}',
            expected='actions of every joint of the robot',
            remedy='Name topics that together carry them all.',
        )
    for track in recorded.tracks:
        rows, places = np.nonzero(~np.isfinite(track.values))
        if len(rows):
            stamp_ns = int(track.stamps_ns[rows[0]])
            after_s = (stamp_ns - int(track.stamps_ns[0])) * 1e-9
            raise DatasetError.at(
                name,
                track.topic,
                found=f'{names[track.columns[places[0]]]} is {track.values[rows[0], places[0]]} '
                f'at {after_s:.3f} s after its first action ({stamp_ns} ns)',
                expected='a finite number',
                remedy='Mend the recording or leave it out.',
            )
