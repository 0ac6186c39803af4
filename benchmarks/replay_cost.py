"""What evaluating a recording costs beyond the inference of its chunks.

    tools/with_ros python benchmarks/replay_cost.py --check

evaluates the recording of a Unitree G1, both ways and with all baselines, and prints the time of
the whole beside the time that the model itself took (observe and denoise) for the same chunks. The
default policy has 50 million random weights; the first run exports it, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.policy.opened import open_policy
from pizero_ros.policy.providers import PROVIDER_NAMES
from pizero_ros.replay.evaluate import Settings, evaluate

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.opened import Predictor
    from pizero_ros.replay.episode import Timing

ROOT = Path(__file__).resolve().parents[1]
BAG = ROOT / '../shared/data/bags/unitree_g1_ep010'
MOST_PERCENT = 10.0
console = Console(highlight=False, width=100)


def main() -> int:
    """Measure, print, and judge if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--bag', type=Path, default=BAG)
    parser.add_argument('--embodiment', default='unitree_g1')
    parser.add_argument('--bundle', type=Path, help='default: 50 million random weights')
    parser.add_argument('--provider', choices=PROVIDER_NAMES, default='cpu')
    parser.add_argument('--threads', type=int, help='default: one per core')
    parser.add_argument('--runs', type=int, default=3, help='of each kind; the median counts')
    parser.add_argument('--check', action='store_true', help='exit with 1 above 10 percent')
    arguments = parser.parse_args()
    embodiment = load_embodiment(arguments.embodiment)
    bundle = arguments.bundle or small_bundle(arguments.embodiment)
    policy = open_policy(bundle, embodiment, arguments.provider, arguments.threads)
    policy.warm_up('')
    table = Table(
        title=f'{bundle.name} on {arguments.bag.name}, s', title_justify='left', box=None
    )
    table.add_column('')
    for title in ('chunks', 'inference', 'a chunk', 'the rest', 'whole', 'over %'):
        table.add_column(title, justify='right')
    over = {}
    for name, baselines in (('with baselines', True), ('policy alone', False)):
        timing = measured(arguments.bag, embodiment, policy, baselines, arguments.runs)
        rest = timing.total_s - timing.inference_s
        over[name] = 100 * rest / timing.inference_s
        table.add_row(
            name,
            str(timing.chunks),
            f'{timing.inference_s:.2f}',
            f'{timing.inference_s / timing.chunks:.3f}',
            f'{rest:.2f}',
            f'{timing.total_s:.2f}',
            f'{over[name]:.1f}',
        )
    console.print(table)
    return int(arguments.check and max(over.values()) > MOST_PERCENT)


def measured(
    bag: Path, embodiment: Embodiment, policy: Predictor, baselines: bool, runs: int
) -> Timing:
    """Return the run whose total is the median."""
    timings = [
        evaluate(bag, embodiment, policy, 'policy', Settings(), baselines=baselines).timing
        for _ in range(runs)
    ]
    return sorted(timings, key=lambda timing: timing.total_s)[(runs - 1) // 2]


def small_bundle(embodiment: str) -> Path:
    """Return a bundle of the architecture ``pi0_small``, exported once."""
    bundle = ROOT / '.cache/benchmarks' / f'pi0_small_{Path(embodiment).stem}'
    if not (bundle / 'policy.yaml').is_file():
        command = [sys.executable, '-m', 'pizero_ros.cli.main', 'export']
        command += ['--random', 'pi0_small', '--actions', 'relative', '--embodiment', embodiment]
        subprocess.run([*command, '--out', str(bundle)], check=True)
    return bundle


if __name__ == '__main__':
    sys.exit(main())
