"""The replay node over real DDS: every byte of a bag arrives, on the bag's own clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import bags
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = 40 + os.getpid() % 30
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_333_333
TYPES = {'/joint_states': JointState, '/camera/compressed': CompressedImage, '/say': String}
CODE = 'from pizero_ros.nodes.replay_node import main; raise SystemExit(main())'


def _record(path, count):
    """Write joint states with 8 bytes after the payload, pictures, and one instruction."""
    store = get_typestore(Stores.ROS2_JAZZY)
    header = store.types['std_msgs/msg/Header']
    stamp = store.types['builtin_interfaces/msg/Time']
    written = defaultdict(list)
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {
            topic: writer.add_connection(
                topic, f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}', typestore=store
            )
            for topic, kind in TYPES.items()
        }

        def write(topic, time_ns, message, trailing=b''):
            raw = bytes(store.serialize_cdr(message, message.__msgtype__)) + trailing
            writer.write(connections[topic], time_ns, raw)
            written[topic].append((time_ns, raw))

        write('/say', START_NS, store.types['std_msgs/msg/String'](data='put the carrot away'))
        for k in range(count):
            time_ns = START_NS + k * PERIOD_NS
            now = header(stamp(*divmod(time_ns, 1_000_000_000)), '')
            values = np.arange(26.0) + k
            empty = np.empty(0)
            joints = store.types['sensor_msgs/msg/JointState'](
                now, [f'joint_{i}' for i in range(26)], values, empty, empty
            )
            write('/joint_states', time_ns, joints, b'trailing')
            data = np.full(30_000, k % 256, np.uint8)
            picture = store.types['sensor_msgs/msg/CompressedImage'](now, 'jpeg', data)
            write('/camera/compressed', time_ns + 1, picture)
    return written


def _start(*parameters):
    command = [sys.executable, '-X', 'faulthandler', '-c', CODE, '--ros-args']
    for parameter in parameters:
        command += ['-p', parameter]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
    environment = os.environ | {'PYTHONPATH': path, 'ROS_DOMAIN_ID': str(DOMAIN)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


class Listener:
    """Keeps the raw bytes of every message and every tick of the clock."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = Node('listener', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received = defaultdict(list)
        self.clock_ns = []
        reliable = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        for topic, kind in TYPES.items():
            self.node.create_subscription(
                kind, topic, self.received[topic].append, reliable, raw=True
            )
        self.node.create_subscription(Clock, '/clock', self._tick, reliable)

    def _tick(self, message):
        self.clock_ns.append(message.clock.sec * 1_000_000_000 + message.clock.nanosec)

    def until(self, condition, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.05)
        assert condition()

    def ask(self, kind, service, **fields):
        """Call a service of the replay node once it is there."""
        client = self.node.create_client(kind, f'/replay_node/{service}')
        self.until(client.service_is_ready)
        answer = client.call_async(kind.Request(**fields))
        self.until(answer.done)
        self.node.destroy_client(client)
        return answer.result()

    def step(self):
        """Step; before the playback has begun that is refused, and asked for again."""
        while 'has begun' in (response := self.ask(Trigger, 'step')).message:
            pass
        return response

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def start():
    """Starts replay nodes; of those that a failed test left behind, shows where they stood."""
    started = []

    def run(*parameters):
        started.append(_start(*parameters))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGABRT)
            print(process.communicate()[1])
        process.wait()
        process.stderr.close()


