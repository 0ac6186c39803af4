"""``pizero demonstrate``: records what scripted experts do on a simulated robot."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.exit_codes import FINDING, SUCCESS, UsageError
from pizero_ros.cli.interrupt import sigterm_as_interrupt
from pizero_ros.cli.output import add_json, console, progress_console, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.demo.processes import Processes
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.nodes.expert_session import ExpertSession, Outcome
    from pizero_ros.sim.demonstrations import Assignment, Index

_EPILOG = """\
Robot and expert run as processes of their own on a ROS domain that does not leave this machine.
Each episode is a scene of its own, drawn by its seed, and a recording of its own: what the robot
sensed, what the expert did (/expert_node/actions) and the instruction. Failed ones are removed
unless they were made imperfect on purpose. Asked again for the same, it goes on where it was.
Exit status 1: fewer than nine of ten episodes succeeded.

examples:
  pizero demonstrate --embodiment sim_single_arm --episodes 300 --out demonstrations/single
  pizero demonstrate --embodiment sim_mobile --task drive_red --task drive_green --episodes 100 \\
      --imperfect 1 --seed 50000 --out demonstrations/drive
"""
_STARTUP_LIMIT_S = 60.0
_ENOUGH = 0.9


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        '--embodiment', metavar='E', required=True, help='simulated robot, a name or a file'
    )
    parser.add_argument(
        '--out', metavar='DIR', type=Path, required=True, help='recordings go here'
    )
    parser.add_argument(
        '--episodes', metavar='N', type=int, default=100, help='in all (default: 100)'
    )
    parser.add_argument(
        '--seed', metavar='S', type=int, default=0, help='of the first scene (default: 0)'
    )
    parser.add_argument(
        '--task',
        metavar='T',
        action='append',
        help='such as touch_red or "hover over the blue cube"; repeat it for several, which take '
        'turns (default: all single-step tasks of the robot)',
    )
    parser.add_argument('--two-step', action='store_true', help='all two-step tasks instead')
    parser.add_argument(
        '--stepwise',
        action='store_true',
        help='tell the steps of a two-step task one by one, each when it begins',
    )
    parser.add_argument(
        '--imperfect',
        metavar='SHARE',
        type=float,
        default=0.0,
        help='share with detours, pauses, recoveries and noise, 0 to 1 (default: 0)',
    )
    parser.add_argument(
        '--size', metavar='PX', type=int, default=224, help='width and height of the pictures'
    )
    parser.add_argument(
        '--speed',
        metavar='X',
        type=float,
        default=3.0,
        help='simulated seconds per second at most; a machine that cannot keep up takes longer '
        'and leaves nothing out (default: 3)',
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make the demonstrations that are missing."""
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.sim.demonstrations import Index, Order
    from pizero_ros.sim.seeds import require_demonstrable
    from pizero_ros.sim.tasks.task import task_named, tasks_of, two_step_tasks_of

    embodiment = load_embodiment(arguments.embodiment)
    _check(arguments)
    for seed in (arguments.seed, arguments.seed + arguments.episodes - 1):
        require_demonstrable(seed)
    tasks = two_step_tasks_of(embodiment) if arguments.two_step else tasks_of(embodiment)
    if arguments.task:
        tasks = tuple(task_named(embodiment, name) for name in arguments.task)
    order = Order(
        embodiment=embodiment.name,
        tasks=tuple(task.name for task in tasks),
        seed=arguments.seed,
        imperfect=arguments.imperfect,
        width=arguments.size,
        height=arguments.size,
        stepwise=arguments.stepwise,
    )
    index = Index(arguments.out, order)
    todo = [order.assignment(number, embodiment) for number in index.missing(arguments.episodes)]
    began = time.monotonic()
    if todo:
        with sigterm_as_interrupt():
            _demonstrate(arguments, embodiment, index, todo)
    seconds = time.monotonic() - began
    return _report(arguments, index, len(todo), seconds)


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (
        ('episodes', 1, 1_000_000),
        ('imperfect', 0.0, 1.0),
        ('size', 16, 1024),
        ('speed', 0.05, 20.0),
    ):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise UsageError.at(
                'pizero demonstrate', f'--{name}', found=value, expected=f'{low} to {high}'
            )


