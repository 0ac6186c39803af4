"""Real-time chunking: a new chunk is made to agree with what the robot is already set to do.

Guided sampling (arXiv 2506.07339) pulls the sample towards the rest of the executing chunk and
needs nothing of the policy but, for the paper's own form, a third graph. The trained prefix (arXiv
2512.05964) writes the committed steps into the sample at flow time 0 and needs a policy that was
trained with such prefixes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.policy.sampler import Array

    PullBack = Callable[[Array], Array]

Method = Literal['guided', 'jacobian', 'trained_prefix']
Schedule = Literal['zeros', 'ones', 'linear', 'exp']

METHODS: tuple[Method, ...] = ('guided', 'jacobian', 'trained_prefix')
SCHEDULES: tuple[Schedule, ...] = ('zeros', 'ones', 'linear', 'exp')
MAX_WEIGHT = 10.0
"""lerobot's bound of the guidance factor, its number of Euler steps: the first of ten steps then
closes the whole gap. The paper's reference code has 5."""


@dataclass(frozen=True)
class RealTimeChunking:
    """How chunks are made to agree; the defaults are lerobot's.

    Attributes:
        method: ``guided`` takes the Jacobian for the identity, as lerobot does; ``jacobian`` is
            the paper's form, for bundles exported with its graph; ``trained_prefix`` only for a
            policy that was trained with clean prefixes.
        schedule: How the weights of guided sampling decay behind the committed steps.
        max_weight: Largest guidance factor. Above the number of Euler steps, a step leaps over
            its target.
    """

    method: Method = 'guided'
    schedule: Schedule = 'linear'
    max_weight: float = MAX_WEIGHT


class Leftover(Protocol):
    """The rest of the executing chunk, seen from a new observation (``control.leftover``)."""

    @property
    def actions(self) -> npt.NDArray[np.float64]:
        """float64 [N, action width], robot vector; row i belongs to step i of the new chunk."""

    @property
    def delay(self) -> int:
        """Number of steps that are executed whatever the new chunk says."""

    @property
    def end(self) -> int:
        """First step that the new chunk is free to choose."""


def prefix_weights(schedule: Schedule, start: int, end: int, horizon: int) -> Array:
    """Return how strongly each step is held to the leftover.

    Args:
        schedule: ``zeros`` holds the steps before ``start`` only, ``ones`` all before ``end``;
            ``linear`` and ``exp`` decay from one to the other.
        start: First step whose weight is below 1: the delay. At most ``end`` counts.
        end: First step whose weight is 0.
        horizon: Number of steps.

    Returns:
        float32 [horizon], in [0, 1].
    """
    start = min(start, end)
    step = np.arange(horizon)
    if schedule == 'zeros':
        weights = np.where(step < start, 1.0, 0.0)
    elif schedule == 'ones':
        weights = np.ones(horizon)
    else:
        weights = np.clip((start - 1 - step) / (end - start + 1) + 1, 0.0, 1.0)
        if schedule == 'exp':
            weights *= np.expm1(weights) / (math.e - 1)
    return np.where(step < end, weights, 0.0).astype(np.float32)


def guidance_factor(t: float, limit: float) -> float:
    """Return the factor of the correction at one flow time.

    In the paper's τ = 1 - t it is ``min(β, (1-τ) / (τ r²))`` with ``r² = (1-τ)² / (τ² + (1-τ)²)``.

    Args:
        t: Flow time, 1 at noise; above 0.
        limit: The bound β, which is what the first step (τ = 0) gets.
    """
    tau = 1.0 - t
    if tau <= 0.0:
        return limit
    return min(limit, (tau * tau + t * t) / (tau * t))


class PrefixGuidance:
    """A ``StepHook`` that pulls the sample towards a target: ``v ← v - factor·Jᵀ(w·(y - x1))``.

    ``x1 = x - t·v`` is the actions that the present velocity leads to, and J its Jacobian. It is
    taken for the identity unless ``pull_back`` is given: lerobot takes the velocity before it
    starts to differentiate, and users report that this works better (pi0.md section 5.2).
    """

    def __init__(
        self,
        target: Array,
        weights: Array,
        max_weight: float,
        pull_back: PullBack | None = None,
    ) -> None:
        """Allocate the buffers of one chunk; a step allocates nothing.

        Args:
            target: float32 [N, A], model space; step i of the sample is held to row i.
            weights: float32 [H], 0 from step N on.
            max_weight: Bound of the guidance factor.
            pull_back: Multiplies an error [H, A] by Jᵀ at the step's ``x_t`` and ``t``.
        """
        guided = int(np.flatnonzero(weights)[-1]) + 1 if weights.any() else 0
        if guided > len(target):
            msg = f'{guided} steps have a weight and {len(target)} a target'
            raise ValueError(msg)
        self._target = target[:guided]
        self._weights = weights[:guided, None]
        self._max_weight = max_weight
        self._pull_back = pull_back
        self._error = np.zeros((len(weights), target.shape[1]), np.float32)
        self._velocity = np.empty_like(self._error)

    def __call__(self, x_t: Array, velocity: Array, t: Array) -> Array:
        """Return the guided velocity, float32 [H, A]: a buffer that the next step overwrites."""
        time = t[0]
        guided = len(self._target)
        error = self._error[:guided]
        np.multiply(velocity[:guided], time, out=error)
        np.subtract(error, x_t[:guided], out=error)
        np.add(error, self._target, out=error)
        np.multiply(error, self._weights, out=error)
        correction = self._error if self._pull_back is None else self._pull_back(self._error)
        factor = np.float32(guidance_factor(float(time), self._max_weight))
        np.multiply(correction, factor, out=self._velocity)
        np.subtract(velocity, self._velocity, out=self._velocity)
        return self._velocity


def guidance(
    chunking: RealTimeChunking,
    leftover: Leftover,
    target: Array,
    horizon: int,
    pull_back: PullBack | None = None,
) -> PrefixGuidance:
    """Build the hook that holds one chunk to a leftover.

    Args:
        chunking: Schedule and bound.
        leftover: Which steps are held.
        target: float32 [N, A], the leftover's actions in model space.
        horizon: Number of steps of the chunk.
        pull_back: The policy's Jacobian; None for the identity.
    """
    weights = prefix_weights(chunking.schedule, leftover.delay, leftover.end, horizon)
    return PrefixGuidance(target, weights, chunking.max_weight, pull_back)