def test_every_message_arrives_byte_for_byte_on_the_recorded_clock(tmp_path, listener, start):
    written = _record(tmp_path / 'bag', 40)
    stats = tmp_path / 'stats.json'
    process = start(
        f'bag:={tmp_path / "bag"}',
        'wait_for:=[/joint_states, /camera/compressed]',
        f'stats_file:={stats}',
        'rate:=2.0',
    )
    listener.until(lambda: process.poll() is not None)
    listener.until(lambda: all(len(listener.received[t]) == len(written[t]) for t in TYPES))
    assert process.returncode == 0, process.communicate()[1]
    for topic in TYPES:
        assert listener.received[topic] == [raw for _, raw in written[topic]]
    assert listener.received['/joint_states'][0].endswith(b'trailing')
    ticks = listener.clock_ns
    assert ticks == sorted(ticks)
    assert {time_ns for messages in written.values() for time_ns, _ in messages} <= set(ticks)
    assert (ticks[0], ticks[-1]) == (START_NS, written['/camera/compressed'][-1][0])
    assert len(ticks) > 80 + 40
    report = json.loads(stats.read_text())
    assert report['sent'] == {topic: len(written[topic]) for topic in sorted(TYPES)}
    assert report['sent'] == report['in_bag']
    assert report['unconfirmed'] == []


def test_instruction_reaches_a_late_subscriber(tmp_path, listener, start):
    written = _record(tmp_path / 'bag', 90)
    process = start(f'bag:={tmp_path / "bag"}', 'start_delay_s:=0.0')
    listener.until(lambda: listener.clock_ns and listener.clock_ns[-1] > START_NS + 1_000_000)
    late = []
    latched = QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    listener.node.create_subscription(String, '/say', late.append, latched, raw=True)
    listener.until(lambda: late)
    assert late == [written['/say'][0][1]]
    process.send_signal(signal.SIGTERM)
    listener.until(lambda: process.poll() is not None)
    assert process.returncode == 0


def test_looped_bag_lets_time_jump_back_and_stops_on_sigint(tmp_path, listener, start):
    written = _record(tmp_path / 'bag', 10)
    process = start(
        f'bag:={tmp_path / "bag"}', 'loop:=true', 'wait_for:=[/joint_states]',
        'topics:=[/joint_states]',
    )  # fmt: skip
    listener.until(lambda: len(listener.received['/joint_states']) >= 25)
    process.send_signal(signal.SIGINT)
    listener.until(lambda: process.poll() is not None)
    assert process.returncode == 0
    raw = [raw for _, raw in written['/joint_states']]
    assert listener.received['/joint_states'][:20] == raw + raw
    assert not listener.received['/camera/compressed']
    back = [b - a for a, b in zip(listener.clock_ns, listener.clock_ns[1:], strict=False) if b < a]
    assert back[:2] == [-9 * PERIOD_NS] * 2


def test_clock_can_be_left_out(tmp_path, listener, start):
    _record(tmp_path / 'bag', 5)
    process = start(f'bag:={tmp_path / "bag"}', 'clock:=false', 'wait_for:=[/joint_states]')
    listener.until(lambda: process.poll() is not None)
    listener.until(lambda: len(listener.received['/joint_states']) == 5)
    assert listener.clock_ns == []


def test_start_offset_leaves_out_all_but_the_instruction(tmp_path, listener, start):
    written = _record(tmp_path / 'bag', 40)
    start_ns = START_NS + 500_000_000
    process = start(
        f'bag:={tmp_path / "bag"}', 'start_offset_s:=0.5', 'rate:=2.0',
        'wait_for:=[/joint_states, /camera/compressed, /say]',
    )  # fmt: skip
    listener.until(lambda: process.poll() is not None)
    late = {t: [raw for at, raw in written[t] if at >= start_ns] for t in TYPES}
    late['/say'] = [written['/say'][0][1]]
    listener.until(lambda: all(len(listener.received[t]) == len(late[t]) for t in TYPES))
    assert dict(listener.received) == late
    assert process.returncode == 0
    assert listener.clock_ns[0] == start_ns
    assert listener.clock_ns == sorted(listener.clock_ns)


