"""An image stem that says where things are: a small convolutional net that ends in keypoints.

Patches of a small transformer learn from actions alone where things are only with far more data
than a modest machine goes through; the expected place under a softmax is a coordinate from the
first step on (Finn et al., "Deep Spatial Autoencoders", 2016).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from pizero_ros.model.architecture import StemSizes


class KeypointEmbeddings(nn.Module):
    """Pictures to one token for each keypoint: where it is, how sure that is, what is there."""

    def __init__(self, image_size: int, sizes: StemSizes, width: int) -> None:
        super().__init__()
        channels = (3, *sizes.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(few, many, 3, stride=2 if number < sizes.halved else 1, padding=1)
            for number, (few, many) in enumerate(itertools.pairwise(channels))
        )
        # Over the whole picture: what differs from the rest of it stands out from the first step.
        self.norms = nn.ModuleList(nn.GroupNorm(1, many) for many in sizes.channels)
        self.heat = nn.Conv2d(channels[-1], sizes.keypoints, 1)
        self.place = nn.Linear(sizes.place, width)
        self.appearance = nn.Linear(channels[-1], width, bias=False)
        self.keypoint_embedding = nn.Embedding(sizes.keypoints, width)
        side = image_size
        for _ in range(sizes.halved):
            side = (side + 1) // 2
        self._side, self._waves = side, [math.pi * 2.0**each for each in range(sizes.octaves)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turn float32 [N, 3, H, W] in [-1, 1] into [N, keypoints, width]."""
        x = images.to(self.heat.weight.dtype)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.relu(norm(convolution(x)))
        heat = self.heat(x).flatten(2)
        share = heat.float().softmax(-1)
        along = torch.arange(self._side, dtype=torch.float32, device=x.device)
        along = along * (2.0 / self._side) + (1.0 / self._side - 1.0)
        rows = torch.unflatten(share, -1, (self._side, -1))
        # No matrix products: autocast would round places to bfloat16.
        across = (rows.sum(2) * along).sum(-1)
        down = (rows.sum(3) * along).sum(-1)
        sure = share.square().sum(-1).log()
        place = [sure]
        for axis in (across, down):
            place.append(axis)
            for wave in self._waves:
                place += [(axis * wave).sin(), (axis * wave).cos()]
        at = torch.stack(place, dim=-1).to(x.dtype)
        what = share.to(x.dtype) @ x.flatten(2).transpose(1, 2)
        token: torch.Tensor = self.place(at) + self.appearance(what)
        return token + self.keypoint_embedding.weight
