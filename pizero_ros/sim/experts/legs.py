"""The legs of a demonstration: where to go next, and when that is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.sim.tasks.task import Step
    from pizero_ros.sim.truth import Truth

    Array = npt.NDArray[np.float64]

TOUCH_ABOVE_M = -0.002
"""A touching hand aims a little below the top of the cube: contact, hardly any force."""

HOVER_ABOVE_M = 0.10
CLOSED_M, OPEN_M = 0.0, 0.03
"""Gripper of a touching and of a hovering hand."""

_CLEAR_M = 0.07
"""Height above a cube's top at which a hand comes from the side."""

_ASIDE_M = (0.02, 0.075)
"""Horizontal distances between which the hand sinks from there to its goal."""

_LOW_M = (0.01, 0.045)
"""Heights above the cubes between which a hand may start to go sideways."""


@dataclass(frozen=True)
class Reach:
    """Bring the fingertips of an arm somewhere, from above.

    Attributes:
        arm: Which arm.
        colour: Of the cube to go to, ``None`` for ``point``.
        above: Height above the cube's top, m.
        point: Where to go in the world, m.
        gripper: Opening on the way, m; ``None`` for the neutral one.
        tolerance: Distance at which it is reached, m.
        hold_s: How long it stays there.
        limit_s: When it is given up for the next leg.
        labelled: Whether a policy shall learn it.
    """

    arm: str
    colour: str | None = None
    above: float = 0.0
    point: tuple[float, float, float] | None = None
    gripper: float | None = None
    tolerance: float = 0.012
    hold_s: float = 0.0
    limit_s: float = 4.0
    labelled: bool = True

    def target(self, truth: Truth) -> Array:
        """Return where the tips are to arrive, float64 [3]."""
        if self.colour is None:
            return np.array(self.point)
        cube = truth.cubes[self.colour]
        return np.array([cube.position[0], cube.position[1], cube.top + self.above])

    def goal(self, tip: Array, truth: Truth) -> Array:
        """Return where the tips are to go from where they are, float64 [3]."""
        target = self.target(truth)
        if self.colour is None:
            return target
        top = truth.cubes[self.colour].top
        clear = max(self.above, _CLEAR_M)
        aside = float(np.hypot(*(target - tip)[:2]))
        target[2] += (top + clear - target[2]) * _smooth(aside, *_ASIDE_M)
        if aside > _ASIDE_M[0]:
            # A hand that is down between the cubes first goes up, or it would push them.
            free = _smooth(float(tip[2]) - top, *_LOW_M)
            target[:2] = tip[:2] + free * (target - tip)[:2]
        return target


@dataclass(frozen=True)
class Pause:
    """Stay where you are."""

    hold_s: float
    labelled: bool = True


@dataclass(frozen=True)
class Drive:
    """Bring the base somewhere, facing a post.

    Attributes:
        colour: Of the post to face.
        point: Where to go instead of its stand-off point, x and y in the world, m.
        tolerance: Distance at which it is reached, m.
        hold_s: How long it stays there.
        limit_s: When it is given up for the next leg.
        labelled: Whether a policy shall learn it.
    """

    colour: str
    point: tuple[float, float] | None = None
    tolerance: float = 0.06
    hold_s: float = 0.0
    limit_s: float = 8.0
    labelled: bool = True

    def target(self, truth: Truth) -> Array:
        """Return where the base is to arrive, float64 [2]."""
        return np.array(truth.standoffs[self.colour] if self.point is None else self.point)


Leg = Reach | Pause | Drive


def legs_of(step: Step, arm: str, *, last: bool) -> Leg:
    """Return what does a step of a task.

    Args:
        step: The step.
        arm: With which arm; nothing for a drive.
        last: Whether it stays there then; else it goes on when the step counts as done.
    """
    if step.kind == 'drive':
        return Drive(step.colour, hold_s=np.inf if last else 0.5, limit_s=np.inf)
    touch = step.kind == 'touch'
    return Reach(
        arm,
        colour=step.colour,
        above=TOUCH_ABOVE_M if touch else HOVER_ABOVE_M,
        gripper=CLOSED_M if touch else OPEN_M,
        hold_s=np.inf if last else 0.35 if touch else 0.75,
        limit_s=np.inf,
    )


def _smooth(value: float, low: float, high: float) -> float:
    """Return 0 up to ``low`` and 1 from ``high`` on, without a kink."""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return share * share * (3.0 - 2.0 * share)
