"""The Euler sampler of flow matching: from noise at ``t = 1`` to actions at ``t = 0``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float32]

StepHook: TypeAlias = Callable[[Array, Array, Array], 'Array | None']
"""``(x_t [H, A], velocity [H, A], t [H]) -> velocity or None``: None keeps the model's velocity.

Called between the model and the update of every step; what it gets are the live buffers, to be
read and not kept. Guided sampling (real-time chunking) hangs here.
"""


def time_grid(steps: int) -> Array:
    """Return the flow times of the steps: ``n/n, (n-1)/n, … 1/n``, each rounded once.

    The paper's τ is ``1 - t``. Accumulating ``t += dt`` instead drifts by up to 1e-4 in the
    actions after ten steps (pi0.md section 1), because the shortest period of the time embedding
    is 0.004.
    """
    return (np.arange(steps, 0, -1) / steps).astype(np.float32)


def integrate(
    velocity_at: Callable[[], Array],
    x_t: Array,
    t: Array,
    steps: int,
    hook: StepHook | None = None,
    on_step: Callable[[], None] | None = None,
    prefix: Array | None = None,
) -> None:
    """Integrate ``x ← x + dt·v`` with ``dt = -1/steps``, in place and in float32.

    A prefix stays what it is: it is written over the first actions before the first step and
    after each, and their flow time is 0 throughout (real-time chunking with a trained prefix).

    Args:
        velocity_at: Runs one denoise step on the present content of ``x_t`` and ``t``.
        x_t: float32 [H, A], noise before and actions after.
        t: float32 [H], filled with the flow time of each step.
        steps: Number of Euler steps.
        hook: May replace the velocity of a step.
        on_step: Called after each step, for timing.
        prefix: float32 [d, A], the first actions if they are settled.
    """
    dt = np.float32(-1.0 / steps)
    update = np.empty_like(x_t)
    settled = 0 if prefix is None else len(prefix)
    if prefix is not None:
        x_t[:settled] = prefix
    for time in time_grid(steps):
        t.fill(time)
        t[:settled] = 0.0
        velocity = velocity_at()
        if hook is not None:
            replaced = hook(x_t, velocity, t)
            velocity = velocity if replaced is None else replaced
        np.multiply(velocity, dt, out=update)
        np.add(x_t, update, out=x_t)
        if prefix is not None:
            x_t[:settled] = prefix
        if on_step is not None:
            on_step()
