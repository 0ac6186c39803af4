"""Sensor messages into an assembler: the one way in, for live topics and for recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.assembler import ObservationAssembler
    from pizero_ros.observation.observation import Frame


class Time(Protocol):
    """A builtin_interfaces/Time, from rclpy or from rosbags."""

    sec: int
    nanosec: int


def stamp_ns(stamp: Time) -> int:
    """Return a time message in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def odometry_values(message: Any) -> dict[str, float]:
    """Return the body velocities of a nav_msgs/Odometry by axis name, m/s and rad/s."""
    twist = message.twist.twist
    return {
        'linear.x': twist.linear.x,
        'linear.y': twist.linear.y,
        'linear.z': twist.linear.z,
        'angular.x': twist.angular.x,
        'angular.y': twist.angular.y,
        'angular.z': twist.angular.z,
    }


class Intake:
    """Gives the messages of an embodiment's sensors to an assembler, each by its topic.

    Messages are read by attribute, so that those of rclpy and those of rosbags are the same.
    """

    def __init__(self, embodiment: Embodiment, assembler: ObservationAssembler) -> None:
        """Know which topic carries what.

        Args:
            embodiment: The robot.
            assembler: Takes the messages; made for the same robot.
        """
        self._assembler = assembler
        self._cameras = frozenset(camera.topic for camera in embodiment.cameras)
        self._interfaces = {source.topic: source.interface for source in embodiment.state}
        self.topics = (*self._cameras, *self._interfaces)

    def take(self, topic: str, message: Any, header_ns: int, received_ns: int) -> Frame | None:
        """Take in one message.

        Args:
            topic: One of ``topics``.
            message: sensor_msgs/Image, CompressedImage or JointState, or nav_msgs/Odometry, as
                the embodiment says of the topic.
            header_ns: Its header stamp; 0 if it has none.
            received_ns: Its arrival, on the clock of the node or of the recording.

        Returns:
            The frame that is now held, if it is a camera's and was not dropped.
        """
        if topic in self._cameras:
            return self._assembler.image(topic, message, header_ns, received_ns)
        if self._interfaces[topic] == 'odometry':
            values = odometry_values(message)
            self._assembler.odometry(topic, values, header_ns, received_ns)
        else:
            self._assembler.joint_state(
                topic,
                message.name,
                message.position,
                message.velocity,
                message.effort,
                header_ns,
                received_ns,
            )
        return None
