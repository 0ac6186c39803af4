"""One Gemma stack, named as in openpi's checkpoints; π0 has two that share attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from pizero_ros.model.attention import rotate

if TYPE_CHECKING:
    from pizero_ros.model.architecture import GemmaSizes

Rotation = tuple[torch.Tensor, torch.Tensor]

_EPS = 1e-6


class RmsNorm(nn.Module):
    """Root-mean-square norm in float32; the weight is stored minus one, so 0 means 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last dimension; the result has the dtype of ``x``."""
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _EPS)
        return (wide * scale * (1.0 + self.weight.float())).to(x.dtype)


class _Projections(nn.Module):
    """The four projections of attention; the softmax between them belongs to both stacks."""

    def __init__(self, sizes: GemmaSizes) -> None:
        super().__init__()
        self.head_dim = sizes.head_dim
        self.q_proj = nn.Linear(sizes.width, sizes.heads * sizes.head_dim, bias=False)
        self.k_proj = nn.Linear(sizes.width, sizes.kv_heads * sizes.head_dim, bias=False)
        self.v_proj = nn.Linear(sizes.width, sizes.kv_heads * sizes.head_dim, bias=False)
        self.o_proj = nn.Linear(sizes.heads * sizes.head_dim, sizes.width, bias=False)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, heads * head_dim] to [B, heads, T, head_dim]."""
        return torch.unflatten(x, -1, (-1, self.head_dim)).transpose(1, 2)


class _Mlp(nn.Module):
    def __init__(self, sizes: GemmaSizes) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(sizes.width, sizes.mlp, bias=False)
        self.up_proj = nn.Linear(sizes.width, sizes.mlp, bias=False)
        self.down_proj = nn.Linear(sizes.mlp, sizes.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = functional.gelu(self.gate_proj(x), approximate='tanh')
        out: torch.Tensor = self.down_proj(gate * self.up_proj(x))
        return out


class GemmaLayer(nn.Module):
    """One block, opened into the steps between which the two stacks meet."""

    def __init__(self, sizes: GemmaSizes) -> None:
        super().__init__()
        self.self_attn = _Projections(sizes)
        self.mlp = _Mlp(sizes)
        self.input_layernorm = RmsNorm(sizes.width)
        self.post_attention_layernorm = RmsNorm(sizes.width)

    def normed(self, x: torch.Tensor) -> torch.Tensor:
        """Prepare tokens [B, T, width] for ``query`` and ``key_value``."""
        out: torch.Tensor = self.input_layernorm(x)
        return out

    def query(self, normed: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """Compute rotated queries [B, heads, T, head_dim]."""
        return rotate(self.self_attn.split(self.self_attn.q_proj(normed)), rotation)

    def key_value(
        self, normed: torch.Tensor, rotation: Rotation
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute rotated keys and plain values, each [B, kv_heads, T, head_dim]."""
        attention = self.self_attn
        key = rotate(attention.split(attention.k_proj(normed)), rotation)
        return key, attention.split(attention.v_proj(normed))

    def finish(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Add what attention saw [B, T, heads * head_dim] and the MLP to the tokens ``x``."""
        x = x + self.self_attn.o_proj(seen)
        out: torch.Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Gemma(nn.Module):
    """A stack of blocks with its final norm; ``vocabulary`` 0 leaves the token table out."""

    def __init__(self, sizes: GemmaSizes, vocabulary: int = 0) -> None:
        super().__init__()
        self._scale = sizes.width**0.5
        if vocabulary:
            self.embed_tokens = nn.Embedding(vocabulary, sizes.width)
        self.layers = nn.ModuleList(GemmaLayer(sizes) for _ in range(sizes.depth))
        self.norm = RmsNorm(sizes.width)

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which the tokens of this stack travel."""
        weight = self.blocks[0].self_attn.q_proj.weight
        return weight.dtype

    @property
    def blocks(self) -> list[GemmaLayer]:
        """The layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, GemmaLayer)]

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Look int64 tokens [B, L] up and scale by the square root of the width."""
        out: torch.Tensor = self.embed_tokens(tokens) * self._scale
        return out
