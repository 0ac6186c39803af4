"""Reading recordings as raw bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pizero_ros.errors import BagError
from pizero_ros.replay.bag import open_bag

SHARED = Path(__file__).resolve().parents[2] / '../shared/data/bags'
START_NS = 1_700_000_000_000_000_000

_FOREVER = QosTime(0, 0)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


def write_bag(path, messages, *, storage=StoragePlugin.SQLITE3, latched=()):
    """Write (topic, type, time, raw) as they are; nothing is serialized here."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, msgtype, time_ns, raw in messages:
            if topic not in connections:
                qos = [LATCHED] if topic in latched else []
                connections[topic] = writer.add_connection(
                    topic, msgtype, typestore=store, offered_qos_profiles=qos
                )
            writer.write(connections[topic], time_ns, raw)
    return path


def _messages(count):
    for k in range(count):
        yield (
            '/a',
            'std_msgs/msg/String',
            START_NS + k * 10_000_000,
            bytes([0, 1, 0, 0, k % 251] * 9),
        )
        yield (
            '/b',
            'std_msgs/msg/Header',
            START_NS + k * 10_000_000 + 1,
            bytes([0, 1, 0, 0, k % 251, 7]),
        )


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_bytes_times_and_counts_are_those_recorded(tmp_path, storage):
    written = list(_messages(20))
    shuffled = written[20:] + written[:20]
    with open_bag(write_bag(tmp_path / 'bag', shuffled, storage=storage)) as bag:
        assert [tuple(message) for message in bag.messages()] == written
        assert [m.raw for m in bag.messages(['/b'])] == [
            raw for t, _, _, raw in written if t == '/b'
        ]
        assert {name: topic.count for name, topic in bag.topics.items()} == {'/a': 20, '/b': 20}
        assert bag.topics['/a'].msgtype == 'std_msgs/msg/String'
        assert (bag.start_ns, bag.end_ns) == (written[0][2], written[-1][2])


def test_latched_topics_are_known(tmp_path):
    with open_bag(write_bag(tmp_path / 'bag', _messages(1), latched=['/a'])) as bag:
        assert bag.topics['/a'].latched
        assert not bag.topics['/b'].latched


def test_absent_bag_is_an_error(tmp_path):
    with pytest.raises(BagError, match='found nothing'):
        open_bag(tmp_path / 'nowhere')


def test_empty_bag_is_an_error(tmp_path):
    with pytest.raises(BagError, match='no messages'):
        open_bag(write_bag(tmp_path / 'bag', []))


def test_unknown_topic_is_an_error(tmp_path):
    with (
        open_bag(write_bag(tmp_path / 'bag', _messages(1))) as bag,
        pytest.raises(BagError, match='/c: found no such topic'),
    ):
        list(bag.messages(['/a', '/c']))


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize('kept', [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_bag_is_an_error(tmp_path, storage, kept):
    path = write_bag(tmp_path / 'bag', _messages(500), storage=storage)
    file = next(file for file in path.iterdir() if file.suffix in ('.db3', '.mcap'))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(BagError, match='recording'), open_bag(path) as bag:
        list(bag.messages())


def test_fewer_messages_than_the_index_says_is_an_error(tmp_path):
    path = write_bag(tmp_path / 'bag', _messages(5))
    index = path / 'metadata.yaml'
    index.write_text(index.read_text().replace('message_count: 5', 'message_count: 6'))
    with open_bag(path) as bag, pytest.raises(BagError, match='5 messages, expected 6'):
        list(bag.messages())


def test_folder_without_index_is_an_error(tmp_path):
    with pytest.raises(BagError, match=r'metadata\.yaml'):
        open_bag(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason='../shared/data/bags is absent')
def test_real_recordings_are_read_whole():
    with open_bag(SHARED / 'unitree_g1_ep010') as bag:
        assert sum(1 for _ in bag.messages()) == 870
    with open_bag(SHARED / 'bridge_widowx_ep004') as bag:
        assert sum(1 for _ in bag.messages()) == 61
        assert bag.topics['/instruction'].count == 1
