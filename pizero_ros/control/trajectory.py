"""The publishing rule: which waypoints of a chunk are sent, and when they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.commands import TrajectoryCommand

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.policy.chunk import ActionChunk


def steps_ns(steps: int, rate_hz: float) -> int:
    """Return how long a number of steps lasts, in ns, rounded to the nearest."""
    return round(steps * 1e9 / rate_hz)


def step_at(start_ns: int, rate_hz: float, time_ns: int) -> int:
    """Return the last step that is due at or before a time; negative before the start.

    The rounding is that of the waypoints themselves, so a time that equals a waypoint's time
    gives that waypoint at every rate.
    """
    elapsed_ns = time_ns - start_ns
    step = int(np.floor(elapsed_ns * rate_hz / 1e9)) + 1
    while steps_ns(step, rate_hz) > elapsed_ns:
        step -= 1
    return step


def trim(chunk: ActionChunk, now_ns: int, *, lead_steps: int, limit: int) -> range:
    """Select the steps of a chunk that may still be published.

    Step k is due at ``start_ns + round(k * 1e9 / rate)``. Steps due before ``now`` plus the
    lead are dropped, as are steps due exactly now (a controller jumps to a point with
    ``time_from_start`` 0), and at most ``limit`` are kept. A rest shorter than one step counts as
    nothing, because a controller refuses a message whose last point has passed on its way.

    Args:
        chunk: The chunk; only its clock and its horizon are read.
        now_ns: When it is published.
        lead_steps: How far after now the first kept step lies at least, in steps.
        limit: Largest number of steps kept.

    Returns:
        The kept steps, an empty range if the chunk came too late.
    """
    earliest_ns = now_ns + max(steps_ns(lead_steps, chunk.rate_hz), 1)
    first = max(step_at(chunk.start_ns, chunk.rate_hz, earliest_ns - 1) + 1, 0)
    shortest_end_ns = now_ns + steps_ns(1, chunk.rate_hz) - chunk.start_ns
    if steps_ns(first + limit - 1, chunk.rate_hz) < shortest_end_ns:
        first += 1  # a single step without lead: the next one
    stop = min(first + limit, chunk.horizon)
    if stop <= first or steps_ns(stop - 1, chunk.rate_hz) < shortest_end_ns:
        return range(0)
    return range(first, stop)


def build(
    values: JointValues,
    chunk: ActionChunk,
    steps: range,
    now_ns: int,
    *,
    current: npt.NDArray[np.float64],
) -> TrajectoryCommand:
    """Turn the kept steps of a chunk into one group's trajectory.

    Args:
        values: Mapping of the group.
        chunk: The chunk.
        steps: What ``trim`` kept; not empty.
        now_ns: Becomes ``header.stamp``; ``time_from_start`` counts from it.
        current: float64 [J], position commanded at ``now_ns``, for the first velocity.

    Returns:
        The command, with velocities if the group asks for them.
    """
    if not steps:
        msg = 'a trajectory needs at least one waypoint'
        raise ValueError(msg)
    due_ns = np.rint(np.arange(steps.start, steps.stop) * 1e9 / chunk.rate_hz).astype(np.int64)
    due_ns += chunk.start_ns - now_ns
    positions = values.raw(chunk.actions[steps.start : steps.stop])
    return TrajectoryCommand(
        group=values.group.name,
        stamp_ns=now_ns,
        joint_names=values.names,
        positions=positions,
        velocities=(
            waypoint_velocities(positions, due_ns, current) if values.group.velocities else None
        ),
        time_from_start_ns=due_ns,
    )


def changes(
    values: npt.NDArray[np.float64], start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the change to each row from the one before: ``np.diff`` in a fifth of its time.

    Args:
        values: float64 [N, J], N at least 1.
        start: float64 [J], what was before the first row.

    Returns:
        float64 [N, J].
    """
    changed = np.empty_like(values)
    np.subtract(values[0], start, out=changed[0])
    np.subtract(values[1:], values[:-1], out=changed[1:])
    return changed


def durations_s(time_from_start_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how long the step to each waypoint (int64 [N]) takes, float64 [N, 1], seconds."""
    step_ns = time_from_start_ns.copy()
    step_ns[1:] -= time_from_start_ns[:-1]
    seconds: npt.NDArray[np.float64] = step_ns[:, None] * 1e-9
    return seconds


def waypoint_velocities(
    positions: npt.NDArray[np.float64],
    time_from_start_ns: npt.NDArray[np.int64],
    current: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Give each waypoint a velocity by central differences; the last one is zero.

    Where a joint turns round the velocity is zero, and elsewhere it is at most three times the
    flatter neighbouring slope (Fritsch and Carlson 1980). The controller's cubic then never
    leaves the range of its two waypoints, so that a position clamped at a limit is not overshot.

    Args:
        positions: float64 [N, J].
        time_from_start_ns: int64 [N], strictly increasing, above 0.
        current: float64 [J], position at time 0.

    Returns:
        float64 [N, J], per second.
    """
    step_s = durations_s(time_from_start_ns)
    moved = changes(positions, current)
    slope = moved / step_s
    before, after = slope[:-1], slope[1:]
    central = (moved[:-1] + moved[1:]) / (step_s[:-1] + step_s[1:])
    bound = 3.0 * np.minimum(np.abs(before), np.abs(after))
    velocities = np.zeros_like(positions)
    velocities[:-1] = np.where(before * after > 0.0, np.clip(central, -bound, bound), 0.0)
    return velocities
