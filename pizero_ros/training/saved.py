"""The folder of a run: who works in it, its checkpoints, and that none is ever half there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pizero_ros.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CONFIG = 'config.yaml'
RUN = 'run.json'
CHECKPOINTS = 'checkpoints'
LAST = 'last'
_LOCK = 'train.lock'
_NUMBERED = re.compile(r'\d{6,}')
_SCHEMA = 1


class RunFolder:
    """One run's folder, held by this process.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """Use ``path``; ``run_folder`` makes and locks it."""
        self.path = path
        self._keep = keep

    @property
    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        return latest_checkpoint(self.path)

    def save(self, steps: int, write: Callable[[Path], object]) -> Path:
        """Write a checkpoint beside the others, then let it take its name.

        Killed at any moment, or out of room, this leaves the checkpoints that were there.

        Args:
            steps: Optimizer steps done, which names it.
            write: Writes its files into the folder that it is given.

        Returns:
            The checkpoint.

        Raises:
            TrainingError: It cannot be written.
        """
        place = self.path / CHECKPOINTS / f'{steps:06d}'
        new = place.with_name(f'.{place.name}.new')
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            write(new)
            _settle(new)
            new.rename(place)
            self._point_last_at(place)
            _settle_folder(place.parent)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(new, ignore_errors=True)
            raise self._unwritable(place, error) from None
        for old in _checkpoints(self.path)[: -self._keep]:
            gone = old.with_name(f'.{old.name}.old')
            old.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return place

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Say what is wrong where a file of the run cannot be written."""
        try:
            yield
        except OSError as error:
            raise self._unwritable(path, error) from None

    def _point_last_at(self, place: Path) -> None:
        link = place.with_name(f'.{LAST}.new')
        link.unlink(missing_ok=True)
        link.symlink_to(place.name)
        link.replace(place.with_name(LAST))

    def _unwritable(self, path: Path, error: Exception) -> Exception:
        latest = self.latest
        kept = f'{latest} is whole' if latest else 'nothing was saved yet'
        return TrainingError.at(
            path,
            '',
            found=_reason(error),
            expected='room and permission to write',
            remedy=f'Make room, then go on with --resume: {kept}.',
        )


@contextlib.contextmanager
def run_folder(
    path: Path, config: str, identity: Mapping[str, Any], *, keep: int, resume: bool, rank: int = 0
) -> Iterator[RunFolder]:
    """Begin or take up a run.

    Args:
        path: Its folder.
        config: Text of the configuration, to be kept with it.
        identity: All that decides what the run computes, as JSON gives it back.
        keep: Checkpoints that stay.
        resume: Whether the run is to go on where it stopped.
        rank: This process; only the first one writes, and the others come here after it.

    Yields:
        The folder, which no other process can take meanwhile.

    Raises:
        TrainingError: The folder has a run already, or none, or that of another configuration, or
            another process works in it, or it cannot be written.
    """
    if rank:
        yield RunFolder(path, keep)
        return
    check_presence(path, resume=resume)
    known = path / RUN
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open('w')
    except OSError as error:
        raise TrainingError.at(
            path, '', found=_reason(error), expected='a folder that can be written'
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError.at(
                path, '', found='another process at work on it', expected='one at a time'
            ) from None
        folder = RunFolder(path, keep)
        if resume:
            _check_identity(known, identity)
        else:
            with folder.writing(known):
                replace_text(path / CONFIG, config)
                record = {'schema': _SCHEMA, 'identity': dict(identity)}
                # Last, because its presence is what makes the folder a run.
                replace_text(known, json.dumps(record, indent=1, ensure_ascii=False) + '\n')
        for left in path.glob(f'{CHECKPOINTS}/.*'):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield folder


def check_presence(path: Path, *, resume: bool) -> None:
    """Refuse to begin where a run is, and to go on where none is.

    Raises:
        TrainingError: So it is.
    """
    known = path / RUN
    if known.exists() and not resume:
        raise TrainingError.at(
            path,
            '',
            found='a run',
            expected='a new folder',
            remedy='Go on with it by --resume, or name another by --out.',
        )
    if resume and not known.exists():
        raise TrainingError.at(
            path,
            RUN,
            found='nothing',
            expected='a run to go on with',
            remedy='Leave out --resume.',
        )


def latest_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint of a run, or None where it has none."""
    found = _checkpoints(run)
    return found[-1] if found else None


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is there in its old or its new state, never in between."""
    new = path.with_name(f'.{path.name}.new')
    with new.open('w', encoding='utf-8') as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)


def _checkpoints(run: Path) -> list[Path]:
    """List whole checkpoints, oldest first: what is not whole has no number for a name."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    numbered = [each for each in folder.iterdir() if _NUMBERED.fullmatch(each.name)]
    return sorted(numbered, key=lambda each: int(each.name))


def _check_identity(known: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to go on with a configuration that computes something else."""
    try:
        before = json.loads(known.read_text(encoding='utf-8'))['identity']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError.at(
            known, '', found=_reason(error), expected='what `pizero train` writes'
        ) from None
    old, new = _flat(before), _flat(identity)
    differing = [
        f'{key}: {old.get(key, "nothing")} before, {new.get(key, "nothing")} now'
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise TrainingError.at(
            known,
            '',
            found='; '.join(differing),
            expected='the configuration with which the run began',
            remedy='Start a run of its own with `init: run` and another --out.',
        )


def _flat(value: Any, path: str = '') -> dict[str, Any]:
    if isinstance(value, dict):
        pairs = [(f'{path}.{key}' if path else str(key), each) for key, each in value.items()]
    elif isinstance(value, list):
        pairs = [(f'{path}[{i}]', each) for i, each in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for key, each in pairs for name, leaf in _flat(each, key).items()}


def _settle(folder: Path) -> None:
    """Bring everything in a folder to the disk, so that its new name never outlives its files."""
    for path in folder.rglob('*'):
        if path.is_file():
            with path.open('rb') as stream:
                os.fsync(stream.fileno())
    _settle_folder(folder)


def _settle_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else '') or str(error)
