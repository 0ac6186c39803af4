"""Publishers of an embodiment's action groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile

from pizero_ros.nodes.messages import MESSAGE_TYPES, command_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rclpy.duration import Duration
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectoryPoint

    from pizero_ros.control.commands import Command
    from pizero_ros.embodiment.schema import Embodiment

RELIABLE = QoSProfile(depth=10)
"""Controllers subscribe with system defaults; a command must not be lost."""


class CommandPublishers:
    """One reliable publisher for each action group."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Create the publishers on ``node``."""
        self._node = node
        self._groups = {group.name: group for group in embodiment.actions}
        self._points: list[JointTrajectoryPoint] = []
        self._publishers = {
            group.name: node.create_publisher(MESSAGE_TYPES[group.message], group.topic, RELIABLE)
            for group in embodiment.actions
        }

    def publish(self, commands: Iterable[Command]) -> None:
        """Publish commands in order."""
        for command in commands:
            message = command_message(command, self._groups[command.group], self._points)
            self._publishers[command.group].publish(message)

    def flush(self, timeout: Duration) -> bool:
        """Wait until every reliable subscriber has what was published."""
        confirmed = True
        for publisher in self._publishers.values():
            # The others still get their time after one that does not answer.
            confirmed &= publisher.wait_for_all_acked(timeout)
        return confirmed

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
