"""Where things are in a LeRobot dataset on disk: codebase versions v2.1 and v3.0."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import DatasetError, EnvironmentFault, PizeroError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INFO = 'meta/info.json'
_VERSIONS = ('v2.1', 'v3.0')


@dataclass(frozen=True)
class Clip:
    """Where the pictures of one camera in one episode are: ``file``, from ``start_s`` on."""

    file: Path
    start_s: float


@dataclass(frozen=True)
class LerobotEpisode:
    """One episode.

    Attributes:
        number: Its index in the dataset.
        length: Frames.
        data: Parquet file with its rows, perhaps among those of other episodes.
        clips: Video feature → where its pictures are.
    """

    number: int
    length: int
    data: Path
    clips: Mapping[str, Clip]


@dataclass(frozen=True)
class LerobotDataset:
    """What the ``meta`` folder says.

    Attributes:
        root: The dataset.
        fps: Frames per second.
        features: Name → its entry in ``info.json``.
        tasks: Index → instruction.
        episodes: In order.
    """

    root: Path
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[int, str]
    episodes: tuple[LerobotEpisode, ...]

    def of_type(self, *dtypes: str) -> tuple[str, ...]:
        """Return the features of some types."""
        return tuple(name for name, each in self.features.items() if each['dtype'] in dtypes)


def is_lerobot(path: Path) -> bool:
    """Tell whether a folder is a LeRobot dataset."""
    return (path / INFO).is_file()


def open_lerobot(root: Path) -> LerobotDataset:
    """Read the metadata of a dataset.

    Args:
        root: Folder with ``meta``, ``data`` and perhaps ``videos``.

    Raises:
        DatasetError: If it is damaged, or of another version than v2.1 and v3.0.
        EnvironmentFault: If pyarrow is not installed.
    """
    path = root / INFO
    try:
        info = json.loads(path.read_text(encoding='utf-8'))
        version = info['codebase_version']
        if version not in _VERSIONS:
            raise DatasetError.at(
                path,
                'codebase_version',
                found=version,
                expected=' or '.join(_VERSIONS),
                remedy="Convert it with LeRobot's own scripts.",
            )
        features = {str(name): dict(each) for name, each in info['features'].items()}
        videos = tuple(name for name, each in features.items() if each['dtype'] == 'video')
        read = _version_2 if version == 'v2.1' else _version_3
        tasks, episodes = read(root, info, videos)
        return LerobotDataset(root, float(info['fps']), features, tasks, episodes)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise damaged(root / 'meta', error) from error


def require(name: str) -> Any:
    """Import a library that only LeRobot datasets need.

    Raises:
        EnvironmentFault: If it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise EnvironmentFault.at(
            'LeRobot datasets',
            '',
            found=f'no Python package {name}',
            expected='pyarrow and av',
            remedy="Install them with `pip install 'pizero_ros[lerobot]'`.",
        ) from None


def damaged(path: Path, error: Exception) -> PizeroError:
    """Return the error for a file of a dataset that cannot be read."""
    return DatasetError.at(
        path,
        '',
        found=f'{type(error).__name__}: {error}',
        expected='a complete LeRobot dataset',
        remedy='Check that it was downloaded or recorded completely.',
    )


def _version_2(
    root: Path, info: Mapping[str, Any], videos: tuple[str, ...]
) -> tuple[dict[int, str], tuple[LerobotEpisode, ...]]:
    """Read v2.1: a file for each episode, metadata as lines of JSON."""
    tasks = {int(each['task_index']): str(each['task']) for each in _lines(root, 'tasks')}
    episodes = []
    for each in _lines(root, 'episodes'):
        number = int(each['episode_index'])
        place = {
            'episode_index': number,
            'episode_chunk': number // int(info['chunks_size']),
        }
        clips = {
            key: Clip(root / info['video_path'].format(video_key=key, **place), 0.0)
            for key in videos
        }
        data = root / info['data_path'].format(**place)
        episodes.append(LerobotEpisode(number, int(each['length']), data, clips))
    return tasks, tuple(episodes)


def _lines(root: Path, name: str) -> list[dict[str, Any]]:
    text = (root / f'meta/{name}.jsonl').read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _version_3(
    root: Path, info: Mapping[str, Any], videos: tuple[str, ...]
) -> tuple[dict[int, str], tuple[LerobotEpisode, ...]]:
    """Read v3.0: many episodes in a file, metadata as Parquet."""
    parquet = require('pyarrow.parquet')
    table = parquet.read_table(root / 'meta/tasks.parquet')
    # The instruction is pandas' index, whose column has its name or pandas' own for none.
    named = [name for name in table.column_names if name != 'task_index']
    column = 'task' if 'task' in named else named[0]
    texts = table.column(column).to_pylist()
    indices = table.column('task_index').to_pylist()
    tasks = {int(index): str(text) for index, text in zip(indices, texts, strict=True)}
    episodes = []
    for path in sorted((root / 'meta/episodes').glob('*/*.parquet')):
        wanted = [
            name
            for name in parquet.read_schema(path).names
            if name in ('episode_index', 'length') or name.startswith(('data/', 'videos/'))
        ]
        for row in parquet.read_table(path, columns=wanted).to_pylist():
            clips = {}
            for key in videos:
                at = f'videos/{key}'
                file = info['video_path'].format(
                    video_key=key,
                    chunk_index=row[f'{at}/chunk_index'],
                    file_index=row[f'{at}/file_index'],
                )
                clips[key] = Clip(root / file, float(row[f'{at}/from_timestamp']))
            file = info['data_path'].format(
                chunk_index=row['data/chunk_index'], file_index=row['data/file_index']
            )
            number, length = int(row['episode_index']), int(row['length'])
            episodes.append(LerobotEpisode(number, length, root / file, clips))
    return tasks, tuple(sorted(episodes, key=lambda episode: episode.number))
