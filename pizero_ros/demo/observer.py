"""Watches one robot from the outside: what its sensors report and what it is told."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.validation import command_from_message
from pizero_ros.demo.judge import Judge
from pizero_ros.demo.recording import (
    Recording,
    SentChunk,
    SentTrajectory,
    Status,
    StreamCount,
)
from pizero_ros.demo.stages import POLICY, ROBOT
from pizero_ros.errors import ObservationError
from pizero_ros.msg import ActionChunk, PolicyStatus
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.nodes.policy_account import COUNTERS
from pizero_ros.nodes.replay_node import message_class
from pizero_ros.observation.images import decode_compressed, decode_image, orient
from pizero_ros.observation.intake import odometry_values, stamp_ns

if TYPE_CHECKING:
    from rclpy.task import Future
    from trajectory_msgs.msg import JointTrajectory

    from pizero_ros.embodiment.schema import ActionGroup, Camera, Embodiment, StateSource
    from pizero_ros.replay.bag import Bag, Topic

ENOUGH = 1000
"""Queue depth at which no reliable message can be lost while a picture is being decoded."""

RELIABLE = QoSProfile(depth=ENOUGH)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ONE_PICTURE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Observer:
    """A node in a thread and a ROS context of its own, from ``with`` to the block's end.

    Only its thread writes to ``recording``; read counts from it at any time, everything else
    after the block.

    Attributes:
        recording: What was observed.
    """

    def __init__(self, embodiment: Embodiment, domain: int, bag: Bag | None = None) -> None:
        """Subscribe to everything.

        Args:
            embodiment: The robot.
            domain: Its ROS domain.
            bag: The recording that is played, of which every message is counted; None for a
                simulated robot.
        """
        self.recording = Recording()
        self._embodiment = embodiment
        self._judge = Judge(embodiment) if bag else None
        self._clock_ns = 0
        self._wanted: set[str] = set()
        self._takers: dict[str, Any] = {}
        self._context = Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = Node('demo_observer', context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='observer')
        self._error: Exception | None = None
        self._states = self._node.create_client(ChangeState, f'/{POLICY}/change_state')
        self._watch_policy()
        if bag is None:
            self._watch_robot()
        else:
            self._watch_bag(bag)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()

    def check(self) -> None:
        """Raise what ended the observer's thread, if anything did."""
        if self._error is not None:
            raise self._error

    def policy_answers(self) -> bool:
        """Tell whether the policy node's lifecycle services are there."""
        return bool(self._states.service_is_ready())

    def change_state(self, transition: int) -> Future:
        """Ask the policy node for a transition; the result has ``success``."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self._states.call_async(request)

    def sees_commands(self) -> bool:
        """Tell whether every command topic has a publisher that this node knows of."""
        return all(self._node.count_publishers(group.topic) for group in self._embodiment.actions)

    def take_pictures(self) -> None:
        """Keep the next picture of every camera."""
        self._executor.create_task(self._want_pictures)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return group → accepted, rejected, rejections of the judged commands of a bag."""
        return self._judge.counts() if self._judge else {}

    def _watch_policy(self) -> None:
        for group in self._embodiment.actions:
            self._subscribe(
                MESSAGE_TYPES[group.message], group.topic, partial(self._on_command, group)
            )
        self._subscribe(ActionChunk, f'/{POLICY}/chunk', self._on_chunk)
        self._subscribe(PolicyStatus, f'/{POLICY}/status', self._on_status, LATCHED)
        self._subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics)

    def _watch_robot(self) -> None:
        for source in self._embodiment.state:
            kind = Odometry if source.interface == 'odometry' else JointState
            self._subscribe(kind, source.topic, partial(self._on_state, source))
        self._subscribe(JointState, f'/{ROBOT}/commanded', self._on_desired)

    def _watch_bag(self, bag: Bag) -> None:
        self._sources = {source.topic: source for source in self._embodiment.state}
        self._cameras = {camera.topic: camera for camera in self._embodiment.cameras}
        for topic in bag.topics.values():
            kind = message_class(bag.path, topic)
            durability = (
                DurabilityPolicy.TRANSIENT_LOCAL
                if topic.latched or topic.msgtype == 'std_msgs/msg/String'
                else DurabilityPolicy.VOLATILE
            )
            qos = QoSProfile(depth=topic.count + ENOUGH, durability=durability)
            self._node.create_subscription(
                kind, topic.name, partial(self._on_recorded, topic, kind), qos, raw=True
            )
        self._subscribe(Clock, '/clock', self._on_clock, QoSProfile(depth=1))

    def _subscribe(self, kind: type, topic: str, callback: Any, qos: QoSProfile = RELIABLE) -> Any:
        return self._node.create_subscription(kind, topic, callback, qos)

    def _spin(self) -> None:
        try:
            with suppress(ExternalShutdownException):
                self._executor.spin()
        except Exception as error:
            self._error = error

    def _now_ns(self) -> int:
        """Return the robot's time: the wall clock, or the clock of the bag."""
        return self._clock_ns if self._judge else time.time_ns()

    # What the robot reports

    def _on_state(self, source: StateSource, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.recording.state_stamps.setdefault(source.topic, []).append(stamp)
        if source.interface == 'odometry':
            values = odometry_values(message)
            self.recording.velocities.add(stamp, tuple(values), list(values.values()))
            return
        self.recording.positions.add(stamp, message.name, message.position)
        self.recording.velocities.add(stamp, message.name, message.velocity)

    def _on_desired(self, message: JointState) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.recording.desired.add(stamp, message.name, message.position)

    def _on_clock(self, message: Clock) -> None:
        self._clock_ns = stamp_ns(message.clock)

    def _on_recorded(self, topic: Topic, kind: type, raw: bytes) -> None:
        self.recording.messages[topic.name] += 1
        if (source := self._sources.get(topic.name)) is not None:
            message = deserialize_message(raw, kind)
            self._on_state(source, message)
            if self._judge is not None:
                # Not the clock: its topic may lag or lead the message by one.
                stamp = stamp_ns(message.header.stamp)
                self.recording.desired.add(stamp, *self._judge.desired(stamp))
        camera = self._cameras.get(topic.name)
        if camera is not None and camera.slot in self._wanted:
            self._keep_picture(camera, deserialize_message(raw, kind))

    # What the robot is told

    def _on_command(self, group: ActionGroup, message: Any) -> None:
        now_ns = self._now_ns()
        self.recording.sent[group.name] += 1
        names = [joint.name for joint in group.joints]
        if group.message == 'joint_trajectory':
            self._keep_trajectory(group, message, now_ns)
            return
        if group.output == 'twist':
            twist = message.twist if group.message == 'twist_stamped' else message
            values = [_axis(twist, name) for name in names]
            self.recording.base_commands.add(now_ns, names, values)
        else:
            values = list(message.data)
            self.recording.gripper_commands.add(now_ns, names, values)
        if self._judge is not None:
            self._judge.values(group.name, values)

    def _keep_trajectory(self, group: ActionGroup, message: JointTrajectory, now_ns: int) -> None:
        command = command_from_message(message, group.name)
        if isinstance(command, TrajectoryCommand):
            kept = SentTrajectory(group.name, now_ns, command, '')
            if group.output == 'gripper':
                self.recording.gripper_commands.add(
                    now_ns, command.joint_names, command.positions[-1].tolist()
                )
        else:
            kept = SentTrajectory(group.name, now_ns, None, command.reason)
        self.recording.trajectories.append(kept)
        if self._judge is not None:
            measured = self.recording.positions.latest([joint.name for joint in group.joints])
            self._judge.trajectory(group.name, message, now_ns, measured)

    # What the policy says

    def _on_chunk(self, message: ActionChunk) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.recording.chunks.append(SentChunk(stamp, message.horizon, message.sent))

    def _on_status(self, message: PolicyStatus) -> None:
        streams = zip(
            message.stream_received,
            message.stream_missing,
            message.stream_rate_hz,
            message.stream_age_s,
            message.stream_faults,
            strict=True,
        )
        latency = zip(message.latency_p50_ms, message.latency_p95_ms, strict=True)
        self.recording.statuses.append(
            Status(
                stamp_ns=stamp_ns(message.header.stamp),
                state=message.state,
                reason=message.reason,
                provider=message.provider,
                scheduling=message.scheduling,
                prompt=message.prompt,
                counters={name: getattr(message, name) for name in COUNTERS},
                interventions=dict(
                    zip(message.intervention_names, message.intervention_counts, strict=True)
                ),
                streams={
                    topic: StreamCount(*values)
                    for topic, values in zip(message.stream_topics, streams, strict=True)
                },
                latency_ms=dict(zip(message.latency_phases, latency, strict=True)),
            )
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node, _, topic = status.name.partition(': ')
            if node == POLICY and topic.startswith('/'):
                self.recording.stream_counters[topic] = {
                    value.key: int(value.value) for value in status.values if value.value.isdigit()
                }

    # Pictures

    def _want_pictures(self) -> None:
        """Subscribe for one picture each: a camera at full rate would load the machine."""
        self._wanted = {camera.slot for camera in self._embodiment.cameras}
        if self._judge is not None:
            return
        for camera in self._embodiment.cameras:
            if camera.slot not in self._takers:
                kind = CompressedImage if camera.transport == 'compressed' else Image
                self._takers[camera.slot] = self._subscribe(
                    kind, camera.topic, partial(self._on_picture, camera), ONE_PICTURE
                )

    def _on_picture(self, camera: Camera, message: Any) -> None:
        if (taker := self._takers.pop(camera.slot, None)) is not None:
            self._node.destroy_subscription(taker)
            self._keep_picture(camera, message)

    def _keep_picture(self, camera: Camera, message: Any) -> None:
        self._wanted.discard(camera.slot)
        decode = decode_image if camera.transport == 'raw' else decode_compressed
        try:
            rgb = decode(message, camera.topic)
        except ObservationError:
            # The policy node counts it as undecodable, and the report says so.
            return
        picture = orient(rgb, camera.rotation_deg, camera.flip)
        stamp = stamp_ns(message.header.stamp)
        self.recording.pictures.setdefault(camera.slot, []).append((stamp, picture))


def _axis(twist: Any, name: str) -> float:
    part, component = name.split('.')
    return float(getattr(getattr(twist, part), component))
