"""The simulated controllers on the graph: a node each, named and set as a real one would be."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.sim.controllers import CMD_VEL_TIMEOUT_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.control.controller import Replacement
    from pizero_ros.embodiment.schema import ActionGroup, Embodiment


class ControllerNodes:
    """Hears commands in a thread of its own, as controllers do beside their drivers.

    The node of ``/arm_controller/joint_trajectory`` is ``/arm_controller``. Its parameters are
    those of ros2_controllers that say how it takes commands; they cannot be changed.

    Attributes:
        error: What ended the thread before ``close``, if anything did.
    """

    def __init__(
        self,
        robot: Node,
        embodiment: Embodiment,
        receive: Callable[[ActionGroup, Any], None],
        *,
        replacement: Replacement,
        interpolate_from_desired_state: bool,
    ) -> None:
        """Create the nodes and listen at once.

        Args:
            robot: The simulated robot's node; its remappings and namespace hold for the topics.
            embodiment: The robot.
            receive: Called in the thread with each message.
            replacement: How a new trajectory replaces the old one.
            interpolate_from_desired_state: Where the way to a new trajectory starts.
        """
        self.error: Exception | None = None
        self._executor = SingleThreadedExecutor(context=robot.context)
        self._nodes: dict[str, Node] = {}
        for group in embodiment.actions:
            topic = robot.resolve_topic_name(group.topic)
            node = self._node(topic, robot)
            node.create_subscription(
                MESSAGE_TYPES[group.message], topic, partial(receive, group), 10
            )
            if node is robot:
                continue
            for name, value in _parameters(group, replacement, interpolate_from_desired_state):
                if not node.has_parameter(name):
                    node.declare_parameter(name, value, ParameterDescriptor(read_only=True))
        self._thread = threading.Thread(target=self._run, name='controllers', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and leave the graph; closing twice is allowed."""
        self._executor.shutdown()
        self._thread.join()
        for node in self._nodes.values():
            node.destroy_node()
        self._nodes.clear()

    def _node(self, topic: str, robot: Node) -> Node:
        """Return the controller's node for a topic, the robot's own if the topic names none."""
        owner, _, _ = topic.rpartition('/')
        namespace, _, name = owner.rpartition('/')
        if not name:
            return robot
        if owner not in self._nodes:
            # Without the global arguments, by which a launch file renames the robot's node.
            node = Node(
                name,
                namespace=namespace or '/',
                context=robot.context,
                use_global_arguments=False,
                enable_rosout=False,
            )
            self._executor.add_node(node)
            self._nodes[owner] = node
        return self._nodes[owner]

    def _run(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:
            self.error = error


def _parameters(
    group: ActionGroup, replacement: Replacement, from_desired: bool
) -> list[tuple[str, Any]]:
    """Return what a controller of ros2_controllers for this group would be set to."""
    if group.output == 'twist':
        return [
            ('cmd_vel_timeout', CMD_VEL_TIMEOUT_NS * 1e-9),
            ('use_stamped_vel', group.message == 'twist_stamped'),
        ]
    joints = ('joints', [joint.name for joint in group.joints])
    if group.message == 'float64_multi_array':
        return [joints, ('interface_name', 'position')]
    return [
        joints,
        ('command_interfaces', ['position']),
        ('state_interfaces', ['position', 'velocity']),
        ('interpolate_from_desired_state', from_desired),
        ('allow_partial_joints_goal', False),
        ('allow_nonzero_velocity_at_trajectory_end', False),
        ('interpolation_method', 'splines'),
        *([('allow_trajectory_replacement', True)] if replacement == 'blend' else []),
    ]
