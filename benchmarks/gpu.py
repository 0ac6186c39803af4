"""The full-size model on an NVIDIA GPU: phases beside the roofline, and the kernels that ran.

    tools/with_ros python benchmarks/gpu.py --json gpu.json

exports 3.2 billion random weights with the variant ``cuda`` in bfloat16 (once, a few minutes), and
times 3 views, 48 tokens, horizon 50 and 10 steps. Needs onnxruntime-gpu, PyTorch (the CPU build
will do), 24 GB of memory and 40 GB of disk. Its logic runs anywhere:

    python benchmarks/gpu.py --provider cpu --precision float32 --architecture tiny --runs 3
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_profile
from rich.console import Console
from rich.table import Table

from pizero_ros.bench.flops import architecture_of, phases
from pizero_ros.bench.inputs import ModelSpace, Size
from pizero_ros.bench.roofline import achieved, measure_roof
from pizero_ros.bench.timing import (
    PHASES,
    measure,
    medians_ms,
    peak_bytes,
    percentiles_ms,
    warm_up,
)
from pizero_ros.errors import EnvironmentFault, PizeroError
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.providers import resolve_provider
from pizero_ros.policy.runtime import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.model.architecture import Architecture

ROOT = Path(__file__).resolve().parents[1]
GOAL_MS = 12.0
PARITY_MS = 25.35
"""Best published for an H200, with horizon 10: performance.md, A7."""
FULL_SIZE = 10**9
"""Weights from which on a machine without room for the export is refused beforehand."""
_DISK_PER_WEIGHT = 12
"""Bytes: float32 graphs, 16-bit ones, and as much again while they are written."""
_PROFILED_RUNS = 3

console = Console(highlight=False, width=120)


def main(words: list[str] | None = None) -> int:
    """Measure, print, and judge if asked to; 2 where there is nothing to measure on."""
    arguments = _parser().parse_args(words)
    try:
        chosen = _require(arguments.provider)
        sizes = read_architecture(architecture_path(arguments.architecture))
        bundle = Bundle.open(_exported(arguments, sizes))
        size = Size(
            min(arguments.cameras, len(bundle.manifest.model.slots)),
            min(arguments.tokens, sizes.max_tokens),
            arguments.steps,
        )
        if arguments.profiled is not None or arguments.traced:
            _infer_a_little(arguments, bundle, size)
            return 0
        result = _measure(arguments, bundle, size, chosen)
    except PizeroError as error:
        print(f'gpu.py: {error}', file=sys.stderr)
        return 2
    result['kernels'] = gpu_profile.profile(_same_work(arguments))
    _print(result)
    if arguments.json is not None:
        arguments.json.write_text(f'{json.dumps(result, indent=2)}\n', encoding='utf-8')
    return int(arguments.check and result['latency_ms']['whole']['p50'] > GOAL_MS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--architecture', default='pi0', help='a shipped name or a file')
    parser.add_argument('--provider', choices=('cuda', 'tensorrt', 'cpu'), default='cuda')
    parser.add_argument(
        '--precision', choices=('bfloat16', 'float16', 'float32'), default='bfloat16'
    )
    parser.add_argument('--cameras', type=int, default=3)
    parser.add_argument('--tokens', type=int, default=48)
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--runs', type=int, default=100)
    parser.add_argument(
        '--work', type=Path, default=ROOT / '.cache/benchmarks', help='where the bundle is kept'
    )
    parser.add_argument('--check', action='store_true', help=f'exit with 1 above {GOAL_MS} ms')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--profiled', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--traced', action='store_true', help=argparse.SUPPRESS)
    return parser


def _variant(arguments: argparse.Namespace) -> str:
    """Return the graphs to run: those of the GPU, on the CPU provider too."""
    return 'tensorrt' if arguments.provider == 'tensorrt' else 'cuda'


def _require(provider: str) -> str:
    """Refuse a machine that cannot run this, and say what it lacks."""
    chosen = resolve_provider(provider)
    if chosen != 'cpu' and not _gpus():
        raise EnvironmentFault.at(
            'nvidia-smi',
            '',
            found='no NVIDIA GPU',
            expected='a GPU and its driver',
            remedy='Run this command on a machine that has one, or try its logic out with '
            '--provider cpu --precision float32 --architecture tiny.',
        )
    return chosen


def _gpus() -> list[str]:
    """Return name and memory of the GPUs that the driver knows."""
    if shutil.which('nvidia-smi') is None:
        return []
    query = ['nvidia-smi', '--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _exported(arguments: argparse.Namespace, sizes: Architecture) -> Path:
    """Return a bundle of random weights with the variant, exported once."""
    variant = _variant(arguments)
    name = f'gpu_{Path(arguments.architecture).stem}_{variant}_{arguments.precision}'
    bundle: Path = arguments.work / f'{name}_{arguments.steps}'
    if (bundle / 'policy.yaml').is_file():
        return bundle
    arguments.work.mkdir(parents=True, exist_ok=True)
    weights = phases(sizes, 1, 1, 1)['whole'].weights
    needed = weights * _DISK_PER_WEIGHT
    free = shutil.disk_usage(arguments.work).free
    if weights > FULL_SIZE and free < needed:
        raise EnvironmentFault.at(
            arguments.work,
            'disk',
            found=f'{free / 1e9:.0f} GB free',
            expected=f'{needed / 1e9:.0f} GB for the export',
            remedy='Name another folder with --work.',
        )
    command = [sys.executable, '-m', 'pizero_ros.cli.main', 'export', '--model-only']
    command += ['--random', arguments.architecture, '--steps', str(arguments.steps)]
    command += ['--variant', variant, '--precision', arguments.precision, '--out', str(bundle)]
    if subprocess.run(command, check=False).returncode:
        raise EnvironmentFault.at(
            'pizero export',
            '',
            found='a failed export',
            expected='a bundle',
            remedy='What it printed above says why.',
        )
    return bundle


def _load(arguments: argparse.Namespace, bundle: Bundle) -> Policy:
    return Policy.load(bundle, arguments.provider, variant=_variant(arguments))


def _infer_a_little(arguments: argparse.Namespace, bundle: Bundle, size: Size) -> None:
    """Be the process that a profiler looks at."""
    if arguments.profiled is not None:
        gpu_profile.record_profiles(arguments.profiled)
    policy = _load(arguments, bundle)
    surround = ModelSpace(bundle)
    warm_up(policy, (size,), surround)
    measure(policy, (size,), surround, _PROFILED_RUNS)


def _same_work(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments that make another process do the same."""
    names = ('architecture', 'provider', 'precision', 'cameras', 'tokens', 'steps', 'work')
    return [f'--{name}={getattr(arguments, name)}' for name in names]


