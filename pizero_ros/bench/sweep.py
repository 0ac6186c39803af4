"""Which sizes a sweep over cameras, prompt length or Euler steps visits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from pizero_ros.bench.inputs import Size
    from pizero_ros.processing.spec import ModelSpec

Axis = Literal['cameras', 'tokens', 'steps']
AXES: tuple[str, ...] = get_args(Axis)
"""Without the horizon, which is fixed in the graphs: ``benchmarks/inference_horizon.py``."""

_STEPS = (1, 2, 5, 10, 20)
_PROMPTS = 5


def sweep(axis: str, base: Size, model: ModelSpec) -> tuple[Size, ...]:
    """Return the sizes of one sweep, in order.

    Args:
        axis: One of ``AXES``.
        base: What does not vary.
        model: Limits.
    """
    if axis == 'cameras':
        return tuple(replace(base, cameras=count + 1) for count in range(len(model.slots)))
    if axis == 'tokens':
        longest = model.prompt.max_tokens
        lengths = {max(1, round(longest * part / (_PROMPTS - 1))) for part in range(_PROMPTS)}
        return tuple(replace(base, tokens=length) for length in sorted(lengths))
    return tuple(replace(base, steps=steps) for steps in _STEPS)
