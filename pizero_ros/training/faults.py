"""What went wrong in a step: which samples make a loss that is no number, or too little memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from pizero_ros.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pizero_ros.errors import PizeroError
    from pizero_ros.training.batch import AnyBatch
    from pizero_ros.training.objective import Terms

_MANY = 8


def describe_fault(batch: AnyBatch, terms: Terms) -> list[str]:
    """Name the samples that are at fault.

    Args:
        batch: The batch.
        terms: Its loss.

    Returns:
        One line a sample: those with values that are not finite, else those whose loss is not, as
        long as it is not all of them.
    """
    faults = []
    for name, tensor in batch.numbers().items():
        wrong = ~torch.isfinite(tensor.flatten(1)).all(dim=1)
        faults += [f'{_name(batch, i)} has {name} that are not finite' for i in _where(wrong)]
    if not faults:
        wrong = ~torch.isfinite(terms.sums)
        if not wrong.all():
            faults = [f'{_name(batch, i)} has no finite loss' for i in _where(wrong)]
    if len(faults) > _MANY:
        faults = [*faults[:_MANY], f'{len(faults) - _MANY} more']
    return faults


def not_finite(step: int, found: str, causes: Sequence[str]) -> PizeroError:
    """Build the error of a step whose loss or gradient is no number.

    Args:
        step: The step, from 0.
        found: What is not finite.
        causes: What ``describe_fault`` says, of all processes.
    """
    remedy = 'Take these recordings out, or look at what is in them.'
    if not causes:
        remedy = 'No sample is at fault: lower optimizer.learning_rate, or use precision float32.'
    return TrainingError.at(
        f'step {step}',
        '; '.join(causes),
        found=found,
        expected='a finite number',
        remedy=f'The checkpoints are as they were. {remedy}',
    )


@contextlib.contextmanager
def in_memory(batch: int) -> Iterator[None]:
    """Say what to do where the device has not enough memory for a batch of so many samples."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError.at(
            'batch',
            '',
            found=f'{batch} samples: {str(error).splitlines()[0]}',
            expected='a step that fits into the memory of the device',
            remedy='Take fewer samples a step, precision bfloat16, more processes with torchrun, '
            'or freeze a part of the policy.',
        ) from None


def _where(wrong: torch.Tensor) -> list[int]:
    return [int(i) for i in wrong.nonzero().flatten()]


def _name(batch: AnyBatch, number: int) -> str:
    return batch.samples[number] if number < len(batch.samples) else f'sample {number}'
