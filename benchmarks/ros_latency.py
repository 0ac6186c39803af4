"""Frames and milliseconds of the ROS path: cameras to published trajectory, on real nodes.

    tools/with_ros python benchmarks/ros_latency.py --compare --check

Needs a built package; the first run also exports a small policy, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from latency_run import Plan, measure
from rich.console import Console
from rich.table import Table

from pizero_ros.demo.installation import free_domain
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / 'config/fastdds_shm.xml'
ROBOT = 'sim_single_arm'
TARGET_MS = {'p50': 5.0, 'p95': 10.0}
"""Of the overhead: newest stamp to the last publish call, without the model itself."""

ROWS = {
    'ros': 'newest stamp to preprocessing',
    'preprocess': 'resize, tokens, state',
    'observe': 'images to cache',
    'denoise': 'Euler steps',
    'postprocess': 'to robot space',
    'publish': 'schedule, gate, messages',
    'stamp_to_command': 'newest stamp to published',
    'overhead': 'the same without observe and denoise',
    'oldest_stamp_to_observation': 'age of the oldest stream used',
    'stamp_to_received_less_inference': 'measured by a subscriber of the trajectories',
}
console = Console(highlight=False, width=110)


def arguments_of(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--profile', choices=('shipped', 'default'), default='shipped')
    parser.add_argument('--compare', action='store_true', help='both profiles, one after another')
    parser.add_argument('--cameras', type=int, default=3, choices=(1, 2, 3))
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--rate', type=float, default=30.0, help='pictures per second')
    parser.add_argument(
        '--timing',
        choices=('free', 'together', 'trigger'),
        default='free',
        help='cameras on clocks of their own, all in one moment, or also with one stamp',
    )
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw')
    parser.add_argument('--seconds', type=float, default=20.0, help='measured, after discovery')
    parser.add_argument(
        '--executed-steps', type=int, default=6, help='steps of 20 ms between two inferences'
    )
    parser.add_argument(
        '--braked',
        action='store_true',
        help="keep the robot's limits of acceleration, which random weights exceed at every step",
    )
    parser.add_argument('--bundle', type=Path, help=f'policy for {ROBOT} instead of a small one')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument(
        '--check',
        action='store_true',
        help='exit 1 if the shipped profile loses frames or the overhead exceeds '
        + ', '.join(f'{limit:g} ms {name}' for name, limit in TARGET_MS.items()),
    )
    return parser.parse_args(words)


def embodiment_file(arguments: argparse.Namespace, folder: Path) -> Path:
    """Write the shipped robot with the cameras that were asked for."""
    robot = yaml.safe_load(Path(load_embodiment(ROBOT).source).read_text())
    robot['cameras'] = robot['cameras'][: arguments.cameras]
    for camera in robot['cameras']:
        camera['rate_hz'] = arguments.rate
        camera['transport'] = arguments.transport
        if arguments.transport == 'compressed':
            camera['topic'] += '/compressed'
    for group in robot['actions']:
        for joint in group['joints']:
            # Random weights jump: a gate that refuses them would leave nothing to be timed, and
            # one that brakes every step of every chunk times what no trained policy asks for.
            joint |= {'max_step': 100.0, 'velocity': 1000.0}
            if not arguments.braked:
                joint['acceleration'] = 1e6
    path = folder / f'{ROBOT}.yaml'
    path.write_text(yaml.safe_dump(robot, sort_keys=False))
    return path


def small_bundle() -> Path:
    """Export a policy that is small but for its pictures, which have π0's 224 pixels.

    Done once; again if the bundles' format has changed since.
    """
    bundle = ROOT / '.cache/benchmarks/tiny_224'
    try:
        Bundle.open(bundle)
    except BundleError:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        sizes = yaml.safe_load((ROOT / 'config/architectures/tiny.yaml').read_text())
        sizes['vision'] |= {'image_size': 224, 'patch': 28}
        architecture = bundle.with_suffix('.yaml')
        architecture.write_text(yaml.safe_dump(sizes))
        command = ['pizero', 'export', '--random', str(architecture), '--embodiment', ROBOT]
        subprocess.run([*command, '--out', str(bundle), '--force'], check=True)
    return bundle


def missed(results: dict[str, Any]) -> list[str]:
    """Return what the shipped profile's run did not achieve, empty if all is well."""
    result = results.get('shipped')
    if result is None:
        return ['the shipped profile was not measured']
    found = [
        f'{topic}: {each["lost"]} of {each["sent"]} frames lost'
        for topic, each in result['frames'].items()
        if each['lost']
    ]
    overhead = result['latency_ms'].get('overhead')
    if not overhead:
        return [*found, 'no chunk was inferred']
    return found + [
        f'overhead {name} {overhead[name]:.2f} ms, target {limit:g}'
        for name, limit in TARGET_MS.items()
        if overhead[name] > limit
    ]


def show(profile: str, result: dict[str, Any]) -> None:
    """Print one run."""
    cores = ', '.join(f'{name} {value:.2f}' for name, value in result['cores'].items())
    console.print(
        f'[bold]{profile} profile[/]: {result["seconds"]:.1f} s, {result["chunks"]} chunks '
        f'({result["chunks_per_s"]:.1f}/s), {result["trajectories"]} trajectories, '
        f'{result["observations_refused"]} observations refused; load {result["load_1min"]:.1f}, '
        f'cores used: {cores}; cameras at most {result["publisher_late_ms"]:.1f} ms late'
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


def main(words: list[str] | None = None) -> int:
    """Measure, print, and return 1 if ``--check`` finds a miss."""
    arguments = arguments_of(words)
    bundle = arguments.bundle or small_bundle()
    profiles = ['default', 'shipped'] if arguments.compare else [arguments.profile]
    results: dict[str, Any] = {}
    console.print(
        f'{arguments.cameras} {arguments.transport} cameras of {arguments.width}x'
        f'{arguments.height} at {arguments.rate:g} Hz, {os.cpu_count()} cores {platform.machine()}'
    )
    for profile in profiles:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan = Plan(
                embodiment=embodiment_file(arguments, folder),
                bundle=bundle.resolve(),
                width=arguments.width,
                height=arguments.height,
                timing=arguments.timing,
                seconds=arguments.seconds,
                executed_steps=arguments.executed_steps,
                domain=free_domain(),
                folder=folder,
                profile=PROFILE if profile == 'shipped' else None,
            )
            results[profile] = measure(plan)
        show(profile, results[profile])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))
    if not arguments.check:
        return 0
    found = missed(results)
    console.print('[red]missed:[/] ' + '; '.join(found) if found else '[green]all targets met[/]')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
