"""What ``pizero train`` says at its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.output import console, write_json

if TYPE_CHECKING:
    import argparse

    from pizero_ros.training.config import TrainingConfig
    from pizero_ros.training.data import TrainingData
    from pizero_ros.training.grounding_data import GroundingData
    from pizero_ros.training.trainer import Outcome, Trainer


def report(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    data: TrainingData | GroundingData,
    trainer: Trainer,
    outcome: Outcome | None,
    loss: float,
    seconds: float,
) -> None:
    """Say what was learned from what, and how to go on.

    Args:
        arguments: The command line.
        config: The run.
        data: What it learned from.
        trainer: What learned.
        outcome: How it ended; None at a dry run.
        loss: Of the last step, or NaN where none was made.
        seconds: How long all of it took.
    """
    learn, total = trainer.counts
    checkpoint = outcome.checkpoint if outcome else None
    pairs, held_out = data.summary()
    result: dict[str, Any] = {
        'out': str(config.out),
        'dry_run': arguments.dry_run,
        'steps': outcome.steps if outcome else 0,
        'stopped': bool(outcome and outcome.stopped),
        'loss': None if math.isnan(loss) else loss,
        'validation': outcome.validation if outcome else None,
        'measures': dict(outcome.measures) if outcome else {},
        'checkpoint': None if checkpoint is None else str(checkpoint),
        'values': {'learning': learn, 'all': total},
        'pairs': pairs,
        'held_out': held_out,
        'seconds': round(seconds, 3),
    }
    write_json(arguments.json, result)
    for pair in pairs:
        counts = ', '.join(f'{value} {what}' for what, value in pair.items() if what != 'name')
        line = f'{pair["name"]}: {counts}'
        console.print(line, markup=False, soft_wrap=True)
    console.print(f'{learn / 1e6:.2f} of {total / 1e6:.2f} million values learn')
    if outcome is None:
        console.print(f'dry run: loss of the first batch {loss:.4f}; nothing was written')
        return
    figures = '' if math.isnan(loss) else f', loss {loss:.4f}'
    if outcome.validation is not None:
        figures += f', held out {outcome.validation:.4f}'
    figures += ''.join(f', {name} {value:.1%}' for name, value in outcome.measures.items())
    verb = 'stopped' if outcome.stopped else 'done'
    console.print(
        f'{verb} after step {outcome.steps} of {config.steps}{figures}; {checkpoint}',
        markup=False,
        soft_wrap=True,
    )
    if outcome.steps < config.steps:
        console.print('go on with --resume')
