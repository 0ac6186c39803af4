"""Whatever a recorder wrote is read the same, and what is wrong with it is said."""

import numpy as np
import pytest
import yaml
from bags import (
    JOINTS,
    PERIOD_NS,
    START_NS,
    STORE,
    Types,
    demonstration,
    measured,
    picture,
    write,
    write_embodiment,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import Recording, RememberedPictures, pictures

STEPS = 6


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(write_embodiment(tmp_path))


def read(path, robot):
    with open_bag(path) as bag:
        return list(Recording(bag, robot).messages())


def positions(sensed):
    return {
        (s.topic, s.time_ns): s.message.position.tolist() for s in sensed if 'joint' in s.topic
    }


def expected_positions():
    found = {}
    for step in range(STEPS):
        now_ns = START_NS + step * PERIOD_NS
        found['/arm/joint_states', now_ns] = measured(step)[:2].tolist()
        found['/finger/joint_states', now_ns] = measured(step)[2:].tolist()
    return found


@pytest.mark.parametrize(
    ('storage', 'compression'),
    [
        (StoragePlugin.SQLITE3, None),
        (StoragePlugin.SQLITE3, 'MESSAGE'),
        (StoragePlugin.SQLITE3, 'FILE'),
        (StoragePlugin.MCAP, None),
        (StoragePlugin.MCAP, 'MESSAGE'),
        (StoragePlugin.MCAP, 'FILE'),
        (StoragePlugin.MCAP, 'STORAGE'),
    ],
)
def test_every_storage_and_compression_is_read(tmp_path, robot, storage, compression):
    path = write(tmp_path / 'bag', demonstration(STEPS), storage=storage, compression=compression)
    sensed = read(path, robot)
    assert positions(sensed) == expected_positions()
    front = [s for s in sensed if s.topic == '/front/image_raw']
    assert len(front) == STEPS
    np.testing.assert_array_equal(front[3].message.data, picture(3).reshape(-1))
    assert all(s.header_ns == s.time_ns for s in front)


@pytest.mark.parametrize('distro', ['HUMBLE', 'JAZZY', 'KILTED', 'LYRICAL'])
@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_types_of_every_live_distribution_are_read(tmp_path, robot, distro, storage):
    store = get_typestore(Stores[f'ROS2_{distro}'])
    path = write(
        tmp_path / 'bag', demonstration(STEPS, Types(store)), store=store, storage=storage
    )
    assert positions(read(path, robot)) == expected_positions()


@pytest.mark.parametrize('pad', [b'\0', b'\0\0\0', b'trailing bytes'])
def test_bytes_behind_a_payload_are_ignored(tmp_path, robot, pad):
    path = write(tmp_path / 'bag', demonstration(STEPS), pad=pad)
    assert positions(read(path, robot)) == expected_positions()


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_split_bags_are_read_in_order(tmp_path, robot, storage):
    whole = list(demonstration(STEPS))
    middle = len(whole) // 2
    first = write(tmp_path / 'first', whole[:middle], storage=storage)
    second = write(tmp_path / 'second', whole[middle:], storage=storage)
    joined = tmp_path / 'joined'
    joined.mkdir()
    known = [yaml.safe_load((part / 'metadata.yaml').read_text()) for part in (first, second)]
    info = known[0]['rosbag2_bagfile_information']
    other = known[1]['rosbag2_bagfile_information']
    for part in (first, second):
        [data] = [each for each in part.iterdir() if each.suffix in ('.db3', '.mcap')]
        data.rename(joined / f'{part.name}{data.suffix}')
    info['relative_file_paths'] = sorted(each.name for each in joined.iterdir())
    counts = {
        t['topic_metadata']['name']: t['message_count'] for t in other['topics_with_message_count']
    }
    for topic in info['topics_with_message_count']:
        topic['message_count'] += counts.get(topic['topic_metadata']['name'], 0)
    info['message_count'] += other['message_count']
    info['duration']['nanoseconds'] = (STEPS - 1) * PERIOD_NS
    (joined / 'metadata.yaml').write_text(yaml.safe_dump(known[0]))
    sensed = read(joined, robot)
    assert positions(sensed) == expected_positions()
    assert [s.time_ns for s in sensed] == sorted(s.time_ns for s in sensed)


def test_missing_topic_names_what_was_looked_for_and_what_is_there(tmp_path, robot):
    def renamed():
        for topic, *rest in demonstration(STEPS):
            yield topic.replace('/front/image_raw', '/front/image_rw'), *rest

    path = write(tmp_path / 'bag', renamed())
    with pytest.raises(BagError) as caught, open_bag(path) as bag:
        Recording(bag, robot)
    said = str(caught.value)
    assert '/front/image_raw: found no such topic' in said
    assert str(robot.source) in said
    assert "Did you mean '/front/image_rw'?" in said


def test_topic_without_messages_is_missing(tmp_path, robot):
    path = tmp_path / 'bag'
    messages = [m for m in demonstration(STEPS) if m[0] != '/arm/joint_states']
    writer_messages = iter(messages)
    with Writer(path, version=9) as writer:
        writer.add_connection('/arm/joint_states', 'sensor_msgs/msg/JointState', typestore=STORE)
        connections = {}
        for topic, msgtype, time_ns, message in writer_messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=STORE)
            writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, msgtype))
    with (
        pytest.raises(BagError, match='/arm/joint_states: found no message on it'),
        open_bag(path) as bag,
    ):
        Recording(bag, robot)


