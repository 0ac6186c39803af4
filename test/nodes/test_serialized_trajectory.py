"""Trajectories written straight to the wire are those that rclpy makes of the message."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2')

from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.nodes.messages import trajectory_message
from pizero_ros.nodes.serialized_trajectory import SerializedTrajectory


def command(names, points, *, velocities):
    generator = np.random.default_rng(points)
    positions = generator.normal(size=(points, len(names)))
    return TrajectoryCommand(
        group='arm',
        stamp_ns=1_700_000_000_999_999_999,
        joint_names=names,
        positions=positions,
        velocities=generator.normal(size=positions.shape) if velocities else None,
        time_from_start_ns=np.arange(1, points + 1, dtype=np.int64) * 333_333_333,
    )


@pytest.mark.parametrize('velocities', [True, False])
@pytest.mark.parametrize('joints', [1, 2, 7, 18])
def test_every_alignment_of_the_names_arrives_as_the_message_would(joints, velocities):
    for length in range(1, 9):
        names = tuple('j' * (length + k % 3) for k in range(joints))
        write = SerializedTrajectory(names)
        for points in (50, 1, 2):
            sent = command(names, points, velocities=velocities)
            read = deserialize_message(write(sent), JointTrajectory)
            assert read == trajectory_message(sent)


def test_velocities_of_the_last_trajectory_do_not_stay():
    names = ('a', 'b')
    write = SerializedTrajectory(names)
    write(command(names, 5, velocities=True))
    read = deserialize_message(write(command(names, 5, velocities=False)), JointTrajectory)
    assert [len(point.velocities) for point in read.points] == [0] * 5


def test_columns_of_a_sliced_array_stay_in_their_order():
    wide = np.arange(40.0).reshape(4, 10)
    times = np.arange(1, 5, dtype=np.int64)
    sent = TrajectoryCommand('arm', 0, ('a', 'b'), wide[:, ::-4][:, :2], None, times)
    read = deserialize_message(SerializedTrajectory(('a', 'b'))(sent), JointTrajectory)
    assert [list(point.positions) for point in read.points] == [
        [9.0, 5.0], [19.0, 15.0], [29.0, 25.0], [39.0, 35.0],
    ]  # fmt: skip


@pytest.mark.parametrize(('names', 'points'), [(('b', 'a'), 3), (('a',), 3), (('a', 'b'), 0)])
def test_what_is_not_known_to_be_the_same_is_left_to_the_message(names, points):
    assert SerializedTrajectory(('a', 'b'))(command(names, points, velocities=True)) is None
