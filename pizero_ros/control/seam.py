"""Seams: how a new chunk takes over from the trajectory that is being executed.

Two chunks of one policy disagree: each is a sample, made from another observation. Without
alignment the controller makes up for the difference on its way to the first waypoint, two or
three steps. Aligned, the executing trajectory is kept until that waypoint, and the difference
there is faded out over the steps that follow, so the policy's own waypoints are reached a little
later and the command has no corner in between. Measured by ``benchmarks/seams.py``.

Only arm trajectories have seams. Grippers and bases are exempt: a half-closed gripper for half a
second is not smoothness, and a base command is a speed already, ramped by the safety gate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.trajectory import step_at, steps_ns, waypoint_velocities

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.commands import TrajectoryCommand
    from pizero_ros.control.executing import CurrentCommand, ExecutingTrajectory
    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.policy.chunk import ActionChunk


@dataclass(frozen=True, slots=True)
class SeamFade:
    """How long the difference between two chunks is faded out.

    Attributes:
        steps: Steps of the chunk from its first waypoint until the policy's own positions are
            commanded; 0 turns alignment off. With 20 mrad (1 sigma) between chunks, 8 steps
            take the peak speed from 1.9 times the reference's to 1.4 and the jerk to a third,
            and leave at least half of 16 to 25 executed steps to the policy alone. If fewer
            steps are executed than this, a part of the difference is left at the next seam.
    """

    steps: int = 8

    def __post_init__(self) -> None:
        """Refuse a negative number."""
        if self.steps < 0:
            msg = f'a seam fade of {self.steps} steps; expected 0 (off) or more'
            raise ValueError(msg)

    def weights(
        self, elapsed_ns: npt.NDArray[np.int64], rate_hz: float
    ) -> npt.NDArray[np.float64]:
        """Return the share of the difference that is left.

        A raised cosine, because it starts and ends without a corner in the speed. A straight line
        over as many steps has a lower peak speed (1.25 instead of 1.4 times the reference's), but
        1.2 times the jerk, and 1.8 times with waypoint velocities.

        Args:
            elapsed_ns: int64 [N], time since the first waypoint, not negative.
            rate_hz: Action rate.

        Returns:
            float64 [N], from 1 at the first waypoint to 0 after ``steps``.
        """
        if self.steps == 0:
            return np.zeros(len(elapsed_ns))
        progress = np.minimum(elapsed_ns / steps_ns(self.steps, rate_hz), 1.0)
        weights: npt.NDArray[np.float64] = 0.5 + 0.5 * np.cos(np.pi * progress)
        return weights


def faded(
    positions: npt.NDArray[np.float64],
    executing: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    *,
    lower: npt.NDArray[np.float64],
    upper: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Fade out the difference between two trajectories at the first waypoint of the new one.

    Args:
        positions: float64 [N, J], the new one.
        executing: float64 [J], where the executing one is when ``positions[0]`` is due.
        weights: float64 [N], from 1 to 0.
        lower: float64 [J], smallest position; the fade leaves it only where ``positions`` does.
        upper: float64 [J], largest position.

    Returns:
        float64 [N, J].
    """
    moved = positions + weights[:, None] * (executing - positions[0])
    # The difference is a shift: a waypoint at a limit must not be shifted over it.
    clipped: npt.NDArray[np.float64] = np.clip(
        moved, np.minimum(lower, positions), np.maximum(upper, positions)
    )
    return clipped


def align(
    command: TrajectoryCommand,
    chunk: ActionChunk,
    steps: range,
    *,
    values: JointValues,
    executing: ExecutingTrajectory,
    current: CurrentCommand,
    fade: SeamFade,
) -> TrajectoryCommand:
    """Let a new trajectory go on from the executing one, before the safety gate sees it.

    Steps that the lead has cut off, but that are due at least one step after now, come back with
    the positions of the executing trajectory: a controller that loses time at the replacement
    (or a message on its way) makes up for it within the lead, not later. Nearer ones do not,
    because a message that is late would find them in the past and go back.

    A fade could hide a jump from the gate, which compares the first waypoint with the current
    command. So a trajectory whose own first waypoint is further away than ``max_step`` is
    returned as it is, for the gate to refuse; and so is one that only alignment would take
    further away than that, because the fade must not be the reason of a refusal.

    Args:
        command: Built from ``chunk``; ``header.stamp`` is now.
        chunk: The new chunk, for its clock.
        steps: Its steps in ``command``.
        values: Mapping of the group.
        executing: What the group follows.
        current: Its command now.
        fade: The setting.

    Returns:
        The aligned command; the same one if the fade is off or the gate is to judge it.
    """
    if fade.steps == 0:
        return command
    now_ns, rate_hz = command.stamp_ns, chunk.rate_hz
    nearest_ns = now_ns + steps_ns(1, rate_hz)
    kept = range(max(step_at(chunk.start_ns, rate_hz, nearest_ns - 1) + 1, 0), steps.start)
    before_ns = np.array(
        [chunk.start_ns + steps_ns(step, rate_hz) - now_ns for step in kept], np.int64
    )
    first_ns = command.time_from_start_ns[:1]
    ahead = executing.ahead(now_ns + np.concatenate([before_ns, first_ns]), current)
    rest = faded(
        command.positions,
        ahead[-1],
        fade.weights(command.time_from_start_ns - first_ns, rate_hz),
        lower=values.lower,
        upper=values.upper,
    )
    positions = np.concatenate([ahead[:-1], rest])
    for first in (command.positions[0], positions[0]):
        if (np.abs(first - current.positions) > values.max_step).any():
            return command
    times_ns = np.concatenate([before_ns, command.time_from_start_ns])
    velocities = command.velocities
    if velocities is not None:
        velocities = waypoint_velocities(positions, times_ns, current.positions)
    return replace(
        command, positions=positions, velocities=velocities, time_from_start_ns=times_ns
    )
