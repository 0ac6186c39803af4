"""A demonstration into samples: an observation at each recorded step, and what was done then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import DatasetError, PizeroError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.cameras import decode_picture
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.refusal import Refusal
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.replay.actions import ROUNDING_PERIODS
from pizero_ros.training.cache import CachedEpisode, EpisodeWriter, Shape
from pizero_ros.training.chunks import Chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.cameras import Decode
    from pizero_ros.observation.observation import Frame
    from pizero_ros.processing.spec import ResizeRule
    from pizero_ros.replay.actions import RecordedActions
    from pizero_ros.replay.recording import Sensed

_NO_ACTION = 'no action known'
_FIRST = {_NO_ACTION: 1}
"""What is left out of a recording that begins between the commands of two groups, as one in four
of ours does: not worth a word."""


@dataclass(frozen=True)
class Demonstration:
    """What a demonstration gives, wherever it was kept.

    Attributes:
        name: For messages.
        embodiment: The robot.
        recorded: What was commanded.
        instructions: When each instruction came, and its text; the first one holds from the
            beginning.
        sensed: The sensors' messages in the order of their arrival; read once.
        start_ns: Time of the first message.
        end_ns: Time of the last message.
        decode: Decodes a camera's message.
    """

    name: str
    embodiment: Embodiment
    recorded: RecordedActions
    instructions: Sequence[tuple[int, str]]
    sensed: Iterable[Sensed]
    start_ns: int
    end_ns: int
    decode: Decode = decode_picture


def cached(folder: Path, key: str, tell: Callable[[str], None]) -> CachedEpisode | None:
    """Return the samples that are in a folder, ``None`` if they have to be made."""
    if not folder.exists():
        return None
    try:
        return CachedEpisode(folder, key)
    except DatasetError as error:
        tell(f'{folder} is made anew: {error}')
        return None


def write_samples(
    demonstration: Demonstration,
    size: tuple[int, int],
    rule: ResizeRule,
    folder: Path,
    key: str,
    *,
    progress: Callable[[float], None],
    tell: Callable[[str], None],
) -> CachedEpisode:
    """Turn a demonstration into samples; see ``bag_examples.read_bag``.

    Args:
        demonstration: Its messages are read.
        size: Height and width of the model's image.
        rule: How pictures get there.
        folder: Where the samples go.
        key: What they are made from.
        progress: Told the share that is done, 0 to 1.
        tell: Told which steps are no samples, if they are more than the first one.

    Raises:
        DatasetError: If there is no sample, a value is not finite, or the samples cannot be
            written.
        PizeroError: Whatever reading the messages raises.
    """
    embodiment = demonstration.embodiment
    changes = [ns for (_, a), (ns, b) in pairwise(demonstration.instructions) if b != a]
    chunks = Chunks(
        demonstration.name, embodiment, demonstration.recorded, changes, demonstration.end_ns
    )
    mapped = {joint.index for joint in embodiment.state_joints}
    shape = Shape(
        embodiment=embodiment.name,
        slots=tuple(camera.slot for camera in embodiment.cameras),
        image_size=size,
        mapped=tuple(index in mapped for index in range(embodiment.vector_dim)),
        horizon=embodiment.horizon,
        width=embodiment.action_width,
    )
    writer = EpisodeWriter(folder, shape)
    try:
        run = _Pass(demonstration, ResizeWithPad(size, rule), chunks, writer)
        run.play(progress)
        if not run.samples:
            raise _empty(demonstration, run)
        episode = writer.finish(key, demonstration.name, run.left_out)
    except BaseException:
        writer.abandon()
        raise
    if episode.left_out and episode.left_out != _FIRST:
        total = len(episode) + sum(episode.left_out.values())
        why = ', '.join(f'{reason}: {count}' for reason, count in episode.left_out.items())
        tell(
            f'{demonstration.name}: {total - len(episode)} of {total} steps are no samples ({why})'
        )
    return episode


def model_picture(resize: ResizeWithPad, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture uint8 [H, W, 3] in the model's size, in whole grey levels."""
    image = resize(rgb).transpose(1, 2, 0)
    levels: npt.NDArray[np.uint8] = np.rint((image + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return levels


class _Pass:
    """One reading of a demonstration's messages."""

    def __init__(
        self, source: Demonstration, resize: ResizeWithPad, chunks: Chunks, writer: EpisodeWriter
    ) -> None:
        self._source = source
        self._resize = resize
        self._chunks = chunks
        self._writer = writer
        self._assembler = ObservationAssembler(source.embodiment, source.decode)
        self._intake = Intake(source.embodiment, self._assembler)
        # What belongs to a step comes within nanoseconds or so of it, in any order.
        self._slack_ns = round(ROUNDING_PERIODS * 1e9 / source.embodiment.rate_hz)
        self._moments = (source.recorded.moments() + self._slack_ns).tolist()
        self._next = 0
        self._prompt = source.instructions[0][1]
        self._ahead = list(source.instructions[1:])
        self._kept: dict[str, tuple[Frame, int]] = {}
        self.samples = 0
        self.left_out: Counter[str] = Counter()
        self.first_refusal = ''

    def play(self, progress: Callable[[float], None]) -> None:
        source = self._source
        length_ns = max(source.end_ns - source.start_ns, 1)
        for sensed in source.sensed:
            self._observe_until(sensed.time_ns)
            if sensed.topic in self._intake.topics:
                self._intake.take(sensed.topic, sensed.message, sensed.header_ns, sensed.time_ns)
            progress((sensed.time_ns - source.start_ns) / length_ns)
        self._observe_until(source.end_ns + self._slack_ns + 1)

    def _observe_until(self, time_ns: int) -> None:
        """Make the samples that are due before a message of this time comes."""
        while self._next < len(self._moments) and self._moments[self._next] < time_ns:
            moment = self._moments[self._next]
            while self._ahead and self._ahead[0][0] <= moment:
                self._prompt = self._ahead.pop(0)[1]
            self._observe(moment)
            self._next += 1

    def _observe(self, now_ns: int) -> None:
        observed = self._assembler.observe(now_ns, self._prompt)
        if isinstance(observed, Refusal):
            self._refuse(observed)
            return
        found = self._chunks.at(observed.stamp_ns, now_ns)
        if found is None:
            self.left_out[_NO_ACTION] += 1
            return
        pictures = {slot: self._picture(slot, f) for slot, f in observed.images.items()}
        if not pictures:
            self.left_out['no usable camera'] += 1
            return
        self._writer.sample(observed.stamp_ns, self._prompt, pictures, observed.state, *found)
        self.samples += 1

    def _picture(self, slot: str, frame: Frame) -> int:
        known = self._kept.get(slot)
        if known is not None and known[0] is frame:
            return known[1]
        number = self._writer.picture(slot, model_picture(self._resize, frame.rgb()))
        self._kept[slot] = frame, number
        return number

    def _refuse(self, refusal: Refusal) -> None:
        for reason in refusal.reasons:
            if reason.kind == 'nonfinite':
                after_s = (refusal.now_ns - self._source.start_ns) * 1e-9
                raise DatasetError.at(
                    self._source.name,
                    reason.topic,
                    found=f'{reason.detail} at {after_s:.3f} s ({refusal.now_ns} ns)',
                    expected='a finite number',
                    remedy='Mend the recording or leave it out.',
                )
        reason = refusal.reasons[0]
        self.left_out[f'{reason.topic} {reason.kind}'] += 1
        self.first_refusal = self.first_refusal or str(refusal)


def _empty(demonstration: Demonstration, run: _Pass) -> PizeroError:
    why = ', '.join(f'{reason}: {count}' for reason, count in run.left_out.items())
    first = f' First: {run.first_refusal}.' if run.first_refusal else ''
    return DatasetError.at(
        demonstration.name,
        '',
        found=f'no sample ({why or "no recorded step"})',
        expected='steps at which the robot has an observation and an action: it is '
        f'{demonstration.embodiment.name}',
        remedy=f'Check that this is a recording of that robot.{first}',
    )
