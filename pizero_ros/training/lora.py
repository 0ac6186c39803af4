"""Low-rank updates (LoRA): a frozen matrix learns through two thin ones beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from pizero_ros.errors import TrainingConfigError
from pizero_ros.training.trainable import matching

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.config import LoraConfig

_DOWN, _UP = 'lora_down', 'lora_up'


class LowRankLinear(nn.Linear):
    """A linear layer whose matrix stays as it is; only ``lora_down`` and ``lora_up`` learn.

    The library for this, ``peft``, imports ``transformers``, which this project does without.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, seed: int) -> None:
        """Take over a layer's weights; the update starts at zero.

        Args:
            linear: The layer.
            rank: Width between the two matrices.
            scale: Factor of the update: alpha / rank.
            seed: Of the first matrix.
        """
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = scale
        generator = torch.Generator().manual_seed(seed)
        down = torch.randn(rank, linear.in_features, generator=generator)
        self.lora_down = nn.Parameter(down * linear.in_features**-0.5)
        self.lora_up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the matrix and its update to [..., in]."""
        out = functional.linear(x, self.weight, self.bias)
        update = functional.linear(functional.linear(x, self.lora_down), self.lora_up)
        return out + self.scale * update


def add_lora(policy: Pi0, config: LoraConfig, seed: int, dead: Collection[str]) -> None:
    """Put low-rank updates beside the matrices that the configuration names, and freeze the rest.

    Args:
        policy: The policy, whole and on the CPU; what learns in it besides stays as it is.
        config: Rank, scale and matrices.
        seed: Of the run.
        dead: Names of weights that the loss does not depend on; they get no update.

    Raises:
        TrainingConfigError: A pattern fits nothing, or something that is no linear layer.
    """
    where = 'model.lora.targets'
    targets = matching(dict(policy.named_parameters()), config.targets, where)
    targets -= set(dead)
    for number, name in enumerate(sorted(targets)):
        path, _, kind = name.rpartition('.')
        layer = policy.get_submodule(path)
        if kind != 'weight' or not isinstance(layer, nn.Linear):
            raise TrainingConfigError.at(
                where, '', found=name, expected='weights of linear layers'
            )
        layer.weight.requires_grad_(False)
        parent, _, attribute = path.rpartition('.')
        low_rank = LowRankLinear(layer, config.rank, config.alpha / config.rank, seed + number)
        setattr(policy.get_submodule(parent), attribute, low_rank)


def merged(policy: Pi0, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights as a policy without low-rank updates has them.

    Args:
        policy: The policy.
        tensors: Its parameters by name, whole and on the CPU.

    Returns:
        The same tensors, but for the matrices with an update, which are new, and the updates,
        which are gone.
    """
    plain = {
        name: tensor
        for name, tensor in tensors.items()
        if name.rpartition('.')[2] not in (_DOWN, _UP)
    }
    for path, module in policy.named_modules():
        if isinstance(module, LowRankLinear):
            down, up = tensors[f'{path}.{_DOWN}'], tensors[f'{path}.{_UP}']
            plain[f'{path}.weight'] = tensors[f'{path}.weight'] + module.scale * (up @ down)
    return plain
