"""Episodes of a LeRobot dataset into samples, as if the robot's topics had brought them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.embodiment.schema import TWIST_AXES
from pizero_ros.errors import DatasetError, PizeroError
from pizero_ros.observation.images import orient
from pizero_ros.replay.actions import RecordedActions, Track
from pizero_ros.replay.identity import job_key
from pizero_ros.replay.recording import Sensed
from pizero_ros.training.cache import SCHEMA
from pizero_ros.training.lerobot_layout import damaged, open_lerobot, require
from pizero_ros.training.lerobot_pictures import of_images, of_video
from pizero_ros.training.sampling import Demonstration, cached, write_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Camera, Embodiment, StateSource
    from pizero_ros.processing.spec import ResizeRule
    from pizero_ros.training.cache import CachedEpisode
    from pizero_ros.training.lerobot_layout import LerobotDataset, LerobotEpisode

STATE, ACTION = 'observation.state', 'action'
_IMAGES = 'observation.images.'
_COLUMNS = ('timestamp', 'task_index')
_START_NS = 1_000_000_000
"""Stamp of the first frame: 0 would mean that there is no stamp."""


@dataclass(frozen=True)
class LerobotReading:
    """How a dataset becomes samples of a robot.

    Values are taken as the robot's topics would carry them, in its raw units; scale, sign and
    offset of the embodiment apply, and so do rotation and flip of its cameras.

    Attributes:
        image_size: Height and width of the model's image.
        resize: Rule by which pictures get there.
        prompt: Instruction, None for the recorded tasks.
        cameras: Image feature → slot; features named ``observation.images.SLOT`` need no entry.
        names: Name in the dataset → joint; equal names, and those with ``.pos``, need no entry.
    """

    image_size: tuple[int, int]
    resize: ResizeRule
    prompt: str | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def read_lerobot(
    root: Path,
    embodiment: Embodiment,
    reading: LerobotReading,
    cache: Path,
    *,
    progress: Callable[[float], None] = lambda _share: None,
    tell: Callable[[str], None],
) -> list[CachedEpisode]:
    """Return the samples of every episode, from the cache where they are there.

    Args:
        root: The dataset.
        embodiment: The robot.
        reading: How to read.
        cache: Folder of cached samples; made if needed.
        progress: Told the share that is done, 0 to 1.
        tell: Told what a person should know.

    Raises:
        DatasetError: If the dataset is damaged or lacks what the robot needs, a value in it is
            not finite, it has no instruction, or the samples cannot be written.
        EnvironmentFault: If pyarrow or PyAV is not installed.
    """
    dataset = open_lerobot(root)
    if not dataset.episodes:
        raise DatasetError.at(root, 'episodes', found='none', expected='at least one')
    states = _places(dataset, STATE, [j.name for j in embodiment.state_joints], reading.names)
    actions = _places(dataset, ACTION, [j.name for j in embodiment.action_joints], reading.names)
    for joint in embodiment.state_joints:
        if joint.field != 'position':
            raise DatasetError.at(
                embodiment.source, joint.name, found=joint.field, expected='a position'
            )
    cameras = _cameras(dataset, embodiment, reading)
    found = []
    for number, episode in enumerate(dataset.episodes):
        done = number / len(dataset.episodes)
        progress(done)
        key = _key(dataset, episode, embodiment, reading)
        folder = cache / f'{root.name}-{episode.number:06d}-{key[:16]}'
        made = cached(folder, key, tell)
        if made is None:
            made = write_samples(
                _demonstration(dataset, episode, embodiment, reading, (states, actions, cameras)),
                reading.image_size,
                reading.resize,
                folder,
                key,
                progress=lambda share, done=done: progress(  # type: ignore[misc]
                    done + share / len(dataset.episodes)
                ),
                tell=tell,
            )
        found.append(made)
    progress(1.0)
    return found


def _demonstration(
    dataset: LerobotDataset,
    episode: LerobotEpisode,
    embodiment: Embodiment,
    reading: LerobotReading,
    places: tuple[Mapping[str, int], Mapping[str, int], Mapping[str, Camera]],
) -> Demonstration:
    states, actions, cameras = places
    name = f'{dataset.root} episode {episode.number}'
    in_data = [key for key in cameras if key not in episode.clips]
    table = _table(episode, [STATE, ACTION, *_COLUMNS, *in_data])
    times_s = [float(time_s) for time_s in table['timestamp']]
    if len(times_s) != episode.length or not times_s or (np.diff(times_s) <= 0).any():
        raise DatasetError.at(
            episode.data,
            f'episode {episode.number}',
            found=f'{len(times_s)} rows, or times that do not increase',
            expected=f'{episode.length} rows, as the metadata says',
        )
    stamps = _START_NS + np.round(np.array(times_s) * 1e9).astype(np.int64)
    commands = _matrix(table[ACTION], episode, ACTION)[:, list(actions.values())]
    columns = tuple(range(len(embodiment.action_joints)))
    track = Track(f'{dataset.root}: {ACTION}', columns, stamps, stamps, commands, held=False)
    measured = _matrix(table[STATE], episode, STATE)
    pictures = {
        camera.topic: of_video(episode.clips[key], times_s, dataset.fps)
        if key in episode.clips
        else of_images(dataset.root, table[key])
        for key, camera in cameras.items()
    }

    def messages() -> Iterator[Sensed]:
        for row, stamp in enumerate(stamps.tolist()):
            for source in embodiment.state:
                message = _state(source, states, measured[row])
                yield Sensed(source.topic, message, stamp, stamp)
            for topic, shown in pictures.items():
                yield Sensed(topic, next(shown), stamp, stamp)

    return Demonstration(
        name=name,
        embodiment=embodiment,
        recorded=RecordedActions(embodiment, [track], track.topic),
        instructions=_instructions(dataset, name, table['task_index'], stamps, reading.prompt),
        sensed=messages(),
        start_ns=int(stamps[0]),
        end_ns=int(stamps[-1]),
        decode=lambda camera, shown: orient(shown, camera.rotation_deg, camera.flip),
    )


def _places(
    dataset: LerobotDataset, feature: str, joints: Sequence[str], names: Mapping[str, str]
) -> dict[str, int]:
    """Return joint → its place in a feature's vector."""
    where = f'{dataset.root}: features'
    if feature not in dataset.features:
        raise DatasetError.at(
            where, feature, found=', '.join(dataset.features), expected='such a feature'
        )
    listed = dataset.features[feature].get('names') or []
    if isinstance(listed, dict):
        listed = [name for group in listed.values() for name in group]
    found: dict[str, int] = {}
    for place, name in enumerate(listed):
        joint = names.get(name, name.removesuffix('.pos'))
        if joint in found:
            raise DatasetError.at(
                where, f'{feature}.names', found=f'{joint} twice', expected='each joint once'
            )
        found[joint] = place
    missing = [joint for joint in joints if joint not in found]
    if missing:
        raise DatasetError.at(
            where,
            f'{feature}.names',
            found=', '.join(map(str, listed)) or 'no names',
            expected=f'also {", ".join(missing)}, as the robot has',
            remedy='Say under `names` which name of the dataset is which joint.',
        )
    return {joint: found[joint] for joint in joints}


