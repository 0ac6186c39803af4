"""The folder in which a bundle grows: it becomes the bundle as a whole, or goes on later."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pizero_ros.errors import ExportError, PizeroError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOCK = 'export.lock'
"""Held by the process that works in the folder; free again when that process is gone."""
_REPLACED = 'replaced'
_STAGES = 'stages.json'


class _Work(NamedTuple):
    """A working folder, the lock that this process holds on it, and its finished stages."""

    folder: Path
    lock: IO[str]
    stages: dict[str, Any]


class Staging:
    """A working folder beside the bundle to be, on the same file system.

    Attributes:
        folder: Where the bundle's files go.
    """

    def __init__(self, work: Path, key: str | None, stages: Mapping[str, Any]) -> None:
        """Use ``work``, in which ``stages`` are finished; ``staging`` makes it."""
        self.folder = work / 'bundle'
        self._work = work
        self._key = key
        self._stages = dict(stages)

    def done(self, stage: str) -> Any:
        """Return what ``finish`` was given for a stage by an earlier process, None if nothing."""
        return self._stages.get(stage)

    def finish(self, stage: str, result: Any) -> None:
        """Remember that a stage is over, for a process that goes on after this one was killed.

        Args:
            stage: Name of the stage.
            result: What that process needs of it, as JSON takes it.
        """
        self._stages[stage] = result
        if self._key is not None:
            text = json.dumps({'key': self._key, 'stages': self._stages})
            written = self._work / f'{_STAGES}.new'
            written.write_text(text, encoding='utf-8')
            written.replace(self._work / _STAGES)

    def publish(self, out: Path) -> None:
        """Move the folder to its place, with the bundle it replaces kept until then."""
        if out.exists():
            out.rename(self._work / _REPLACED)
        self.folder.rename(out)

    @property
    def resumable(self) -> bool:
        """Whether another process can go on with what is there."""
        return self._key is not None and bool(self._stages)


@contextlib.contextmanager
def staging(out: Path, key: str | None, tell: Callable[[str], object]) -> Iterator[Staging]:
    """Give a working folder for ``out``, removed at the end unless it can be resumed.

    What a killed or interrupted export to ``out`` has finished is taken over if it was made for
    the same ``key``, and removed if not; folders of running exports are left alone.

    Args:
        out: The bundle's folder.
        key: Digest of all that decides what the graphs are; None for an export that is too short
            to be resumed.
        tell: Told what happens to what was found.

    Raises:
        ExportError: Nothing can be written beside ``out``.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work, lock, stages = _left_by_others(out, key, tell) or _new(out)
    except OSError as error:
        raise ExportError.at(
            out, '', found=str(error), expected='a place that can be written'
        ) from None
    place = Staging(work, key, stages)
    place.folder.mkdir(exist_ok=True)
    keep = False
    try:
        yield place
    except PizeroError:
        raise
    except BaseException:
        keep = place.resumable
        raise
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
        lock.close()


def _new(out: Path) -> _Work:
    work = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    lock = (work / _LOCK).open('w')
    fcntl.flock(lock, fcntl.LOCK_EX)
    return _Work(work, lock, {})


def _left_by_others(out: Path, key: str | None, tell: Callable[[str], object]) -> _Work | None:
    """Take over one working folder for ``out`` whose process is gone; remove the others."""
    taken = None
    for path in out.parent.glob(f'.{glob.escape(out.name)}.*/{_LOCK}'):
        work = path.parent
        lock = path.open()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if (work / _REPLACED).exists():
            # A bundle that was about to be replaced is not ours to delete.
            lock.close()
            continue
        stages = _finished(work, key) if taken is None else {}
        if stages:
            tell(f'going on with what an interrupted export left: {work}')
            taken = _Work(work, lock, stages)
        else:
            tell(f'removing what a killed export left: {work}')
            shutil.rmtree(work)
            lock.close()
    return taken


def _finished(work: Path, key: str | None) -> dict[str, Any]:
    """Return the stages that were finished for ``key``, none if they cannot be told."""
    try:
        record = json.loads((work / _STAGES).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    if key is None or record.get('key') != key:
        return {}
    stages: dict[str, Any] = record['stages']
    return stages
