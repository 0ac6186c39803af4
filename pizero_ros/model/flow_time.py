"""Flow time: the exact Euler grid and the embedding of t, where t = 1 is noise and 0 the action.

The paper writes τ = 1 − t.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def euler_grid(steps: int) -> Iterator[float]:
    """Give the flow times at which the velocity is asked, k / steps from 1 down to 1 / steps.

    Every time is computed from its own k: adding up −1/steps drifts by 1e-7, which the shortest
    period of the embedding turns into a phase error of 1.5e-4.

    Args:
        steps: Euler steps, at least 1.

    Yields:
        t, to be rounded to float32 once.
    """
    if steps < 1:
        msg = f'{steps} Euler steps'
        raise ValueError(msg)
    for k in range(steps, 0, -1):
        yield k / steps


def embed_time(t: torch.Tensor, width: int, min_period: float, max_period: float) -> torch.Tensor:
    """Embed flow times as sines and cosines, with the phase in float64.

    Args:
        t: float32 [B, H], the flow time of each action token.
        width: Even width of the embedding.
        min_period: Shortest period.
        max_period: Longest period.

    Returns:
        float32 [B, H, width], sines then cosines.
    """
    # Evaluated here in Python, so that an export sees one constant and only t is a graph input.
    half = width // 2
    ratio = max_period / min_period
    frequencies = [1.0 / (min_period * ratio ** (i / max(half - 1, 1))) for i in range(half)]
    turns = t.double()[..., None] * torch.tensor(frequencies, dtype=torch.float64, device=t.device)
    # Whole turns go in float64; what is left fits float32, and sines of doubles are not in every
    # ONNX Runtime (1.23, the last for Python 3.10, has none).
    angle = ((turns - turns.round()) * (2.0 * math.pi)).float()
    return torch.cat((angle.sin(), angle.cos()), dim=-1)
