"""Subscriptions of an embodiment's sensors: messages are kept, decoded later and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.nodes.messages import planar_pose
from pizero_ros.nodes.raw_image import raw_image
from pizero_ros.observation.intake import Intake, stamp_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node
    from rclpy.subscription import Subscription

    from pizero_ros.control.workspace import PlanarPose
    from pizero_ros.embodiment.schema import Camera, Embodiment, StateSource
    from pizero_ros.nodes.receiving import Receiver
    from pizero_ros.observation.assembler import ObservationAssembler
    from pizero_ros.observation.observation import Frame

STATES = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data, but deeper: half a second of joint states outlasts a stall of the executor."""


class Sensors:
    """One subscription for each camera and state source."""

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        assembler: ObservationAssembler,
        *,
        now_ns: Callable[[], int],
        frame_arrived: Callable[[Frame], None],
        located: Callable[[str, PlanarPose], None] = lambda _topic, _pose: None,
        receiver: Receiver | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: Whose subscriptions they are.
            embodiment: The robot.
            assembler: Takes the messages.
            now_ns: The node's clock.
            frame_arrived: Called with each camera frame that is now the newest.
            located: Called with the topic and the pose of each odometry message.
            receiver: Its thread calls back, from now until ``destroy``; without one the
                executor's does.
        """
        self._node = node
        self._intake = Intake(embodiment, assembler)
        self._now_ns = now_ns
        self._frame_arrived = frame_arrived
        self._located = located
        self._receiver = receiver
        self._subscriptions = [
            *(self._camera(camera) for camera in embodiment.cameras),
            *(self._state(source) for source in embodiment.state),
        ]
        if receiver is not None:
            receiver.start(self._subscriptions)

    def destroy(self) -> None:
        """Remove the subscriptions."""
        if self._receiver is not None:
            self._receiver.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _camera(self, camera: Camera) -> Subscription:
        def raw(serialized: bytes) -> None:
            image = raw_image(serialized)
            self._image(camera.topic, image, image.stamp_ns)

        def compressed(message: CompressedImage) -> None:
            self._image(camera.topic, message, stamp_ns(message.header.stamp))

        qos = qos_profile_sensor_data
        if camera.transport == 'compressed':
            return self._subscribe(CompressedImage, camera.topic, compressed, qos)
        return self._subscribe(Image, camera.topic, raw, qos, raw=True)

    def _image(self, topic: str, message: object, header_ns: int) -> None:
        frame = self._intake.take(topic, message, header_ns, self._now_ns())
        if frame is not None:
            self._frame_arrived(frame)

    def _state(self, source: StateSource) -> Subscription:
        topic = source.topic

        def joints(message: JointState) -> None:
            self._intake.take(topic, message, stamp_ns(message.header.stamp), self._now_ns())

        def odometry(message: Odometry) -> None:
            stamp = stamp_ns(message.header.stamp)
            self._intake.take(topic, message, stamp, self._now_ns())
            at_ns = self._now_ns() if source.stamp == 'receive' else stamp
            self._located(topic, planar_pose(message, at_ns))

        if source.interface == 'odometry':
            return self._subscribe(Odometry, topic, odometry, STATES)
        return self._subscribe(JointState, topic, joints, STATES)

    def _subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile,
        *,
        raw: bool = False,
    ) -> Subscription:
        return self._node.create_subscription(
            kind,
            topic,
            callback,
            qos,
            callback_group=None if self._receiver is None else self._receiver.group,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
            raw=raw,
        )
