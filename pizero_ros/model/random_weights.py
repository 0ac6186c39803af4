"""Random weights for demonstrations and tests: untrained and repeatable."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch
from torch import nn

from pizero_ros.model.gemma import RmsNorm

if TYPE_CHECKING:
    from pizero_ros.model.pi0 import Pi0

_RESIDUAL_WRITERS = ('o_proj', 'out_proj', 'down_proj', 'fc2')
_HEAD_STD = 0.02
"""A small head gives a small velocity, so that a sample is nearly the noise it started from: with
``policy.noise.ContinuousNoise`` an untrained policy is a smooth function of time, on which every
mistake in scheduling shows as a seam."""

_HEAT_STD = 1.0
"""So large that a keypoint looks somewhere from the beginning; one that looks everywhere learns
nothing for hundreds of steps."""

_NAME_STD = 1.0
"""As large as what a keypoint sees: which keypoint a token is of matters most."""


@torch.no_grad()
def fill_random(model: Pi0, seed: int) -> None:
    """Set every weight of ``model`` from ``seed``.

    Each tensor has a generator of its own, seeded by its name, so a tensor does not change when
    another is added. Matrices keep variance; those that write to the residual stream are scaled
    down with depth.

    Args:
        model: Policy on the CPU; its weights are overwritten.
        seed: Seed of the weights.
    """
    sizes = model.architecture
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f'{path}.{name}'
            if isinstance(module, RmsNorm) or name == 'bias':
                parameter.zero_()
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
                parameter.fill_(1.0)
            else:
                depth = sizes.vision.depth if 'vision_tower' in full else sizes.vlm.depth
                generator = torch.Generator().manual_seed(
                    (seed * 0x9E3779B1 + zlib.crc32(full.encode())) & 0x7FFF_FFFF_FFFF_FFFF
                )
                parameter.normal_(0.0, _std(full, parameter, depth), generator=generator)


def _std(name: str, parameter: torch.Tensor, depth: int) -> float:
    """Standard deviation that keeps the next layer's input near 1."""
    fan_in = parameter[0].numel()
    if name.startswith('action_out_proj'):
        return _HEAD_STD
    if name.endswith('embeddings.heat.weight'):
        return _HEAT_STD
    if name.endswith('embeddings.keypoint_embedding.weight'):
        return _NAME_STD
    writer = name.split('.')[-2] in _RESIDUAL_WRITERS
    return float((fan_in * (2 * depth if writer else 1)) ** -0.5)
