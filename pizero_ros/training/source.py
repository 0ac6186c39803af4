"""Pairs, mixture and collation put together: a step becomes a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.training.ahead import Ahead
from pizero_ros.training.mixture import EXPONENT, Mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.training.batch import Batch
    from pizero_ros.training.collate import Collator
    from pizero_ros.training.example import Examples


class ExamplesSource:
    """A ``BatchSource`` over task-robot pairs; may make batches ahead in a thread.

    What it returns depends on the arguments only, whatever was asked before and whether it was
    made ahead.
    """

    def __init__(
        self,
        pairs: Sequence[Examples],
        collate: Collator,
        *,
        batch_size: int,
        seed: int,
        exponent: float = EXPONENT,
        ahead: int = 0,
    ) -> None:
        """Prepare.

        Args:
            pairs: The task-robot pairs.
            collate: Puts samples into batches; knows all their robots.
            batch_size: Samples of a step, of all processes together.
            seed: Of the choice of samples.
            exponent: Of the pairs' weights.
            ahead: Batches that are made while the current one is learnt from; 0 for no thread.

        Raises:
            DatasetError: If there is no pair.
        """
        self.mixture = Mixture(
            [len(examples) for examples in pairs],
            batch_size=batch_size,
            seed=seed,
            exponent=exponent,
        )
        self._pairs = tuple(pairs)
        self._collate = collate
        self._batches = Ahead(self._make, ahead)

    def __enter__(self) -> ExamplesSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread; batches that nobody asked for are dropped."""
        self._batches.close()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Return what process ``rank`` of ``world`` learns from in a step, from 0.

        Raises:
            DatasetError: If a sample cannot be read, or the batch cannot be shared equally.
            PromptError: If a prompt cannot become tokens.
        """
        return self._batches(step, rank, world)

    def _make(self, step: int, rank: int, world: int) -> Batch:
        picks = self.mixture.picks(step, rank, world)
        return self._collate([self._pairs[pick.pair][pick.number] for pick in picks])
