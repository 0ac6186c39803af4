"""A node that records what a policy says, on the clock that the policy lives by, as MCAP."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError, PizeroError
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.nodes.definitions import register
from pizero_ros.nodes.replay_topics import message_class
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.replay.bag import Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DEPTH = 1000
_LOOK_S = 0.2
"""Time between looks for topics that nobody publishes yet."""

_FOREVER = QosTime(9_223_372_036, 854_775_807)
"""RMW_DURATION_INFINITE."""

_QUIET_S = 0.3
_LONGEST_END_S = 3.0
"""What is on its way when the end comes is still written: until nothing has come for a while."""


class Recorder:
    """Writes serialised messages of some topics to a rosbag2 folder."""

    def __init__(self, node: Node, folder: Path) -> None:
        """Create the folder.

        Args:
            node: Owner of the subscriptions; its clock gives the times.
            folder: To be created.

        Raises:
            BagError: It exists, or cannot be created.
        """
        self.count = 0
        self._node = node
        self._folder = folder
        self._types = get_typestore(Stores.EMPTY)
        self._early: list[tuple[Any, bytes]] = []
        self._wanted: set[str] = set()
        try:
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (OSError, WriterError) as error:
            raise BagError.at(
                folder,
                '',
                found=str(error),
                expected='a folder that is to be created',
                remedy='Name another one; recordings are never overwritten.',
            ) from None

    def listen(self, topic: str, msgtype: str, qos: QoSProfile) -> None:
        """Record a topic from now on.

        Raises:
            BagError: This machine does not know the type.
        """
        kind = message_class(self._folder, Topic(topic, msgtype, 0, latched=False))
        register(self._types, msgtype)
        connection = self._writer.add_connection(
            topic, msgtype, typestore=self._types, offered_qos_profiles=[recorded_qos(qos)]
        )
        self._node.create_subscription(
            kind, topic, lambda raw: self._take(connection, raw), qos, raw=True
        )

    def listen_when_known(self, topics: Iterable[str]) -> None:
        """Record topics from when somebody publishes them, which tells their type."""
        self._wanted |= set(topics)
        if self._wanted:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._node.create_timer(_LOOK_S, self._look, clock=steady)
            self._look()

    def close(self) -> None:
        """Complete the recording."""
        for connection, raw in self._early:
            self._write(connection, 0, raw)
        self._early.clear()
        self._writer.close()
        for topic in sorted(self._wanted):
            self._node.get_logger().warning(f'{topic}: nobody published it')
        self._node.get_logger().info(f'recorded {self.count} messages in {self._folder}')

    def _look(self) -> None:
        known = dict(self._node.get_topic_names_and_types()) if self._wanted else {}
        for topic in sorted(self._wanted & known.keys()):
            offered = [each.qos_profile for each in self._node.get_publishers_info_by_topic(topic)]
            if offered:
                self._wanted.discard(topic)
                self.listen(topic, known[topic][0], _compatible(offered))

    def _take(self, connection: Any, raw: bytes) -> None:
        now_ns = int(self._node.get_clock().now().nanoseconds)
        if not now_ns:
            # A simulated clock that has not begun: what comes before belongs to its start.
            self._early.append((connection, raw))
            return
        for early, before in self._early:
            self._write(early, now_ns, before)
        self._early.clear()
        self._write(connection, now_ns, raw)

    def _write(self, connection: Any, time_ns: int, raw: bytes) -> None:
        self._writer.write(connection, time_ns, raw)
        self.count += 1


def _listen_to_policy(node: Node, recorder: Recorder, name: str) -> None:
    """Record what the policy of a robot says and is told, before it is there to be asked."""
    policy = node.get_parameter('policy').value
    latched = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    usual = QoSProfile(depth=_DEPTH)
    topics = {
        f'{policy}/chunk': ('pizero_ros/msg/ActionChunk', usual),
        f'{policy}/status': ('pizero_ros/msg/PolicyStatus', latched),
        f'{policy}/prompt': ('std_msgs/msg/String', usual),
    }
    for group in load_embodiment(name).actions:
        kind = MESSAGE_TYPES.get(group.message)
        if kind is not None:  # The others are actions, which are no topics.
            msgtype = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            topics[group.topic] = (msgtype, usual)
    for topic, (msgtype, qos) in topics.items():
        recorder.listen(node.resolve_topic_name(topic), msgtype, qos)


def _compatible(offered: Sequence[QoSProfile]) -> QoSProfile:
    """Return the strictest request that all publishers of a topic fulfil."""
    reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
    latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
    return QoSProfile(
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def recorded_qos(qos: QoSProfile) -> Qos:
    """Return what tells a player of the recording which topics are latched."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=qos.depth,
        reliability=QosReliability[qos.reliability.name],
        durability=QosDurability[qos.durability.name],
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def _declare(node: Node) -> None:
    for name, default, text in (
        ('folder', '', 'rosbag2 folder to create; required'),
        ('embodiment', '', "record the policy of this robot, and its controllers' topics"),
        ('policy', 'policy_node', 'name of the policy node of that robot'),
        ('topics', [''], 'further topics to record, from when somebody publishes them'),
    ):
        node.declare_parameter(
            name, default, ParameterDescriptor(description=text, read_only=True)
        )


def _run(node: Node, stopped: Any) -> int:
    """Record until stopped; return the exit status."""
    folder, embodiment = (node.get_parameter(name).value for name in ('folder', 'embodiment'))
    topics = [topic for topic in node.get_parameter('topics').value if topic]
    for key, given in (('folder', folder), ('embodiment', embodiment or topics)):
        if not given:
            raise BagError.at(
                node.get_name(),
                key,
                found='nothing',
                expected='where to record, and a robot or topics to be recorded',
                remedy='Start the node with -p folder:=FOLDER -p embodiment:=NAME.',
            )
    recorder = Recorder(node, Path(folder))
    try:
        if embodiment:
            _listen_to_policy(node, recorder, embodiment)
        recorder.listen_when_known(node.resolve_topic_name(topic) for topic in topics)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.get_logger().info(f'recording to {folder}')
        while not stopped.is_set():
            executor.spin_once(timeout_sec=0.1)
        ending = heard = time.monotonic()
        while time.monotonic() < min(heard + _QUIET_S, ending + _LONGEST_END_S):
            before = recorder.count
            executor.spin_once(timeout_sec=0.05)
            heard = time.monotonic() if recorder.count > before else heard
        executor.shutdown()
    finally:
        recorder.close()
    return 0


def main(args: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM, and leave a complete recording.

    Args:
        args: Command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0 when stopped, 1 on an error.
    """
    stopped = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = Node('record_node')
    try:
        _declare(node)
        return _run(node, stopped)
    except (PizeroError, ParameterException, OSError) as error:
        print(f'record_node: {error}', file=sys.stderr)
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    raise SystemExit(main())