def _demonstrate(
    arguments: argparse.Namespace,
    embodiment: Embodiment,
    index: Index,
    todo: Sequence[Assignment],
) -> None:
    """Start the nodes and run one episode after the other."""
    import os

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from pizero_ros.demo.installation import environment, executables, free_domain
    from pizero_ros.demo.processes import Processes

    programs = executables()
    domain = free_domain()
    env = {**environment(), 'ROS_DOMAIN_ID': str(domain)}
    os.environ.update(env)

    from pizero_ros.nodes.expert_session import ExpertSession

    columns = (
        TextColumn('{task.description}', markup=False), BarColumn(), MofNCompleteColumn(),
        Remaining(),
    )  # fmt: skip
    with Processes(env, arguments.out / 'logs') as processes:
        _start(arguments, processes, programs['sim_robot'], embodiment, todo[0])
        with (
            ExpertSession(embodiment, domain, processes.check) as session,
            Progress(*columns, console=progress_console, transient=True) as progress,
        ):
            bar = progress.add_task('starting', total=len(index.episodes) + len(todo))
            progress.update(bar, completed=len(index.episodes))
            session.wait_until_ready(_STARTUP_LIMIT_S)
            for assignment in todo:
                progress.update(bar, description=f'{embodiment.name} {assignment.task.name}')
                index.add(_one(arguments.out, session, assignment))
                progress.advance(bar)


def _start(
    arguments: argparse.Namespace,
    processes: Processes,
    sim_robot: Path,
    embodiment: Embodiment,
    first: Assignment,
) -> None:
    from pizero_ros.demo.processes import ros_arguments

    robot = {
        'embodiment': embodiment.source,
        'width': arguments.size,
        'height': arguments.size,
        'publish_clock': True,
        'paced': True,
        'speed': float(arguments.speed),
        'scene_seed': first.seed,
        'scene_start': first.task.start,
    }
    expert = {'embodiment': embodiment.source}
    for program, parameters in (
        (sim_robot, robot),
        (sim_robot.with_name('expert_node'), expert),
    ):
        command: list[str | Path] = [program, *ros_arguments(parameters)]
        processes.start(program.name, command, f'{embodiment.name}.{program.name}')


def _one(out: Path, session: ExpertSession, assignment: Assignment) -> dict[str, Any]:
    """Run an episode; return its entry in the index."""
    from pizero_ros.sim.demonstrations import IMPERFECT

    folder = out / assignment.folder
    # Not in the index, so it was cut off.
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    outcome = session.run(
        assignment.task,
        assignment.seed,
        assignment.kind,
        assignment.instructions,
        folder,
        keep_failed=assignment.kind == IMPERFECT,
    )
    return _entry(assignment, outcome, time.monotonic() - began)


def _entry(assignment: Assignment, outcome: Outcome, took_s: float) -> dict[str, Any]:
    score = outcome.score
    return {
        'number': assignment.number,
        'seed': assignment.seed,
        'task': assignment.task.name,
        'kind': assignment.kind,
        'flaw': outcome.flaw,
        'instructions': list(assignment.instructions),
        'success': score.success,
        'progress': round(score.progress, 4),
        'followed': score.followed,
        'done_s': None if score.done_s is None else round(score.done_s, 3),
        'duration_s': round(outcome.duration_s, 3),
        'took_s': round(took_s, 3),
        'bag': assignment.folder if outcome.bytes else None,
        'bytes': outcome.bytes,
        'messages': outcome.messages,
        'interventions': outcome.interventions,
    }


def _report(arguments: argparse.Namespace, index: Index, made: int, seconds: float) -> int:
    from rich.table import Table

    episodes = index.episodes
    kept = [each for each in episodes if each['bag']]
    table = Table('task', 'succeeded', 'episodes')
    for task, (good, total) in sorted(index.successes().items()):
        table.add_row(task, str(good), str(total))
    console.print(table)
    good = sum(bool(each['success']) for each in episodes)
    megabytes = sum(each['bytes'] for each in kept) / 1e6
    rate = 60.0 * made / seconds if made else 0.0
    console.print(
        f'{len(kept)} recordings in {arguments.out}, {megabytes:.1f} MB, '
        f'{sum(each["duration_s"] for each in kept) / 60:.1f} minutes; {made} made now, '
        f'{rate:.1f} a minute',
        soft_wrap=True,
    )
    write_json(
        arguments.json,
        {
            'episodes': len(episodes),
            'succeeded': good,
            'recordings': len(kept),
            'bytes': sum(each['bytes'] for each in kept),
            'made': made,
            'seconds': seconds,
        },
    )
    return SUCCESS if good >= _ENOUGH * len(episodes) else FINDING