def _measure(
    arguments: argparse.Namespace, bundle: Bundle, size: Size, provider: str
) -> dict[str, Any]:
    """Time the phases and the machine."""
    roof = measure_roof(provider, None, arguments.precision)
    policy = _load(arguments, bundle)
    surround = ModelSpace(bundle)
    warm_s = warm_up(policy, (size,), surround)
    latency_ms = percentiles_ms(measure(policy, (size,), surround, arguments.runs)[size])
    # The steps are unrolled in one graph, which nothing looks into without slowing it down.
    latency_ms.setdefault(
        'denoise step', {k: v / size.steps for k, v in latency_ms['denoise'].items()}
    )
    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    work = phases(sizes, *asdict(size).values())
    return {
        'machine': _gpus() or ['no GPU'],
        'provider': policy.provider,
        'variant': policy.variant,
        'precision': arguments.precision,
        **asdict(size),
        'horizon': sizes.horizon,
        'load_s': policy.load_s,
        'warm_up_s': list(warm_s),
        'peak_rss_bytes': peak_bytes(),
        'latency_ms': latency_ms,
        'roofline': {
            **asdict(roof),
            'phases': {
                name: asdict(row)
                for name, row in achieved(roof, work, medians_ms(latency_ms)).items()
            },
        },
        'parity': bundle.parity['variants'][policy.variant]['max_abs_error'],
    }


def _print(result: Mapping[str, Any]) -> None:
    title = (
        f'{result["machine"][0]}, {result["provider"]}, {result["precision"]}: '
        f'{result["cameras"]} views, {result["tokens"]} tokens, horizon {result["horizon"]}, '
        f'{result["steps"]} steps'
    )
    table = Table(title=title, title_justify='left', box=None)
    table.add_column('phase')
    for name in ('p50 ms', 'p95', 'p99', 'GFLOP', 'MB', 'GFLOP/s', 'floor ms', 'of the floor'):
        table.add_column(name, justify='right')
    for name in (name for name in PHASES if name in result['latency_ms']):
        times, row = result['latency_ms'][name], result['roofline']['phases'][name]
        table.add_row(
            name,
            *(f'{value:.2f}' for value in times.values()),
            f'{row["gflop"]:.1f}',
            f'{row["moved_mb"]:.1f}',
            f'{row["gflop_s"]:.0f}',
            f'{row["floor_ms"]:.2f}',
            f'{row["of_floor"]:.0%}',
        )
    console.print(table)
    roof = result['roofline']
    console.print(
        f'measured here: {roof["copy_gb_s"]:.0f} GB/s copied, '
        f'{roof["matmul_gflop_s"]:.0f} GFLOP/s; loaded in {result["load_s"]:.1f} s, warm after '
        f'{len(result["warm_up_s"])} runs; largest error against torch '
        f'{result["parity"]["velocity"]:.1e} per velocity'
    )
    if result['provider'] != 'cpu':
        console.print(
            f'whole: {result["latency_ms"]["whole"]["p50"]:.2f} ms; goal {GOAL_MS:.0f}, best '
            f'published on an H200 {PARITY_MS} (with horizon 10)'
        )
    for line in gpu_profile.lines(result['kernels']):
        console.print(line, markup=False, soft_wrap=True)


if __name__ == '__main__':
    sys.exit(main())
