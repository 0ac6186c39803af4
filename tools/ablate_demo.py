"""What grounding and imperfect demonstrations are worth: the demo policy without, in one table.

Needs the steps of `make train-demo` in out/train-demo. Trains, into out/ablate-demo, with as many
steps of acting each,
* no_grounding: from random weights, the stem learning with the rest;
* curated_only: from the grounded weights, on the demonstrations of post-training alone;
and evaluates them beside the demo policy and both baselines. Started anew it goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pizero_ros.cli.bundle_argument import positive
from pizero_ros.cli.demo import ROBOTS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ROOT / 'config' / 'training'
TRAINED = Path('out', 'train-demo')
OUT = Path('out', 'ablate-demo')
EMBODIMENTS = [f'--embodiment={name}' for name in ROBOTS]

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
    parser.add_argument('--trials', type=positive, default=2, help='of each task (default: 2)')
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if not (TRAINED / 'bundle' / 'policy.yaml').is_file():
        parser.error(f'{ROOT / TRAINED} has no bundle yet: make train-demo')
    # Ctrl-C reaches the verb as well, which saves what it has before it ends.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    policies = {'demo': TRAINED / 'bundle'}
    for name, change in ABLATIONS.items():
        folder = OUT / name
        for stage in ('pretrain', 'posttrain'):
            train(stage, folder, change)
        policies[name] = folder / 'bundle'
        export(folder / 'posttrain', policies[name])
    named = [f'--policy={name}={folder}' for name, folder in policies.items()]
    to = ['--out', OUT / 'evaluation', '--json', OUT / 'scores.json']
    baselines = ['--baseline=hold', '--baseline=random']
    pizero('evaluate', *named, *baselines, *EMBODIMENTS, '--trials', arguments.trials, *to)


def train(stage: str, folder: Path, change: Callable[[Config], None]) -> None:
    """Train one stage of an ablation, or go on with it."""
    config = configured(stage, folder, change)
    run = Path(config['out'], 'run.json')
    resume = ['--resume'] if run.exists() else []
    if resume and 'from' in config['model']:
        begins_with = Path(config['model']['from'], 'checkpoints/last/model.safetensors')
        if begins_with.exists() and begins_with.stat().st_mtime > run.stat().st_mtime:
            sys.exit(f'{run.parent} was begun before {begins_with} was made: remove it')
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


def export(run: Path, bundle: Path) -> None:
    """Export a run, unless that was done after its last step."""
    manifest = bundle / 'policy.yaml'
    if manifest.exists() and manifest.stat().st_mtime > (run / 'loss.csv').stat().st_mtime:
        return
    last = run / 'checkpoints' / 'last'
    pizero('export', '--checkpoint', last, '--out', bundle, '--force', *EMBODIMENTS)


def pizero(*arguments: object) -> None:
    """Run a verb; where it fails, end with its status: it has said why."""
    ended = subprocess.run(['pizero', *map(str, arguments)], check=False)
    if ended.returncode:
        sys.exit(ended.returncode)


if __name__ == '__main__':
    main()
