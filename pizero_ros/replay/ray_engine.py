"""Jobs on the machines of an existing Ray cluster; this process keeps what they return."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import EnvironmentFault
from pizero_ros.replay.jobs import Outcome, described
from pizero_ros.replay.saved import save

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from pizero_ros.errors import PizeroError
    from pizero_ros.replay.episode import Episode
    from pizero_ros.replay.jobs import Job, Share, Work

AUTO = 'auto'
_LOOK_S = 0.2
_CONNECT_S = 10.0
_CURRENT = Path('/tmp/ray/ray_current_cluster')
"""Where Ray keeps the address that it takes for ``auto``."""


class RayEngine:
    """Runs jobs as Ray tasks, each with the cores (and the GPU) that its policy wants."""

    def __init__(
        self, address: str = AUTO, jobs: int | None = None, cores: int = 1, gpus: int = 0
    ) -> None:
        """Connect to a cluster.

        Args:
            address: ``host:port``; ``auto`` for the cluster of this machine.
            jobs: How many run at a time; None for as many as the cluster has cores for.
            cores: Cores of each.
            gpus: GPUs of each.

        Raises:
            EnvironmentFault: Ray is not installed, there is no cluster, or none of its machines
                has room for a job.
        """
        self._ray = _ray()
        _require_cluster(address)
        # Ray ends the process on SIGTERM by itself; what was to happen then is the caller's.
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(
                address=address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                configure_logging=False,
            )
        except ConnectionError as error:
            raise _no_cluster(str(error).splitlines()[0]) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_sigterm)
        self._cores, self._gpus = cores, gpus
        room = self._room()
        self.jobs = jobs or room
        if not room:
            self.close()
            raise EnvironmentFault.at(
                '--engine ray',
                '',
                found='no machine of the cluster with room for a job',
                expected=f'{cores} cores and {gpus} GPUs on one of them',
                remedy='Ask for fewer --threads, or for another --provider.',
            )

    def run(self, jobs: Sequence[Job], work: Work, folder: Path, told: Share) -> Iterator[Outcome]:
        """Run jobs; see ``Engine.run``. Shares of jobs under way are not known."""
        ray = self._ray
        # What kills a worker would kill the next one too: a job is tried once.
        remote = ray.remote(num_cpus=self._cores, num_gpus=self._gpus, max_retries=0)(_do)
        work_ref = ray.put(work)
        waiting = list(reversed(jobs))
        running: dict[Any, Job] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    job = waiting.pop()
                    running[remote.remote(work_ref, job)] = job
                ready, _ = ray.wait(list(running), timeout=_LOOK_S)
                for reference in ready:
                    yield self._finish(running.pop(reference), reference, folder)
                told(0.0)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, which runs on."""
        self._ray.shutdown()

    def _finish(self, job: Job, reference: Any, folder: Path) -> Outcome:
        """Keep what a task has returned."""
        try:
            result: Episode | str = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return Outcome(job, f'Its worker was lost: {str(error).strip().splitlines()[0]}')
        if isinstance(result, str):
            return Outcome(job, result)
        try:
            save(result, folder / job.key)
        except OSError as error:
            return Outcome(job, described(error))
        return Outcome(job)

    def _room(self) -> int:
        """Return how many jobs the cluster has room for at a time."""
        rooms = 0
        for node in self._ray.nodes():
            has = node['Resources'] if node['Alive'] else {}
            room = int(has.get('CPU', 0.0) // self._cores)
            rooms += min(room, int(has.get('GPU', 0.0) // self._gpus)) if self._gpus else room
        return rooms


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise EnvironmentFault.at(
            '--engine ray',
            '',
            found='no Ray',
            expected='the extra `ray`',
            remedy="Run `pip install 'pizero_ros[ray]'`.",
        ) from None
    return ray  # type: ignore[no-any-return]


def _require_cluster(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try for many minutes."""
    if address == AUTO and _CURRENT.is_file():
        address = _CURRENT.read_text(encoding='utf-8').strip()
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise _no_cluster(f'{address}: {error.strerror or error}') from None


def _no_cluster(found: str) -> PizeroError:
    return EnvironmentFault.at(
        '--engine ray',
        '',
        found=f'no cluster ({found})',
        expected='a Ray cluster that runs',
        remedy='Start one with `ray start --head`, or set RAY_ADDRESS to one.',
    )


def _do(work: Work, job: Job) -> Episode | str:
    """Return the episode of a job, or what went wrong."""
    try:
        return work(job, lambda _: None)
    except Exception as error:  # One recording must not cost the others, whatever it is.
        return described(error)
