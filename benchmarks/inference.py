"""Our inference against torch and a plain export: same weights, same run, taking turns.

    tools/with_ros python benchmarks/inference.py --prepare
    tools/with_ros python benchmarks/inference.py --check --plot docs/inference.png

The first exports 50 million random weights and lets torch compile, which takes minutes and needs
PyTorch and a C++ compiler; the second measures, in under four minutes, on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from inference_contenders import TITLES, Case, Contender, Setup
from rich.console import Console
from rich.table import Table

from pizero_ros.bench.flops import architecture_of, phases
from pizero_ros.bench.roofline import Roof, measure_roof
from pizero_ros.policy.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / '.cache/benchmarks'
SEED = 0
FEW = Case(2, 12)
FULL = Case(3, 64)
CASES = (FEW, FULL)
BASELINE = 'eager padded'
SLOW = 'compile frozen'
"""Nothing of it is kept between processes, so that it compiles for minutes each time."""
SETTLE_S = 0.1
"""Between two contenders, so that the idle threads of the first have stopped spinning."""

console = Console(highlight=False, width=130)


def main(words: list[str] | None = None) -> int:
    """Measure, print, and judge if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--architecture', default='pi0_small', help='a shipped name or a file')
    parser.add_argument('--prepare', action='store_true', help='export and compile only')
    parser.add_argument('--fresh', action='store_true', help='export again')
    parser.add_argument('--threads', type=int, help='default: one per core')
    parser.add_argument('--cycles', type=int, default=8, help='turns of every contender')
    parser.add_argument(
        '--seconds', type=float, default=200.0, help='no more cycles when these are over'
    )
    parser.add_argument('--runs', type=int, default=2, help='timed inferences a turn')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=TITLES,
        metavar='NAME',
        help=f'who takes part (default: all but {SLOW})',
    )
    parser.add_argument('--check', action='store_true', help='exit with 1 if a target is missed')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path, help='PNG')
    arguments = parser.parse_args(words)
    begin = time.monotonic()
    bundle = Bundle.open(exported(arguments.architecture, arguments.fresh))
    setup = Setup(bundle.path, SEED, arguments.threads, CACHE / 'inductor')
    names = contenders_of(bundle, arguments.only)
    if arguments.prepare:
        for name in (name for name in names if name == 'compile'):
            contender = Contender(name, setup)
            for case in CASES:
                seconds = contender.prepare(case)[1]
                console.print(f'{name}, {case}: ready in {seconds:.1f} s')
            contender.close()
        return 0
    result = measure(
        bundle, setup, names, arguments.cycles, arguments.runs, begin + arguments.seconds
    )
    for table in tables(result):
        console.print(table)
    if arguments.json is not None:
        arguments.json.write_text(f'{json.dumps(result, indent=2)}\n', encoding='utf-8')
    if arguments.plot is not None:
        from inference_plot import draw

        draw(arguments.plot, result)
    missed = list(missing(result))
    for line in missed:
        console.print(f'missed: {line}')
    return int(arguments.check and bool(missed))


def exported(architecture: str, fresh: bool = False) -> Path:
    """Return a bundle of random weights with its 8-bit variant, exported once."""
    bundle = CACHE / f'inference_{Path(architecture).stem}'
    if fresh or not (bundle / 'policy.yaml').is_file():
        command = [sys.executable, '-m', 'pizero_ros.cli.main', 'export']
        command += ['--random', architecture, '--seed', str(SEED), '--model-only', '--force']
        command += ['--variant', 'cpu_int8', '--out', str(bundle)]
        subprocess.run(command, check=True)
    return bundle


def contenders_of(bundle: Bundle, only: list[str] | None) -> list[str]:
    """Return who takes part; the baseline always does."""
    wanted = [name for name in TITLES if name != SLOW] if only is None else only
    names = [name for name in TITLES if name in wanted or name == BASELINE]
    if 'cpu_int8' in names and 'cpu_int8' not in bundle.manifest.variants:
        console.print(f'{bundle.path} has no variant cpu_int8: left out; --fresh exports it')
        names.remove('cpu_int8')
    return names