def test_other_type_says_which_key_to_set(tmp_path, robot):
    def swapped():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if topic == '/front/image_raw':
                yield (
                    topic,
                    'sensor_msgs/msg/CompressedImage',
                    time_ns,
                    types.compressed(time_ns, picture(0)),
                )
            else:
                yield topic, msgtype, time_ns, message

    path = write(tmp_path / 'bag', swapped())
    with (
        pytest.raises(
            BagError, match=r'found sensor_msgs/msg/CompressedImage.*transport: compressed'
        ),
        open_bag(path) as bag,
    ):
        Recording(bag, robot)


def test_absent_optional_camera_is_noted(tmp_path, robot):
    path = write(tmp_path / 'bag', demonstration(STEPS, skip=('/wrist/image_raw/compressed',)))
    with open_bag(path) as bag:
        recording = Recording(bag, robot)
        assert recording.absent == ('/wrist/image_raw/compressed',)
        assert {s.topic for s in recording.messages()} == {
            '/instruction',
            '/arm/joint_states',
            '/finger/joint_states',
            '/front/image_raw',
        }


@pytest.mark.parametrize('damage', [b'', b'\0\1\0', b'\x63\x63\0\0' + bytes(60), b'\0\1\0\0\7'])
def test_damaged_message_names_topic_and_time(tmp_path, robot, damage):
    path = tmp_path / 'bag'
    bad_ns = START_NS + 2 * PERIOD_NS
    with Writer(path, version=9) as writer:
        connections = {}
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=STORE)
            raw = bytes(STORE.serialize_cdr(message, msgtype))
            if topic == '/arm/joint_states' and time_ns == bad_ns:
                raw = damage
            writer.write(connections[topic], time_ns, raw)
    with pytest.raises(BagError, match=f'/arm/joint_states: found .* at {bad_ns} ns'):
        read(path, robot)


def test_pictures_are_those_held_at_a_moment(tmp_path, robot):
    path = write(tmp_path / 'bag', demonstration(STEPS))
    moments = [START_NS - 1, START_NS + 2 * PERIOD_NS, START_NS + 2 * PERIOD_NS + 1, 2**62]
    with open_bag(path) as bag:
        shown = pictures(bag, robot, moments)
    assert sorted(shown) == moments
    assert shown[moments[0]] == {}
    for moment, step in zip(moments[1:], (2, 2, STEPS - 1), strict=True):
        assert sorted(shown[moment]) == ['base_0_rgb', 'left_wrist_0_rgb']
        np.testing.assert_array_equal(shown[moment]['base_0_rgb'], picture(step))


def test_remembered_pictures_are_decoded_once(tmp_path, robot):
    types, remembered = Types(), RememberedPictures()
    front = robot.cameras[0]
    one, other = (types.image(START_NS, picture(step)) for step in (0, 1))
    first = remembered(front, one)
    np.testing.assert_array_equal(first, picture(0))
    np.testing.assert_array_equal(remembered(front, other), picture(1))
    assert remembered(front, one) is first


def test_names_of_the_demonstration_are_those_of_the_robot(robot):
    assert tuple(joint.name for joint in robot.action_joints) == JOINTS
