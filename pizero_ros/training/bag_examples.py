"""Recordings into training samples, decoded as the robot and the evaluation decode them."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pizero_ros.errors import DatasetError
from pizero_ros.replay.action_topics import AUTO, RELATIVE, find_actions
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.identity import job_key
from pizero_ros.replay.recording import INSTRUCTION, Recording, decoded
from pizero_ros.training.cache import SCHEMA
from pizero_ros.training.sampling import Demonstration, cached, write_samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.processing.spec import ModelSpec, ResizeRule
    from pizero_ros.replay.actions import RecordedActions
    from pizero_ros.training.cache import CachedEpisode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How recordings become samples.

    Attributes:
        image_size: Height and width of the model's image.
        resize: Rule by which pictures get there.
        prompt: Instruction, None for the recorded one.
        actions: Where the actions are, as ``action_topics.find_actions`` takes it.
    """

    image_size: tuple[int, int]
    resize: ResizeRule
    prompt: str | None = None
    actions: str = AUTO

    @classmethod
    def of(cls, model: ModelSpec, prompt: str | None = None, actions: str = AUTO) -> Reading:
        """Read for a model."""
        return cls(model.image_size, model.resize, prompt, actions)


def read_bag(
    path: Path,
    embodiment: Embodiment,
    reading: Reading,
    cache: Path,
    *,
    progress: Callable[[float], None] = lambda _share: None,
    tell: Callable[[str], None] = _log.warning,
) -> CachedEpisode:
    """Return the samples of a recording, from the cache if they are there.

    Every recorded step at which the robot would have had an observation is a sample. Memory
    holds the joints and actions of this one recording; pictures go to disk as they come.

    Args:
        path: The recording.
        embodiment: The robot.
        reading: How to read.
        cache: Folder of all cached recordings; made if needed.
        progress: Told the share of the recording that is done, 0 to 1.
        tell: Told what a person should know: steps left out, a cache that is made anew.

    Raises:
        BagError: If the recording is damaged or lacks what the robot needs.
        DatasetError: If it has no instruction or no sample, a value in it is not finite, its
            actions look like steps, or the samples cannot be written.
    """
    key = _key(path, embodiment, reading)
    folder = cache / f'{path.name}-{key[:16]}'
    episode = cached(folder, key, tell)
    if episode is not None:
        progress(1.0)
        return episode
    with open_bag(path) as bag:
        recording = Recording(bag, embodiment)
        instructions = _instructions(recording, reading)
        recorded = find_actions(bag, embodiment, reading.actions)
        _check_meaning(path, recorded, reading, tell)
        demonstration = Demonstration(
            name=str(path),
            embodiment=embodiment,
            recorded=recorded,
            instructions=instructions,
            sensed=recording.messages(),
            start_ns=bag.start_ns,
            end_ns=bag.end_ns,
        )
        return write_samples(
            demonstration,
            reading.image_size,
            reading.resize,
            folder,
            key,
            progress=progress,
            tell=tell,
        )


def _instructions(recording: Recording, reading: Reading) -> list[tuple[int, str]]:
    """Return when each instruction came; the first one holds from the beginning."""
    if reading.prompt is not None:
        found = [(0, reading.prompt)]
    elif recording.instructed:
        messages = decoded(recording.bag, [INSTRUCTION])
        found = [(each.time_ns, str(each.message.data)) for each in messages]
    else:
        found = []
    if not found or not all(text.strip() for _, text in found):
        raise DatasetError.at(
            recording.bag.path,
            INSTRUCTION,
            found='an empty instruction' if found else 'no instruction',
            expected='what the robot was told to do (std_msgs/String)',
            remedy='Record it on this topic, or give `prompt` for these recordings.',
        )
    return found


def _check_meaning(
    path: Path, recorded: RecordedActions, reading: Reading, tell: Callable[[str], None]
) -> None:
    if RELATIVE not in recorded.words:
        return
    if reading.actions != AUTO:
        tell(f'{path}: {recorded.words}')
        return
    raise DatasetError.at(
        path,
        'actions',
        found='commands that look like steps, not positions',
        expected='where the robot was told to be',
        remedy='Set `actions: state` to learn the measured motion, or name the topic to insist.',
    )


def _key(path: Path, embodiment: Embodiment, reading: Reading) -> str:
    # Where its file lies and what it is described as say nothing about the samples.
    robot = replace(embodiment, source='', description='')
    return job_key(
        path,
        {
            'training': SCHEMA,
            'embodiment': json.dumps(asdict(robot), sort_keys=True),
            'reading': asdict(reading),
        },
    )
