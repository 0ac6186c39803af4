"""What joint_trajectory_controller refuses, and why (``validate_trajectory_msg``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pizero_ros.control.commands import TrajectoryCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

RejectionReason = Literal[
    'joint_set',
    'no_joint_names',
    'no_points',
    'unknown_joint',
    'nonzero_last_velocity',
    'ends_in_the_past',
    'time_not_increasing',
    'length_mismatch',
    'effort',
    'not_finite',
    'not_modelled',
]
"""``not_finite`` is stricter than the real controller, which passes such numbers on to the
hardware; ``not_modelled`` is what the model cannot do (accelerations, positions left out)."""

_FLOAT32_EPSILON = float(np.finfo(np.float32).eps)
"""A last velocity up to this counts as zero, as in the controller."""


class Rejection(NamedTuple):
    """Why a message was refused: a name for counting and a line for people."""

    reason: RejectionReason
    text: str


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """Parameters of the controller that bear on validation; the defaults are Jazzy's."""

    allow_partial_joints_goal: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False


def validate(
    command: TrajectoryCommand, joints: Sequence[str], now_ns: int, rules: ValidationRules
) -> Rejection | None:
    """Check a trajectory as the controller does, in its order.

    Args:
        command: The trajectory; its arrays need not fit together.
        joints: Joints of the controller.
        now_ns: The controller's clock.
        rules: Its parameters.

    Returns:
        The first fault, None if the controller accepts it.
    """
    names = command.joint_names
    if not rules.allow_partial_joints_goal and len(names) != len(joints):
        return Rejection('joint_set', f'{len(names)} joints, the controller has {len(joints)}')
    if not names:
        return Rejection('no_joint_names', 'no joint names')
    if not len(command.positions) or not len(command.time_from_start_ns):
        return Rejection('no_points', 'empty trajectory; it is not a stop')
    for name in names:
        if name not in joints:
            return Rejection('unknown_joint', f'joint {name} is not one of {tuple(joints)}')
    if len(set(names)) != len(names):
        return Rejection('joint_set', f'a joint is named twice in {names}')
    return _validate_end(command, now_ns, rules) or _validate_points(command)


def command_from_message(message: Any, group: str = '') -> TrajectoryCommand | Rejection:
    """Read a ``trajectory_msgs/JointTrajectory`` (or anything with its fields).

    Args:
        message: The message.
        group: Name given to the command.

    Returns:
        The command, still to be validated, or the fault that keeps it from being one.
    """
    names = tuple(message.joint_names)
    points = message.points
    for number, point in enumerate(points):
        if len(point.effort):
            return Rejection('effort', f'effort at point {number} of a position controller')
        if len(point.positions) != len(names) or len(point.velocities) not in (0, len(names)):
            text = (
                f'{len(names)} joint names, {len(point.positions)} positions and '
                f'{len(point.velocities)} velocities at point {number}'
            )
            return Rejection('length_mismatch', text)
        if len(point.accelerations):
            return Rejection('not_modelled', f'accelerations at point {number}')
    with_velocity = sum(1 for point in points if len(point.velocities))
    if with_velocity not in (0, len(points)):
        return Rejection('not_modelled', 'velocities at some points and not at others')
    shape = (len(points), len(names))
    stamp = message.header.stamp
    return TrajectoryCommand(
        group=group,
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        joint_names=names,
        positions=np.array([point.positions for point in points], np.float64).reshape(shape),
        velocities=(
            np.array([point.velocities for point in points], np.float64).reshape(shape)
            if with_velocity
            else None
        ),
        time_from_start_ns=np.array(
            [
                point.time_from_start.sec * 1_000_000_000 + point.time_from_start.nanosec
                for point in points
            ],
            np.int64,
        ),
    )


def _validate_end(
    command: TrajectoryCommand, now_ns: int, rules: ValidationRules
) -> Rejection | None:
    """Check the last velocity and the last time."""
    if command.velocities is not None and not rules.allow_nonzero_velocity_at_trajectory_end:
        last = np.abs(command.velocities[-1:])
        if (last > _FLOAT32_EPSILON).any():
            text = f'a velocity of {last.max():.4g} at the last point, 0 expected'
            return Rejection('nonzero_last_velocity', text)
    end_ns = command.stamp_ns + int(command.time_from_start_ns[-1])
    if command.stamp_ns != 0 and end_ns < now_ns:
        text = f'ends {(now_ns - end_ns) * 1e-9:.6f} s in the past'
        return Rejection('ends_in_the_past', text)
    return None


def _validate_points(command: TrajectoryCommand) -> Rejection | None:
    """Check times, shapes and numbers of all points."""
    times = command.time_from_start_ns
    increasing = np.diff(times) > 0
    if not increasing.all():
        at = int(np.argmin(increasing))
        text = f'points {at} and {at + 1} are due at {times[at]} and {times[at + 1]} ns'
        return Rejection('time_not_increasing', text)
    shape = (len(times), len(command.joint_names))
    parts = {'positions': command.positions}
    if command.velocities is not None:
        parts['velocities'] = command.velocities
    for name, values in parts.items():
        if values.shape != shape:
            text = f'{name} of shape {values.shape}, {shape} expected'
            return Rejection('length_mismatch', text)
        if not np.isfinite(values).all():
            return Rejection('not_finite', f'{name} that are not finite')
    return None
