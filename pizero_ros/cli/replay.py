"""``pizero replay``: what policies would have told the robot of a recording, and how well."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.cli.bundle_argument import add_runtime, positive
from pizero_ros.cli.exit_codes import FINDING, SUCCESS, UsageError
from pizero_ros.cli.output import add_json, console, progress_console, write_json
from pizero_ros.control.modes import SCHEDULERS
from pizero_ros.resources import embodiment_names

if TYPE_CHECKING:
    from pizero_ros.cli.replay_inputs import Policy, Unusable
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.evaluate import Settings

ENGINES = ('processes', 'ray')
_MODES = {
    'both': ('open_loop', 'deployed'),
    'open_loop': ('open_loop',),
    'deployed': ('deployed',),
}

_EPILOG = """\
BAG is a rosbag2 folder, an .mcap or .db3 file, or a folder with recordings at any depth. Each
recording is evaluated with each bundle, beside baselines: the recording itself, holding still,
repeating the last action, and going on straight. Finished episodes stay in OUT/episodes: the same
command goes on where it was interrupted, and only what has changed is computed anew.

Open loop asks the policy every N recorded steps and compares its chunks with what the demonstrator
did. As deployed runs scheduler, safety gate and a model of the controllers on the clock of the
recording, with inference as slow as --latency says.

With --engine ray, every machine of the cluster needs this package, and must find the recordings,
the bundles and a --latency file under the paths given here. The results come back to this one.

Exit status: 0 all were evaluated; 1 at least one failed; 2 wrong usage, nothing was evaluated;
130 interrupted.

examples:
  pizero replay bag/ --bundle pi0_ur5e --embodiment ur5e
  pizero replay bags/ --bundle new=out/b --bundle old=out/a --embodiment aloha --seeds 5
  pizero replay bag.mcap --embodiment franka --actions state            baselines only
  pizero replay bags/ --bundle B --embodiment ur5e --latency 60ms:120ms --scheduling rtc
  ray start --head && pizero replay bags/ --bundle B --embodiment ur5e --engine ray
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        'bag', metavar='BAG', type=Path, nargs='+', help='recording, or folder of recordings'
    )
    parser.add_argument(
        '--bundle',
        metavar='[LABEL=]B',
        action='append',
        default=[],
        help='policy: a bundle, or the folder of another ONNX chunk policy; repeat it to compare '
        'several (default: none, only the baselines are evaluated)',
    )
    embodiment = parser.add_argument(
        '--embodiment', metavar='E', required=True, help='the robot: a shipped name or a file'
    )
    embodiment.completer = _complete  # type: ignore[attr-defined]
    parser.add_argument(
        '--out',
        metavar='DIR',
        type=Path,
        default=Path('out/replay'),
        help='report.html, report.json, plots and commands go here (default: out/replay)',
    )
    _add_settings(parser.add_argument_group('what is evaluated'))
    _add_machinery(parser.add_argument_group('how it is computed'))
    add_json(parser)


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--mode', choices=_MODES, default='both', help='which evaluations (default: both)'
    )
    group.add_argument(
        '--every',
        metavar='N',
        type=positive,
        help='recorded steps between two open-loop queries (default: as many as are recorded '
        "while the robot's executed steps last)",
    )
    group.add_argument(
        '--seeds',
        metavar='N|A,B,…',
        type=_seeds,
        default=(0,),
        help='noise seeds, each a run of its own: how many, or which ones (default: 1, seed 0)',
    )
    group.add_argument(
        '--noise',
        choices=('auto', 'gaussian', 'continuous'),
        default='auto',
        help='initial noise; auto: continuous if the policy is untrained (default: auto)',
    )
    group.add_argument(
        '--prompt',
        metavar='TEXT',
        help='instruction (default: what the recording has on /instruction)',
    )
    group.add_argument(
        '--actions',
        metavar='auto|state|TOPIC,…',
        default='auto',
        help="what the demonstrator commanded: the controllers' topics or the JointState that "
        'names the joints (auto), the measured joints (state), or topics (default: auto)',
    )
    group.add_argument(
        '--latency',
        metavar='SPAN|FILE',
        default='100ms',
        help='time from observation to chunk: 80ms; 60ms:120ms (p50 and p95, log-normal); or a '
        'JSON file, a list of seconds or an earlier report.json (default: 100ms)',
    )
    group.add_argument(
        '--scheduling',
        choices=tuple(SCHEDULERS),
        default='async',
        help='how chunks follow each other as deployed (default: async)',
    )
    group.add_argument(
        '--controller',
        choices=('discard', 'blend'),
        default='discard',
        help='how the controllers replace a trajectory: discard, as up to Kilted, or blend, as '
        'later ones with allow_trajectory_replacement (default: discard)',
    )
    group.add_argument(
        '--no-baselines',
        dest='baselines',
        action='store_false',
        help='evaluate the policies alone; nothing can be said relative to holding still',
    )


