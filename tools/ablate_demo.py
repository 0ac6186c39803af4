"""What each step of the demo policy is worth: the same policy without it, in one table.

Needs out/train-demo (`make train-demo`). Trains, into out/ablate-demo, with as many steps each,
* no_grounding: from random weights, the stem learning with the rest (the paper's π0-small);
* curated_only: from the grounded weights, without the imperfect demonstrations;
and evaluates them beside the demo policy and both baselines. Started anew it goes on.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ROOT / 'config' / 'training'
TRAINED = Path('out', 'train-demo')
OUT = Path('out', 'ablate-demo')
ROBOTS = ('sim_single_arm', 'sim_dual_arm', 'sim_mobile')

Config = dict[str, Any]


def without_grounding(config: Config) -> None:
    """Let nothing of the grounded weights in."""
    del config['model']['freeze']
    if config['model']['from'] == str(TRAINED / 'ground'):
        del config['model']['from']
        config['model']['init'] = 'random'


def without_imperfect(config: Config) -> None:
    """Leave out the demonstrations with detours and recoveries."""
    sources = config['data']['sources']
    config['data']['sources'] = [each for each in sources if each['task'] == 'curated']


ABLATIONS: dict[str, Callable[[Config], None]] = {
    'no_grounding': without_grounding,
    'curated_only': without_imperfect,
}


def main() -> None:
    """Train and export what is missing, then compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--trials', default='2', help='of each task (default: 2)')
    arguments = parser.parse_args()
    policies = {'demo': TRAINED / 'bundle'}
    for name, change in ABLATIONS.items():
        folder = OUT / name
        for stage in ('pretrain', 'posttrain'):
            train(stage, folder, change)
        policies[name] = folder / 'bundle'
        if not (policies[name] / 'policy.yaml').exists():
            last = folder / 'posttrain' / 'checkpoints' / 'last'
            pizero('export', '--checkpoint', last, '--out', policies[name], *robots())
    named = [f'--policy={name}={folder}' for name, folder in policies.items()]
    baselines = ['--baseline=hold', '--baseline=random']
    trials = [
        '--trials',
        arguments.trials,
        '--out',
        OUT / 'evaluation',
        '--json',
        OUT / 'scores.json',
    ]
    pizero('evaluate', *named, *baselines, *trials, *robots())


def train(stage: str, folder: Path, change: Callable[[Config], None]) -> None:
    """Train one stage of an ablation, or go on with it."""
    config = configured(stage, folder, change)
    resume = ['--resume'] if Path(config['out']).exists() else []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{stage}.yaml'
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    pizero('train', path, *resume)


def configured(stage: str, folder: Path, change: Callable[[Config], None]) -> Config:
    """Return the configuration of a stage of the demo policy, changed."""
    config: Config = yaml.safe_load((TRAINING / f'demo_{stage}.yaml').read_text())
    change(config)
    config['out'] = str(folder / stage)
    if config['model'].get('from') == str(TRAINED / 'pretrain'):
        config['model']['from'] = str(folder / 'pretrain')
    return config


def robots() -> list[str]:
    """Return the arguments that name all robots."""
    return [f'--embodiment={name}' for name in ROBOTS]


def pizero(*arguments: str | Path) -> None:
    """Run a verb; whatever it says is said."""
    subprocess.run(['pizero', *map(str, arguments)], cwd=ROOT, check=True)


if __name__ == '__main__':
    main()
