"""What the robot is already set to do when a new chunk arrives: the rest of the executing one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.trajectory import step_at

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.policy.chunk import ActionChunk

_ROUNDING = 1e-6
"""Steps. Times are whole nanoseconds, so at 30 Hz whole steps are whole only up to rounding."""


@dataclass(frozen=True)
class Leftover:
    """The rest of the executing chunk on the clock of a new one.

    Attributes:
        actions: float64 [N, action width], robot vector; row i belongs to step i of the new
            chunk. N is at most the horizon.
        delay: Number of steps that are executed whatever the new chunk says.
        end: First step that the new chunk is free to choose, at least ``delay``.
    """

    actions: npt.NDArray[np.float64]
    delay: int
    end: int


@dataclass(frozen=True)
class Commitment:
    """What is known when an inference is asked for, before its observation is taken.

    Attributes:
        chunk: The executing chunk, in robot and model space, as the policy gave it: what the
            fade of its seam and the safety gate have changed since is not in it.
        takeover_ns: When the first step of the new chunk is expected to be due: arrival and lead.
        executed_steps: Steps executed per inference.
        same_task: Whether the rest of the plan still matters; after a new prompt only the steps
            before the takeover do.
    """

    chunk: ActionChunk
    takeover_ns: int
    executed_steps: int
    same_task: bool = True

    def leftover(self, observed_ns: int) -> Leftover | None:
        """Return the rest of the executing chunk as seen from a new observation.

        All of its steps count, also those that were not published: the plan is what is to be
        continued.

        Returns:
            The leftover; None if the observation is older than the executing chunk's, or later
            than its last action.
        """
        chunk = self.chunk
        if observed_ns < chunk.observed_ns:
            return None
        actions = actions_at(chunk, observed_ns, chunk.horizon)
        count = len(actions)
        if not count:
            return None
        due = step_at(observed_ns, chunk.rate_hz, self.takeover_ns - 1) + 1
        delay = min(max(due, 0), count)
        # The papers' e = H - s; where more steps than s were executed, less is left.
        end = min(chunk.horizon - self.executed_steps, count) if self.same_task else delay
        return Leftover(actions, delay, max(end, delay))


def actions_at(chunk: ActionChunk, start_ns: int, horizon: int) -> npt.NDArray[np.float64]:
    """Sample a chunk on the grid of one that starts at another time.

    Observations do not come on the older chunk's grid (cameras have rates of their own), so
    actions are interpolated, as a controller does between waypoints. Before the first action of
    a chunk that started from rest, the first one counts.

    Args:
        chunk: The chunk.
        start_ns: Time of the first sample.
        horizon: Largest number of samples.

    Returns:
        float64 [N, action width], robot vector: the samples up to the chunk's last action.
    """
    passed = (start_ns - chunk.start_ns) * chunk.rate_hz * 1e-9
    last = chunk.horizon - 1
    count = min(max(math.floor(last - passed + _ROUNDING) + 1, 0), horizon)
    at = np.clip(passed + np.arange(count), 0.0, last)
    before = np.floor(at).astype(np.intp)
    after = np.minimum(before + 1, last)
    fraction = (at - before)[:, None]
    moved = chunk.actions[after] - chunk.actions[before]
    sampled: npt.NDArray[np.float64] = chunk.actions[before] + fraction * moved
    return sampled
