"""What ``pizero train`` shows while it runs: phases, then one bar with loss and speed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pizero_ros.cli.output import progress_console

if TYPE_CHECKING:
    from types import TracebackType

_SMOOTHING = 0.98
_LINES = 20
"""Lines about a run where stderr is no terminal."""


class TrainDisplay:
    """Progress on stderr; a process that is not the first shows nothing."""

    def __init__(self, *, shown: bool) -> None:
        """Show nothing yet; use as a context."""
        self._shown = shown
        self._lively = shown and progress_console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[figures]}', markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=progress_console,
            transient=True,
            disable=not self._lively,
        )
        self._task = self._progress.add_task('', total=None, figures='')
        self._phase = ''
        self._begun: tuple[float, int] | None = None
        self._mean = 0.0
        self._count = 0

    def __enter__(self) -> TrainDisplay:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def tell(self, line: str) -> None:
        """Print what a person should know."""
        if self._shown:
            progress_console.print(line, markup=False, soft_wrap=True)

    def phase(self, what: str, share: float) -> None:
        """Say what is being done, and the share of it that is done."""
        if what != self._phase:
            self._phase = what
            if self._shown and not self._lively:
                progress_console.print(f'{what} …', markup=False, soft_wrap=True)
        self._progress.update(
            self._task, description=what, completed=round(100 * share), total=100
        )

    def bytes(self, done: int, total: int) -> None:
        """Say how far the look at a checkpoint is."""
        self.phase('checking every weight', done / max(total, 1))

    def step(self, done: int, until: int, loss: float, samples: int) -> None:
        """Show a step.

        Args:
            done: Steps done.
            until: Steps at the end.
            loss: Of the step.
            samples: In a step.
        """
        if self._begun is None:
            self._begun = (time.monotonic(), done)
            self._progress.reset(self._task, description='training', total=until)
        self._count += 1
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        mean = self._mean / (1 - _SMOOTHING**self._count)
        began, first = self._begun
        seconds = time.monotonic() - began
        speed = f'{(done - first) * samples / seconds:.1f} samples/s' if done > first else ''
        figures = f'loss {mean:.4f}  {speed}'
        self._progress.update(self._task, completed=done, figures=figures)
        if self._shown and not self._lively and done % max(1, until // _LINES) == 0:
            progress_console.print(f'step {done} of {until}: {figures}', markup=False)
