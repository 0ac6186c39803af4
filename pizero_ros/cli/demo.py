"""``pizero demo``: the policy on simulated robots or on a recording, with a report."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.exit_codes import FINDING, SUCCESS, UsageError
from pizero_ros.cli.interrupt import sigterm_as_interrupt
from pizero_ros.cli.output import add_json, console, progress_console, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.progress import Progress

    from pizero_ros.demo.recording import Recording
    from pizero_ros.demo.report import RobotSection
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.bag import Bag

ROBOTS = ('sim_single_arm', 'sim_dual_arm', 'sim_mobile')
PROMPT = 'put the red cube into the tray'

_EPILOG = """\
Each robot and its policy run as processes of their own, on a ROS domain that nobody else on this
machine uses and that does not leave it. Without --bundle it is the policy that ships with the
package, which knows the simulated robots; after the runs it is told each of its tasks --trials
times, on scenes that it has never seen. Other robots and recordings get an untrained policy: it
moves smoothly and to no purpose, and every mistake in the timing of its chunks would show as a
jump. Exit status 1: a robot got no accepted trajectory, did not move, or a process failed.

examples:
  pizero demo
  pizero demo --embodiment sim_mobile --seconds 30
  pizero demo --bag recording/ --embodiment unitree_g1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        '--out',
        metavar='DIR',
        type=Path,
        default=Path('out/demo'),
        help='report.json, report.html and logs go here (default: out/demo)',
    )
    parser.add_argument(
        '--seconds',
        metavar='S',
        type=_seconds,
        default=10.0,
        help='length of each simulated run after the first trajectory; a bag is always played '
        'whole (default: 10)',
    )
    parser.add_argument(
        '--embodiment',
        metavar='E',
        action='append',
        help=f'robot, a shipped name or a file; repeat it for several (default: '
        f'{", ".join(ROBOTS)})',
    )
    parser.add_argument(
        '--bundle',
        metavar='DIR',
        type=Path,
        help='policy (default: the one that ships with the package, else an untrained one)',
    )
    parser.add_argument(
        '--trials',
        metavar='N',
        type=_trials,
        help='of each task, about 8 s each; 0: none (default: 1 for the shipped policy, else 0)',
    )
    parser.add_argument(
        '--bag', metavar='BAG', type=Path, help='play this recording instead of simulating'
    )
    parser.add_argument(
        '--prompt',
        metavar='TEXT',
        help=f"instruction (default: that of the bag, the robot's first task, or {PROMPT!r})",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run every robot and write the report."""
    from pizero_ros.embodiment.load import load_embodiment

    # Everything that can be asked wrongly is refused before the first process starts.
    embodiments = [load_embodiment(each) for each in arguments.embodiment or _default(arguments)]
    _check_bundle(arguments.bundle)

    from pizero_ros.cli.default_policy import shipped_for, shipped_scores, untrained
    from pizero_ros.demo.installation import environment, executables

    shipped = None if arguments.bundle or arguments.bag else shipped_for(embodiments)
    trials = _checked_trials(arguments, shipped)
    with _opened_bag(arguments.bag, embodiments) as bag, sigterm_as_interrupt():
        # The robot of an orphaned policy would go on moving.
        programs = executables()
        env = environment()
        # The observer lives in this process and reads the same profile as the nodes.
        os.environ.update(env)
        started = time.monotonic()
        created = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
        # Relative actions make the chunks of a recorded robot start at its recorded joints.
        actions = 'relative' if bag else 'absolute'
        bundle = arguments.bundle or shipped
        bundle = bundle or untrained(arguments.out, embodiments, actions, programs, env)
        sections = _run_all(arguments, embodiments, bag, bundle, programs, env)
    scores = _scores(arguments.out, embodiments, bundle, trials) if trials else None

    from pizero_ros.demo.installation import machine, versions
    from pizero_ros.demo.report import Facts, Scores, write_report

    facts = Facts(
        command=shlex.join(['pizero', *sys.argv[1:]]),
        created=created,
        seconds=time.monotonic() - started,
        versions=versions(),
        machine=machine(),
    )
    with progress_console.status('drawing the report'):
        told = None
        if scores is not None:
            told = Scores(scores, shipped_scores() if bundle == shipped else None)
        content = write_report(arguments.out, sections, facts, told)
    write_json(arguments.json, content)
    _print(sections)
    console.print(
        f'{arguments.out / "report.html"}\n{arguments.out / "report.json"}',
        markup=False,
        soft_wrap=True,
    )
    return SUCCESS if content['passed'] else FINDING


def _default(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.bag:
        raise UsageError.at(
            '--embodiment',
            '',
            found='nothing',
            expected='the robot of the bag',
            remedy='A recording does not say whose it is.',
        )
    return ROBOTS


def _prompt(bag: Bag | None, embodiment: Embodiment, bundle: Path) -> str:
    from pizero_ros.replay.recording import INSTRUCTION
    from pizero_ros.resources import shipped_policy

    if bag is not None and INSTRUCTION in bag.topics:
        return ''
    if bundle != shipped_policy():
        return PROMPT
    from pizero_ros.sim.tasks.task import tasks_of

    return tasks_of(embodiment)[0].instruction


def _trials(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1000:
        msg = f'{value} is not between 0 and 1000'
        raise argparse.ArgumentTypeError(msg)
    return value


def _checked_trials(arguments: argparse.Namespace, shipped: Path | None) -> int:
    """Return the trials of each task, which only a policy that knows tasks is given."""
    if arguments.trials and arguments.bag:
        raise UsageError.at(
            '--trials', '', found=arguments.trials, expected='0: a recording has no tasks'
        )
    if arguments.trials is None:
        return int(shipped is not None)
    return int(arguments.trials)


def _scores(
    out: Path, embodiments: Sequence[Embodiment], bundle: Path, trials: int
) -> Mapping[str, Any]:
    """Let the policy do its tasks, on the scenes of `pizero evaluate`."""
    import shutil

    from pizero_ros.cli.evaluate import MARK, evaluate, parsed

    folder = out / 'evaluation'
    if (folder / MARK).is_file():
        # What an earlier demo saw says nothing about this one.
        shutil.rmtree(folder)
    robots = [word for each in embodiments for word in ('--embodiment', each.source)]
    return evaluate(
        parsed(
            '--policy', f'demo={bundle}', '--trials', str(trials), '--out', str(folder), *robots
        )
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 3600.0:
        msg = f'{value:g} is not between 1 and 3600'
        raise argparse.ArgumentTypeError(msg)
    return value


def _check_bundle(bundle: Path | None) -> None:
    """Refuse a folder that is no bundle; what is in one is for the policy node to judge."""
    from pizero_ros.policy.manifest import MANIFEST_FILE

    if bundle is not None and not (bundle / MANIFEST_FILE).is_file():
        raise UsageError.at(
            bundle,
            '',
            found=f'no {MANIFEST_FILE}',
            expected='a bundle folder',
            remedy='`pizero export` writes one.',
        )


@contextlib.contextmanager
def _opened_bag(path: Path | None, embodiments: list[Embodiment]) -> Iterator[Bag | None]:
    """Open the bag, and refuse one that cannot feed the robot."""
    if path is None:
        yield None
        return
    from pizero_ros.errors import BagError
    from pizero_ros.replay.bag import open_bag

    if len(embodiments) != 1:
        raise UsageError.at(
            '--embodiment', '', found=len(embodiments), expected='one robot for one bag'
        )
    try:
        bag = open_bag(path)
    except BagError as error:
        raise UsageError(str(error)) from None
    with bag:
        robot = embodiments[0]
        needed = [each.topic for each in robot.cameras if each.required]
        needed += [each.topic for each in robot.state]
        if missing := [topic for topic in needed if topic not in bag.topics]:
            raise UsageError.at(
                path,
                ', '.join(missing),
                found=f'topics {", ".join(bag.topics)}',
                expected=f'the required topics of {robot.source}',
                remedy='Give an embodiment whose topics are those of the bag.',
            )
        yield bag


def _run_all(
    arguments: argparse.Namespace,
    embodiments: list[Embodiment],
    bag: Bag | None,
    bundle: Path,
    programs: Mapping[str, Path],
    env: Mapping[str, str],
) -> list[RobotSection]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from pizero_ros.demo.report import RobotSection
    from pizero_ros.demo.runs import run_recorded, run_simulated
    from pizero_ros.demo.stages import Plan

    sections = []
    columns = (
        TextColumn('{task.description:<16}'),
        BarColumn(30),
        TimeElapsedColumn(),
        TextColumn('{task.fields[said]}'),
    )
    with Progress(*columns, console=progress_console) as progress:
        for embodiment in embodiments:
            plan = Plan(
                embodiment=embodiment,
                bundle=bundle,
                prompt=arguments.prompt or _prompt(bag, embodiment, bundle),
                seconds=arguments.seconds,
                out=arguments.out,
                programs=programs,
                env=env,
            )
            told = _Bar(progress, embodiment)
            if bag is None:
                result, recording, window = run_simulated(plan, told)
            else:
                result, recording, window = run_recorded(plan, bag, told)
            sections.append(RobotSection(result, recording, embodiment, window))
    return sections


class _Bar:
    """One robot's progress bar, with what has been seen so far."""

    def __init__(self, progress: Progress, embodiment: Embodiment) -> None:
        self._progress = progress
        self._task = progress.add_task(embodiment.name, total=None, said='starting')
        self._arms = {g.name for g in embodiment.actions if g.output == 'joint_trajectory'}

    def __call__(self, share: float | None, recording: Recording) -> None:
        if share is None:
            return
        sent = [each for each in recording.trajectories if each.group in self._arms]
        holds = sum(each.is_hold for each in sent)
        said = f'{len(recording.chunks)} chunks, {len(sent) - holds} trajectories, {holds} holds'
        self._progress.update(self._task, total=1.0, completed=share, said=said)


def _print(sections: list[RobotSection]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pizero_ros.demo.verdict import failures, warnings

    table = Table(box=None, pad_edge=False)
    for title in ('', 'robot'):
        table.add_column(title, no_wrap=True)
    for title in ('sent', 'accepted', 'rejected', 'points', 'frames', 'p50 ms', 'p95 ms'):
        table.add_column(title, justify='right', no_wrap=True)
    findings = Table(box=None, pad_edge=False, show_header=False)
    for section in sections:
        result = section.result
        failed, warned = failures(result), warnings(result)
        mark = '[red]fail[/]' if failed else '[green]ok[/]'
        frames_sent, frames_received = result.frames
        latency = result.latency_ms.get('stamp_to_command', {})
        points = result.points_per_trajectory
        table.add_row(
            mark,
            result.embodiment,
            *map(str, result.trajectories),
            '–' if points is None else f'{points:g}',
            f'{frames_received}/{frames_sent}',
            *(f'{latency[p]:.1f}' if p in latency else '–' for p in ('p50', 'p95')),
        )
        for mark, texts in (('[red]fail[/]', failed), ('[yellow]note[/]', warned)):
            for text in texts:
                findings.add_row(mark, result.embodiment, escape(text))
    console.print(table)
    if findings.row_count:
        console.print()
        console.print(findings)
    for section in sections:
        if section.result.log_tail:
            console.print(f'\n{section.result.embodiment}:', style='bold')
            console.print(section.result.log_tail, markup=False)
