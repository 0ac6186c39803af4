"""What a run makes small: the one face of everything that the trainer can train for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import nn

if TYPE_CHECKING:
    import torch

    from pizero_ros.model.pi0 import Pi0


class Terms(NamedTuple):
    """The loss before it is averaged.

    Attributes:
        sums: float32 [B], the loss of a sample, added up over what it is the loss of.
        counts: float32 [B], number of values in each sum.
        hits: float32 [M], how often each measure was met; ``None`` where it was not asked for.
        cases: float32 [M], how often it could have been.
    """

    sums: torch.Tensor
    counts: torch.Tensor
    hits: torch.Tensor | None = None
    cases: torch.Tensor | None = None


class Objective(nn.Module, ABC):
    """A policy with its loss, as one module: what FSDP wraps and an optimizer step runs.

    Attributes:
        policy: What learns.
        loss_name: For the axis of a picture.
        measures: Names of what held-out samples are judged by besides the loss: M shares of hits
            among cases.
    """

    loss_name: ClassVar[str]
    measures: tuple[str, ...] = ()
    policy: Pi0

    def __init__(self, policy: Pi0) -> None:
        """Wrap a policy."""
        super().__init__()
        self.policy = policy

    @abstractmethod
    def unreached(self) -> set[str]:
        """Name the weights on which the loss does not depend."""

    @abstractmethod
    def draw(
        self, batch: Any, seed: tuple[int, ...], rank: int, world: int, *, learning: bool
    ) -> Any:
        """Draw what chance decides of one process's part of a batch.

        Args:
            batch: The part, as its source gave it.
            seed: Numbers that name the whole batch: a draw depends on nothing else.
            rank: Number of this process.
            world: Number of processes, whose parts are of one size.
            learning: False at a look at held-out samples.

        Returns:
            What a call takes.
        """

    @abstractmethod
    def forward(self, batch: Any, draw: Any, *, judged: bool = False) -> Terms:
        """Compute the loss of the samples, and the measures where ``judged``."""
