"""What the trainer eats: a batch in model space, from a source that is a function of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pizero_ros.model.pi0 import Conditioning

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class Batch(NamedTuple):
    """Samples in model space, on the CPU.

    Attributes:
        seen: Images, prompt and state; B samples.
        actions: float32 [B, H, A], normalised and zero-padded.
        valid: bool [B, H], False where the recording had ended and its last action is repeated.
        samples: Name of each sample (recording and moment) for messages; may be empty.
    """

    seen: Conditioning
    actions: torch.Tensor
    valid: torch.Tensor
    samples: Sequence[str] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on ``device``."""
        seen = Conditioning(
            images=self.seen.images.to(device),
            tokens=self.seen.tokens.to(device),
            state=self.seen.state.to(device),
            camera_mask=_moved(self.seen.camera_mask, device),
            token_mask=_moved(self.seen.token_mask, device),
        )
        return self._replace(
            seen=seen, actions=self.actions.to(device), valid=self.valid.to(device)
        )


class BatchSource(Protocol):
    """Where batches come from; called by one thread at a time."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """Return one process's part of a step's batch.

        A pure function of its arguments: a run that was killed asks for its steps again and has
        to see the same samples. Joined in the order of ranks, the parts are the same samples
        whatever ``world`` is, and all are of one size.

        Args:
            step: Step, from 0.
            rank: This process, from 0.
            world: Number of processes.
        """
        ...


def _moved(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(device)
