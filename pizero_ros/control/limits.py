"""The way that joints can go: a path followed within limits of position, speed, acceleration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.control.trajectory import changes

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.executing import CurrentCommand
    from pizero_ros.control.joint_values import JointValues

    Array = npt.NDArray[np.float64]


def speeds(positions: Array, step_s: Array, current: CurrentCommand) -> Array:
    """Return the mean speed of each step.

    Args:
        positions: float64 [N, J].
        step_s: float64 [N, 1], duration of the step that ends at each position.
        current: Where the first step starts.

    Returns:
        float64 [N, J], per second.
    """
    moved = changes(positions, current.positions)
    moved /= step_s
    return moved


def change_s(step_s: Array) -> Array:
    """Return the time in which the speed changes from one step to the next: middle to middle.

    The speed before the first waypoint counts one later step back, because the first step may be
    arbitrarily short.

    Args:
        step_s: float64 [N, 1].

    Returns:
        float64 [N, 1].
    """
    before = step_s[1:2] if len(step_s) > 1 else step_s
    middle: Array = (step_s + np.concatenate([before, step_s[:-1]])) / 2.0
    return middle


def follow(values: JointValues, asked: Array, step_s: Array, current: CurrentCommand) -> Array:
    """Follow a path as closely as the limits allow.

    Every step is given the asked step's own speed plus what makes up for being behind, but no
    more of that than can be braked away; then acceleration, speed and position limits are
    applied, the later ones being stronger. The first step goes no further than ``max_step``. A
    path within the limits comes back as it was. A joint that starts outside its position limits
    only moves inwards.

    Args:
        values: Limits of the group; infinite where there is none.
        asked: float64 [N, J], within the position limits.
        step_s: float64 [N, 1], above 0.
        current: Where and how fast the joints are commanded to be at time 0.

    Returns:
        float64 [N, J].
    """
    wanted = speeds(asked, step_s, current)
    durations = step_s[:, 0].tolist()
    changes = change_s(step_s)[:, 0].tolist()
    followed = np.empty_like(asked)
    for joint in range(asked.shape[1]):
        followed[:, joint] = _follow_one(
            _Limits(
                float(values.lower[joint]),
                float(values.upper[joint]),
                float(values.velocity[joint]),
                float(values.acceleration[joint]),
                float(values.max_step[joint]),
            ),
            asked[:, joint].tolist(),
            wanted[:, joint].tolist(),
            durations,
            changes,
            (float(current.positions[joint]), float(current.velocities[joint])),
        )
    return followed


class _Limits(NamedTuple):
    lower: float
    upper: float
    velocity: float
    acceleration: float
    max_step: float


def _follow_one(
    limits: _Limits,
    asked: list[float],
    wanted: list[float],
    durations: list[float],
    changes: list[float],
    start: tuple[float, float],
) -> list[float]:
    """Follow the path of one joint; plain floats, because arrays of six are slower by far."""
    lower, upper, velocity, acceleration, max_step = limits
    position, speed = start
    behind = 0.0
    fastest = min(velocity, max_step / durations[0])
    followed: list[float] = []
    for goal, own, step, change in zip(asked, wanted, durations, changes, strict=True):
        # Most steps are on the path and far from the limits: no square root for these.
        catching_up = 0.0
        if behind:
            catching_up = math.copysign(_stoppable(abs(behind), step, acceleration), behind)
        most = acceleration * change
        speed = min(max(own + catching_up, speed - most), speed + most)
        speed = min(max(speed, -fastest), fastest)
        room = max(upper - position if speed > 0.0 else position - lower, 0.0)
        if room < abs(speed) * step + speed * speed / (2.0 * acceleration):
            bound = min(abs(speed), _stoppable(room, step, acceleration))
            speed = math.copysign(bound, speed)
        # Rounding must not carry a joint over a limit that it was braked for.
        nearest, furthest = min(lower, position), max(upper, position)
        position = min(max(position + speed * step, nearest), furthest)
        followed.append(position)
        behind = goal - position
        fastest = velocity
    return followed


def _stoppable(distance: float, step: float, acceleration: float) -> float:
    """Return the largest speed of a step from which steps like it can stop within a distance.

    With the unit of speed that one step can brake, speed n + f takes the distances n + f,
    n - 1 + f, ... f, in sum (n + 1)(n / 2 + f).
    """
    if acceleration == math.inf or distance == math.inf:
        return distance / step
    unit = acceleration * step
    steps = distance / (unit * step)
    if steps < 1.0:
        return unit * steps
    whole = math.floor((math.sqrt(1.0 + 8.0 * steps) - 1.0) / 2.0)
    return unit * (whole / 2.0 + steps / (whole + 1))
