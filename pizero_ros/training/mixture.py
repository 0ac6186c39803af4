"""Which samples a training step takes: a mixture of task-robot pairs, without any state."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

EXPONENT = 0.43
"""Weight of a task-robot pair of n samples is n to this (π0 paper, section V.A)."""

_BLOCK = 1 << 16
"""Choices of pairs that are drawn together."""


class Pick(NamedTuple):
    """Sample ``number`` of task-robot pair ``pair``."""

    pair: int
    number: int


class Mixture:
    """Picks samples as a pure function of seed, step, rank and world.

    Pairs are drawn with their weights. Within a pair every sample comes once before one comes
    again, each time round in another order. All is counted over the samples of all processes, so
    that the same samples are picked however many processes share them.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        exponent: float = EXPONENT,
    ) -> None:
        """Prepare.

        Args:
            sizes: Number of samples of each pair.
            batch_size: Samples of a step, of all processes together.
            seed: Of all choices.
            exponent: Of the weights: 1 for all samples alike, 0 for all pairs alike.

        Raises:
            DatasetError: If there is no pair, or an empty one.
        """
        if not sizes or min(sizes) < 1:
            raise DatasetError.at(
                'mixture', 'sizes', found=list(sizes), expected='pairs of at least one sample'
            )
        if batch_size < 1 or seed < 0:
            msg = f'a batch of {batch_size} with seed {seed}'
            raise ValueError(msg)
        self.sizes = tuple(sizes)
        self.batch_size = batch_size
        self.seed = seed
        shares = np.array(sizes, np.float64) ** exponent
        self.weights: npt.NDArray[np.float64] = shares / shares.sum()
        self._edges = np.cumsum(self.weights)[:-1]
        # Caches of pure functions: what is forgotten is computed again.
        self._block = lru_cache(maxsize=4)(self._draw_block)
        self._order = lru_cache(maxsize=2 * len(sizes))(self._draw_order)
        self._drawn = np.zeros((1, len(sizes)), np.int64)

    def picks(self, step: int, rank: int = 0, world: int = 1) -> list[Pick]:
        """Return the samples of one process.

        Args:
            step: Training step, from 0.
            rank: Number of the process.
            world: Number of processes; their picks in the order of ranks are those of one.

        Raises:
            DatasetError: If the batch cannot be shared equally.
        """
        if step < 0 or not 0 <= rank < world:
            msg = f'step {step}, process {rank} of {world}'
            raise ValueError(msg)
        if self.batch_size % world:
            raise DatasetError.at(
                'mixture',
                'batch_size',
                found=self.batch_size,
                expected=f'a multiple of {world}, the number of processes',
            )
        share = self.batch_size // world
        first = step * self.batch_size + rank * share
        return [self._pick(number) for number in range(first, first + share)]

    def _pick(self, number: int) -> Pick:
        """Return the sample that is picked as ``number``-th of the whole training."""
        block, place = divmod(number, _BLOCK)
        pairs, earlier = self._block(block)
        pair = int(pairs[place])
        turn = int(self._before(block)[pair] + earlier[place])
        epoch, position = divmod(turn, self.sizes[pair])
        return Pick(pair, int(self._order(pair, epoch)[position]))

    def _before(self, block: int) -> npt.NDArray[np.int64]:
        """Return how often each pair was drawn before a block, int64 [pairs]."""
        drawn = self._drawn
        if len(drawn) <= block:
            counts = [
                np.bincount(self._pairs(number), minlength=len(self.sizes))
                for number in range(len(drawn) - 1, block)
            ]
            drawn = np.concatenate([drawn, drawn[-1] + np.cumsum(counts, axis=0)])
            self._drawn = drawn
        row: npt.NDArray[np.int64] = drawn[block]
        return row

    def _pairs(self, block: int) -> npt.NDArray[np.int64]:
        shares = np.random.default_rng([self.seed, 0, block]).random(_BLOCK)
        return np.searchsorted(self._edges, shares, side='right')

    def _draw_block(self, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the pairs of a block, and how often each had been drawn in it before."""
        pairs = self._pairs(block)
        earlier = np.empty(_BLOCK, np.int64)
        for pair in range(len(self.sizes)):
            places = np.flatnonzero(pairs == pair)
            earlier[places] = np.arange(len(places))
        return pairs, earlier

    def _draw_order(self, pair: int, epoch: int) -> npt.NDArray[np.int64]:
        """Return the samples of a pair in the order of one time round."""
        rng = np.random.default_rng([self.seed, 1, pair, epoch])
        return rng.permutation(self.sizes[pair])
