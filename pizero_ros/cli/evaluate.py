"""``pizero evaluate``: how often policies do what they are told, on simulated robots."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.exit_codes import FINDING, SUCCESS
from pizero_ros.cli.interrupt import sigterm_as_interrupt
from pizero_ros.cli.output import add_json, console, progress_console, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.cli.evaluate_arguments import Asked
    from pizero_ros.evaluation.journal import Journal
    from pizero_ros.evaluation.trial import Trial

MARK = '.pizero_evaluate'
_EPILOG = """\
Robot, policy and planner run as processes of their own, on a ROS domain that does not leave this
machine, in real time: the latency of the policy counts, and a machine that is busy with something
else makes it worse (--speed). Scenes are those that are kept for evaluation, the same for every
policy. Asked again, it runs what is missing: more trials, tasks, robots or policies may be added.
Exit status 1: a trial ended because a node failed.

examples:
  pizero evaluate --bundle B --embodiment sim_single_arm --out evaluation
  pizero evaluate --policy ours=B --policy small=C --baseline hold --baseline random \\
      --embodiment sim_single_arm --embodiment sim_mobile --out comparison
  pizero evaluate --bundle B --embodiment sim_dual_arm --out two_steps --trials 5 \\
      --task touch_red_left_then_hover_blue_right --condition flat --condition human \\
      --condition planner
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from pizero_ros.evaluation.trial import BASELINES, CONDITIONS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add('--bundle', metavar='DIR', type=Path, help='a policy, called by the name of its folder')
    add(
        '--policy',
        metavar='NAME=DIR',
        action='append',
        default=[],
        help='a policy by a name of its own; repeat it for several, which are compared',
    )
    add(
        '--baseline',
        choices=BASELINES,
        action='append',
        default=[],
        help='hold: nothing moves; random: a policy with random weights; repeat it for both',
    )
    add(
        '--embodiment',
        metavar='E',
        action='append',
        required=True,
        help='simulated robot, a name or a file; repeat it for several',
    )
    add('--out', metavar='DIR', type=Path, required=True, help='report, trials and videos')
    add(
        '--trials', metavar='N', type=int, default=10, help='of each task, 1 to 1000 (default: 10)'
    )
    add(
        '--task',
        metavar='T',
        action='append',
        help='such as touch_red or "hover over the blue cube"; repeat it for several; robots that '
        'lack it leave it out (default: all single-step tasks of each robot)',
    )
    add('--two-step', action='store_true', help='all two-step tasks instead')
    add(
        '--condition',
        choices=CONDITIONS,
        action='append',
        help='who tells the steps of two-step tasks. flat: nobody, the instruction is the overall '
        'one; human: whoever watches, each when the one before is done; planner: planner_node '
        'with a script; repeat it for several (default: flat)',
    )
    add(
        '--seed',
        metavar='S',
        type=int,
        default=1_000_000,
        help='of the first scene; the others follow from it (default: 1000000)',
    )
    add('--noise-seed', metavar='S', type=int, default=0, help='of the policy (default: 0)')
    add(
        '--executed-steps',
        metavar='N',
        type=int,
        default=0,
        help='of each chunk (default: the embodiment says)',
    )
    add(
        '--speed',
        metavar='X',
        type=float,
        help='simulated seconds per second at most, 0.05 to 1: for machines that cannot render in '
        'real time. Simulated time then waits for every picture, and the latency of the policy '
        "counts for X of itself (default: real time, by the system's clock)",
    )
    add('--size', metavar='PX', type=int, default=224, help='of the pictures (default: 224)')
    add(
        '--gif',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='a small animation of each trial (default: yes)',
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the trials that are missing, and write the report."""
    from pizero_ros.evaluation.scores import broken

    content = evaluate(arguments)
    write_json(arguments.json, content)
    return FINDING if broken(content) else SUCCESS


def parsed(*words: str) -> argparse.Namespace:
    """Return the arguments of a command line: what another verb asks for."""
    parser = argparse.ArgumentParser('pizero evaluate')
    configure(parser)
    return parser.parse_args(words)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what ``run`` does; return the content of ``report.json``, without the trials."""
    from pizero_ros.cli.default_policy import untrained
    from pizero_ros.cli.evaluate_arguments import asked_for, identities, robots_of
    from pizero_ros.evaluation.journal import Journal
    from pizero_ros.replay.folder import locked

    asked = asked_for(arguments)
    with locked(arguments.out, MARK), sigterm_as_interrupt():
        from pizero_ros.demo.installation import environment, executables

        programs = executables()
        env = environment()
        os.environ.update(env)
        random: dict[str, Path] = {}
        for each in asked.embodiments if asked.random else ():
            random[each.name] = untrained(arguments.out, [each], 'absolute', programs, env)
        policies = identities(asked.bundles, asked.trials)
        journal = Journal(arguments.out, asked.order, policies, robots_of(asked.embodiments))
        todo = journal.missing(list(asked.trials))
        try:
            if todo:
                _evaluate(arguments, asked, random, journal, todo, programs, env)
        finally:
            content = _report(arguments, asked, journal)
    return content


def _evaluate(
    arguments: argparse.Namespace,
    asked: Asked,
    random: Mapping[str, Path],
    journal: Journal,
    todo: Sequence[Trial],
    programs: Mapping[str, Path],
    env: Mapping[str, str],
) -> None:
    from itertools import groupby

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from pizero_ros.cli.evaluate_run import Runner, bundle_of
    from pizero_ros.evaluation.trial import RANDOM

    columns = (
        TextColumn('{task.description}', markup=False), BarColumn(), MofNCompleteColumn(),
        Remaining(), TextColumn('{task.fields[said]}', markup=False),
    )  # fmt: skip
    good, done = 0, 0
    with Progress(*columns, console=progress_console, transient=True) as progress:
        bar = progress.add_task('starting', total=len(todo), said='')

        def begins(trial: Trial) -> None:
            said = f'{trial.embodiment} {trial.policy} {trial.task.name}'
            progress.update(bar, description=said)

        def add(record: dict[str, Any]) -> None:
            nonlocal good, done
            journal.add(record)
            good, done = good + record['success'], done + 1
            progress.update(bar, advance=1, said=f'{good} succeeded')
            if not progress_console.is_terminal:
                progress_console.print(_line(record), markup=False, soft_wrap=True)

        runner = Runner(arguments.out, asked.order, programs, env, arguments.gif, begins, add)
        robots = {each.name: each for each in asked.embodiments}
        for (robot, policy), trials in groupby(todo, lambda t: (t.embodiment, t.policy)):
            progress.update(bar, description=f'{robot} {policy}: starting')
            bundles = {**asked.bundles, RANDOM: random[robot]} if random else asked.bundles
            runner.run(robots[robot], bundle_of(policy, bundles), list(trials))


def _line(record: Mapping[str, Any]) -> str:
    done = f'done after {record["done_s"]:.1f} s' if record['success'] else record['ended']
    return (
        f'{record["embodiment"]} {record["policy"]} {record["condition"]} {record["task"]} '
        f'{record["seed"]}: {done}, progress {record["progress"]:.2f}, '
        f'{"followed" if record["followed"] else "not followed"}'
    )


def _report(arguments: argparse.Namespace, asked: Asked, journal: Journal) -> dict[str, Any]:
    """Write the report of all trials of the folder, and print their scores."""
    import datetime
    import shlex
    import sys

    from pizero_ros.cli.evaluate_display import show
    from pizero_ros.demo.installation import machine, versions
    from pizero_ros.evaluation.report.writing import write_report
    from pizero_ros.evaluation.scores import scores_of

    speed = asked.order.speed
    run = {
        'created': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
        'command': shlex.join(['pizero', *sys.argv[1:]]),
        'settings': {
            'first seed': asked.order.seed,
            'pictures': f'{asked.order.width} px',
            'clock': 'real time' if speed is None else f'simulated, at most {speed:g} s a second',
            'executed steps': asked.order.executed_steps or 'as the embodiment says',
            'noise seed': asked.order.noise_seed,
        },
        'policies': journal.policies,
        'versions': versions(),
        'machine': machine(),
    }
    content = write_report(arguments.out, scores_of(journal.records), journal.records, run)
    show(content, console)
    for name in ('report.html', 'report.json'):
        console.print(str(arguments.out / name), markup=False, soft_wrap=True)
    return content
