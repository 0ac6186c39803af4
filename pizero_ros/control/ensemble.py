"""Temporal ensembling: what is executed is the mean of all chunks that speak of the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.leftover import actions_at

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.schedule import Acceptance
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.chunk import ActionChunk

DECAY = 0.01
"""ACT's m (arXiv 2304.13705): the oldest chunk weighs ``exp(0)``, the i-th after it
``exp(-m i)``."""


class Ensemble(Asynchronous):
    """Executes exponentially weighted means over overlapping chunks, by ACT's rule.

    For comparison only: π0's authors found that it hurts, because the mean of two good plans
    (left or right of an obstacle) is often a bad one. Prefer ``rtc`` where chunks disagree.

    Each waypoint of an arriving chunk becomes the mean over that chunk and the earlier ones of
    the same prompt that reach so far. Grippers follow the newest chunk alone: the mean of open
    and closed is neither. Inference is asked for as in ``async``; ACT asks at every step, which
    is ``executed_steps`` 1 here. A hold forgets the earlier chunks.
    """

    mode = 'ensemble'

    def __init__(self, embodiment: Embodiment) -> None:
        super().__init__(embodiment)
        self._arrived: list[ActionChunk] = []
        self._grippers = [
            joint.index
            for group in embodiment.actions
            if group.output == 'gripper'
            for joint in group.joints
        ]

    def accept(self, chunk: ActionChunk, now_ns: int) -> Acceptance:
        """Judge a chunk that has arrived; if accepted, its mean with earlier ones is executed."""
        if self._at_rest or self.starved(now_ns):
            self._arrived.clear()
        acceptance = super().accept(chunk, now_ns)
        if not acceptance.accepted:
            return acceptance
        newest = acceptance.chunk
        self._arrived = [
            earlier
            for earlier in self._arrived
            if earlier.epoch == newest.epoch and _end_ns(earlier) >= newest.start_ns
        ]
        self._arrived.append(newest)
        mean = replace(newest, actions=self._mean(newest))
        self._executing = mean
        return replace(acceptance, chunk=mean)

    def held(self) -> None:
        """Note that nothing is executed any more: a chunk was refused, or the robot stopped."""
        super().held()
        self._arrived.clear()

    def _mean(self, newest: ActionChunk) -> npt.NDArray[np.float64]:
        """Return the weighted means at the waypoints of the newest chunk, float64 [H, W]."""
        total = np.zeros_like(newest.actions)
        weights = np.zeros((newest.horizon, 1))
        for age, chunk in enumerate(self._arrived):
            actions = actions_at(chunk, newest.start_ns, newest.horizon)
            weight = np.exp(-DECAY * age)
            total[: len(actions)] += weight * actions
            weights[: len(actions)] += weight
        mean: npt.NDArray[np.float64] = total / weights
        mean[:, self._grippers] = newest.actions[:, self._grippers]
        return mean


def _end_ns(chunk: ActionChunk) -> int:
    return chunk.start_ns + round((chunk.horizon - 1) * 1e9 / chunk.rate_hz)
