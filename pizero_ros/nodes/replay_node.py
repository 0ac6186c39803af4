"""A node that plays a recording back: its raw messages, at their recorded times, with a clock."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from pizero_ros.errors import BagError, PizeroError
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.replay.bag import Bag, RawMessage, Topic, open_bag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DRAIN_S = 10.0
"""How long to wait at the end until every reliable subscriber has confirmed the last message."""


def message_class(bag: Path, topic: Topic) -> Any:
    """Return the message class of a recorded topic.

    Args:
        bag: The recording, for the error.
        topic: What is to be published.

    Raises:
        BagError: If this machine has no such type.
    """
    package, _, name = topic.msgtype.rpartition('/')
    try:
        return getattr(importlib.import_module(package.replace('/', '.')), name)
    except (ImportError, AttributeError, ValueError):
        raise BagError.at(
            bag,
            topic.name,
            found=f'message type {topic.msgtype}',
            expected='a type whose ROS package is installed and sourced',
            remedy='Install its package, or leave the topic out with the parameter topics.',
        ) from None


class Player:
    """Publishes a bag's messages on a clock that runs at ``rate`` times wall-clock time."""

    def __init__(self, node: Node, bag: Bag, topics: Sequence[str], stop: threading.Event) -> None:
        """Create one publisher per topic.

        Args:
            node: Owner of the publishers; its parameters are declared.
            bag: The recording.
            topics: Topics to play; all when empty.
            stop: Set from outside to end the playback early.

        Raises:
            BagError: If a topic is not in the bag or its type is unknown.
        """
        self._bag = bag
        self._stop = stop
        self._log = node.get_logger()
        self.sent: Counter[str] = Counter()
        self.loops = 0
        self.latest_late_s = 0.0
        names = tuple(topics) or tuple(bag.topics)
        for name in names:
            if name not in bag.topics:
                raise BagError.at(
                    bag.path, name, found='no such topic', expected=f'one of {sorted(bag.topics)}'
                )
        self._publishers = {
            name: node.create_publisher(
                message_class(bag.path, bag.topics[name]), name, _qos(bag.topics[name])
            )
            for name in names
        }
        self._clock = node.create_publisher(Clock, '/clock', 10) if _get(node, 'clock') else None
        self._tick_s = 1.0 / _get(node, 'clock_hz')
        self._rate = _get(node, 'rate')

    def wait_for(self, topics: Sequence[str], timeout_s: float, settle_s: float) -> None:
        """Wait until each topic has a subscriber, with the clock standing at the bag's start.

        Args:
            topics: Topics that need one.
            timeout_s: How long to wait for them.
            settle_s: How long to wait after that, for the other side of the discovery.

        Raises:
            BagError: If a topic is not played, or has no subscriber in time.
        """
        for name in topics:
            if name not in self._publishers:
                raise BagError.at(
                    'wait_for',
                    name,
                    found='a topic that is not played',
                    expected=f'one of {sorted(self._publishers)}',
                )
        deadline = time.monotonic() + timeout_s
        while missing := [n for n in topics if not self._publishers[n].get_subscription_count()]:
            if time.monotonic() > deadline:
                raise BagError.at(
                    self._bag.path,
                    ', '.join(missing),
                    found=f'no subscriber after {timeout_s:g} s',
                    expected='a subscriber on each topic of wait_for',
                    remedy='Start the policy first, or mend the topics of its embodiment.',
                )
            if self._pause(self._tick_s, self._bag.start_ns):
                return
        until = time.monotonic() + settle_s
        while time.monotonic() < until:
            if self._pause(self._tick_s, self._bag.start_ns):
                return

    def play(self, *, loop: bool) -> None:
        """Publish every message at its time; with ``loop``, over and over from the start."""
        while not self._stop.is_set():
            self._play_once(self._bag.messages(tuple(self._publishers)))
            self.loops += not self._stop.is_set()
            if not loop:
                return

    def drain(self) -> list[str]:
        """Wait for confirmation of all messages; return the topics where it did not come."""
        deadline = time.monotonic() + _DRAIN_S
        late = []
        for name, publisher in self._publishers.items():
            left = max(deadline - time.monotonic(), 0.0)
            if not publisher.wait_for_all_acked(Duration(seconds=left)):
                late.append(name)
        return late

    def _play_once(self, messages: Iterator[RawMessage]) -> None:
        start = time.monotonic()
        shown_ns = -1
        for topic, _, time_ns, raw in messages:
            due = start + (time_ns - self._bag.start_ns) * 1e-9 / self._rate
            while (left := due - time.monotonic()) > 0.0:
                self._stop.wait(min(left, self._tick_s))
                if self._stop.is_set():
                    return
                bag_ns = self._bag.start_ns + round((time.monotonic() - start) * self._rate * 1e9)
                if bag_ns < time_ns:
                    self._show(bag_ns)
            if self._stop.is_set():
                return
            if time_ns != shown_ns:
                self._show(time_ns)
                shown_ns = time_ns
            self.latest_late_s = max(self.latest_late_s, time.monotonic() - due)
            self._publishers[topic].publish(raw)
            self.sent[topic] += 1

    def _pause(self, duration_s: float, bag_ns: int) -> bool:
        """Wait with the clock standing at ``bag_ns``; tell whether to stop."""
        self._show(bag_ns)
        return self._stop.wait(duration_s)

    def _show(self, bag_ns: int) -> None:
        if self._clock is not None:
            stamp = Time(sec=bag_ns // 1_000_000_000, nanosec=bag_ns % 1_000_000_000)
            self._clock.publish(Clock(clock=stamp))


def _qos(topic: Topic) -> QoSProfile:
    """Instructions are latched whatever the recorder made of them: a late node must get them."""
    latched = topic.latched or topic.msgtype == 'std_msgs/msg/String'
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        history=HistoryPolicy.KEEP_LAST,
        depth=100,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _declare(node: Node) -> None:
    def about(text: str, lowest: float | None = None) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(description=text, read_only=True)
        if lowest is not None:
            bounds = FloatingPointRange(from_value=lowest, to_value=1e6, step=0.0)
            descriptor.floating_point_range = [bounds]
        return descriptor

    # An empty list has no type in rclpy, hence [''] for "none given".
    for name, default, descriptor in (
        ('bag', '', about('rosbag2 folder, .mcap or .db3 file; required')),
        ('rate', 1.0, about('speed of playback, 1.0 as recorded', 0.001)),
        ('loop', False, about('start again at the end: time jumps back')),
        ('topics', [''], about('topics to play; all when empty')),
        ('wait_for', [''], about('topics that must have a subscriber before the start')),
        ('wait_timeout_s', 30.0, about('how long to wait for those subscribers, s', 0.0)),
        ('start_delay_s', 0.5, about('pause before the first message, after wait_for, s', 0.0)),
        ('clock', True, about('publish the recorded time on /clock')),
        ('clock_hz', 200.0, about('ticks of /clock between messages, Hz of wall time', 1.0)),
        ('stats_file', '', about('JSON of what was sent, written at the end')),
    ):
        node.declare_parameter(name, default, descriptor)


def _get(node: Node, name: str) -> Any:
    value = node.get_parameter(name).value
    return [item for item in value if item] if isinstance(value, list) else value


def _write_stats(path: str, bag: Bag, player: Player, unconfirmed: Sequence[str]) -> None:
    stats = {
        'bag': str(bag.path),
        'sent': {name: player.sent[name] for name in sorted(bag.topics)},
        'in_bag': {name: topic.count for name, topic in sorted(bag.topics.items())},
        'loops': player.loops,
        'unconfirmed': list(unconfirmed),
        'latest_late_ms': round(player.latest_late_s * 1e3, 3),
    }
    Path(path).write_text(json.dumps(stats, indent=2) + '\n', encoding='utf-8')


def _run(node: Node, stop: threading.Event) -> int:
    """Play the bag that the parameters name; return the exit status."""
    _declare(node)
    path = _get(node, 'bag')
    if not path:
        raise BagError.at(
            node.get_name(),
            'bag',
            found='nothing',
            expected='a recording',
            remedy='Start the node with -p bag:=FOLDER.',
        )
    with open_bag(path) as bag:
        player = Player(node, bag, _get(node, 'topics'), stop)
        unconfirmed: list[str] = []
        try:
            player.wait_for(
                _get(node, 'wait_for'), _get(node, 'wait_timeout_s'), _get(node, 'start_delay_s')
            )
            length_s = (bag.end_ns - bag.start_ns) * 1e-9 / _get(node, 'rate')
            node.get_logger().info(f'playing {path}: {length_s:.1f} s')
            player.play(loop=_get(node, 'loop'))
            unconfirmed = [] if stop.is_set() else player.drain()
        finally:
            if stats_file := _get(node, 'stats_file'):
                _write_stats(stats_file, bag, player, unconfirmed)
    for topic in unconfirmed:
        node.get_logger().error(f'{topic}: a subscriber did not confirm all messages')
    node.get_logger().info(f'sent {sum(player.sent.values())} messages')
    return 1 if unconfirmed else 0


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until the end of the bag, or SIGINT or SIGTERM.

    Args:
        args: Command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0 when the playback ended or was stopped, 1 on an error.
    """
    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = Node('replay_node')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # The playback owns the main thread; parameter services are answered from this one.
    services = threading.Thread(target=_spin, args=(executor,), name='services')
    services.start()
    try:
        return _run(node, stop)
    except (PizeroError, ParameterException) as error:
        print(f'replay_node: {error}', file=sys.stderr)
        return 1
    finally:
        executor.shutdown()
        services.join()
        node.destroy_node()
        rclpy.try_shutdown()


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):
        executor.spin()


if __name__ == '__main__':
    raise SystemExit(main())
