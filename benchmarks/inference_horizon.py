"""How latency grows with the horizon, which is fixed in a bundle's graphs: one export for each.

    tools/with_ros python benchmarks/inference_horizon.py

The first run exports 50 million random weights four times, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from pizero_ros.bench.flops import architecture_of, phases
from pizero_ros.bench.inputs import ModelSpace, Size
from pizero_ros.bench.timing import measure, percentiles_ms, warm_up
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.providers import PROVIDER_NAMES
from pizero_ros.policy.runtime import Policy

CACHE = Path(__file__).resolve().parents[1] / '.cache/benchmarks'
HORIZONS = (10, 25, 50, 100)

console = Console(highlight=False, width=100)


def main(words: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--architecture', default='pi0_small', help='a shipped name or a file')
    parser.add_argument('--horizons', type=int, nargs='+', default=HORIZONS)
    parser.add_argument('--provider', choices=PROVIDER_NAMES, default='cpu')
    parser.add_argument('--threads', type=int, help='default: one per core')
    parser.add_argument('--cameras', type=int, default=3)
    parser.add_argument('--tokens', type=int, default=12)
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--runs', type=int, default=15)
    parser.add_argument('--work', type=Path, default=CACHE, help='where bundles are kept')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args(words)
    size = Size(arguments.cameras, arguments.tokens, arguments.steps)
    loaded = {}
    for horizon in arguments.horizons:
        bundle = Bundle.open(exported(arguments.work, arguments.architecture, horizon))
        policy = Policy.load(bundle, arguments.provider, arguments.threads)
        surround = ModelSpace(bundle)
        warm_up(policy, (size,), surround)
        loaded[horizon] = policy, surround
    times: dict[int, dict[str, list[float]]] = {horizon: {} for horizon in loaded}
    for _ in range(arguments.runs):
        for horizon, (policy, surround) in loaded.items():
            for name, some in measure(policy, (size,), surround, 1)[size].items():
                times[horizon].setdefault(name, []).extend(some)
    rows = []
    for horizon, (policy, _) in loaded.items():
        bundle = policy.bundle
        sizes = architecture_of(bundle.path, bundle.manifest.architecture)
        gflop = phases(sizes, size.cameras, size.tokens, size.steps)['denoise step'].flop / 1e9
        latency = percentiles_ms(times[horizon])
        rows.append({'horizon': horizon, 'step_gflop': gflop, 'latency_ms': latency})
    _print(rows, size)
    if arguments.json is not None:
        arguments.json.write_text(f'{json.dumps(rows, indent=2)}\n', encoding='utf-8')
    return 0


def exported(work: Path, architecture: str, horizon: int) -> Path:
    """Return a bundle of random weights with this horizon, exported once."""
    bundle = work / f'horizon_{Path(architecture).stem}_{horizon}'
    if not (bundle / 'policy.yaml').is_file():
        sizes = replace(read_architecture(architecture_path(architecture)), horizon=horizon)
        work.mkdir(parents=True, exist_ok=True)
        file = bundle.with_suffix('.yaml')
        file.write_text(yaml.safe_dump(sizes.as_mapping()), encoding='utf-8')
        command = [sys.executable, '-m', 'pizero_ros.cli.main', 'export', '--model-only']
        command += ['--random', str(file), '--force', '--out', str(bundle)]
        subprocess.run(command, check=True)
    return bundle


def _print(rows: list[dict[str, Any]], size: Size) -> None:
    title = f'{size.cameras} cameras, {size.tokens} tokens, {size.steps} steps'
    table = Table(title=title, title_justify='left', box=None)
    table.add_column('horizon', justify='right')
    table.add_column('GFLOP a step', justify='right')
    names = [
        name for name in ('observe', 'denoise step', 'whole') if name in rows[0]['latency_ms']
    ]
    for name in names:
        table.add_column(f'{name} p50 ms', justify='right')
        table.add_column('p95', justify='right')
    for row in rows:
        some = [row['latency_ms'][name] for name in names]
        cells = (f'{each[key]:.2f}' for each in some for key in ('p50', 'p95'))
        table.add_row(str(row['horizon']), f'{row["step_gflop"]:.2f}', *cells)
    console.print(table)


if __name__ == '__main__':
    sys.exit(main())