def _add_machinery(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--jobs',
        metavar='N',
        type=positive,
        help='recordings at a time, each in a process that holds a bundle of its own (default: '
        'the cores, as far as memory reaches; 1 on a GPU)',
    )
    add_runtime(group, 'the cores divided by --jobs; 1 with ray')
    group.add_argument(
        '--engine',
        choices=ENGINES,
        default='processes',
        help='processes of this machine, or a Ray cluster that runs: the one of RAY_ADDRESS, else '
        "of this machine; needs `pip install 'pizero_ros[ray]'` (default: processes)",
    )
    group.add_argument(
        '--fresh', action='store_true', help='compute everything anew, whatever is there'
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report, print a table."""
    from pizero_ros.cli.interrupt import sigterm_as_interrupt
    from pizero_ros.cli.replay_display import print_results
    from pizero_ros.cli.replay_inputs import find_bags, name_policies
    from pizero_ros.cli.replay_run import Plan, evaluate_all
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.replay.evaluate import Settings
    from pizero_ros.replay.folder import locked

    embodiment = load_embodiment(arguments.embodiment)
    named = name_policies(arguments.bundle)
    if not named and not arguments.baselines:
        raise UsageError.at(
            '--no-baselines', '', found='no --bundle either', expected='something to evaluate'
        )
    settings = Settings(
        modes=_MODES[arguments.mode],  # type: ignore[arg-type]
        every=arguments.every,
        seeds=arguments.seeds,
        noise=arguments.noise,
        prompt=arguments.prompt,
        actions=arguments.actions,
        latency=arguments.latency,
        scheduling=arguments.scheduling,
        controller=arguments.controller,
    )
    bags = find_bags(arguments.bag)
    with sigterm_as_interrupt(), locked(arguments.out):
        policies, usable, unusable = _examine(named, bags, embodiment, settings)
        plan = Plan(
            out=arguments.out,
            bags=usable,
            policies=policies,
            embodiment=embodiment,
            settings=settings,
            baselines=arguments.baselines,
            provider=arguments.provider,
            threads=arguments.threads,
            jobs=arguments.jobs,
            engine=arguments.engine,
            fresh=arguments.fresh,
        )
        content = evaluate_all(plan, unusable, shlex.join(['pizero', *sys.argv[1:]]))
    write_json(arguments.json, content)
    print_results(content)
    for name in ('report.html', 'report.json'):
        if (arguments.out / name).exists():
            console.print(arguments.out / name, markup=False, soft_wrap=True)
    return FINDING if content['failed'] else SUCCESS


def _examine(
    named: dict[str, Path], bags: list[Path], embodiment: Embodiment, settings: Settings
) -> tuple[list[Policy], list[Path], list[Unusable]]:
    """Check everything that can be checked before the first episode."""
    from pizero_ros.cli.replay_inputs import examine_bags, examine_policy
    from pizero_ros.replay.latency import LatencyError, read_latency

    try:
        read_latency(settings.latency)
    except LatencyError as error:
        raise UsageError(str(error)) from None
    if not named:
        progress_console.print('No --bundle: only the baselines are evaluated.')
    policies = [examine_policy(label, path, embodiment) for label, path in named.items()]
    for policy in policies:
        for warning in policy.warnings:
            progress_console.print(
                f'{policy.label}: {warning}', markup=False, soft_wrap=True, style='yellow'
            )
    with progress_console.status('looking at the recordings'):
        usable, unusable = examine_bags(bags, embodiment, settings)
    return policies, usable, unusable


def _seeds(text: str) -> tuple[int, ...]:
    values = tuple(int(each) for each in text.split(',') if each.strip())
    if ',' not in text:
        values = tuple(range(values[0]))
    if not values or min(values) < 0 or len(set(values)) < len(values):
        msg = f'{text!r} is neither a number above 0 nor different seeds from 0 on'
        raise argparse.ArgumentTypeError(msg)
    return values


def _complete(**_: object) -> list[str]:
    return embodiment_names()
