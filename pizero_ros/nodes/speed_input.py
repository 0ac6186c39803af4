"""The subscription that tells how fast the controllers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from std_msgs.msg import Float64

from pizero_ros.nodes.control_messages import controller_state
from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.nodes.sensors import STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from pizero_ros.embodiment.schema import SpeedScaling


class SpeedInput:
    """Takes speed factors in; 1 is full speed, whatever the unit of the topic."""

    def __init__(
        self, node: Node, source: SpeedScaling, arrived: Callable[[float], object]
    ) -> None:
        """Subscribe.

        Args:
            node: Whose subscription it is.
            source: Where factors come from; its type must be on this machine.
            arrived: Called with each factor by the executor's thread.
        """
        self._node = node
        unit = 0.01 if source.unit == 'percent' else 1.0

        def number(message: Float64) -> None:
            arrived(message.data * unit)

        def state(message: Any) -> None:
            arrived(message.speed_scaling_factor)

        of_controller = source.message == 'controller_state'
        self._subscription = node.create_subscription(
            controller_state() if of_controller else Float64,
            source.topic,
            state if of_controller else number,
            STATES,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
        )

    def destroy(self) -> None:
        """Remove the subscription."""
        self._node.destroy_subscription(self._subscription)
