"""Jobs in processes of this machine, each of which may die without harm to the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from pizero_ros.replay.jobs import Outcome, described
from pizero_ros.replay.saved import save

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from multiprocessing.sharedctypes import Synchronized
    from pathlib import Path

    from pizero_ros.replay.jobs import Job, Share, Work

_LOOK_S = 0.2
"""How often the shares of the jobs under way are read."""

_ENDING_S = 5.0
"""Longest wait for the exit code of a process that has died."""

_SPAWN = multiprocessing.get_context('spawn')
"""A fork of a process with threads (ONNX Runtime, OpenCV) may hang."""


class ProcessEngine:
    """Runs jobs in ``processes`` processes; each keeps the policy that it has opened."""

    def __init__(self, processes: int) -> None:
        """Start nothing yet."""
        self.processes = processes

    def run(self, jobs: Sequence[Job], work: Work, folder: Path, told: Share) -> Iterator[Outcome]:
        """Run jobs; see ``Engine.run``."""
        waiting = list(jobs)
        lanes = [_Lane(work, folder) for _ in range(min(self.processes, len(jobs)))]
        try:
            while waiting or any(lane.future for lane in lanes):
                for lane in lanes:
                    if waiting and lane.future is None:
                        job = _next(waiting, lane, lanes)
                        waiting.remove(job)
                        lane.start(job)
                futures = [lane.future for lane in lanes if lane.future]
                wait(futures, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for lane in lanes:
                    if lane.future is not None and lane.future.done():
                        yield lane.finish()
                told(sum(lane.share for lane in lanes))
        finally:
            for lane in lanes:
                lane.stop()

    def close(self) -> None:
        """Do nothing: processes end with the jobs."""


class _Lane:
    """A pool of one process and the job in it: when the process dies, it was this job."""

    def __init__(self, work: Work, folder: Path) -> None:
        self._begin = (work, folder)
        self._share: Synchronized[float] = _SPAWN.Value('d', 0.0)
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._job: Job | None = None
        self.future: Future[str] | None = None
        self.policy: str | None = None

    @property
    def share(self) -> float:
        """Share of the present job that is done."""
        return self._share.value if self.future else 0.0

    def start(self, job: Job) -> None:
        """Begin a job, in a new process if there is none."""
        self._share.value = 0.0
        self._job, self.policy = job, job.policy
        if self._pool is not None:
            try:
                self.future = self._pool.submit(_do, job)
            except BrokenProcessPool:  # It died after its last job.
                self.stop()
            else:
                return
        self._pool = ProcessPoolExecutor(
            1, _SPAWN, initializer=_begin, initargs=(*self._begin, self._share)
        )
        before = {child.pid for child in multiprocessing.active_children()}
        self.future = self._pool.submit(_do, job)
        new = (c for c in multiprocessing.active_children() if c.pid not in before)
        self._process = next(new, None)

    def finish(self) -> Outcome:
        """Return what became of the job that is done."""
        assert self.future is not None
        assert self._job is not None
        future, self.future = self.future, None
        try:
            return Outcome(self._job, future.result())
        except BrokenProcessPool:
            outcome = Outcome(self._job, f'Its process {self._ending()}.')
            self.stop()
            return outcome

    def stop(self) -> None:
        """End the process, with what it does."""
        if self._pool is None:
            return
        if self.future is not None and self._process is not None:
            self._process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._process = self.future = None

    def _ending(self) -> str:
        """Say how the process ended."""
        code = None if self._process is None else _exit_code(self._process)
        if code is None:
            return 'ended'
        if code == -signal.SIGKILL:
            return (
                'was killed (SIGKILL), as the system does when memory runs out: '
                'run fewer jobs at a time (--jobs)'
            )
        return f'was ended by {signal.Signals(-code).name}' if code < 0 else f'exited with {code}'


def _exit_code(process: BaseProcess) -> int | None:
    """Return the exit code of a process that is ending."""
    # The pool's own thread asks for it too, and whoever comes second learns it a moment later.
    deadline = time.monotonic() + _ENDING_S
    while process.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process.exitcode


def _next(waiting: list[Job], lane: _Lane, lanes: Sequence[_Lane]) -> Job:
    """Choose a job whose policy the process has open, else one that no other process has."""
    open_elsewhere = {each.policy for each in lanes}
    for wanted in (
        lambda job: job.policy == lane.policy,
        lambda job: job.policy not in open_elsewhere,
    ):
        for job in waiting:
            if wanted(job):
                return job
    return waiting[0]


class _Worker:
    """What a process was given when it began."""

    work: Work
    folder: Path
    share: Synchronized[float]


def worker_pool(processes: int) -> ProcessPoolExecutor:
    """Return a pool for other work, of processes that end when this one does."""
    return ProcessPoolExecutor(processes, _SPAWN, initializer=_attach)


def _begin(work: Work, folder: Path, share: Synchronized[float]) -> None:
    """Prepare a new process for jobs."""
    _attach()
    # What is unusual about a policy was said once, before the jobs.
    logging.getLogger('pizero_ros').setLevel(logging.ERROR)
    _Worker.work, _Worker.folder, _Worker.share = work, folder, share


def _attach() -> None:
    """Let a new process end when its parent does, however that was ended, and not before."""
    # A Ctrl-C reaches every process of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(job: Job) -> str:
    """Make and save the episode of a job; return what went wrong, if anything."""
    try:
        save(_Worker.work(job, _told), _Worker.folder / job.key)
    except Exception as error:  # One recording must not cost the others, whatever it is.
        return described(error)
    return ''


def _told(share: float) -> None:
    _Worker.share.value = share