def _cameras(
    dataset: LerobotDataset, embodiment: Embodiment, reading: LerobotReading
) -> dict[str, Camera]:
    """Return image feature → camera of the robot."""
    by_slot = {camera.slot: camera for camera in embodiment.cameras}
    there = dataset.of_type('image', 'video')
    found: dict[str, Camera] = {}
    for key in there:
        slot = reading.cameras.get(key, key.removeprefix(_IMAGES))
        if slot in by_slot:
            found[key] = by_slot[slot]
    used = [camera.slot for camera in found.values()]
    missing = [c.slot for c in embodiment.cameras if c.required and c.slot not in used]
    unknown = [key for key in reading.cameras if key not in found]
    if missing or unknown or len(set(used)) != len(used):
        raise DatasetError.at(
            f'{dataset.root}: features',
            'cameras',
            found=f'{", ".join(there) or "no pictures"}; taken: '
            f'{", ".join(f"{key} as {camera.slot}" for key, camera in found.items()) or "none"}',
            expected=f'one for each of {", ".join(by_slot)}',
            remedy='Say under `cameras` which feature fills which slot.',
        )
    return found


def _instructions(
    dataset: LerobotDataset,
    name: str,
    tasks: Sequence[int],
    stamps: npt.NDArray[np.int64],
    prompt: str | None,
) -> list[tuple[int, str]]:
    if prompt is not None:
        texts = [prompt]
    else:
        texts = [dataset.tasks.get(int(index), '') for index in tasks]
    found: list[tuple[int, str]] = []
    for stamp, text in zip(stamps.tolist(), texts, strict=False):
        if not text.strip():
            raise DatasetError.at(
                name,
                'task',
                found='no instruction',
                expected='what the robot was told to do',
                remedy='Give `prompt` for this dataset.',
            )
        if not found or found[-1][1] != text:
            found.append((stamp, text))
    return found


