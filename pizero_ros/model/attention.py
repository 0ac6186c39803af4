"""Attention of π0's two Gemma stacks: rotary positions, who may see whom, one softmax."""

from __future__ import annotations

import torch
from torch.nn import functional

_ROTARY_BASE = 10_000.0


def visible(groups: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Say which token may attend to which: π0's blockwise causal mask.

    A token sees its own group and the groups before it; an invalid token neither sees nor is
    seen. Groups of π0 are prefix (images and prompt) | state | actions (pi0.md section 1.5).

    Args:
        groups: int64 [T], the group number of each token, not decreasing.
        valid: bool [B, T], False where a camera is absent or a token is a pad.

    Returns:
        bool [B, T (who looks), T (what is seen)].
    """
    order = groups[None, :] <= groups[:, None]
    return order[None] & valid[:, None, :] & valid[:, :, None]


def positions(valid: torch.Tensor) -> torch.Tensor:
    """Number the valid tokens from 0; an invalid token takes no number of its own.

    Args:
        valid: bool [B, T].

    Returns:
        int64 [B, T]; -1 where nothing valid came yet, which is harmless.
    """
    return torch.cumsum(valid.long(), dim=-1) - 1


def rotary_frequencies(head_dim: int) -> tuple[float, ...]:
    """Compute the rotary frequencies in float32, as the checkpoints' own code does.

    Given as Python numbers because an exporter that folds the power itself may be one unit off in
    the last place, which 800 tokens on is an angle 6e-5 off.

    Args:
        head_dim: Width of one head.

    Returns:
        head_dim / 2 frequencies in radians per token, each exactly a float32.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device='cpu') / head_dim
    return tuple((1.0 / _ROTARY_BASE**exponent).tolist())


def rotations(
    position: torch.Tensor, frequencies: tuple[float, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the rotary angles' cosine and sine once for all layers.

    Args:
        position: int64 [B, T].
        frequencies: What ``rotary_frequencies`` returned.

    Returns:
        cos and sin, float32 [B, 1, T, head_dim / 2].
    """
    per_token = torch.tensor(frequencies, dtype=torch.float32, device=position.device)
    radians = position.float()[:, None, :, None] * per_token
    return radians.cos(), radians.sin()


def rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turn queries or keys by their positions, half-split (not interleaved), in float32.

    Args:
        x: [B, heads, T, head_dim].
        rotation: What ``rotations`` returned for the tokens' positions.

    Returns:
        The rotated tensor, in the dtype of ``x``.
    """
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    allowed: torch.Tensor | None,
) -> torch.Tensor:
    """Attend with few key/value heads shared by many query heads, softmax in float32.

    Without ``allowed`` there is no mask at all, not even one of zeros: on a GPU only mask-free
    attention takes the flash kernels, in torch and in the exported graph.

    Args:
        query: [B, heads, T, head_dim], rotated.
        key: [B, kv_heads, P, head_dim], rotated.
        value: [B, kv_heads, P, head_dim].
        allowed: bool [B, T, P], or ``None`` where everything may be seen.

    Returns:
        [B, T, heads * head_dim].
    """
    bias = None
    if allowed is not None:
        # A large finite number, not -inf: rows of pads see nothing at all, and must stay finite
        # because their keys and values are computed (pi0.md section 1.5, the fp16 trap).
        floor = 0.7 * torch.finfo(query.dtype).min
        bias = torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, floor)[:, None]
    seen = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, enable_gqa=query.shape[1] != key.shape[1]
    )
    return seen.transpose(1, 2).flatten(2)
