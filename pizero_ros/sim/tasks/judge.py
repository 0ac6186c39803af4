"""Judges an episode by the truth: success, progress, and which object and arm it was about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pizero_ros.sim.tasks.task import Step, Task
    from pizero_ros.sim.truth import Truth

TOUCH_M = 0.025
"""Distance of the fingertips from a cube's surface at which it counts as touched."""

TOUCH_HELD_S = 0.1
HOVER_ASIDE_M = 0.04
HOVER_ABOVE_M = (0.06, 0.14)
"""Height over the top of a cube, and horizontal distance from its centre, of a hand over it."""

HOVER_HELD_S = 0.5
DRIVE_M = 0.25
"""Distance of the base from the stand-off point of a post at which it has arrived."""

DRIVE_HELD_S = 0.3
APPROACHED_M = 0.10
"""A hand that comes no nearer to a cube than this, from the side, has not approached it."""

POST_APPROACHED_M = 0.45
"""The same for a base and the stand-off point of a post."""


class Approach(NamedTuple):
    """What was approached: colour of the cube or post, and the arm, ``None`` for the base."""

    colour: str
    arm: str | None


@dataclass(frozen=True)
class Score:
    """How an episode has gone so far.

    Attributes:
        success: Whether every step was done, in order.
        progress: 0 to 1; 1 only with success.
        steps_done: Number of steps done.
        approached: For each step that was begun, what was approached while it was to be done;
            ``None`` if nothing was.
        followed: Whether every step begun went to the right object with the right arm.
        elapsed_s: Time since the beginning.
        done_s: When the last step was done, ``None`` before.
    """

    success: bool
    progress: float
    steps_done: int
    approached: tuple[Approach | None, ...]
    followed: bool
    elapsed_s: float
    done_s: float | None


class Judge:
    """Follows one episode; give it every truth, in order."""

    def __init__(self, task: Task, truth: Truth) -> None:
        """Begin.

        Args:
            task: What the robot was told.
            truth: The state at the beginning.
        """
        self._task = task
        self._began_ns = truth.stamp_ns
        self._done = 0
        self._done_ns: int | None = None
        self._within_ns: int | None = None
        self._approached: list[Approach | None] = []
        self._left_over: Approach | None = None
        self._begin_step(truth)
        self.update(truth)

    def update(self, truth: Truth) -> Score:
        """Take in the next state; return the score so far."""
        self._now_ns = truth.stamp_ns
        if self._done < len(self._task.steps):
            self._look(truth)
        return self.score

    @property
    def score(self) -> Score:
        """The score of the last state."""
        count = len(self._task.steps)
        success = self._done == count
        within = 1.0 if success else min(self._best, 0.99)
        right = [
            found == Approach(step.colour, _arm_of(step, found))
            for step, found in zip(self._task.steps, self._approached, strict=False)
        ]
        return Score(
            success=success,
            progress=1.0 if success else (self._done + within) / count,
            steps_done=self._done,
            approached=tuple(self._approached),
            followed=all(right),
            elapsed_s=(self._now_ns - self._began_ns) / 1e9,
            done_s=None if self._done_ns is None else (self._done_ns - self._began_ns) / 1e9,
        )

    def _begin_step(self, truth: Truth) -> None:
        self._within_ns = None
        self._far = max(_miss(self._task.steps[self._done], truth), 1e-3)
        self._best = 0.0
        self._closest = np.inf
        self._approached.append(None)

    def _look(self, truth: Truth) -> None:
        step = self._task.steps[self._done]
        self._note_approach(step, truth)
        miss = _miss(step, truth)
        self._best = max(self._best, 1.0 - miss / self._far)
        if miss > 0.0:
            self._within_ns = None
            return
        if self._within_ns is None:
            self._within_ns = truth.stamp_ns
        held_s = {'touch': TOUCH_HELD_S, 'hover': HOVER_HELD_S, 'drive': DRIVE_HELD_S}[step.kind]
        # Half a microsecond of slack: stamps are rounded.
        if truth.stamp_ns - self._within_ns < held_s * 1e9 - 500:
            return
        self._approached[-1] = Approach(step.colour, _nearest_arm(step, truth))
        self._left_over = self._approached[-1]
        self._done += 1
        if self._done == len(self._task.steps):
            self._done_ns = truth.stamp_ns
        else:
            self._begin_step(truth)

    def _note_approach(self, step: Step, truth: Truth) -> None:
        """Keep what has come closest; what the step before was about counts once it was left."""
        found = _approaches(step, truth)
        near = {each for each, distance in found.items() if distance < _limit(step)}
        if self._left_over is not None and self._left_over not in near:
            self._left_over = None
        for each in near - {self._left_over}:
            if found[each] < self._closest:
                self._closest, self._approached[-1] = found[each], each


def _arm_of(step: Step, found: Approach | None) -> str | None:
    """Return the arm that a step wants; any will do where it does not say."""
    return step.arm or (found.arm if found else None)


def _limit(step: Step) -> float:
    return POST_APPROACHED_M if step.kind == 'drive' else APPROACHED_M


def _approaches(step: Step, truth: Truth) -> dict[Approach, float]:
    """Return what a step could be about, and how far away it is from the side, m."""
    if step.kind == 'drive':
        assert truth.base is not None
        return {
            Approach(colour, None): float(np.hypot(at[0] - truth.base[0], at[1] - truth.base[1]))
            for colour, at in truth.standoffs.items()
        }
    return {
        Approach(colour, arm): float(
            np.hypot(tip[0] - cube.position[0], tip[1] - cube.position[1])
        )
        for arm, tip in truth.tips.items()
        for colour, cube in truth.cubes.items()
    }


def _miss(step: Step, truth: Truth) -> float:
    """Return how far a step is from being done, m; 0 within its region."""
    if step.kind == 'drive':
        distance = _approaches(step, truth)[Approach(step.colour, None)]
        return max(distance - DRIVE_M, 0.0)
    arms = [step.arm] if step.arm else list(truth.tips)
    return min(_arm_miss(step, truth, arm) for arm in arms)


def _arm_miss(step: Step, truth: Truth, arm: str) -> float:
    cube, tip = truth.cubes[step.colour], truth.tips[arm]
    if step.kind == 'touch':
        if (arm, step.colour) in truth.contacts:
            return 0.0
        return max(cube.distance(tip) - TOUCH_M, 0.0)
    aside = float(np.hypot(tip[0] - cube.position[0], tip[1] - cube.position[1]))
    above = tip[2] - cube.top
    low, high = HOVER_ABOVE_M
    return float(np.hypot(max(aside - HOVER_ASIDE_M, 0.0), max(low - above, above - high, 0.0)))


def _nearest_arm(step: Step, truth: Truth) -> str | None:
    if step.kind == 'drive':
        return None
    return step.arm or min(truth.tips, key=lambda arm: _arm_miss(step, truth, arm))
