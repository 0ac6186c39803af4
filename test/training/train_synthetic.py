"""A training process for tests: train_synthetic.py FOLDER [--resume] [KEY=VALUE …]."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from synthetic import (
    SCENES,
    SMALL,
    WITH_STEM,
    Synthetic,
    SyntheticQuestions,
    config_in_part,
    config_of,
)

from pizero_ros.errors import PizeroError
from pizero_ros.model.pi0 import Pi0
from pizero_ros.training.distributed import team
from pizero_ros.training.saved import run_folder
from pizero_ros.training.trainer import Trainer


def main() -> None:
    folder, resume = Path(sys.argv[1]), '--resume' in sys.argv
    changes = {}
    for word in sys.argv[2:]:
        if '=' in word:
            key, value = word.split('=')
            changes[key] = float(value) if '.' in value else int(value)
    until = changes.pop('until', 0)
    if changes.pop('in_part', 0):
        changes['model'] = config_in_part()
    kind = Synthetic
    sizes = SMALL
    if 'keypoints' in changes:
        scenes = replace(SCENES, keypoints=changes.pop('keypoints'))
        sizes = WITH_STEM if scenes.keypoints else SMALL
        changes.update(objective='grounding', grounding=scenes)
        kind = SyntheticQuestions
    config = config_of(**changes)
    with team('cpu') as processes:
        source = kind(sizes, config.batch)
        held_out = kind(sizes, 4, seed=9)
        trainer = Trainer(config, Pi0.random(sizes, 3), source, processes, validation=held_out)
        options = {'keep': config.keep, 'resume': resume, 'rank': processes.rank}
        with run_folder(folder, 'schema: 1\n', config.identity(), **options) as run:
            trainer.run(
                run, until or config.steps, on_step=lambda done, _: print(done, flush=True)
            )


if __name__ == '__main__':
    try:
        main()
    except PizeroError as error:
        sys.exit(f'{type(error).__name__}: {error}')
