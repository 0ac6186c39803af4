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
    from pizero_ros.demo.report import RobotSection, Scores
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.bag import Bag

_TRIALS = 'evaluation'
_OURS = '.pizero_demo'
"""Marks a folder of trials that the next demo may make anew."""

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

    shipped = None if arguments.bundle or arguments.bag else shipped_for(embodiments)
    trials = _trials_asked(arguments, embodiments, shipped)
    known = shipped_scores() if trials and shipped else None

    from pizero_ros.demo.installation import environment, executables

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
        # Whoever has seen enough may end the trials: the report of the runs is there.
        content = _report(arguments.out, sections, created, started, None)
        if trials:
            scores = _scores(arguments.out, trials, known)
            content = _report(arguments.out, sections, created, started, scores)
    write_json(arguments.json, content)
    _print(sections)
    console.print(
        f'{arguments.out / "report.html"}\n{arguments.out / "report.json"}',
        markup=False,
        soft_wrap=True,
    )
    return SUCCESS if content['passed'] else FINDING


def _report(
    out: Path,
    sections: list[RobotSection],
    created: str,
    started: float,
    scores: Scores | None,
) -> dict[str, Any]:
    from pizero_ros.demo.installation import machine, versions
    from pizero_ros.demo.report import Facts, write_report

    facts = Facts(
        command=shlex.join(['pizero', *sys.argv[1:]]),
        created=created,
        seconds=time.monotonic() - started,
        versions=versions(),
        machine=machine(),
    )
    with progress_console.status('drawing the report'):
        return write_report(out, sections, facts, scores)


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


def _prompt(bag: Bag | None, embodiment: Embodiment) -> str:
    """Return an instruction: the robot's first task, if it has tasks."""
    from pizero_ros.replay.recording import INSTRUCTION
    from pizero_ros.sim.layout import LAYOUTS
    from pizero_ros.sim.tasks.task import tasks_of

    if bag is not None:
        return '' if INSTRUCTION in bag.topics else PROMPT
    return tasks_of(embodiment)[0].instruction if embodiment.name in LAYOUTS else PROMPT


def _seconds(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 3600.0:
        msg = f'{value:g} is not between 1 and 3600'
        raise argparse.ArgumentTypeError(msg)
    return value


def _trials(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1000:
        msg = f'{value} is not between 0 and 1000'
        raise argparse.ArgumentTypeError(msg)
    return value


def _trials_asked(
    arguments: argparse.Namespace, embodiments: Sequence[Embodiment], shipped: Path | None
) -> argparse.Namespace | None:
    """Return what `pizero evaluate` is to do after the runs, None for nothing.

    Raises:
        UsageError: There is no policy that knows tasks, or no room for their scores.
        PizeroError: A robot has no tasks, or the policy does not know it.
    """
    from pizero_ros.cli.evaluate import parsed
    from pizero_ros.cli.evaluate_arguments import asked_for

    trials = int(shipped is not None) if arguments.trials is None else arguments.trials
    if not trials:
        return None
    bundle = arguments.bundle or shipped
    if arguments.bag or bundle is None:
        why = 'a recording has no tasks' if arguments.bag else 'an untrained policy knows no task'
        raise UsageError.at('--trials', '', found=trials, expected=f'0: {why}')
    folder = arguments.out / _TRIALS
    if folder.exists() and not (folder / _OURS).is_file():
        raise UsageError.at(
            folder,
            '',
            found='something that is not of a demo',
            expected='room for the trials',
            remedy='Name another folder with --out.',
        )
    robots = [word for each in embodiments for word in ('--embodiment', each.source)]
    asked = parsed(
        '--policy', f'demo={bundle}', '--trials', str(trials), '--out', str(folder), *robots
    )
    asked_for(asked)
    return asked


def _scores(out: Path, trials: argparse.Namespace, shipped: Mapping[str, Any] | None) -> Scores:
    """Let the policy do its tasks, on the scenes of `pizero evaluate`."""
    import shutil

    from pizero_ros.cli.evaluate import MARK, evaluate
    from pizero_ros.demo.report import Scores
    from pizero_ros.errors import PizeroError
    from pizero_ros.replay.folder import locked

    folder = out / _TRIALS
    try:
        if folder.exists():
            # What an earlier demo saw says nothing about this one.
            with locked(folder, MARK):
                for each in folder.iterdir():
                    if each.name != MARK:
                        shutil.rmtree(each) if each.is_dir() else each.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        for name in (MARK, _OURS):
            (folder / name).touch()
        return Scores(evaluate(trials), shipped)
    except (PizeroError, OSError) as error:
        return Scores(None, shipped, str(error))


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
                prompt=arguments.prompt or _prompt(bag, embodiment),
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
