"""What controllers say of themselves: active or not, and how fast they run."""

from __future__ import annotations

import importlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from std_msgs.msg import Float64

from pizero_ros.doctor.asking import Call
from pizero_ros.doctor.facts import SpeedFacts
from pizero_ros.nodes.control_messages import controller_state
from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.nodes.sensors import STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from pizero_ros.doctor.graph import Graph
    from pizero_ros.embodiment.schema import ActionGroup, Embodiment

CONTROLLER_STATE = 'control_msgs/msg/JointTrajectoryControllerState'
LIST_CONTROLLERS = 'controller_manager_msgs/srv/ListControllers'


class ControllerStates:
    """Asks controller managers and listens to speed factors, as far as their types are here.

    Attributes:
        manager_problem: Why a controller manager could not be asked, empty if none refused.
        speeds: Topic → last speed factor, 1 for full speed.
        speed_problems: Topic → why its factors cannot be read.
    """

    def __init__(self, node: Node, graph: Graph, embodiment: Embodiment) -> None:
        """Subscribe to the factors that the embodiment names.

        Args:
            node: Whose subscriptions they are.
            graph: What that node sees.
            embodiment: The robot, with absolute topics.
        """
        self._node, self._graph = node, graph
        self._source = source = embodiment.speed_scaling
        self._state_topics = {state_topic(group) for group in embodiment.actions}
        self._managers: dict[str, Call] = {}
        self._heard: set[str] = set()
        self._factors = 0
        self._since_s = time.monotonic()
        self.manager_problem = ''
        self.speeds: dict[str, float] = {}
        self.speed_problems: dict[str, str] = {}
        if source is not None and source.message == 'controller_state':
            self._state_topics.add(source.topic)
        elif source is not None:
            unit = 0.01 if source.unit == 'percent' else 1.0
            self._subscribe(Float64, source.topic, partial(self._take_number, source.topic, unit))

    def discover(self) -> None:
        """Take up what has appeared: on a busy network that may be late."""
        self._ask_managers()
        self._listen_to_states()

    def poll(self) -> None:
        """Go on with the questions."""
        for call in self._managers.values():
            call.poll()

    def activity(self) -> dict[str, str]:
        """Return full node name → state, of what the controller managers manage."""
        states = {}
        for service, call in self._managers.items():
            # /ns/controller_manager/list_controllers manages the nodes of /ns.
            namespace = service.rsplit('/', 2)[0]
            for each in call.response.controller if call.response is not None else ():
                states[f'{namespace}/{each.name}'] = each.state
        return states

    def speed(self) -> SpeedFacts | None:
        """Return the facts on the named source of speed factors, None if there is none."""
        source = self._source
        if source is None:
            return None
        kind = 'std_msgs/msg/Float64' if source.message == 'float64' else CONTROLLER_STATE
        return SpeedFacts(
            source,
            kind,
            self._graph.publishers(source.topic, STATES),
            self._factors / max(time.monotonic() - self._since_s, 1e-3),
            self.speeds.get(source.topic),
            tuple(self._graph.topics_of(kind, published=True)),
        )

    def _ask_managers(self) -> None:
        for service in self._graph.services_of(LIST_CONTROLLERS):
            if service in self._managers:
                continue
            try:
                kinds = importlib.import_module('controller_manager_msgs.srv')
            except ImportError as error:
                self.manager_problem = f'{service} cannot be asked: {error}'
                return
            request = kinds.ListControllers.Request()
            self._managers[service] = Call(self._node, kinds.ListControllers, service, request)

    def _listen_to_states(self) -> None:
        published = self._graph.topics_of(CONTROLLER_STATE, published=True)
        for topic in self._state_topics.intersection(published) - self._heard:
            self._heard.add(topic)
            try:
                kind = controller_state()
            except ImportError as error:
                self.speed_problems[topic] = f'{topic} cannot be read: {error}'
                continue
            self._subscribe(kind, topic, partial(self._take_state, topic))

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        self._node.create_subscription(
            kind, topic, callback, STATES, event_callbacks=NO_SUBSCRIPTION_EVENTS
        )

    def _take_state(self, topic: str, message: Any) -> None:
        # Humble's message has no such field.
        factor = getattr(message, 'speed_scaling_factor', None)
        if factor is not None:
            self._take_factor(topic, float(factor))

    def _take_number(self, topic: str, unit: float, message: Float64) -> None:
        self._take_factor(topic, message.data * unit)

    def _take_factor(self, topic: str, factor: float) -> None:
        self.speeds[topic] = factor
        self._factors += self._source is not None and topic == self._source.topic


def state_topic(group: ActionGroup) -> str:
    """Return where a stock controller that takes a group's commands says how it fares."""
    return f'{group.topic.rpartition("/")[0]}/controller_state'
