"""Ten minutes of a simulated robot: memory of every process, missed deadlines, latencies.

    tools/with_ros python benchmarks/endurance.py --check

runs ``pizero demo`` with real nodes over real DDS, with the arms kept to the middle of their range
(a policy that is told the same for ten minutes drives them into the table sooner or later), and
reads the resident memory of the policy node and of the simulator from /proc once a second.
``--check`` exits with 1 if the memory of the policy
node moved by more than 2 % after the first minute, or if an inference was longer than the executed
steps and was not counted as a missed deadline.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

mpl.use('Agg')
import matplotlib.pyplot as plt

from pizero_ros.resources import config_dir

NODES = ('policy_node', 'sim_robot')
RANGE = 0.3
SETTLING_S = 60.0
"""Time that is not judged: allocators and caches fill up."""
TOLERANCE = 0.02
"""Share by which the memory may move after that."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of one process over time: s since its start, MiB."""

    times_s: list[float]
    mib: list[float]

    @property
    def settled(self) -> list[float]:
        """MiB after the time that is not judged."""
        return [m for t, m in zip(self.times_s, self.mib, strict=True) if t >= SETTLING_S]

    @property
    def drift(self) -> float:
        """Largest move from the first settled value, as a share of it."""
        settled = self.settled
        return max((abs(m / settled[0] - 1.0) for m in settled), default=0.0)


def main() -> int:
    """Run, print a table, and check if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        epilog='Details: the first lines of this file, and benchmarks/README.md.',
    )
    parser.add_argument('--embodiment', default='sim_dual_arm')
    parser.add_argument('--seconds', type=float, default=600.0, help='default: 600')
    parser.add_argument('--check', action='store_true', help='exit with 1 if a target is missed')
    parser.add_argument('--json', type=Path, help='also write the figures there')
    parser.add_argument('--plot', type=Path, help='draw memory over time to this PNG')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='endurance') as folder:
        memory, report = run(arguments.embodiment, arguments.seconds, Path(folder))
    robot = report['robots'][0]
    figures = {
        'embodiment': arguments.embodiment,
        'seconds': robot['measured_s'],
        'memory': {
            name: {'first_mib': m.settled[0], 'last_mib': m.settled[-1], 'drift': m.drift}
            for name, m in memory.items()
            if m.settled
        },
        'counters': robot['counters'],
        'trajectories': {k: robot[f'trajectories_{k}'] for k in ('sent', 'accepted', 'rejected')},
        'latency_ms': robot['latency_ms'],
        'interventions': robot['interventions'],
        'latched': robot['policy_reason'] if 'latched' in robot['policy_reason'] else '',
        'samples': {name: asdict(m) for name, m in memory.items()},
    }
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + '\n', encoding='utf-8')
    if arguments.plot:
        draw(memory, arguments.plot)
    return int(arguments.check and bool(complaints(figures, passed=report['passed'])))


def run(embodiment: str, seconds: float, out: Path) -> tuple[dict[str, Memory], dict[str, Any]]:
    """Run the demo, and sample memory until it ends."""
    robot = out / f'{embodiment}.yaml'
    robot.write_text(narrowed(embodiment), encoding='utf-8')
    command = [
        'pizero', 'demo', '--embodiment', str(robot),
        '--seconds', str(seconds), '--trials', '0', '--out', str(out),
    ]  # fmt: skip
    memory: dict[str, Memory] = {}
    started: dict[str, float] = {}
    with (out / 'output.txt').open('wb') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        with Progress(transient=True) as progress:
            task = progress.add_task('running', total=seconds)
            while process.poll() is None:
                for name, pid in descendants(process.pid).items():
                    now = time.monotonic()
                    mib = resident_mib(pid)
                    if mib is not None:
                        began = started.setdefault(name, now)
                        kept = memory.setdefault(name, Memory([], []))
                        kept.times_s.append(now - began)
                        kept.mib.append(mib)
                if started:
                    progress.update(task, completed=time.monotonic() - min(started.values()))
                time.sleep(1.0)
    report = out / 'report.json'
    if not report.exists():
        sys.exit((out / 'output.txt').read_text(errors='replace'))
    return memory, json.loads(report.read_text(encoding='utf-8'))


def narrowed(embodiment: str) -> str:
    """Return the YAML of an embodiment whose arms move within ``RANGE`` of their range."""
    content = yaml.safe_load((config_dir() / f'embodiments/{embodiment}.yaml').read_text())
    for group in content['actions']:
        for joint in group['joints'] if group['output'] == 'joint_trajectory' else []:
            middle = content['neutral'][joint['name']]
            joint['position'] = [middle + RANGE * (end - middle) for end in joint['position']]
    return yaml.safe_dump(content, sort_keys=False)


def descendants(root: int) -> dict[str, int]:
    """Return name → process of the nodes below a process, from /proc."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            words = (folder / 'cmdline').read_bytes().split(b'\0')
            parent = (folder / 'stat').read_text().rpartition(')')[2].split()[1]
        except OSError:
            continue  # It has ended since.
        pid = int(folder.name)
        parents[pid] = int(parent)
        called = {Path(word.decode(errors='replace')).name for word in words[:3]}
        names[pid] = next((name for name in NODES if name in called), '')
    found = {}
    for pid, name in names.items():
        above = pid
        while name and above in parents and above != root:
            above = parents[above]
        if name and above == root:
            found[name] = pid
    return found


def resident_mib(pid: int) -> float | None:
    """Return the resident memory of a process, None if it has ended."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith('VmRSS:')), None)
    return None if kib is None else int(kib) / 1024.0


def complaints(figures: dict[str, Any], *, passed: bool) -> list[str]:
    """Return the targets that were missed, and print them."""
    found = [] if passed else ['the demo did not pass']
    if figures['latched']:
        found.append(f'the robot stopped: {figures["latched"]}')
    drift = figures['memory'].get('policy_node', {}).get('drift')
    if drift is None:
        found.append(f'the run was not longer than {SETTLING_S:g} s')
    elif drift > TOLERANCE:
        found.append(f'memory of the policy node moved by {drift:.1%}, at most {TOLERANCE:.0%}')
    for text in found:
        print(f'missed: {text}')
    return found


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    table = Table(title=f'{figures["embodiment"]}, {figures["seconds"]:.0f} s')
    for column in ('process', 'MiB after 60 s', 'MiB at the end', 'largest move'):
        table.add_column(column, justify='left' if column == 'process' else 'right')
    for name, m in figures['memory'].items():
        table.add_row(name, f'{m["first_mib"]:.1f}', f'{m["last_mib"]:.1f}', f'{m["drift"]:.2%}')
    console.print(table)
    latency = Table(title='latency [ms]')
    for column in ('phase', 'p50', 'p95'):
        latency.add_column(column, justify='left' if column == 'phase' else 'right')
    for phase, values in figures['latency_ms'].items():
        latency.add_row(phase, f'{values["p50"]:.2f}', f'{values["p95"]:.2f}')
    console.print(latency)
    console.print(figures['trajectories'], figures['counters'], figures['interventions'])


def draw(memory: dict[str, Memory], path: Path) -> None:
    """Draw memory over time."""
    figure, axes = plt.subplots(figsize=(7.0, 3.0), layout='constrained')
    for name, m in memory.items():
        axes.plot(m.times_s, m.mib, label=name)
    axes.set(xlabel='s since the start of the process', ylabel='resident memory [MiB]')
    axes.set_ylim(bottom=0.0)
    axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == '__main__':
    sys.exit(main())
