"""Flow matching: times, noise and clean prefixes, drawn as a function of seed and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pizero_ros.training.objective import Objective, Terms
from pizero_ros.training.trainable import unreached

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
    """What chance decides of one step: K noisy chunks of each of B samples, side by side.

    Attributes:
        noise: float32 [B * K, H, A], standard normal, padded values included.
        t: float32 [B * K, H], flow time of each action; 1 is noise, 0 the action.
        learn: bool [B * K, H], False at actions that are given clean.
    """

    noise: torch.Tensor
    t: torch.Tensor
    learn: torch.Tensor

    def to(self, device: torch.device) -> Draw:
        """Return the draw on ``device``."""
        return Draw(*(each.to(device) for each in self))


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
    seed: tuple[int, ...],
    shape: tuple[int, int, int],
    part: slice,
    max_delay: int = 0,
    draws: int = 1,
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
        draws: Noisy chunks K of each sample, every one with a time and clean actions of its own.

    Returns:
        The draw for ``part``, on the CPU.
    """
    samples, horizon, width = shape
    total = samples * draws
    start, stop, _ = part.indices(samples)
    rows = slice(start * draws, stop * draws)
    noise = torch.randn((total, horizon, width), generator=_generator(seed, _NOISE))[rows]
    times = flow_times(total, _generator(seed, _TIME))[rows, None].expand(-1, horizon)
    delays = torch.randint(max_delay + 1, (total, 1), generator=_generator(seed, _DELAY))[rows]
    learn = torch.arange(horizon)[None] >= delays
    return Draw(noise, torch.where(learn, times, 0.0), learn)


class FlowMatching(Objective):
    """A policy that learns to act: the ``Objective`` of recordings."""

    loss_name = 'flow-matching loss'

    def __init__(
        self, policy: Pi0, *, learn_repeated: bool, max_delay: int = 0, draws: int = 1
    ) -> None:
        """Wrap a policy.

        Args:
            policy: The policy.
            learn_repeated: Whether actions that repeat the last one of a recording count, as in
                openpi. A policy that has seen them stays where the demonstration ended.
            max_delay: Longest clean prefix while it learns; see ``draw_flow``.
            draws: Noisy chunks of each sample while it learns.
        """
        super().__init__(policy)
        self._learn_repeated = learn_repeated
        self._learnt_with = max_delay, draws

    def unreached(self) -> set[str]:
        """Name the weights on which no action depends."""
        return unreached(self.policy)

    def draw(
        self, batch: Batch, seed: tuple[int, ...], rank: int, world: int, *, learning: bool
    ) -> Draw:
        """Draw noise and times; held-out samples get one whole chunk of noise each."""
        count, horizon, width = batch.actions.shape
        part = slice(rank * count, (rank + 1) * count)
        how = self._learnt_with if learning else (0, 1)
        return draw_flow(seed, (count * world, horizon, width), part, *how)

    def forward(self, batch: Batch, draw: Draw, *, judged: bool = False) -> Terms:
        """Compute the loss of each sample.

        Values that pad the action vector count like the others, as in openpi: the policy learns
        to keep them at zero, because at the robot their noise is part of its input.

        Args:
            batch: Samples on the policy's device.
            draw: Noise and times of those samples, on the CPU or the same device.
            judged: There are no measures but the loss.

        Returns:
            Sums and counts per sample; their quotient over a batch is the loss.
        """
        draw = draw.to(batch.actions.device)
        losses = self._losses(batch, draw)
        valid = batch.valid.repeat_interleave(len(losses) // len(batch.valid), dim=0)
        learn = draw.learn if self._learn_repeated else draw.learn & valid
        counted = learn[..., None].expand_as(losses)
        squares = torch.where(counted, losses, 0.0)
        sums, counts = (
            each.reshape(len(batch.valid), -1).sum(dim=1) for each in (squares, counted)
        )
        return Terms(sums, counts.to(sums.dtype))

    def _losses(self, batch: Batch, draw: Draw) -> torch.Tensor:
        """Compute the loss of each value, [B * K, H, A]; what is seen is computed once."""
        draws = len(draw.t) // len(batch.actions)
        if draws == 1:
            return self.policy.losses(batch.seen, batch.actions, draw.noise, draw.t)
        cache = self.policy.observe(batch.seen)
        if cache.valid is not None:
            cache = cache._replace(valid=cache.valid.repeat_interleave(draws, dim=0))
        actions = batch.actions.repeat_interleave(draws, dim=0)
        share = draw.t[..., None]
        x_t = share * draw.noise + (1.0 - share) * actions
        return (draw.noise - actions - self.policy.denoise(cache, x_t, draw.t)).square()


def _generator(seed: tuple[int, ...], stream: int) -> torch.Generator:
    """Give a generator of its own to each purpose, so that one more draw changes no other."""
    word = np.random.SeedSequence([*seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word) & 0x7FFF_FFFF_FFFF_FFFF)
