"""A policy's weights as openpi's PyTorch code saves them, so that every importer reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pizero_ros.checkpoints.names import EMBEDDING, EXPERT_LM_HEAD, LM_HEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.model.architecture import Architecture


def openpi_tensors(
    weights: Mapping[str, torch.Tensor], architecture: Architecture
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Give the tensors of ``model.safetensors`` and the metadata of that file.

    The token embedding goes by the name of the head that upstream ties to it, and the expert has a
    head for tokens that nobody reads (pi0.md section 4.1).

    Args:
        weights: ``Pi0``'s parameter names → tensors on the CPU.
        architecture: Sizes of the policy.

    Returns:
        Name in the file → tensor, and the metadata.
    """
    tensors = {name: tensor for name, tensor in weights.items() if name != EMBEDDING}
    tensors[LM_HEAD] = weights[EMBEDDING]
    head = (architecture.vocabulary, architecture.expert.width)
    tensors[EXPERT_LM_HEAD] = torch.zeros(head, dtype=torch.float32)
    return tensors, {'format': 'pt', EMBEDDING: LM_HEAD}


def from_openpi(name: str) -> str:
    """Return the name in the file of a policy's parameter."""
    return LM_HEAD if name == EMBEDDING else name
