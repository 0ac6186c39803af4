"""A node that plays a recording back: its raw messages, at their recorded times, with a clock."""

from __future__ import annotations

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
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool, Trigger

from pizero_ros.errors import BagError, PizeroError
from pizero_ros.nodes import readiness
from pizero_ros.nodes.acknowledgement import unacknowledged
from pizero_ros.nodes.replay_topics import choose, message_class, publisher_qos, stays_valid
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.playback import Playback, moments, start_of
from pizero_ros.replay.recording import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.replay.bag import Bag, RawMessage

_DRAIN_S = 10.0
"""How long to wait at the end until every reliable subscriber has confirmed the last message."""


class Player:
    """The publishers, services and waiting around a playback."""

    def __init__(self, node: Node, bag: Bag, stop: threading.Event) -> None:
        """Create one publisher per topic; the node's parameters say which.

        Args:
            node: Owner of the publishers, spun by another thread; its parameters are declared.
            bag: The recording.
            stop: Set from outside to end the playback early.

        Raises:
            BagError: If a topic is not in the bag, its type is unknown, or the bag ends before
                the start offset.
        """
        self._node = node
        self._path = bag.path
        self._stop = stop
        self.sent: Counter[str] = Counter()
        start_ns = start_of(bag, _get(node, 'start_offset_s'))
        self._topics = choose(
            bag,
            _get(node, 'topics'),
            embodiment=_get(node, 'embodiment'),
            instruction_topic=_get(node, 'instruction_topic'),
        )
        names = self._topics.played
        self._publishers = {
            name: node.create_publisher(
                message_class(bag.path, bag.topics[name]), name, publisher_qos(bag.topics[name])
            )
            for name in names
        }
        self._clock = node.create_publisher(Clock, '/clock', 10) if _get(node, 'clock') else None
        self._tick_s = 1.0 / _get(node, 'clock_hz')
        latched = [name for name in names if stays_valid(bag.topics[name])]
        self.playback = Playback(
            lambda: moments(bag, names, latched, start_ns),
            start_ns,
            rate=_get(node, 'rate'),
            tick_s=self._tick_s,
            show=self._show,
            send=self._send,
            stop=stop,
            paused=_get(node, 'start_paused'),
        )
        node.create_service(SetBool, '~/pause', self._on_pause)
        node.create_service(Trigger, '~/step', self._on_step)

    def wait(self) -> None:
        """Wait until everybody is there, with the clock standing at the start.

        Raises:
            BagError: If a topic of ``wait_for`` is not played, or somebody does not come in time.
        """
        node = self._node
        waited = dict.fromkeys([*_get(node, 'wait_for'), *self._topics.sensors])
        for name in waited:
            if name not in self._publishers:
                raise BagError.at(
                    'wait_for',
                    name,
                    found='a topic that is not played',
                    expected=f'one of {sorted(self._publishers)}',
                )
        conditions = [readiness.active(node, name) for name in _get(node, 'wait_for_active')]
        conditions += [readiness.subscribed(n, self._publishers[n]) for n in waited]
        conditions += [readiness.heard(node, name) for name in _get(node, 'wait_for_listener')]
        readiness.wait_for(conditions, self._path, _get(node, 'wait_timeout_s'), self._idle)
        # Here a publisher knows of its subscribers; they must learn of it too.
        until = time.monotonic() + _get(node, 'start_delay_s')
        while time.monotonic() < until:
            if self._idle():
                return

    def drain(self) -> list[str]:
        """Wait for confirmation of all messages, unless stopped.

        Returns:
            The topics where it did not come; none if nobody wants to know any more.
        """
        late = unacknowledged(self._publishers, _DRAIN_S, self._stop)
        return [] if self._stop.is_set() else late

    def _send(self, message: RawMessage) -> None:
        self._publishers[message.topic].publish(message.raw)
        self.sent[message.topic] += 1

    def _show(self, bag_ns: int) -> None:
        if self._clock is not None:
            stamp = Time(sec=bag_ns // 1_000_000_000, nanosec=bag_ns % 1_000_000_000)
            self._clock.publish(Clock(clock=stamp))

    def _idle(self) -> bool:
        """Wait a little with the clock standing; tell whether to stop."""
        self._show(self.playback.at_ns)
        return self._stop.wait(self._tick_s)

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.playback.pause(request.data)
        response.success = True
        state = 'standing' if request.data else 'going on'
        response.message = f'{state} at {_seconds(self.playback.at_ns)}'
        return response

    def _on_step(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            moment = self.playback.step()
        except BagError as error:
            response.message = str(error)
            return response
        response.success = True
        response.message = f'{_seconds(moment.time_ns)}: {len(moment.messages)} messages'
        return response


def _seconds(time_ns: int) -> str:
    return f'{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09d}'


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
        ('start_offset_s', 0.0, about('start so long behind the first message, s', 0.0)),
        ('start_paused', False, about('stand at the start until ~/pause or ~/step is called')),
        ('topics', [''], about('topics to play; all when empty and no embodiment is given')),
        ('embodiment', '', about('play what the policy of this robot hears, and wait for it')),
        ('instruction_topic', INSTRUCTION, about('played for an embodiment, if recorded')),
        ('wait_for', [''], about('topics that must have a subscriber before the start')),
        ('wait_for_listener', [''], about('topics of others that must have a subscriber')),
        ('wait_for_active', [''], about('lifecycle nodes that must be active before the start')),
        ('wait_timeout_s', 30.0, about('how long to wait for all these, s', 0.0)),
        ('start_delay_s', 0.5, about('pause before the first message, after the waiting, s', 0.0)),
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
        'loops': player.playback.loops,
        'unconfirmed': list(unconfirmed),
        'latest_late_ms': round(player.playback.latest_late_s * 1e3, 3),
    }
    Path(path).write_text(json.dumps(stats, indent=2) + '\n', encoding='utf-8')


def _run(node: Node, stop: threading.Event) -> int:
    """Play the bag that the parameters name; return the exit status."""
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
        player = Player(node, bag, stop)
        unconfirmed: list[str] = []
        try:
            player.wait()
            length_s = (bag.end_ns - player.playback.at_ns) * 1e-9 / _get(node, 'rate')
            node.get_logger().info(f'playing {path}: {length_s:.1f} s')
            player.playback.play(loop=_get(node, 'loop'))
            unconfirmed = player.drain()
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
    # The playback owns the main thread; services are answered from this one.
    services = threading.Thread(target=_spin, args=(executor,), name='services')
    services.start()
    try:
        _declare(node)
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
