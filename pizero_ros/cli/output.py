"""How verbs talk: tables for people on stdout, progress on stderr, results as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from pizero_ros.cli.exit_codes import UsageError

if TYPE_CHECKING:
    import argparse

console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)


class PhaseDisplay:
    """Long work on stderr: what is going on, how long it has taken, and a bar where bytes count.

    Attributes:
        seconds: Phase → seconds that it took.
    """

    def __init__(self) -> None:
        """Show nothing yet; use as a context."""
        self.seconds: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=progress_console,
            transient=True,
        )
        self._task = self._progress.add_task('', total=None)
        self._phase = ''
        self._since = time.perf_counter()

    def __enter__(self) -> PhaseDisplay:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self.phase('')
        self._progress.stop()

    def phase(self, name: str) -> None:
        """Say what begins now."""
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = name, now
        if name and not progress_console.is_terminal:
            progress_console.print(f'{name} …', markup=False, soft_wrap=True)
        self._progress.reset(self._task, description=name, total=None)

    def bytes(self, done: int, total: int) -> None:
        """Say how far the present phase is."""
        self._progress.update(self._task, completed=done, total=total)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument('--json', metavar='FILE', type=Path, help='also write the result as JSON')


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result to the file of ``--json``, if one was given.

    Raises:
        UsageError: The file cannot be written.
    """
    if path is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text}\n', encoding='utf-8')
    except OSError as error:
        raise UsageError.at(
            path, '', found=error.strerror, expected='a file that can be written'
        ) from None
