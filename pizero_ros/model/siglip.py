"""The SigLIP image tower, named as in openpi's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from pizero_ros.model.keypoints import KeypointEmbeddings

if TYPE_CHECKING:
    from pizero_ros.model.architecture import VisionSizes

_EPS = 1e-6


class _Embeddings(nn.Module):
    """Patches and their places, in float32 whatever the tower's dtype (pi0.md section 1.2)."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch)
        self.position_embedding = nn.Embedding(sizes.tokens, sizes.width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches: torch.Tensor = self.patch_embedding(images.to(self.patch_embedding.weight.dtype))
        return patches.flatten(2).transpose(1, 2) + self.position_embedding.weight


class _SelfAttention(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self._heads = sizes.heads
        self.q_proj = nn.Linear(sizes.width, sizes.width)
        self.k_proj = nn.Linear(sizes.width, sizes.width)
        self.v_proj = nn.Linear(sizes.width, sizes.width)
        self.out_proj = nn.Linear(sizes.width, sizes.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            torch.unflatten(project(x), -1, (self._heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        mixed: torch.Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return mixed


class _Mlp(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.width, sizes.mlp)
        self.fc2 = nn.Linear(sizes.mlp, sizes.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(functional.gelu(self.fc1(x), approximate='tanh'))
        return out


class _Layer(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.width, eps=_EPS)
        self.self_attn = _SelfAttention(sizes)
        self.layer_norm2 = nn.LayerNorm(sizes.width, eps=_EPS)
        self.mlp = _Mlp(sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        out: torch.Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class _Encoder(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _VisionModel(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.embeddings: nn.Module
        if sizes.stem is None:
            self.embeddings = _Embeddings(sizes)
        else:
            self.embeddings = KeypointEmbeddings(sizes.image_size, sizes.stem, sizes.width)
        self.encoder = _Encoder(sizes)
        self.post_layernorm = nn.LayerNorm(sizes.width, eps=_EPS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.embeddings(images).to(self.post_layernorm.weight.dtype)
        out: torch.Tensor = self.post_layernorm(self.encoder(patches))
        return out


class VisionTower(nn.Module):
    """SigLIP without pooling: every patch, or keypoint, becomes a token."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.vision_model = _VisionModel(sizes)

    @property
    def stem(self) -> KeypointEmbeddings | None:
        """What makes keypoints of pictures; None where patches are the tokens."""
        embeddings = self.vision_model.embeddings
        return embeddings if isinstance(embeddings, KeypointEmbeddings) else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images into tokens.

        Args:
            images: float32 [N, 3, H, W] in [-1, 1].

        Returns:
            [N, tokens, width].
        """
        out: torch.Tensor = self.vision_model(images)
        return out


class Projector(nn.Module):
    """Image tokens to the VLM's width; no division by the square root of the width."""

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(vision_width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Project [N, tokens, vision width] to [N, tokens, width]."""
        out: torch.Tensor = self.linear(tokens)
        return out