def measure(
    bundle: Bundle, setup: Setup, names: list[str], cycles: int, runs: int, until: float
) -> dict[str, Any]:
    """Let all take turns, so that the slow and fast moments of the machine hit all alike.

    Args:
        bundle: The policy.
        setup: What the processes need.
        names: Contenders, the baseline among them.
        cycles: Turns of each.
        runs: Timed inferences in a turn, after one that is not.
        until: Monotonic seconds after which no cycle begins, but for the first.

    Returns:
        What ``--json`` writes.
    """
    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    gflop = {case: phases(sizes, *case)['whole'].flop / 1e9 for case in CASES}
    roofs = [_roofs(setup.threads)]
    contenders = [Contender(name, setup) for name in names]
    try:
        # One after another: what torch compiles must not be compiled under load.
        actions = {
            (each.name, case): each.prepare(case)[0] for each in contenders for case in CASES
        }
        turns: dict[tuple[str, Case], list[list[float]]] = {key: [] for key in actions}
        for cycle in range(cycles):
            if cycle and time.monotonic() > until:
                break
            for case in CASES:
                # Nobody is always the one who comes after the same other.
                first = cycle % len(contenders)
                for each in contenders[first:] + contenders[:first]:
                    turns[each.name, case].append(each.time(case, runs))
                    time.sleep(SETTLE_S)
    finally:
        for each in contenders:
            each.close()
    roofs.append(_roofs(setup.threads))
    exact = 'eager exact' if 'eager exact' in names else BASELINE
    return {
        'architecture': bundle.manifest.provenance.source,
        'threads': setup.threads,
        'cycles': len(next(iter(turns.values()))),
        'runs': runs,
        'roof': {
            precision: {
                'matmul_gflop_s': max(roof[precision].matmul_gflop_s for roof in roofs),
                'copy_gb_s': max(roof[precision].copy_gb_s for roof in roofs),
            }
            for precision in roofs[0]
        },
        'cases': [
            {
                **case._asdict(),
                'gflop': gflop[case],
                'contenders': {
                    name: {
                        **_figures(turns[name, case], turns[BASELINE, case], gflop[case]),
                        'max_abs_error': float(
                            np.abs(actions[name, case] - actions[exact, case]).max()
                        ),
                    }
                    for name in names
                },
            }
            for case in CASES
        ],
    }


def _roofs(threads: int | None) -> dict[str, Roof]:
    return {name: measure_roof('cpu', threads, name) for name in ('float32', 'int8')}


def _figures(
    turns: list[list[float]], baseline: list[list[float]], gflop: float
) -> dict[str, float]:
    """Sum up the times of one contender; ratios are of turns of the same cycle."""
    times = np.concatenate(turns)
    ratios = [np.median(b) / np.median(mine) for b, mine in zip(baseline, turns, strict=True)]
    median = float(np.median(times))
    return {
        'median_ms': 1e3 * median,
        'min_ms': 1e3 * float(times.min()),
        'p95_ms': 1e3 * float(np.percentile(times, 95)),
        'ratio': float(np.median(ratios)),
        'ratio_low': float(np.min(ratios)),
        'ratio_high': float(np.max(ratios)),
        'ratio_of_medians': float(np.median(np.concatenate(baseline))) / median,
        'gflop_s': gflop / median,
    }


def tables(result: Mapping[str, Any]) -> Iterator[Table | str]:
    """Return what is printed."""
    for case in result['cases']:
        title = f'{Case(case["cameras"], case["tokens"])}: {case["gflop"]:.1f} GFLOP of exact work'
        table = Table(title=title, title_justify='left', box=None)
        table.add_column('')
        for name in ('median ms', 'min', 'p95', 'ratio', 'lowest to highest', 'GFLOP/s', 'error'):
            table.add_column(name, justify='right')
        for name, row in case['contenders'].items():
            table.add_row(
                TITLES[name],
                f'{row["median_ms"]:.0f}',
                f'{row["min_ms"]:.0f}',
                f'{row["p95_ms"]:.0f}',
                f'{row["ratio"]:.2f}',
                f'{row["ratio_low"]:.2f} to {row["ratio_high"]:.2f}',
                f'{row["gflop_s"]:.0f}',
                f'{row["max_abs_error"]:.1e}',
            )
        yield table
    roof = result['roof']
    yield (
        f'measured peak: {roof["float32"]["matmul_gflop_s"]:.0f} GFLOP/s in float32, '
        f'{roof["int8"]["matmul_gflop_s"]:.0f} in 8-bit products, '
        f'{roof["float32"]["copy_gb_s"]:.0f} GB/s copied'
    )


def missing(result: Mapping[str, Any]) -> Iterator[str]:
    """Name the targets that are not met; contenders that did not take part miss theirs."""
    for case, name, rival, least in (
        (FEW, 'cpu', BASELINE, 2.1),
        (FEW, 'cpu', 'compile', 0.97),
        (FEW, 'cpu_int8', BASELINE, 3.0),
        (FULL, 'cpu', BASELINE, 1.4),
    ):
        rows = next(
            each['contenders']
            for each in result['cases']
            if (each['cameras'], each['tokens']) == case[:2]
        )
        absent = [each for each in (name, rival) if each not in rows]
        if absent:
            yield f'{case}: {", ".join(absent)} did not take part'
            continue
        found = rows[name]['ratio'] / rows[rival]['ratio']
        if found < least:
            yield f'{case}: {name} is {found:.2f} times as fast as {rival}, target {least}'


if __name__ == '__main__':
    sys.exit(main())
