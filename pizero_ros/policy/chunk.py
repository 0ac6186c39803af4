"""One chunk of actions and when it belongs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class ActionChunk:
    """A policy's answer to one observation.

    Attributes:
        observed_ns: Stamp of the observation; action k belongs to ``start_ns + k / rate_hz``.
        rate_hz: Action rate.
        actions: float64 [H, action width], robot vector (before an embodiment's joint mapping).
        model_actions: float32 [H, action_dim], what the model returned (normalised, padded).
        durations_s: Phase name → seconds (``preprocess``, ``observe``, ``denoise``, …).
        sequence: Number of the chunk since activation.
        epoch: Prompt and reset generation it was asked for in.
        leftover_steps: Number of steps of the executing chunk that it was made to agree with, 0 if
            it follows from the observation alone.
        shift_ns: How long after the observation action 0 belongs: 0, unless a scheduler found
            the robot at rest and starts the chunk when it has arrived.
    """

    observed_ns: int
    rate_hz: float
    actions: npt.NDArray[np.float64]
    model_actions: npt.NDArray[np.float32]
    durations_s: Mapping[str, float] = field(default_factory=dict)
    sequence: int = 0
    epoch: int = 0
    leftover_steps: int = 0
    shift_ns: int = 0

    @property
    def start_ns(self) -> int:
        """Time of action 0."""
        return self.observed_ns + self.shift_ns

    @property
    def horizon(self) -> int:
        """Number of actions."""
        return len(self.actions)
