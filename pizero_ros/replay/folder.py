"""The folder of an evaluation: marked as ours, and used by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = '.pizero_replay'
EPISODES = 'episodes'


@contextlib.contextmanager
def locked(out: Path, mark_name: str = MARK) -> Iterator[None]:
    """Hold the folder of an evaluation; it is made if it is not there.

    Args:
        out: The folder.
        mark_name: File that marks it as one of this kind.

    Raises:
        EnvironmentFault: It cannot be written, holds something else, or another run holds it.
    """
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / mark_name).exists() and any(out.iterdir()):
            raise EnvironmentFault.at(
                out,
                '',
                found='a folder with other things in it',
                expected='an empty one, or that of an earlier evaluation',
                remedy='Name another one with --out.',
            )
        mark = (out / mark_name).open('w')
    except OSError as error:
        raise EnvironmentFault.at(
            out, '', found=error.strerror, expected='a folder that can be written'
        ) from None
    with mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFault.at(
                out,
                '',
                found='another evaluation that writes here',
                expected='one at a time',
                remedy='Wait for it, or name another folder with --out.',
            ) from None
        try:
            yield
        finally:
            # Nothing has come of it: wrong usage leaves no trace.
            if [each.name for each in out.iterdir()] == [mark_name]:
                (out / mark_name).unlink()
                if made:
                    out.rmdir()
