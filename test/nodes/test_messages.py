"""Commands and chunks as messages: every number arrives, in the type that the controller takes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from pizero_ros.msg import ActionChunk as ActionChunkMessage
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.validation import command_from_message
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.messages import (
    chunk_message,
    command_message,
    planar_pose,
    time_message,
)
from pizero_ros.observation.intake import odometry_values, stamp_ns
from pizero_ros.observation.observation import Observation
from pizero_ros.policy.chunk import ActionChunk

NOW_NS = 1_700_000_000_123_456_789


def group(embodiment, name):
    return next(g for g in load_embodiment(embodiment).actions if g.name == name)


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


@pytest.mark.parametrize('nanoseconds', [0, 1, 999_999_999, 1_000_000_000, NOW_NS])
def test_time_keeps_every_nanosecond(nanoseconds):
    assert stamp_ns(time_message(nanoseconds)) == nanoseconds


@pytest.mark.parametrize('with_velocities', [True, False])
def test_trajectory_comes_back_as_the_command_it_was(with_velocities):
    positions = np.random.default_rng(0).normal(size=(50, 6))
    command = TrajectoryCommand(
        group='arm',
        stamp_ns=NOW_NS,
        joint_names=tuple(f'joint_{k}' for k in range(1, 7)),
        positions=positions,
        velocities=positions / 3 if with_velocities else None,
        time_from_start_ns=np.arange(1, 51, dtype=np.int64) * 33_333_333,
    )
    message = command_message(command, group('sim_single_arm', 'arm'))
    read = command_from_message(over_the_wire(message), 'arm')
    assert (read.stamp_ns, read.joint_names) == (NOW_NS, command.joint_names)
    np.testing.assert_array_equal(read.positions, positions)
    np.testing.assert_array_equal(read.time_from_start_ns, command.time_from_start_ns)
    if with_velocities:
        np.testing.assert_array_equal(read.velocities, positions / 3)
    else:
        assert read.velocities is None


def test_columns_of_a_sliced_array_stay_in_their_order():
    wide = np.arange(40.0).reshape(4, 10)
    command = TrajectoryCommand(
        'arm', 0, ('a', 'b'), wide[:, ::-4][:, :2], None, np.arange(1, 5, dtype=np.int64)
    )
    message = command_message(command, group('sim_single_arm', 'arm'))
    assert [list(point.positions) for point in message.points] == [
        [9.0, 5.0], [19.0, 15.0], [29.0, 25.0], [39.0, 35.0],
    ]  # fmt: skip


def test_twist_has_the_axes_that_are_named_and_the_type_of_its_group():
    base = group('sim_mobile', 'base')
    command = TwistCommand('base', NOW_NS, ('linear.x', 'angular.z'), np.array([0.3, -0.7]))
    message = command_message(command, base)
    assert isinstance(message, TwistStamped)
    assert (stamp_ns(message.header.stamp), message.header.frame_id) == (NOW_NS, base.frame_id)
    twist = over_the_wire(message).twist
    assert (twist.linear.x, twist.linear.y, twist.angular.z) == (0.3, 0.0, -0.7)


def test_unstamped_twist():
    plain = replace(group('sim_mobile', 'base'), message='twist')
    message = command_message(TwistCommand('base', 1, ('linear.y',), np.array([0.1])), plain)
    assert isinstance(message, Twist)
    assert message.linear.y == 0.1


def test_gripper_goal_as_an_array_and_as_a_one_point_trajectory():
    goal = GripperGoal('gripper', NOW_NS, ('finger',), np.array([0.031]))
    plain = command_message(goal, group('sim_single_arm', 'gripper'))
    assert isinstance(plain, Float64MultiArray)
    assert list(over_the_wire(plain).data) == [0.031]

    timed = command_message(goal, group('sim_dual_arm', 'left_gripper'))
    assert isinstance(timed, JointTrajectory)
    read = command_from_message(over_the_wire(timed))
    assert read.joint_names == ('finger',)
    assert read.positions.tolist() == [[0.031]]
    assert (read.stamp_ns, read.time_from_start_ns.tolist()) == (0, [100_000_000])


def test_odometry_gives_all_axes_by_name():
    message = Odometry()
    twist = message.twist.twist
    twist.linear.x, twist.linear.y, twist.linear.z = 1.0, 2.0, 3.0
    twist.angular.x, twist.angular.y, twist.angular.z = 4.0, 5.0, 6.0
    assert odometry_values(message) == {
        'linear.x': 1.0, 'linear.y': 2.0, 'linear.z': 3.0,
        'angular.x': 4.0, 'angular.y': 5.0, 'angular.z': 6.0,
    }  # fmt: skip


def chunk_of(embodiment):
    actions = np.random.default_rng(1).normal(size=(50, embodiment.action_width))
    return ActionChunk(
        observed_ns=NOW_NS,
        rate_hz=50.0,
        actions=actions,
        model_actions=np.zeros((50, 18), np.float32),
        durations_s={'preprocess': 0.001, 'observe': 0.02, 'denoise': 0.04, 'postprocess': 0.002},
        sequence=7,
        epoch=3,
        leftover_steps=5,
    )


def test_pose_of_a_base_and_an_orientation_that_is_none():
    message = Odometry()
    message.pose.pose.position.x, message.pose.pose.position.y = 1.5, -0.5
    half = 0.3
    message.pose.pose.orientation.z = math.sin(half)
    message.pose.pose.orientation.w = math.cos(half)
    pose = planar_pose(message, 7)
    assert (pose.x, pose.y, pose.stamp_ns) == (1.5, -0.5, 7)
    assert pose.yaw == pytest.approx(0.6)
    message.pose.pose.orientation.z = message.pose.pose.orientation.w = 0.0
    assert math.isnan(planar_pose(message, 7).yaw)


def test_chunk_carries_actions_groups_and_ages():
    embodiment = load_embodiment('sim_mobile')
    chunk = chunk_of(embodiment)
    observation = Observation(
        stamp_ns=NOW_NS,
        oldest_ns=NOW_NS - 30_000_000,
        images={},
        state=np.zeros(18),
        state_mapped=np.ones(18, bool),
        prompt='tidy up',
        stamps_ns={'/joint_states': NOW_NS, '/camera': NOW_NS - 30_000_000},
        ages_s={},
        faults={},
        epoch=0,
    )
    sent = chunk_message(chunk, observation, embodiment, now_ns=NOW_NS + 5_000_000, sent=True)
    message = over_the_wire(sent)
    assert isinstance(message, ActionChunkMessage)
    assert stamp_ns(message.header.stamp) == stamp_ns(message.start) == NOW_NS
    assert (message.sequence, message.epoch, message.prompt) == (7, 3, 'tidy up')
    assert (message.horizon, message.width, message.rate_hz) == (50, 18, 50.0)
    np.testing.assert_array_equal(np.reshape(message.actions, (50, 18)), chunk.actions)
    assert message.group_names == [g.name for g in embodiment.actions]
    assert list(message.group_sizes) == [6, 1, 6, 1, 3, 1]
    assert message.joint_names[message.joint_indices.index(17)] == 'torso_joint'
    assert message.inference_s == pytest.approx(0.063)
    assert message.newest_age_s == pytest.approx(0.005)
    assert message.oldest_age_s == pytest.approx(0.035)
    assert message.streams == ['/joint_states', '/camera']
    stamps = [stamp_ns(each) for each in message.stream_stamps]
    assert stamps == [NOW_NS, NOW_NS - 30_000_000]
    assert message.leftover_steps == 5
    assert message.sent
    start_ns = NOW_NS + 190_000_000
    sent = chunk_message(
        chunk, observation, embodiment, now_ns=NOW_NS, sent=True, start_ns=start_ns
    )
    message = over_the_wire(sent)
    assert (stamp_ns(message.header.stamp), stamp_ns(message.start)) == (NOW_NS, start_ns)
