"""Would-be commands as MCAP: what a standard reader gets out of the file."""

from dataclasses import replace

import numpy as np
import pytest
from episodes import HORIZON, PERIOD_NS, make_episode
from reports import robot
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from pizero_ros.replay.tracks import recorded_track
from pizero_ros.replay.would_be import topic_names, write_commands

JOINTS = ['shoulder', 'elbow', 'finger']


def read(path):
    """Topic → (time of recording, message), with the types that the file itself brings."""
    found = {}
    with AnyReader([path], default_typestore=get_typestore(Stores.EMPTY)) as reader:
        for connection, time_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((time_ns, message))
    return found


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.fixture(scope='module')
def episode():
    return make_episode(policy='act-v2')


@pytest.fixture(scope='module')
def found(episode, tmp_path_factory):
    folder = tmp_path_factory.mktemp('commands')
    path = folder / 'new' / 'commands.mcap'
    write_commands(path, episode, robot(folder))
    assert [each.name for each in path.parent.iterdir()] == ['commands.mcap']
    return read(path)


def test_topics_and_types_are_standard(found):
    types = {topic: messages[0][1].__msgtype__ for topic, messages in found.items()}
    ours = {
        'commanded': 'sensor_msgs/msg/JointState',
        'commanded/base': 'geometry_msgs/msg/TwistStamped',
        'chunk': 'trajectory_msgs/msg/JointTrajectory',
        'chunk/base': 'trajectory_msgs/msg/MultiDOFJointTrajectory',
        'events': 'rcl_interfaces/msg/Log',
    }
    assert types == {
        '/pizero/replay/recorded': 'sensor_msgs/msg/JointState',
        '/pizero/replay/recorded/base': 'geometry_msgs/msg/TwistStamped',
        **{f'/pizero/replay/act_v2_0/{name}': kind for name, kind in ours.items()},
        **{f'/pizero/replay/act_v2_1/{name}': kind for name, kind in ours.items()},
    }


def test_messages_are_in_the_order_of_their_times(episode, found):
    first = min(time_ns for messages in found.values() for time_ns, _ in messages)
    assert first == episode.start_ns
    for messages in found.values():
        times = [time_ns for time_ns, _ in messages]
        assert times == sorted(times)


@pytest.mark.parametrize('topic', ['recorded', 'act_v2_1/commanded'])
def test_streams_have_every_value_on_the_clock_of_the_recording(episode, found, topic):
    deployed = episode.deployed['act-v2#1']
    expected = deployed.recorded if topic == 'recorded' else deployed.commanded
    messages = found[f'/pizero/replay/{topic}']
    assert [time_ns for time_ns, _ in messages] == deployed.time_ns.tolist()
    assert [stamp(message) for _, message in messages] == deployed.time_ns.tolist()
    assert all(message.name == JOINTS for _, message in messages)
    positions = np.array([message.position for _, message in messages])
    np.testing.assert_array_equal(positions, expected[:, :3])
    velocities = np.array([message.velocity for _, message in messages])
    assert np.isnan(velocities[0]).all()
    np.testing.assert_allclose(velocities[1:], np.diff(expected[:, :3], axis=0) / 0.05)
    twists = [message.twist for _, message in found[f'/pizero/replay/{topic}/base']]
    axes = [(twist.linear.x, twist.angular.z) for twist in twists]
    np.testing.assert_array_equal(axes, expected[:, 3:])
    assert all((twist.linear.y, twist.angular.x) == (0, 0) for twist in twists)


def test_bases_have_their_frame(found):
    assert found['/pizero/replay/recorded/base'][0][1].header.frame_id == 'base_link'


