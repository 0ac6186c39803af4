"""What the trainer eats: a batch in model space, from a source that is a function of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from pizero_ros.model.pi0 import Conditioning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt


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
        return self._replace(
            seen=moved(self.seen, device),
            actions=self.actions.to(device),
            valid=self.valid.to(device),
        )

    def numbers(self) -> Mapping[str, torch.Tensor]:
        """Return what has to be finite, by name, each [B, ...]."""
        seen = self.seen
        return {'state': seen.state, 'actions': self.actions, 'images': seen.images}


class AnyBatch(Protocol):
    """What the trainer knows of a batch, whatever is learned from it."""

    @property
    def samples(self) -> Sequence[str]:
        """Name of each sample, for messages; may be empty."""
        ...

    def to(self, device: torch.device) -> AnyBatch:
        """Return the batch with its tensors on ``device``."""
        ...

    def numbers(self) -> Mapping[str, torch.Tensor]:
        """Return what has to be finite, by name, each [B, ...]."""
        ...


class BatchSource(Protocol):
    """Where batches come from; called by one thread at a time."""

    def batch(self, step: int, rank: int, world: int) -> AnyBatch:
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


def moved(seen: Conditioning, device: torch.device) -> Conditioning:
    """Return what a policy acts upon, on ``device``."""
    cameras, words = seen.camera_mask, seen.token_mask
    return Conditioning(
        images=seen.images.to(device),
        tokens=seen.tokens.to(device),
        state=seen.state.to(device),
        camera_mask=None if cameras is None else cameras.to(device),
        token_mask=None if words is None else words.to(device),
    )


def padded(prompts: Sequence[npt.NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Join prompts, as long as the longest: pads are as if left out, and cost as much as words.

    Args:
        prompts: Of B samples, int64 [L] each.

    Returns:
        Tokens, int64 [B, longest], and bool [B, longest], False at pads.
    """
    tokens = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.int64)
    words = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
        words[row, : len(prompt)] = True
    return tokens, words
