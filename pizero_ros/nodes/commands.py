"""What sends the commands of an embodiment's action groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSProfile

from pizero_ros.control.commands import GripperGoal, TrajectoryCommand
from pizero_ros.embodiment.schema import GRIPPER_ACTIONS
from pizero_ros.nodes.acknowledgement import unacknowledged
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.nodes.gripper_actions import GripperAction
from pizero_ros.nodes.messages import command_message
from pizero_ros.nodes.serialized_trajectory import SerializedTrajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectoryPoint

    from pizero_ros.control.commands import Command
    from pizero_ros.embodiment.schema import Embodiment

RELIABLE = QoSProfile(depth=10)
"""Controllers subscribe with system defaults; a command must not be lost."""


class CommandPublishers:
    """One reliable publisher for each action group, or an action client where it asks for one."""

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        *,
        goal_failed: Callable[[str, str, str], object],
        goal_unsent: Callable[[str], object],
    ) -> None:
        """Create the publishers and clients on ``node``.

        Args:
            node: Whose they are.
            embodiment: The robot.
            goal_failed: Called as ``GripperAction`` says, by the executor's thread.
            goal_unsent: Likewise.
        """
        self._node = node
        self._groups = {group.name: group for group in embodiment.actions}
        self._points: list[JointTrajectoryPoint] = []
        self._trajectories = {
            group.name: SerializedTrajectory(tuple(joint.name for joint in group.joints))
            for group in embodiment.actions
            if group.output == 'joint_trajectory'
        }
        self._publishers = {
            group.name: node.create_publisher(MESSAGE_TYPES[group.message], group.topic, RELIABLE)
            for group in embodiment.actions
            if group.message not in GRIPPER_ACTIONS
        }
        self._actions = {
            group.name: GripperAction(node, group, failed=goal_failed, unsent=goal_unsent)
            for group in embodiment.actions
            if group.message in GRIPPER_ACTIONS
        }

    def publish(self, commands: Iterable[Command]) -> None:
        """Publish commands in order; goals of actions are sent without waiting."""
        for command in commands:
            if isinstance(command, GripperGoal) and command.group in self._actions:
                self._actions[command.group].send(command)
                continue
            self._publishers[command.group].publish(self._on_the_wire(command))

    def _on_the_wire(self, command: Command) -> Any:
        """Return a command as bytes if it is one that takes long to convert, else as a message."""
        if isinstance(command, TrajectoryCommand):
            serialized = self._trajectories[command.group](command)
            if serialized is not None:
                return serialized
        return command_message(command, self._groups[command.group], self._points)

    def flush(self, limit_s: float) -> bool:
        """Wait until every reliable subscriber has what was published, for a limited time."""
        return not unacknowledged(self._publishers, limit_s)

    def destroy(self) -> None:
        """Remove the publishers and clients."""
        for action in self._actions.values():
            action.destroy()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