def _state(source: StateSource, places: Mapping[str, int], row: npt.NDArray[np.float64]) -> Any:
    """Return the message that the source's topic would have carried."""
    values = {joint.name: float(row[places[joint.name]]) for joint in source.joints}
    if source.interface == 'joint_state':
        return SimpleNamespace(
            name=list(values), position=list(values.values()), velocity=[], effort=[]
        )
    axes = {axis: values.get(axis, 0.0) for axis in TWIST_AXES}
    parts = {
        part: SimpleNamespace(**{axis: axes[f'{part}.{axis}'] for axis in 'xyz'})
        for part in ('linear', 'angular')
    }
    return SimpleNamespace(twist=SimpleNamespace(twist=SimpleNamespace(**parts)))


def _table(episode: LerobotEpisode, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Read an episode's rows."""
    parquet, arrow = require('pyarrow.parquet'), require('pyarrow')
    try:
        table = parquet.read_table(
            episode.data, columns=columns, filters=[('episode_index', '=', episode.number)]
        )
        return {name: table.column(name).to_pylist() for name in columns}
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise damaged(episode.data, error) from error


def _matrix(
    rows: Sequence[Sequence[float]], episode: LerobotEpisode, feature: str
) -> npt.NDArray[np.float64]:
    try:
        matrix = np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise _no_matrix(episode, feature, str(error)) from None
    if matrix.ndim != 2:
        raise _no_matrix(episode, feature, f'shape {list(matrix.shape)}')
    return matrix


def _no_matrix(episode: LerobotEpisode, feature: str, found: str) -> PizeroError:
    return DatasetError.at(
        episode.data, feature, found=found, expected='as many numbers in every row'
    )


def _key(
    dataset: LerobotDataset,
    episode: LerobotEpisode,
    embodiment: Embodiment,
    reading: LerobotReading,
) -> str:
    robot = replace(embodiment, source='', description='')
    clips = []
    for key, clip in sorted(episode.clips.items()):
        try:
            known = clip.file.stat()
        except OSError as error:
            raise damaged(clip.file, error) from error
        clips.append((key, clip.start_s, known.st_size, known.st_mtime_ns))
    return job_key(
        episode.data,
        {
            'training': SCHEMA,
            'episode': episode.number,
            'clips': clips,
            'tasks': {str(index): text for index, text in dataset.tasks.items()},
            'features': dataset.features,
            'embodiment': json.dumps(asdict(robot), sort_keys=True),
            'reading': asdict(reading),
        },
    )
