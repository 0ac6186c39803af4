"""The exponential moving average of the weights, which is what gets exported."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pizero_ros.training.distributed import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn


class Average:
    """Averages of the weights that learn; each process keeps those of its own shards.

    Attributes:
        tensors: Name → average, of the shape of the weight (or of this process's part of it).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        """Start from the weights as they are.

        Args:
            parameters: Name → weight.
            decay: How much of the average stays at a step (openpi: 0.99); 0 follows the weights.
        """
        self._parameters = parameters
        self._decay = decay
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.tensors = {
            name: local(each).detach().clone() for name, each in parameters.items() if decay
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the weights."""
        if self._decay:
            current = [local(each) for each in self._parameters.values()]
            self._update(list(self.tensors.values()), current, 0)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the policy have the averages for a while: to validate, to save."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, average in self.tensors.items():
            weight = local(self._parameters[name])
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
