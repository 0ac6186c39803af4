"""What ``pizero replay`` shows: how far it is, and a table of what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pizero_ros.cli.output import console, progress_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.replay.jobs import Outcome

_COLUMNS = {
    'open_loop.mae_share': ('open loop\nMAE %', 100.0),
    'open_loop.relative_to_hold': ('\n÷ hold', 1.0),
    'deployed.mae_share': ('deployed\nMAE %', 100.0),
    'deployed.relative_to_hold': ('\n÷ hold', 1.0),
    'deployed.jerk_ratio': ('jerk\n÷ rec.', 1.0),
    'deployed.limit_hits': ('limit\nhits', 1.0),
    'deployed.starvations': ('\nstarved', 1.0),
}
"""Measure of the comparison → heading, and factor of its values. It fits into 80 columns."""

_LINES = 10
"""How often the state is printed where there is no terminal."""


class JobsDisplay:
    """A progress bar over all jobs; see ``jobs.Display``."""

    def __init__(self) -> None:
        """Show nothing yet; use as a context."""
        self._progress = Progress(
            TextColumn('episodes'),
            BarColumn(30),
            TextColumn('{task.fields[said]}', markup=False),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            console=progress_console,
        )
        self._task = self._progress.add_task('', total=None, said='')
        self._jobs = self._finished = self._failed = 0

    def __enter__(self) -> JobsDisplay:
        """Begin to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def begin(self, jobs: int, resumed: int) -> None:
        """Show the number of jobs to do and of those that were done before."""
        self._jobs = jobs
        if resumed:
            progress_console.print(
                f'{resumed} of {jobs + resumed} episodes were finished before and are kept '
                '(--fresh computes them anew).'
            )
        if jobs:
            self._progress.reset(self._task, total=jobs)
            self._say()
            self._progress.start()

    def ended(self, outcome: Outcome) -> None:
        """Show that a job is done or has failed."""
        if outcome.error:
            self._failed += 1
            print_failure(outcome)
        else:
            self._finished += 1
        self._say()
        done = self._finished + self._failed
        if not progress_console.is_terminal and done * _LINES % self._jobs < _LINES:
            progress_console.print(f'{done} of {self._jobs} episodes', markup=False)

    def share(self, share: float, /) -> None:
        """Show the sum of the shares of the jobs under way."""
        self._progress.update(self._task, completed=self._finished + self._failed + share)

    def _say(self) -> None:
        done = self._finished + self._failed
        elapsed = self._progress.tasks[0].elapsed or 0.0
        parts = [f'{done}/{self._jobs}']
        if self._failed:
            parts.append(f'{self._failed} failed')
        if done and elapsed:
            parts.append(_rate(done / elapsed))
        self._progress.update(self._task, completed=done, said=', '.join(parts))


def _rate(per_second: float) -> str:
    return f'{per_second:.2g}/s' if per_second >= 1.0 else f'{1 / per_second:.1f} s each'


def print_failure(outcome: Outcome) -> None:
    """Print why a job has failed."""
    job = outcome.job
    what = f'{job.bag}, {job.policy}' if job.policy else job.bag
    error = outcome.error.removeprefix(f'{job.bag}: ')
    progress_console.print(f'[red]failed[/] {escape(what)}: {escape(error)}', soft_wrap=True)


def print_results(content: Mapping[str, Any]) -> None:
    """Print the main numbers of every source, means over the episodes."""
    measures = content['comparison']['measures']
    shown = {name: column for name, column in _COLUMNS.items() if name in measures}
    sources = dict.fromkeys(label for name in shown for label in measures[name]['sources'])
    table = Table(box=None, pad_edge=False)
    table.add_column('mean over\nepisodes', no_wrap=True)
    table.add_column('n', justify='right', vertical='bottom')
    for title, _ in shown.values():
        table.add_column(title, justify='right', no_wrap=True)
    for source in sources:
        found = {name: measures[name]['sources'].get(source) for name in shown}
        episodes = max(each['n'] for each in found.values() if each)
        values = [_number(each, shown[name][1]) for name, each in found.items()]
        table.add_row(escape(source), str(episodes), *values)
    console.print(table)


def print_failures(failed: Sequence[Mapping[str, str]]) -> None:
    """Print how many jobs have failed."""
    if failed:
        console.print(f'{len(failed)} failed; they are listed in the report', style='red')


def _number(found: Mapping[str, float] | None, factor: float) -> str:
    return '–' if found is None else f'{found["mean"] * factor:.3g}'
