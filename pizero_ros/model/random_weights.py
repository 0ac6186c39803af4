"""Random weights for demonstrations and tests: untrained, repeatable, and gentle on a robot."""

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

# A flow with velocity g·x lets its noise shrink by (1 − g/n)^n: to 0.006 in ten steps, 0 in four.
_CONTRACTION = 4.0
_NOISE_GAIN = 3.0
_ANCHOR = 4.0


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
            elif isinstance(module, nn.LayerNorm):
                parameter.fill_(1.0)
            else:
                depth = sizes.vision.depth if 'vision_tower' in full else sizes.vlm.depth
                generator = torch.Generator().manual_seed(
                    (seed * 0x9E3779B1 + zlib.crc32(full.encode())) & 0x7FFF_FFFF_FFFF_FFFF
                )
                parameter.normal_(0.0, _std(full, parameter, depth), generator=generator)
    _let_noise_die_out(model)


def _std(name: str, parameter: torch.Tensor, depth: int) -> float:
    """Standard deviation that keeps the next layer's input near 1."""
    fan_in = parameter[0].numel()
    if name.startswith('action_out_proj'):
        return _HEAD_STD
    writer = name.split('.')[-2] in _RESIDUAL_WRITERS
    return float((fan_in * (2 * depth if writer else 1)) ** -0.5)


def _let_noise_die_out(model: Pi0) -> None:
    """Carry each action value through the expert on a channel of its own and damp it.

    With a merely small output head the sampled actions would be the noise itself: white, with
    standard deviation 1. Here swish(z) − swish(−z) = z makes the entry linear on the first
    channels, a large constant on the other channels keeps the final norm's divisor steady, and
    the head reads the channels back. What the layers add to a channel, from images, prompt and
    state, becomes the action.
    """
    width = model.architecture.expert.width
    half = width // 2
    count = min(model.architecture.action_dim, half)
    channel = torch.arange(count)
    enter, mix, leave = model.action_in_proj, model.action_time_mlp_in, model.action_time_mlp_out
    enter.weight[channel] = 0.0
    enter.weight[channel, channel] = 1.0
    mix.weight[channel] = 0.0
    mix.weight[channel, channel] = 1.0
    mix.weight[channel + half] = -mix.weight[channel]
    leave.weight[channel] = 0.0
    leave.weight[channel, channel] = _NOISE_GAIN
    leave.weight[channel, channel + half] = -_NOISE_GAIN
    leave.bias[count:] = _ANCHOR
    leave.bias[count::2] = -_ANCHOR
    head = model.action_out_proj
    head.weight[channel] = 0.0
    head.weight[channel, channel] = _CONTRACTION * _ANCHOR / _NOISE_GAIN
