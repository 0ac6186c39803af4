"""Our values as ROS messages, and back; nothing here converts element by element."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pizero_ros.control.commands import Command, TrajectoryCommand, TwistCommand
from pizero_ros.control.workspace import PlanarPose
from pizero_ros.msg import ActionChunk as ActionChunkMessage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from nav_msgs.msg import Odometry

    from pizero_ros.control.commands import GripperGoal
    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.chunk import ActionChunk

NOTHING = array('d')

QUATERNION_TOLERANCE = 1e-2
"""How far the square of a quaternion's length may be from 1."""

GRIPPER_LEAD_NS = 100_000_000
"""A gripper goal is a step; its controller gets this long to reach it, as a ramp."""


def time_message(stamp_ns: int) -> Time:
    """Return nanoseconds since the epoch as a message."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def doubles(values: npt.NDArray[np.float64]) -> array[float]:
    """Copy floats into the array type that message fields take without checking each element."""
    return array('d', values.tobytes())


def planar_pose(message: Odometry, at_ns: int) -> PlanarPose:
    """Return where an odometry message says that the base was at ``at_ns``.

    The yaw is not a number if the orientation is none, such as one of zeros.
    """
    at, turn = message.pose.pose.position, message.pose.pose.orientation
    yaw = math.atan2(
        2.0 * (turn.w * turn.z + turn.x * turn.y), 1.0 - 2.0 * (turn.y**2 + turn.z**2)
    )
    if abs(turn.w**2 + turn.x**2 + turn.y**2 + turn.z**2 - 1.0) > QUATERNION_TOLERANCE:
        yaw = math.nan
    return PlanarPose(at.x, at.y, yaw, at_ns)


def duration_message(nanoseconds: int) -> Duration:
    """Return a span of time as a message."""
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def trajectory_message(
    command: TrajectoryCommand, points: list[JointTrajectoryPoint] | None = None
) -> JointTrajectory:
    """Return a joint trajectory as a message.

    Args:
        command: The trajectory.
        points: Point messages to fill, kept by the caller from one call to the next and extended
            here: making them anew is three quarters of the cost. The message then holds until
            the next call, which is enough for ``publish``, since that serialises at once.
    """
    points = [] if points is None else points
    points += (JointTrajectoryPoint() for _ in range(len(command) - len(points)))
    message = JointTrajectory(joint_names=list(command.joint_names))
    message.header.stamp = time_message(command.stamp_ns)
    used, velocities = points[: len(command)], command.velocities
    for k, nanoseconds in enumerate(command.time_from_start_ns.tolist()):
        point = used[k]
        point.positions = doubles(command.positions[k])
        point.velocities = NOTHING if velocities is None else doubles(velocities[k])
        start = point.time_from_start
        start.sec, start.nanosec = divmod(nanoseconds, 1_000_000_000)
    message.points = used
    return message


def twist_message(command: TwistCommand, group: ActionGroup) -> Twist | TwistStamped:
    """Return a base command as the wire type that its group names."""
    twist = Twist()
    for axis, value in zip(command.axes, command.values.tolist(), strict=True):
        part, component = axis.split('.')
        setattr(getattr(twist, part), component, value)
    if group.message == 'twist':
        return twist
    stamped = TwistStamped(twist=twist)
    stamped.header.stamp = time_message(command.stamp_ns)
    stamped.header.frame_id = group.frame_id
    return stamped


def gripper_message(goal: GripperGoal, group: ActionGroup) -> JointTrajectory | Float64MultiArray:
    """Return a gripper goal as the wire type that its group names.

    A trajectory gets one point, ``GRIPPER_LEAD_NS`` ahead, and the stamp 0, "start now": a goal is
    sent once, so it must not be refused as past when it was slow on its way.
    """
    if group.message == 'float64_multi_array':
        return Float64MultiArray(data=doubles(goal.positions))
    point = JointTrajectoryPoint(time_from_start=duration_message(GRIPPER_LEAD_NS))
    point.positions = doubles(goal.positions)
    return JointTrajectory(joint_names=list(goal.joint_names), points=[point])


def command_message(
    command: Command, group: ActionGroup, points: list[JointTrajectoryPoint] | None = None
) -> Any:
    """Return any command as the message that its group's controller takes.

    Args:
        command: The command.
        group: Its group.
        points: See ``trajectory_message``.
    """
    if isinstance(command, TrajectoryCommand):
        return trajectory_message(command, points)
    if isinstance(command, TwistCommand):
        return twist_message(command, group)
    return gripper_message(command, group)


def chunk_message(
    chunk: ActionChunk,
    observation: Observation,
    embodiment: Embodiment,
    *,
    now_ns: int,
    sent: bool,
    start_ns: int | None = None,
) -> ActionChunkMessage:
    """Return a whole chunk as the message that is recorded.

    Args:
        chunk: The chunk, in robot space.
        observation: What it answers to.
        embodiment: Whose joints the columns are.
        now_ns: When the observation was taken, node clock.
        sent: Whether controllers were told.
        start_ns: When action 0 is due, None for the chunk's own clock.
    """
    joints = embodiment.action_joints
    message = ActionChunkMessage(
        embodiment=embodiment.name,
        sequence=chunk.sequence,
        epoch=chunk.epoch,
        prompt=observation.prompt,
        rate_hz=chunk.rate_hz,
        horizon=chunk.horizon,
        width=chunk.actions.shape[1],
        group_names=[group.name for group in embodiment.actions],
        group_sizes=array('I', [len(group.joints) for group in embodiment.actions]),
        joint_names=[joint.name for joint in joints],
        joint_indices=array('I', [joint.index for joint in joints]),
        streams=list(observation.stamps_ns),
        stream_stamps=[time_message(stamp) for stamp in observation.stamps_ns.values()],
        leftover_steps=chunk.leftover_steps,
        inference_s=sum(chunk.durations_s.values()),
        newest_age_s=(now_ns - observation.stamp_ns) * 1e-9,
        oldest_age_s=(now_ns - observation.oldest_ns) * 1e-9,
        sent=sent,
    )
    message.header.stamp = time_message(chunk.observed_ns)
    message.start = time_message(chunk.start_ns if start_ns is None else start_ns)
    message.actions = doubles(chunk.actions)
    return message
