"""Flow matching: times, noise and clean prefixes, drawn as a function of seed and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.batch import Batch

_ALPHA = 1.5
_SCALE, _SHIFT = 0.999, 0.001
"""t = Beta(1.5, 1) · 0.999 + 0.001 (openpi, models/pi0.py:197; reference/pi0.md section 2). In the
paper's τ = 1 − t that is the shifted beta with s = 0.999: τ never passes s, and noisy times are
the frequent ones."""

_NOISE, _TIME, _DELAY = range(3)


class Draw(NamedTuple):
    """What chance decides of one step.

    Attributes:
        noise: float32 [B, H, A], standard normal, padded values included.
        t: float32 [B, H], flow time of each action; 1 is noise, 0 the action.
        learn: bool [B, H], False at actions that are given clean.
    """

    noise: torch.Tensor
    t: torch.Tensor
    learn: torch.Tensor

    def to(self, device: torch.device) -> Draw:
        """Return the draw on ``device``."""
        return Draw(*(each.to(device) for each in self))


class Terms(NamedTuple):
    """The loss before it is averaged.

    Attributes:
        sums: float32 [B], squared errors of a sample, added up.
        counts: float32 [B], number of values in each sum.
    """

    sums: torch.Tensor
    counts: torch.Tensor


def flow_times(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw flow times from openpi's shifted beta.

    Args:
        count: How many.
        generator: Source of chance, on the CPU.

    Returns:
        float32 [count], from 0.001 (nearly the action) to 1 (noise), 0.6004 on average.
    """
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    # The distribution function of Beta(a, 1) is x ** a, so its inverse draws exactly; torch's own
    # Beta takes no generator.
    return (uniform.pow(1.0 / _ALPHA) * _SCALE + _SHIFT).float()


def draw_flow(
    seed: tuple[int, ...], shape: tuple[int, int, int], part: slice, max_delay: int = 0
) -> Draw:
    """Draw what one process needs of a batch.

    The whole batch is drawn and a part of it taken, so that a sample's noise does not depend on
    the number of processes; and nothing is drawn from a global generator, so that a run that goes
    on needs no generator's state.

    Args:
        seed: Numbers that name the batch: seed of the run, purpose, step.
        shape: Samples in the whole batch, actions, values per action.
        part: Samples of this process.
        max_delay: Training-time real-time chunking (pi0.md section 5.3): the first d actions are
            given clean, d uniform from 0 to this; 0 is plain flow matching.

    Returns:
        The draw for ``part``, on the CPU.
    """
    total, horizon, _ = shape
    noise = torch.randn(shape, generator=_generator(seed, _NOISE))[part]
    times = flow_times(total, _generator(seed, _TIME))[part, None].expand(-1, horizon)
    delays = torch.randint(max_delay + 1, (total, 1), generator=_generator(seed, _DELAY))[part]
    learn = torch.arange(horizon)[None] >= delays
    return Draw(noise, torch.where(learn, times, 0.0), learn)


class FlowMatching(nn.Module):
    """A policy with its loss: what DDP and FSDP wrap, and what an optimizer step runs."""

    def __init__(self, policy: Pi0, *, learn_repeated: bool) -> None:
        """Wrap a policy.

        Args:
            policy: The policy.
            learn_repeated: Whether actions that repeat the last one of a recording count, as in
                openpi. A policy that has seen them stays where the demonstration ended.
        """
        super().__init__()
        self.policy = policy
        self._learn_repeated = learn_repeated

    def forward(self, batch: Batch, draw: Draw) -> Terms:
        """Compute the loss of each sample.

        Values that pad the action vector count like the others, as in openpi: the policy learns
        to keep them at zero, because at the robot their noise is part of its input.

        Args:
            batch: Samples on the policy's device.
            draw: Noise and times of those samples, on the same device.

        Returns:
            Sums and counts per sample; their quotient over a batch is the loss.
        """
        losses = self.policy.losses(batch.seen, batch.actions, draw.noise, draw.t)
        learn = draw.learn if self._learn_repeated else draw.learn & batch.valid
        counted = learn[..., None].expand_as(losses)
        sums = torch.where(counted, losses, 0.0).sum(dim=(1, 2))
        return Terms(sums, counted.sum(dim=(1, 2)).to(sums.dtype))


def _generator(seed: tuple[int, ...], stream: int) -> torch.Generator:
    """Give a generator of its own to each purpose, so that one more draw changes no other."""
    word = np.random.SeedSequence([*seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word) & 0x7FFF_FFFF_FFFF_FFFF)
