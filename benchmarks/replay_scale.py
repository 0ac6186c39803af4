"""Many recordings: episodes per second by processes, a run that is killed and goes on, and Ray.

    tools/with_ros python benchmarks/replay_scale.py --check

runs `pizero replay` on copies of the recording of a Unitree G1, and compares the reports, which
must be the same but for their times. The first run exports a policy, which needs PyTorch. `--ray`
does it on the cluster that runs, too (`ray start --head`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from replay_cost import BAG, small_bundle
from rich.console import Console
from rich.table import Table

console = Console(highlight=False, width=100)
DIFFERING = ('created', 'command', 'versions', 'timing')


class Run(NamedTuple):
    """What a run said: its report, and the seconds of the jobs and of the whole command."""

    report: dict[str, Any]
    jobs_s: float
    whole_s: float


def main() -> int:
    """Run, print, and judge if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--bag', type=Path, default=BAG)
    parser.add_argument('--embodiment', default='unitree_g1')
    parser.add_argument('--bundle', type=Path, help='default: 50 million random weights')
    parser.add_argument('--copies', type=int, default=50)
    parser.add_argument('--jobs', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--threads', type=int, help='of each job (default: the cores / jobs)')
    parser.add_argument('--ray', action='store_true', help='on the cluster that runs, too')
    parser.add_argument('--check', action='store_true', help='exit with 1 if reports differ')
    arguments = parser.parse_args()
    bundle = arguments.bundle or small_bundle(arguments.embodiment)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for number in range(arguments.copies):
            shutil.copytree(
                arguments.bag, work / f'bags/episode_{number:03d}', copy_function=_link
            )
        words = [str(work / 'bags'), '--bundle', f'policy={bundle}']
        words += ['--embodiment', arguments.embodiment]
        if arguments.threads:
            words += ['--threads', str(arguments.threads)]
        runs = {
            f'{n} at a time': _run([*words, '--jobs', str(n)], work / f'jobs_{n}')
            for n in arguments.jobs
        }
        killed = ['--jobs', str(max(arguments.jobs))]
        share = _kill(words + killed, work / 'killed', arguments.copies)
        runs[f'killed at {share} of {arguments.copies}, the rest'] = _run(
            words + killed, work / 'killed'
        )
        if arguments.ray:
            runs['Ray'] = _run([*words, '--engine', 'ray'], work / 'ray')
    same = _print(runs)
    return int(arguments.check and not same)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _command(words: list[str], out: Path) -> list[str]:
    program = [sys.executable, '-m', 'pizero_ros.cli.main', 'replay']
    return [*program, *words, '--out', str(out)]


def _run(words: list[str], out: Path) -> Run:
    start = time.perf_counter()
    subprocess.run(_command(words, out), check=True)
    whole_s = time.perf_counter() - start
    report = json.loads((out / 'report.json').read_text(encoding='utf-8'))
    return Run(report, report['timing']['jobs_s'], whole_s)


def _kill(words: list[str], out: Path, copies: int) -> int:
    """Kill a run, processes and all, when a third is finished; return how many were."""
    process = subprocess.Popen(_command(words, out), start_new_session=True)

    def finished() -> int:
        return len(list(out.glob('episodes/[!.]*')))

    while finished() < max(1, copies // 3) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return finished()


def _print(runs: dict[str, Run]) -> bool:
    """Print a table; tell whether all reports are the same."""
    first = next(iter(runs.values()))
    table = Table(box=None, pad_edge=False)
    table.add_column('')
    for title in (
        'jobs',
        'threads',
        'done now',
        'seconds',
        'a second',
        'speed-up',
        'whole',
        'report',
    ):
        table.add_column(title, justify='right')
    differ = 0
    for name, run in runs.items():
        timing = run.report['timing']
        now = len(run.report['episodes']) - timing['resumed']
        rate = now / run.jobs_s
        same = _comparable(run.report) == _comparable(first.report)
        differ += not same
        table.add_row(
            name,
            str(timing['jobs_at_a_time']),
            str(timing['threads']),
            str(now),
            f'{run.jobs_s:.1f}',
            f'{rate:.2f}',
            f'{rate * first.jobs_s / len(first.report["episodes"]):.2f}',
            f'{run.whole_s:.1f}',
            'same' if same else 'differs',
        )
    console.print(table)
    return not differ


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items() if key not in DIFFERING}
    return [_comparable(each) for each in value] if isinstance(value, list) else value


if __name__ == '__main__':
    sys.exit(main())