def test_steps_and_pauses_are_services_and_the_clock_stands_still_between(
    tmp_path, listener, start
):
    written = _record(tmp_path / 'bag', 40)
    process = start(
        f'bag:={tmp_path / "bag"}', 'start_paused:=true', 'wait_for:=[/joint_states, /say]',
        'topics:=[/joint_states, /say]',
    )  # fmt: skip
    joints, ticks = listener.received['/joint_states'], listener.clock_ns
    response = listener.step()
    assert response.success
    assert response.message == '1700000000.000000000: 2 messages'
    for k in (1, 2):
        assert listener.step().message == f'1700000000.{k * PERIOD_NS:09d}: 1 messages'
        listener.until(lambda k=k: len(joints) == k + 1 and ticks[-1] == START_NS + k * PERIOD_NS)
        shown = len(ticks)
        listener.until(lambda shown=shown: len(ticks) > shown + 20)
        assert set(ticks[shown:]) == {START_NS + k * PERIOD_NS}
    response = listener.ask(SetBool, 'pause', data=False)
    assert (response.success, response.message) == (True, 'going on at 1700000000.066666666')
    listener.until(lambda: len(joints) > 10)
    assert listener.ask(SetBool, 'pause', data=True).message.startswith('standing at 1700000000.')
    listener.until(lambda: len(set(ticks[-20:])) == 1)
    before = len(joints)
    listener.step()
    listener.until(lambda: len(joints) == before + 1)
    listener.ask(SetBool, 'pause', data=False)
    response = listener.ask(Trigger, 'step')
    assert not response.success
    assert 'found a playback that runs, expected a paused one' in response.message
    listener.until(lambda: process.poll() is not None)
    listener.until(lambda: len(joints) == 40)
    assert joints == [raw for _, raw in written['/joint_states']]
    assert ticks == sorted(ticks)
    assert process.returncode == 0


def test_robot_is_waited_for_on_each_of_its_recorded_topics(tmp_path, start):
    bags.write(tmp_path / 'bag', bags.demonstration(3, skip=('/wrist/image_raw/compressed',)))
    robot = bags.write_embodiment(tmp_path)
    process = start(
        f'bag:={tmp_path / "bag"}', f'embodiment:={robot}', 'wait_timeout_s:=0.1',
    )  # fmt: skip
    missing = '/front/image_raw, /arm/joint_states, /finger/joint_states'
    _fails(process, f'{missing}: found no subscriber after 0.1 s')


def _fails(process, *fragments):
    _, text = process.communicate(timeout=30)
    assert process.returncode == 1
    for fragment in fragments:
        assert fragment in text
    assert 'Traceback' not in text


def test_unknown_message_type_is_named_with_its_topic(tmp_path, start):
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('float64 value', 'nowhere_msgs/msg/Thing'))
    with Writer(tmp_path / 'bag', version=9) as writer:
        connection = writer.add_connection('/thing', 'nowhere_msgs/msg/Thing', typestore=store)
        writer.write(connection, START_NS, b'\0\1\0\0' + bytes(8))
    _fails(start(f'bag:={tmp_path / "bag"}'), '/thing', 'nowhere_msgs/msg/Thing')


def test_wrong_bags_and_parameters_are_named(tmp_path, start):
    _record(tmp_path / 'bag', 2)
    with Writer(tmp_path / 'empty', version=9):
        pass
    bag = f'bag:={tmp_path / "bag"}'
    processes = [
        (start(f'bag:={tmp_path / "nowhere"}'), 'nowhere'),
        (start(f'bag:={tmp_path / "empty"}'), 'no messages'),
        (start(), 'Start the node with -p bag:=FOLDER'),
        (start(bag, 'topics:=[/nope]'), '/nope: found no such topic'),
        (start(bag, 'wait_for:=[/nope]'), 'wait_for: /nope'),
        (start(bag, 'wait_for:=[/say]', 'wait_timeout_s:=0.2'), 'no subscriber after 0.2 s'),
        (start(bag, 'rate:=0.0'), 'rate'),
        (start(bag, 'start_offset_s:=0.034'), 'found 0.034 s, expected 0 to 0.033 s'),
        (
            start(bag, 'wait_for_active:=[/nobody]', 'wait_timeout_s:=0.2'),
            '/nobody: found not active after 0.2 s',
        ),
        (
            start(bag, 'wait_for_listener:=[/nothing]', 'wait_timeout_s:=0.2'),
            '/nothing: found no listener after 0.2 s',
        ),
    ]
    for process, fragment in processes:
        _fails(process, fragment)
