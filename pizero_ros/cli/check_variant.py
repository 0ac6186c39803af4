"""Holds the graphs that run here against the bundle's reference on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.policy.manifest import REFERENCE
from pizero_ros.policy.memory import require_memory
from pizero_ros.policy.runtime import Policy
from pizero_ros.processing.model_inputs import ModelInputs

if TYPE_CHECKING:
    from pizero_ros.policy.bundle import Bundle

_SEED = 11


@dataclass(frozen=True)
class Agreement:
    """How far graphs are from the reference.

    Attributes:
        largest: Largest difference of a sampled action, in normalised units.
        tolerance: What it must stay below.
    """

    largest: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether it does; not for a number that is none."""
        return self.largest < self.tolerance


def agreement(bundle: Bundle, policy: Policy) -> Agreement | None:
    """Compare what runs with the reference, on the hardware at hand.

    A bundle's proof was made where it was exported, on a CPU; what a GPU computes is known only
    here. All cameras and the longest prompt, then one camera and the shortest.

    Args:
        bundle: The bundle.
        policy: What was loaded from it.

    Returns:
        The comparison, None where the reference itself runs on the CPU.

    Raises:
        PizeroError: There is no memory for the reference beside it.
    """
    if policy.variant == REFERENCE and policy.provider == 'cpu':
        return None
    require_memory(bundle.path)
    reference = Policy.load(bundle, 'cpu', variant=REFERENCE)
    proof = bundle.parity
    if policy.variant != REFERENCE:
        proof = proof['variants'][policy.variant]
    model = bundle.manifest.model
    rng = np.random.default_rng(_SEED)
    largest = []
    for cameras, words in ((len(model.slots), model.prompt.max_tokens), (1, 2)):
        pixels = (cameras, 3, *model.image_size)
        inputs = ModelInputs(
            images=rng.uniform(-1, 1, pixels).astype(np.float32),
            tokens=rng.integers(0, model.vocabulary, words),
            state=rng.standard_normal(model.state_dim, dtype=np.float32),
        )
        noise = rng.standard_normal((model.horizon, model.action_dim), dtype=np.float32)
        ours, exact = (each.infer(inputs, noise).actions for each in (policy, reference))
        largest.append(np.abs(ours - exact).max())
    bound = proof.get('bound', proof['tolerance'])
    return Agreement(float(np.max(largest)), float(bound['sample']))
