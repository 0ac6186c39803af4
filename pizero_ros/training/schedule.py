"""The learning rate of a step: linear warm-up, then a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pizero_ros.training.config import OptimizerConfig


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Compute what openpi's ``CosineDecaySchedule`` gives (optax' warmup_cosine_decay).

    Args:
        step: Step, from 0.
        config: The optimizer's settings.

    Returns:
        The learning rate: from peak / (warm_up + 1) up, then down to ``decay_to``, where it stays.
    """
    peak, end = config.learning_rate, config.decay_to
    if step < config.warm_up:
        first = peak / (config.warm_up + 1)
        return first + (peak - first) * step / config.warm_up
    progress = min(1.0, (step - config.warm_up) / (config.decay_steps - config.warm_up))
    return end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
