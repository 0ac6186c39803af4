"""``pizero reproduce``: chunks that a live policy made, made again from what it heard."""

from __future__ import annotations

import argparse
from pathlib import Path

from pizero_ros.cli.bundle_argument import add_runtime
from pizero_ros.cli.exit_codes import FINDING, SUCCESS
from pizero_ros.cli.output import add_json, console, progress_console, write_json
from pizero_ros.resources import embodiment_names

TOLERANCE = 1e-6
"""Largest difference of an action that two runs of the same graphs on the same inputs may have."""

_SHOWN = 10

_EPILOG = """\
Record both sides with replay.launch.py (record:=FOLDER), or BAG and the chunks (~/chunk) on a
robot. Each chunk names the messages it was made from; with the same noise, the same bundle must
make the same chunk of them. Exit status 1 if one differs by more than the tolerance.

example:
  pizero reproduce recording/ said/ --bundle bundle --embodiment unitree_g1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('bag', metavar='BAG', type=Path, help='what the policy heard')
    parser.add_argument(
        'recording', metavar='RECORDING', type=Path, help='what it said; may be BAG itself'
    )
    parser.add_argument('--bundle', metavar='B', type=Path, required=True, help='its policy')
    embodiment = parser.add_argument(
        '--embodiment', metavar='E', required=True, help='the robot: a shipped name or a file'
    )
    embodiment.completer = lambda **_: embodiment_names()  # type: ignore[attr-defined]
    parser.add_argument(
        '--topic', default='', help='topic of the chunks, where RECORDING has several'
    )
    parser.add_argument(
        '--noise',
        choices=('auto', 'gaussian', 'continuous'),
        default='auto',
        help='parameter noise of the node (default: auto)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='parameter noise_seed of the node (default: 0)',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=TOLERANCE,
        metavar='X',
        help=f'largest difference of an action that counts as equal (default: {TOLERANCE:g})',
    )
    add_runtime(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make every chunk again and print how far they differ."""
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.policy.opened import open_policy
    from pizero_ros.replay.bag import open_bag
    from pizero_ros.replay.reproduce import reproduce

    embodiment = load_embodiment(arguments.embodiment)
    with open_bag(arguments.bag) as bag, open_bag(arguments.recording) as recording:
        predictor = open_policy(
            arguments.bundle, embodiment, arguments.provider, arguments.threads
        )
        with progress_console.status('making the chunks again'):
            found = reproduce(
                bag,
                recording,
                embodiment,
                predictor,
                noise=arguments.noise,
                noise_seed=arguments.seed,
                topic=arguments.topic,
            )
    other = [chunk for chunk in found if not chunk.difference <= arguments.tolerance]
    largest = max(chunk.difference for chunk in found)
    write_json(
        arguments.json,
        {
            'tolerance': arguments.tolerance,
            'chunks': [chunk._asdict() for chunk in found],
            'different': len(other),
            'largest_difference': largest,
        },
    )
    for chunk in other[:_SHOWN]:
        console.print(
            f'[red]differs[/] by {chunk.difference:.3g}: chunk {chunk.sequence} '
            f'at {chunk.stamp_ns} ns'
        )
    if len(other) > _SHOWN:
        console.print(f'… and {len(other) - _SHOWN} more')
    same = len(found) - len(other)
    console.print(
        f'{same} of {len(found)} chunks are the same; largest difference {largest:.3g}, '
        f'tolerance {arguments.tolerance:g}'
    )
    return FINDING if other else SUCCESS
