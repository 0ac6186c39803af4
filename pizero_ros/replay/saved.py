"""An evaluated episode on disk, exactly as it was: a folder that is complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import PizeroError
from pizero_ros.replay.columns import Columns
from pizero_ros.replay.episode import (
    SCHEMA,
    ChunkFate,
    Deployed,
    Episode,
    Happening,
    Inputs,
    OpenLoop,
    Seam,
    StreamInput,
    Timing,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

VALUES = 'episode.json'
ARRAYS = 'episode.npz'
_UNFINISHED = '.unfinished-'


class SavedEpisodeError(PizeroError):
    """A saved episode that is absent, damaged, or was written by another version."""


def save(episode: Episode, folder: Path) -> None:
    """Write an episode; whatever lay there before is replaced.

    It is written beside the folder and renamed, so that a killed run leaves nothing half.

    Args:
        episode: What to keep.
        folder: Where; its parents are made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f'{_UNFINISHED}{folder.name}-{os.getpid()}')
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    arrays = _Arrays()
    values = {'schema': SCHEMA, **_plain(episode, arrays)}
    np.savez(beside / ARRAYS, **arrays.by_name)  # type: ignore[arg-type]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    (beside / VALUES).write_text(f'{text}\n', encoding='utf-8')
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def load(folder: Path) -> Episode:
    """Read what ``save`` wrote, bit for bit.

    Raises:
        SavedEpisodeError: It is absent, damaged, or of another schema.
    """
    path = folder / VALUES
    try:
        text = path.read_text(encoding='utf-8')
        schema = json.loads(text)['schema']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    if schema != SCHEMA:
        raise SavedEpisodeError.at(
            path, 'schema', found=schema, expected=str(SCHEMA), remedy='Evaluate it again.'
        )
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _episode(json.loads(text, object_hook=lambda each: _restored(each, arrays)))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(folder, error) from None


def remove_unfinished(parent: Path) -> None:
    """Remove what killed runs had begun to write into ``parent``; only while no run does."""
    with contextlib.suppress(FileNotFoundError):
        for each in parent.iterdir():
            if each.name.startswith(_UNFINISHED):
                shutil.rmtree(each, ignore_errors=True)


class _Arrays:
    """Arrays by name; equal ones, such as the recorded actions of all sources, are kept once."""

    def __init__(self) -> None:
        self.by_name: dict[str, Array] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, array: Array) -> str:
        if array.dtype.kind not in 'bif':
            msg = f'an array of {array.dtype} in an episode'
            raise ValueError(msg)
        content = hashlib.sha256(array.tobytes()).digest()
        key = (array.dtype.str, array.shape, content)
        if key not in self._names:
            self._names[key] = f'a{len(self._names)}'
            self.by_name[self._names[key]] = array
        return self._names[key]


def _plain(value: Any, arrays: _Arrays) -> Any:
    """Return a value as strict JSON; arrays and floats that are no numbers are marked."""
    if isinstance(value, np.ndarray):
        return {'__array__': arrays.name(value)}
    if isinstance(value, np.generic):
        return _plain(value.item(), arrays)
    if isinstance(value, Columns):
        return value.to_json()
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name), arrays) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, arrays) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {'__float__': repr(value)}
    return value


def _restored(value: dict[str, Any], arrays: Mapping[str, Array]) -> Any:
    """Return what a marked object stands for, or the object."""
    # No mapping of an episode has text as values, so the marks cannot be anybody's names.
    match value:
        case {'__array__': str(name)}:
            return arrays[name]
        case {'__float__': str(text)}:
            return float(text)
    return value


def _episode(values: dict[str, Any]) -> Episode:
    del values['schema']
    inputs = values['inputs']
    streams = tuple(StreamInput(**each) for each in inputs['streams'])
    values |= {
        'columns': Columns.from_json(values['columns']),
        'open_loop': {name: OpenLoop(**each) for name, each in values['open_loop'].items()},
        'deployed': {name: _deployed(each) for name, each in values['deployed'].items()},
        'inputs': Inputs(**{**inputs, 'streams': streams}),
        'timing': Timing(**values['timing']),
    }
    return Episode(**values)


def _deployed(values: dict[str, Any]) -> Deployed:
    values |= {
        'chunks': tuple(ChunkFate(**each) for each in values['chunks']),
        'seams': tuple(Seam(**each) for each in values['seams']),
        'happenings': tuple(Happening(**each) for each in values['happenings']),
    }
    return Deployed(**values)


def _damaged(path: Path, error: Exception) -> PizeroError:
    return SavedEpisodeError.at(
        path,
        '',
        found=f'{type(error).__name__}: {error}',
        expected='an evaluated episode',
        remedy='Evaluate it again.',
    )
