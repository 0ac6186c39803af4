"""Motion of one control step: towards a goal, no faster and no more suddenly than allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

_BRAKING = 0.6
"""Share of the acceleration with which braking is planned: the rest is for moving goals."""

_GAIN = 5.0
"""Per second: how a goal is approached in the end."""


class Pace(NamedTuple):
    """How fast: speed and acceleration of joints (rad), a base (m), and its turning (rad)."""

    joints: tuple[float, float]
    base: tuple[float, float]
    turning: tuple[float, float]

    def scaled(self, factor: float) -> Pace:
        """Return a slower or faster pace with the same accelerations."""
        return Pace(*((speed * factor, acceleration) for speed, acceleration in self))


PACE = Pace(joints=(0.8, 3.0), base=(0.35, 0.35), turning=(0.5, 0.7))
"""Well within the limits of the simulated robots (2 rad/s, 10 rad/s²; 0.5 m/s, 1 m/s²; 1 rad/s,
2 rad/s²), so that noise and corrections have room."""


def follow(
    position: Array, velocity: Array, goal: Array, limits: tuple[float, float], step_s: float
) -> tuple[Array, Array]:
    """Take one step; all values move together and arrive together.

    Args:
        position: float64 [N].
        velocity: float64 [N], per second.
        goal: float64 [N].
        limits: Largest speed and acceleration of any value.
        step_s: Duration of the step.

    Returns:
        Position and velocity after it, float64 [N] each.
    """
    speed, acceleration = limits
    error = goal - position
    distance = float(np.abs(error).max())
    wanted = np.zeros_like(error)
    if distance > 1e-9:
        fast = min(speed, math.sqrt(2.0 * _BRAKING * acceleration * distance), _GAIN * distance)
        wanted = error * (fast / distance)
    change = wanted - velocity
    largest = float(np.abs(change).max())
    if largest > acceleration * step_s:
        change *= acceleration * step_s / largest
    velocity = velocity + change
    return position + velocity * step_s, velocity


@dataclass(frozen=True)
class BaseMotion:
    """A base: x, y [m] and yaw [rad] in the world, and how they change per second."""

    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def twist(self) -> Array:
        """Velocity in the base's own frame, float64 [3]: m/s, m/s, rad/s."""
        vx, vy, turning = self.velocity
        cos, sin = math.cos(self.pose[2]), math.sin(self.pose[2])
        return np.array([cos * vx + sin * vy, cos * vy - sin * vx, turning])

    def driven(self, goal: Array, heading: float, pace: Pace, step_s: float) -> BaseMotion:
        """Take one step: first the present velocity acts, then it changes.

        Args:
            goal: float64 [2], x and y.
            heading: Yaw to turn to.
            pace: How fast.
            step_s: Duration of the step.
        """
        at = np.array(self.pose) + np.array(self.velocity) * step_s
        velocity = np.array(self.velocity)
        _, linear = follow(at[:2], velocity[:2], goal, pace.base, step_s)
        miss = math.remainder(heading - float(at[2]), 2.0 * math.pi)
        _, turning = follow(np.zeros(1), velocity[2:], np.array([miss]), pace.turning, step_s)
        return BaseMotion(
            (float(at[0]), float(at[1]), float(at[2])),
            (float(linear[0]), float(linear[1]), float(turning[0])),
        )
