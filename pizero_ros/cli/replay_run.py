"""The run behind ``pizero replay``: jobs to an engine, results into the report."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.output import progress_console, write_json
from pizero_ros.cli.replay_display import JobsDisplay, print_failure
from pizero_ros.digest import file_digest
from pizero_ros.replay.folder import EPISODES
from pizero_ros.replay.identity import job_key
from pizero_ros.replay.jobs import Job, Outcome, run_jobs
from pizero_ros.replay.saved import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

    from pizero_ros.cli.replay_inputs import Policy, Unusable
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.evaluate import Settings
    from pizero_ros.replay.jobs import Engine, Results

REPORT = 'report.json'

_PROCESS_BYTES = 300e6
_GRAPH_FACTOR = 1.2
"""What a process takes, and how much of a bundle's graphs on top of it: full-size π0 takes 0.9 of
them (``docs/performance.md``), small ones more."""


@dataclass(frozen=True)
class Plan:
    """Everything that ``pizero replay`` was told, checked.

    Attributes:
        out: Folder of the report.
        bags: Recordings that can be evaluated.
        policies: Policies that fit the robot.
        embodiment: The robot.
        settings: What is evaluated.
        baselines: Whether baselines are.
        provider: Of ONNX Runtime.
        threads: Of a job; None to share the cores.
        jobs: How many at a time; None for as many as there is room for.
        engine: ``processes`` or ``ray``.
        fresh: Whether to compute all anew.
    """

    out: Path
    bags: Sequence[Path]
    policies: Sequence[Policy]
    embodiment: Embodiment
    settings: Settings
    baselines: bool
    provider: str
    threads: int | None
    jobs: int | None
    engine: str
    fresh: bool


def evaluate_all(plan: Plan, unusable: Sequence[Unusable], command: str) -> dict[str, Any]:
    """Evaluate every recording with every policy, and write the report.

    Args:
        plan: What to do.
        unusable: Recordings that are only to be listed.
        command: Command line, for the report.

    Returns:
        The content of ``report.json``.
    """
    from pizero_ros.replay.results import Run, report_content

    created = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
    started = time.perf_counter()
    settings = _settings(plan)
    robot = Path(plan.embodiment.source)
    digest = file_digest(robot)
    jobs = _jobs(plan, settings, digest)
    listed = [Outcome(Job(str(each.bag), '', ''), each.error) for each in unusable]
    for outcome in listed:
        print_failure(outcome)
    results, machinery = _run(plan, jobs)
    seconds = time.perf_counter() - started
    run = Run(
        command=command,
        created=created,
        settings=settings,
        embodiment={'name': plan.embodiment.name, 'source': str(robot), 'sha256': digest},
        policies=[policy.facts() for policy in plan.policies],
        timing={**machinery, 'resumed': results.resumed, 'jobs_s': seconds},
    )
    with progress_console.status('summing up') as status:
        content = report_content(
            run,
            results.finished,
            [*listed, *results.failed],
            lambda job: load(plan.out / EPISODES / job.key),
            progress=lambda done, all_: status.update(f'summing up {done} of {all_} episodes'),
        )
        for each in content['failed'][len(listed) + len(results.failed) :]:
            print_failure(Outcome(Job(each['bag'], each['policy'], ''), each['error']))
        unfinished = plan.out / f'{REPORT}.unfinished'
        write_json(unfinished, content)
        unfinished.replace(plan.out / REPORT)
        _draw(plan, content, status)
    return content


def _draw(plan: Plan, content: dict[str, Any], status: Status) -> None:
    """Write page, pictures and commands; those of an earlier report are removed."""
    from pizero_ros.replay.process_engine import worker_pool
    from pizero_ros.replay.report.writing import COMMANDS, PAGE, PLOTS, write_report

    for pattern in (PAGE, f'{PLOTS}/*.png', f'{COMMANDS}/*.mcap'):
        for old in plan.out.glob(pattern):
            old.unlink()
    keys = [entry['key'] for entry in content['episodes']]
    write = partial(
        write_report,
        plan.out,
        content,
        [(key, partial(load, plan.out / EPISODES / key)) for key in keys],
        plan.embodiment,
        progress=lambda done, all_: status.update(f'drawing episode {done} of {all_}'),
    )
    status.update('drawing')
    # A process takes as long to start as an episode or two to draw.
    processes = min(len(keys) // 2, _cores())
    if processes > 1:
        with worker_pool(processes) as pool:
            write(each=pool.map)
    elif keys:
        write()


def _run(plan: Plan, jobs: Sequence[Job]) -> tuple[Results, dict[str, Any]]:
    """Do the jobs; say on what."""
    from pizero_ros.replay.work import Evaluation

    engine, threads, machinery = _engine(plan, len(jobs))
    work = Evaluation(
        embodiment=plan.embodiment,
        policies={policy.label: policy.path for policy in plan.policies},
        settings=plan.settings,
        baselines=plan.baselines,
        provider=plan.provider,
        threads=threads,
    )
    with contextlib.closing(engine), JobsDisplay() as display:
        try:
            results = run_jobs(jobs, work, plan.out / EPISODES, engine, display, fresh=plan.fresh)
        except KeyboardInterrupt:
            display.__exit__()
            progress_console.print(
                'Interrupted. Finished episodes are kept; the same command goes on from there.'
            )
            raise
    return results, machinery


def _engine(plan: Plan, jobs: int) -> tuple[Engine, int, dict[str, Any]]:
    """Return the engine, the threads of each job, and both in words."""
    if plan.engine == 'ray':
        from pizero_ros.replay.ray_engine import AUTO, RayEngine

        threads = plan.threads or 1
        gpus = 1 if plan.policies and plan.provider in ('cuda', 'tensorrt') else 0
        address = os.environ.get('RAY_ADDRESS') or AUTO
        ray = RayEngine(address, plan.jobs, threads, gpus)
        return ray, threads, {'engine': 'ray', 'jobs_at_a_time': ray.jobs, 'threads': threads}
    from pizero_ros.replay.process_engine import ProcessEngine

    cores = _cores()
    processes = max(1, min(plan.jobs or _room(plan, cores), jobs))
    threads = plan.threads or max(1, cores // processes)
    said = {'engine': 'processes', 'jobs_at_a_time': processes, 'threads': threads}
    return ProcessEngine(processes), threads, said


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _room(plan: Plan, cores: int) -> int:
    """Return how many processes this machine has cores and memory for."""
    from pizero_ros.policy.memory import available_bytes, graph_bytes
    from pizero_ros.policy.providers import resolve_provider

    if not plan.policies:
        return cores
    if resolve_provider(plan.provider) != 'cpu':
        return 1
    available = available_bytes()
    if available is None:
        return cores
    largest = max(graph_bytes(policy.path) for policy in plan.policies)
    room = max(1, int(available / (_PROCESS_BYTES + _GRAPH_FACTOR * largest)))
    if room < cores:
        progress_console.print(
            f'{room} of {cores} cores get a job: memory for a bundle in each is short.'
        )
    return min(room, cores)


def _settings(plan: Plan) -> dict[str, Any]:
    """Return what was asked for, as JSON values."""
    from pizero_ros.policy.providers import resolve_provider

    return asdict(plan.settings) | {
        'modes': list(plan.settings.modes),
        'seeds': list(plan.settings.seeds),
        'baselines': plan.baselines,
        'provider': resolve_provider(plan.provider) if plan.policies else None,
    }


def _jobs(plan: Plan, settings: dict[str, Any], robot: str) -> list[Job]:
    """Return the jobs in the order of the report: all policies of a recording together."""
    latency = Path(plan.settings.latency)
    measured = file_digest(latency) if latency.is_file() else None
    jobs = []
    for bag in plan.bags:
        for policy in plan.policies or (None,):
            own = None if policy is None else {'label': policy.label, 'sha256': policy.sha256}
            said = {'settings': settings, 'robot': robot, 'latency': measured, 'policy': own}
            jobs.append(Job(str(bag), policy.label if policy else '', job_key(bag, said)))
    return jobs