def test_every_accepted_chunk_is_there_whole_when_it_arrived(episode, found):
    deployed = episode.deployed['act-v2#0']
    messages = found['/pizero/replay/act_v2_0/chunk']
    assert len(messages) == len(deployed.chunks)
    for (time_ns, message), fate, actions in zip(
        messages, deployed.chunks, deployed.actions, strict=True
    ):
        assert (time_ns, stamp(message)) == (fate.arrived_ns, fate.start_ns)
        assert message.joint_names == JOINTS
        offsets = [
            p.time_from_start.sec * 10**9 + p.time_from_start.nanosec for p in message.points
        ]
        assert offsets == [k * PERIOD_NS for k in range(HORIZON)]
        positions = [point.positions for point in message.points]
        np.testing.assert_array_equal(positions, actions[:, :3])
    base = found['/pizero/replay/act_v2_0/chunk/base'][0][1]
    assert base.joint_names == ['base']
    speeds = [point.velocities[0].linear.x for point in base.points]
    np.testing.assert_array_equal(speeds, deployed.actions[0][:, 3])


def test_chunk_of_which_nothing_was_published_is_left_out(episode, tmp_path):
    deployed = episode.deployed['act-v2#0']
    refused = replace(deployed.chunks[0], reason='refused', first_step=-1, steps=0, start_ns=-1)
    changed = replace(deployed, chunks=(refused, *deployed.chunks[1:]))
    write_commands(
        tmp_path / 'c.mcap', replace(episode, deployed={'act-v2#0': changed}), robot(tmp_path)
    )
    messages = read(tmp_path / 'c.mcap')['/pizero/replay/act_v2_0/chunk']
    assert [stamp(message) for _, message in messages] == [
        fate.start_ns for fate in deployed.chunks[1:]
    ]


def test_events_are_log_messages(episode, found):
    happening = episode.deployed['act-v2#0'].happenings[0]
    time_ns, message = found['/pizero/replay/act_v2_0/events'][0]
    assert time_ns == message.stamp.sec * 10**9 + message.stamp.nanosec == happening.at_ns
    assert (message.name, message.level) == ('arm', 30)
    assert message.msg == f'velocity: {happening.text}'


def test_unknown_values_are_nan_and_keep_their_place(episode, tmp_path):
    deployed = episode.deployed['act-v2#0']
    commanded = deployed.commanded.copy()
    commanded[:3, 1] = np.nan
    changed = replace(episode, deployed={'act-v2#0': replace(deployed, commanded=commanded)})
    write_commands(tmp_path / 'c.mcap', changed, robot(tmp_path))
    messages = read(tmp_path / 'c.mcap')['/pizero/replay/act_v2_0/commanded']
    positions = np.array([message.position for _, message in messages])
    np.testing.assert_array_equal(positions, commanded[:, :3])


def test_without_an_evaluation_as_deployed_there_are_the_open_loop_chunks(episode, tmp_path):
    alone = replace(episode, deployed={})
    write_commands(tmp_path / 'c.mcap', alone, robot(tmp_path))
    found = read(tmp_path / 'c.mcap')
    asked = episode.open_loop['act-v2#1']
    chunks = found['/pizero/replay/act_v2_1/chunk']
    assert [time_ns for time_ns, _ in chunks] == asked.asked_ns.tolist()
    assert [stamp(message) for _, message in chunks] == asked.observed_ns.tolist()
    positions = np.array([message.position for _, message in found['/pizero/replay/recorded']])
    whole = episode.deployed['act-v2#1'].recorded
    np.testing.assert_array_equal(positions, whole[: len(positions), :3])
    assert len(positions) == len(whole)


def test_track_of_open_loop_rises_and_has_each_moment_once(episode):
    times, values = recorded_track(replace(episode, deployed={}))
    assert (np.diff(times) > 0).all()
    np.testing.assert_array_equal(values, episode.deployed['recording'].recorded)


def test_older_file_is_replaced(episode, tmp_path):
    path = tmp_path / 'c.mcap'
    path.write_text('old')
    write_commands(path, episode, robot(tmp_path))
    assert len(read(path)) == 12


def test_sources_have_valid_and_different_names():
    names = topic_names(['act-v2#0', 'act v2#0', '3d/π#1', '#0', 'recorded', '__a__b#2'])
    assert list(names.values()) == [
        *('act_v2_0', 'act_v2_0_2', 'p3d_1', 'p0', 'recorded_2', 'a_b_2')
    ]
