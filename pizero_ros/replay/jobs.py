"""Recordings through policies, one job each: run by an engine, kept on disk, resumed, listed."""

from __future__ import annotations

import shutil
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pizero_ros.errors import PizeroError
from pizero_ros.replay.saved import SavedEpisodeError, load, remove_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pizero_ros.replay.episode import Episode


class Job(NamedTuple):
    """One recording through one policy.

    Attributes:
        bag: Path of the recording, as it was given.
        policy: Label of the policy; empty for the baselines alone.
        key: Hash of everything that determines the result; names its folder.
    """

    bag: str
    policy: str
    key: str


class Outcome(NamedTuple):
    """What became of a job: its episode is on disk, or ``error`` says why it is not."""

    job: Job
    error: str = ''


class Share(Protocol):
    """Takes the share of a job that is done, 0 to 1."""

    def __call__(self, share: float, /) -> None:
        """Take it; called by the worker, as often as it likes."""


class Work(Protocol):
    """Makes the episode of a job; it is sent to the workers and therefore can be pickled."""

    def __call__(self, job: Job, told: Share) -> Episode:
        """Return the episode.

        Raises:
            PizeroError: It cannot be made of this recording.
        """


class Engine(Protocol):
    """Runs jobs somewhere else."""

    def run(self, jobs: Sequence[Job], work: Work, folder: Path, told: Share) -> Iterator[Outcome]:
        """Run jobs in any order; nothing that a job does ends the others.

        Closing the iterator ends the work that is under way.

        Args:
            jobs: What to do.
            work: How.
            folder: Where the episode of each job is saved, under its key.
            told: Called with the sum of the shares of the jobs under way.

        Yields:
            Each job when it is saved or has failed.
        """

    def close(self) -> None:
        """Give back what it holds; nothing is run after that."""


class Display(Protocol):
    """Shows a person how far the jobs are."""

    def begin(self, jobs: int, resumed: int) -> None:
        """Show the number of jobs to do and of those that were done before."""

    def ended(self, outcome: Outcome) -> None:
        """Show that a job is done or has failed."""

    def share(self, share: float, /) -> None:
        """Show the sum of the shares of the jobs under way."""


@dataclass(frozen=True)
class Results:
    """What became of all jobs, in their order.

    Attributes:
        finished: Jobs whose episodes are on disk.
        failed: Those without.
        resumed: How many of the finished were there before.
    """

    finished: tuple[Job, ...]
    failed: tuple[Outcome, ...]
    resumed: int


def run_jobs(
    jobs: Sequence[Job],
    work: Work,
    folder: Path,
    engine: Engine,
    display: Display,
    *,
    fresh: bool = False,
) -> Results:
    """Run the jobs whose episodes are not on disk yet.

    Whatever ends this function early, the episodes that were finished stay, and calling it again
    goes on with the others.

    Args:
        jobs: Each with another key.
        work: How an episode is made.
        folder: Of the episodes, ``folder / key``; nobody else may write there meanwhile.
        engine: Runs the work.
        display: Is told how far it is.
        fresh: Do all of them anew.
    """
    remove_unfinished(folder)
    if fresh:
        for job in jobs:
            shutil.rmtree(folder / job.key, ignore_errors=True)
    done = {job.key for job in jobs if _is_done(folder / job.key)}
    resumed = len(done)
    failed: dict[str, Outcome] = {}
    waiting = [job for job in jobs if job.key not in done]
    display.begin(len(waiting), resumed)
    if waiting:
        outcomes = engine.run(waiting, work, folder, display.share)
        try:
            for outcome in outcomes:
                if outcome.error:
                    failed[outcome.job.key] = outcome
                else:
                    done.add(outcome.job.key)
                display.ended(outcome)
        finally:
            outcomes.close()  # type: ignore[attr-defined]
            remove_unfinished(folder)
    return Results(
        tuple(job for job in jobs if job.key in done),
        tuple(failed[job.key] for job in jobs if job.key in failed),
        resumed,
    )


def described(error: BaseException) -> str:
    """Return the line about an error that a person reads in a list of failed jobs."""
    if isinstance(error, PizeroError):
        return str(error)
    if isinstance(error, MemoryError):
        return 'Out of memory. Run fewer jobs at a time (--jobs).'
    places = traceback.extract_tb(error.__traceback__)
    where = f' ({places[-1].filename}:{places[-1].lineno})' if places else ''
    return f'{type(error).__name__}: {error}{where}'


def _is_done(folder: Path) -> bool:
    """Tell whether an episode is there and whole; one that is not is made again."""
    try:
        load(folder)
    except SavedEpisodeError:
        return False
    return True
