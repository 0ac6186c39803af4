"""Frames and milliseconds of the ROS path: cameras to published trajectory, on real nodes.

    tools/with_ros python benchmarks/ros_latency.py --compare --check

Needs a built package; the first run also exports a small policy, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from latency_case import ROBOT, Case, small_bundle
from rich.console import Console
from rich.progress import track
from rich.table import Table

TARGET_MS = {'p50': 3.0, 'p95': 8.0, 'timer': 2.0}
"""Of the overhead, newest stamp to the last publish call without the model itself; and the 95th
percentile of how late the control timer is during inference."""

ROWS = {
    'ros': 'newest stamp to preprocessing',
    'resize': 'its part in which pictures are resized',
    'preprocess': 'tokens, state, noise',
    'observe': 'images to cache',
    'denoise': 'Euler steps',
    'postprocess': 'to robot space',
    'publish': 'schedule, gate, messages',
    'stamp_to_command': 'newest stamp to published',
    'overhead': 'the same without observe and denoise',
    'ros_only': 'and without resize, preprocess, postprocess',
    'oldest_stamp_to_observation': 'age of the oldest stream used',
    'stamp_to_received_less_inference': 'measured by a subscriber of the trajectories',
}
console = Console(highlight=False, width=110)


def size(word: str) -> tuple[int, int]:
    """Read a width and a height."""
    width, height = map(int, word.split('x'))
    return width, height


def parameter(word: str) -> tuple[str, str]:
    """Read a name and a value."""
    name, value = word.split('=', 1)
    return name, value


def arguments_of(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--profile', choices=('shipped', 'default'), default='shipped')
    parser.add_argument('--compare', action='store_true', help='both profiles, one after another')
    parser.add_argument('--cameras', type=int, default=3, choices=(1, 2, 3))
    parser.add_argument('--size', type=size, default=(640, 480), help='e.g. 1280x720')
    parser.add_argument('--rate', type=float, default=30.0, help='pictures per second')
    parser.add_argument(
        '--timing',
        choices=('free', 'together', 'trigger'),
        default='free',
        help='cameras on clocks of their own, all in one moment, or also with one stamp',
    )
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw')
    parser.add_argument(
        '--seconds', type=float, help='measured, after discovery; default: 20, or 8'
    )
    parser.add_argument(
        '--executed-steps', type=int, default=6, help='steps of 20 ms between two inferences'
    )
    parser.add_argument(
        '--braked',
        action='store_true',
        help="keep the robot's limits of acceleration, which random weights exceed at every step",
    )
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        type=parameter,
        metavar='NAME=VALUE',
        help='of the policy node',
    )
    parser.add_argument(
        '--matrix', action='store_true', help='also whatever differs from this in one thing'
    )
    parser.add_argument('--bundle', type=Path, help=f'policy for {ROBOT} instead of a small one')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='e.g. docs/ros_latency.png')
    parser.add_argument(
        '--check',
        action='store_true',
        help='exit 1 if the shipped profile loses a frame, or if this is exceeded: '
        + ', '.join(f'{limit:g} ms ({name})' for name, limit in TARGET_MS.items()),
    )
    return parser.parse_args(words)


def missed(result: dict[str, Any] | None) -> list[str]:
    """Return what a run with the shipped profile did not achieve, empty if all is well."""
    if result is None:
        return ['the shipped profile was not measured']
    found = [
        f'{topic}: {each["lost"]} of {each["sent"]} frames lost'
        for topic, each in result['frames'].items()
        if each['lost']
    ]
    overhead = result['latency_ms'].get('overhead')
    timer = result['timer_late_ms'].get('inferring')
    if not overhead or not timer:
        return [*found, 'no chunk was inferred']
    reached = {'p50': overhead['p50'], 'p95': overhead['p95'], 'timer': timer['p95']}
    return found + [
        f'{"control timer p95" if name == "timer" else f"overhead {name}"} '
        f'{reached[name]:.2f} ms, target {limit:g}'
        for name, limit in TARGET_MS.items()
        if reached[name] > limit
    ]


def show(profile: str, result: dict[str, Any]) -> None:
    """Print one run."""
    cores = ', '.join(f'{name} {value:.2f}' for name, value in result['cores'].items())
    console.print(
        f'[bold]{profile} profile[/]: {result["seconds"]:.1f} s, {result["chunks"]} chunks '
        f'({result["chunks_per_s"]:.1f}/s), {result["trajectories"]} trajectories, '
        f'{result["observations_refused"]} observations refused; load {result["load_1min"]:.1f}, '
        f'cores used: {cores}; cameras at most {result["publisher_late_ms"]:.1f} ms late; '
        f'{result["cpu_ms_per_frame"]:.1f} ms of CPU per frame'
    )
    table = Table(box=None)
    for name in ('camera', 'sent', 'received', 'lost', 'most in 1 s'):
        table.add_column(name, justify='left' if name == 'camera' else 'right')
    for topic, each in result['frames'].items():
        table.add_row(topic, *map(str, each.values()))
    console.print(table)
    table = Table(box=None)
    for name in ('ms', 'p50', 'p95', 'p99', ''):
        table.add_column(name, justify='right' if name.startswith('p') else 'left')
    for phase, each in result['latency_ms'].items():
        table.add_row(phase, *(f'{value:.2f}' for value in each.values()), ROWS.get(phase, ''))
    console.print(table)
    table = Table(box=None)
    for name in ('control timer late, ms', 'p50', 'p95', 'max'):
        table.add_column(name, justify='left' if name.startswith('c') else 'right')
    for when, each in result['timer_late_ms'].items():
        table.add_row(when, *(f'{value:.2f}' for value in each.values()))
    console.print(table)


def main(words: list[str] | None = None) -> int:
    """Measure, print, and return 1 if ``--check`` finds a miss."""
    arguments = arguments_of(words)
    if arguments.plot is not None and not arguments.matrix:
        print('ros_latency.py: --plot draws a --matrix', file=sys.stderr)
        return 2
    bundle = arguments.bundle or small_bundle()
    case = Case(
        cameras=arguments.cameras,
        size=arguments.size,
        rate_hz=arguments.rate,
        transport=arguments.transport,
        timing=arguments.timing,
        profile=arguments.profile,
        braked=arguments.braked,
        executed_steps=arguments.executed_steps,
        parameters=tuple(arguments.parameter),
    )
    console.print(
        f'{case}; {os.cpu_count()} cores {platform.machine()}, '
        f'ROS 2 {os.environ.get("ROS_DISTRO", "of unknown distribution")}'
    )
    if arguments.matrix:
        results = run_matrix(case, bundle, arguments)
    else:
        profiles = ['default', 'shipped'] if arguments.compare else [arguments.profile]
        results = {}
        for profile in profiles:
            chosen = replace(case, profile=profile)
            results[profile] = chosen.run(bundle, arguments.seconds or 20.0)
            show(profile, results[profile])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))
    if not arguments.check:
        return 0
    found = missed(results[str(case)] if arguments.matrix else results.get('shipped'))
    console.print('[red]missed:[/] ' + '; '.join(found) if found else '[green]all targets met[/]')
    return 1 if found else 0


def run_matrix(case: Case, bundle: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a configuration and its neighbours; print and draw them."""
    from latency_matrix import cases, draw, table

    progress = Console(stderr=True)
    results = {
        str(each): each.run(bundle, arguments.seconds or 8.0)
        for each in track(cases(case), console=progress, transient=True)
    }
    console.print(table(results))
    if arguments.plot is not None:
        draw(arguments.plot, results, TARGET_MS)
    return results


if __name__ == '__main__':
    sys.exit(main())
