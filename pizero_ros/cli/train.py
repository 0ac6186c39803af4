"""``pizero train``: recordings or scenes to a policy, from random weights or a checkpoint."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.bundle_argument import positive
from pizero_ros.cli.exit_codes import INTERRUPTED, SUCCESS, UsageError
from pizero_ros.cli.output import add_json
from pizero_ros.errors import EnvironmentFault, TrainingConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.cli.train_display import TrainDisplay
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics
    from pizero_ros.training.config import TrainingConfig
    from pizero_ros.training.data import TrainingData
    from pizero_ros.training.distributed import Team
    from pizero_ros.training.grounding_data import GroundingData
    from pizero_ros.training.trainer import Outcome, Trainer

_AHEAD = 2
"""Batches made while the policy learns from the one before."""

_EPILOG = """\
examples:
  pizero train CONFIG.yaml --dry-run                   check everything, learn nothing
  pizero train CONFIG.yaml
  pizero train CONFIG.yaml --resume                    after any kind of end
  torchrun --nproc-per-node 8 --module pizero_ros.cli.main train CONFIG.yaml

A run's folder holds config.yaml, loss.csv, validation.csv, curves.png and checkpoints/, of which
`last` is what `pizero export --checkpoint` takes. Ctrl-C finishes the step, saves it and ends;
--resume goes on from there, and gives the curve of a run that was never stopped.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument('config', metavar='CONFIG.yaml', type=Path, help='what to train on what')
    parser.add_argument(
        '--resume', action='store_true', help='go on with the run in the folder, where it stopped'
    )
    parser.add_argument(
        '--out', metavar='DIR', type=Path, help="folder of the run (default: the configuration's)"
    )
    parser.add_argument(
        '--steps',
        type=positive,
        metavar='N',
        help='stop after step N and save; the learning rate still follows the whole run',
    )
    parser.add_argument(
        '--device', default='auto', metavar='D', help='cpu, cuda, cuda:N or auto (default)'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='read the data, compute one batch, say what would be done; the run is not begun',
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    try:
        import torch  # noqa: F401
    except ImportError:
        msg = 'PyTorch is not installed. Install pizero_ros with the extra `train`.'
        raise EnvironmentFault(msg) from None
    from pizero_ros.cli.train_display import TrainDisplay
    from pizero_ros.cli.train_report import report
    from pizero_ros.training.config_read import read_config
    from pizero_ros.training.distributed import team
    from pizero_ros.training.memory import keep_memory
    from pizero_ros.training.saved import check_presence
    from pizero_ros.training.start import first_policy
    from pizero_ros.training.trainer import Trainer

    began = time.monotonic()
    config = read_config(arguments.config)
    if arguments.out is not None:
        config = replace(config, out=arguments.out)
    until = arguments.steps or config.steps
    if until > config.steps:
        raise UsageError.at(
            '--steps', '', found=until, expected=f'at most {config.steps}, as {arguments.config}'
        )
    with team(arguments.device) as processes:
        first = processes.rank == 0
        if processes.device.type == 'cpu':
            keep_memory()
        with TrainDisplay(shown=first) as display:
            if first and not arguments.dry_run:
                check_presence(config.out, resume=arguments.resume)
            learned = _learned(config, resume=arguments.resume)
            policy = first_policy(config.model, config.seed, display.bytes)
            data = _data(config, policy.architecture, learned, processes, display)
            held_out = data.held_out_batches(config)
            with data.batches(config, ahead=_AHEAD) as source:
                trainer = Trainer(
                    config,
                    policy,
                    source,
                    processes,
                    validation=held_out,
                    attachments=_attachments(config, data),
                )
                if arguments.dry_run:
                    outcome, loss = None, trainer.rehearse()
                else:
                    outcome = _train(arguments, config, data, trainer, until, processes, display)
                    loss = math.nan if outcome.loss is None else outcome.loss
    if first:
        report(arguments, config, data, trainer, outcome, loss, time.monotonic() - began)
    return INTERRUPTED if outcome is not None and outcome.stopped else SUCCESS


def _learned(
    config: TrainingConfig, *, resume: bool
) -> tuple[ModelSpec | None, dict[str, RobotSemantics]]:
    """Return input rules and robots of the run that this one starts from, as far as they stay."""
    from pizero_ros.training.attachments import SEMANTICS, saved_semantics
    from pizero_ros.training.input_rules import check_tokenizer
    from pizero_ros.training.start import source_checkpoint

    begun = config.model.init == 'run'
    checkpoint = source_checkpoint(config.model)
    if checkpoint is None or not (begun or (checkpoint / SEMANTICS).is_file()):
        return None, {}
    model, known = saved_semantics(checkpoint)
    if not resume:  # What goes on is compared with itself.
        check_tokenizer(checkpoint, model, config.data.tokenizer)
    # A run that learned to see knows input rules and no robots: these are measured then.
    return model if begun else None, known if config.data.statistics == 'run' else {}


def _data(
    config: TrainingConfig,
    architecture: Architecture,
    learned: tuple[ModelSpec | None, dict[str, RobotSemantics]],
    processes: Team,
    display: TrainDisplay,
) -> TrainingData | GroundingData:
    """Read the data; the first process makes what the others find in the cache."""
    from pizero_ros.training.grounding_data import prepare_scenes

    model, known = learned
    if processes.rank:
        processes.gather(None)
    data: TrainingData | GroundingData
    if config.objective == 'grounding':
        data = prepare_scenes(
            config, architecture, model=model, progress=display.phase, tell=display.tell
        )
    else:
        data = _recordings(config, architecture, model, known, display)
    if processes.rank == 0:
        processes.gather(None)
    return data


def _recordings(
    config: TrainingConfig,
    architecture: Architecture,
    model: ModelSpec | None,
    known: Mapping[str, RobotSemantics],
    display: TrainDisplay,
) -> TrainingData:
    from pizero_ros.training.data import prepare
    from pizero_ros.training.statistics import meaning

    data = prepare(
        config.data,
        architecture,
        config.data.cache,
        config.seed,
        model=model,
        known=known,
        progress=display.phase,
        tell=display.tell,
    )
    for name, (robot, found) in data.robots.items():
        _check_meaning(name, found, meaning(robot, config.data.actions, config.data.normalization))
    return data


def _check_meaning(name: str, found: RobotSemantics, wanted: RobotSemantics) -> None:
    """Refuse a configuration that means something else than the run it starts from."""
    remedy = '`statistics: data` measures them anew.'
    if found.normalization != wanted.normalization:
        raise TrainingConfigError.at(
            'data.normalization',
            '',
            found=wanted.normalization,
            expected=f'{found.normalization}, as {name} has in the run before',
            remedy=remedy,
        )
    if list(found.relative) != list(wanted.relative):
        relative = [number for number, each in enumerate(found.relative) if each]
        raise TrainingConfigError.at(
            'data.actions',
            '',
            found='another meaning',
            expected=f'actions {relative} relative, as {name} has them in the run before',
            remedy=remedy,
        )


def _attachments(config: TrainingConfig, data: TrainingData | GroundingData) -> dict[str, bytes]:
    """Give what checkpoints need beside their weights to become a bundle."""
    from pizero_ros.policy.manifest import TOKENIZER_FILES
    from pizero_ros.training.attachments import attachments_of

    files = attachments_of(data.model, data.semantics)
    if config.data.tokenizer is not None:
        name = TOKENIZER_FILES[data.model.prompt.tokenizer]
        files[name] = config.data.tokenizer.read_bytes()
    return files


def _train(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    data: TrainingData | GroundingData,
    trainer: Trainer,
    until: int,
    processes: Team,
    display: TrainDisplay,
) -> Outcome:
    from pizero_ros.digest import file_digest
    from pizero_ros.training.saved import run_folder
    from pizero_ros.training.stop import StopWish

    tokenizer = config.data.tokenizer
    identity: dict[str, Any] = {
        **config.identity(),
        'data_sha256': data.identity,
        'tokenizer_sha256': file_digest(tokenizer) if tokenizer else None,
        'sizes': trainer.policy.architecture.as_mapping(),
    }
    text = arguments.config.read_text(encoding='utf-8')
    options = {'keep': config.keep, 'resume': arguments.resume, 'rank': processes.rank}
    with run_folder(config.out, text, identity, **options) as folder, StopWish() as wish:
        return trainer.run(
            folder,
            until,
            stop=wish,
            on_step=lambda done, loss: display.step(done, until, loss, config.batch),
        )
