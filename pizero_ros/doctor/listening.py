"""Subscriptions and questions of one look at the graph; nothing in it publishes."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.srv import GetState
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

from pizero_ros.doctor.asking import Call, Once, Parameters
from pizero_ros.doctor.controller_states import ControllerStates, state_topic
from pizero_ros.doctor.facts import (
    GroupFacts,
    InputFacts,
    Listener,
    Looks,
    PolicyFacts,
)
from pizero_ros.doctor.judge_parameters import PARAMETERS
from pizero_ros.doctor.watch import WatchedAssembler, streams
from pizero_ros.embodiment.schema import GRIPPER_ACTIONS, Camera
from pizero_ros.msg import PolicyStatus
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.nodes.commands import RELIABLE
from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.nodes.sensors import STATES, Sensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from pizero_ros.control.workspace import PlanarPose
    from pizero_ros.doctor.facts import Endpoint
    from pizero_ros.doctor.graph import Graph
    from pizero_ros.embodiment.schema import ActionGroup, Embodiment, StateSource

LOOK_PERIOD_S = 0.1
GRAPH_PERIOD_S = 0.25

ACTION_NAMES = {
    'gripper_command': 'GripperCommand',
    'parallel_gripper_command': 'ParallelGripperCommand',
}

STATES_OF_POLICY = {
    PolicyStatus.STATE_INACTIVE: 'inactive',
    PolicyStatus.STATE_RUNNING: 'running',
    PolicyStatus.STATE_HOLDING: 'holding',
    PolicyStatus.STATE_DRY_RUN: 'dry_run',
    PolicyStatus.STATE_FAULT: 'fault',
}

_PASSIVE = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Listening:
    """What the policy would hear and who hears it, from construction on.

    Attributes:
        controllers: What the controllers say of themselves.
    """

    def __init__(
        self,
        node: Node,
        graph: Graph,
        embodiment: Embodiment,
        policies: list[str],
        now_ns: Callable[[], int],
    ) -> None:
        """Subscribe and begin to ask.

        Args:
            node: Whose subscriptions they are.
            graph: What that node sees.
            embodiment: The robot, with absolute topics.
            policies: Full names of the policy nodes, the one that is meant first; may fill later.
            now_ns: Clock by which ages are measured.
        """
        self._node, self._graph, self._embodiment = node, graph, embodiment
        self._policies, self._now_ns = policies, now_ns
        self._assembler = WatchedAssembler(embodiment)
        self._commands: Counter[str] = Counter()
        self._poses: dict[str, PlanarPose] = {}
        self._status: Any = None
        self._lifecycle: Call | None = None
        self.controllers = ControllerStates(node, graph, embodiment)
        self._parameters = Once(lambda target: Parameters(node, target, PARAMETERS))
        self._look_at = self._graph_at = 0.0
        Sensors(
            node,
            embodiment,
            self._assembler,
            now_ns=now_ns,
            frame_arrived=lambda frame: None,
            located=self._poses.__setitem__,
        )
        for group in embodiment.actions:
            if group.message not in GRIPPER_ACTIONS:
                count = partial(self._count, group.topic)
                self._subscribe(MESSAGE_TYPES[group.message], group.topic, count, _PASSIVE)

    def poll(self, share: float) -> None:
        """Go on with questions and looks.

        Args:
            share: Of the time to listen that has passed, 0 to 1.
        """
        now = time.monotonic()
        if now >= self._graph_at:
            self._graph_at = now + GRAPH_PERIOD_S
            for group in self._embodiment.actions:
                for each in self._takers(group):
                    self._parameters.about(each.node)
            # Here and not once: on a busy network they may be discovered late.
            self._listen_to_policy()
            self.controllers.discover()
        self._parameters.poll()
        self.controllers.poll()
        if self._lifecycle is not None:
            self._lifecycle.poll()
        # Before every stream has been matched nothing is wrong with an observation but haste.
        if now >= self._look_at and (self._assembler.complete or share > 0.5):
            self._look_at = now + LOOK_PERIOD_S
            self._assembler.look(self._now_ns())

    def waits(self) -> bool:
        """Tell whether a publisher has sent nothing, or who takes commands not answered."""
        return any(map(self._is_silent, streams(self._embodiment))) or any(
            self._parameters.values(each.node) is None
            for group in self._embodiment.actions
            for each in self._takers(group)
        )

    # Facts

    @property
    def looks(self) -> Looks:
        """Observations asked for so far."""
        return self._assembler.looks()

    def inputs(self) -> tuple[InputFacts, ...]:
        """Return the facts on every input topic."""
        now_ns = self._now_ns()
        status = {each.topic: each for each in self._assembler.status(now_ns)}
        facts = []
        for stream in streams(self._embodiment):
            topic, kind, qos = stream.topic, _type_of(stream), _qos_of(stream)
            publishers = self._graph.publishers(topic, qos)
            heard = any(each.type == kind for each in publishers)
            facts.append(
                InputFacts(
                    stream,
                    kind,
                    publishers,
                    self._graph.deaf(topic),
                    self._assembler.records[topic].timing(now_ns),
                    status[topic],
                    self._assembler.pictures.get(topic),
                    tuple(self._assembler.names.get(topic, ())),
                    () if heard else tuple(self._graph.topics_of(kind, published=True)),
                    self._taken(topic, qos),
                )
            )
        return tuple(facts)

    def groups(self) -> tuple[GroupFacts, ...]:
        """Return the facts on every command topic."""
        states = self.controllers.activity()
        return tuple(self._group(group, states) for group in self._embodiment.actions)

    def policy(self, parameters: dict[str, object] | None) -> PolicyFacts | None:
        """Return the facts on the policy node, None if there is none.

        Args:
            parameters: What it answered.
        """
        if not self._policies:
            return None
        answer = self._lifecycle.response if self._lifecycle else None
        lifecycle = answer.current_state.label if answer is not None else ''
        node, *others = self._policies
        status = self._status
        if status is None:
            return PolicyFacts(node, tuple(others), lifecycle, parameters)
        faults = zip(status.stream_topics, status.stream_faults, strict=False)
        return PolicyFacts(
            node,
            tuple(others),
            lifecycle,
            parameters,
            STATES_OF_POLICY.get(status.state, f'state {status.state}'),
            status.reason,
            status.embodiment,
            {topic: fault for topic, fault in faults if fault},
        )

    def _is_silent(self, stream: Camera | StateSource) -> bool:
        """Tell whether a stream that fits has brought nothing."""
        if self._assembler.records[stream.topic].received:
            return False
        publishers = self._graph.publishers(stream.topic, _qos_of(stream))
        return any(each.type == _type_of(stream) and not each.mismatch for each in publishers)

    def _taken(self, topic: str, qos: QoSProfile) -> bool | None:
        """Tell whether the policy node listens, None as long as it has no reason to."""
        # Without a status it is not configured, and has no subscriptions yet.
        if self._status is None:
            return None
        listeners = self._graph.subscriptions(topic, qos)
        return any(each.node == self._policies[0] for each in listeners)

    def _group(self, group: ActionGroup, states: dict[str, str]) -> GroupFacts:
        takers, kind = self._takers(group), _type_of_commands(group)
        action = group.message in GRIPPER_ACTIONS
        # An action may have several clients, and tells each what became of its goals.
        publishers = () if action else self._graph.publishers(group.topic, _PASSIVE)
        elsewhere: list[str] = []
        if not any(each.type == kind for each in takers):
            elsewhere = (
                self._graph.actions_of(kind)
                if action
                else self._graph.topics_of(kind, published=False)
            )
        state = state_topic(group)
        pose = self._poses.get(group.workspace.topic) if group.workspace else None
        return GroupFacts(
            group,
            kind,
            tuple(
                Listener(each, self._parameters.values(each.node), states.get(each.node, ''))
                for each in takers
            ),
            tuple(each for each in publishers if each.node not in self._policies[:1]),
            self._commands[group.topic],
            self.controllers.speeds.get(state),
            self.controllers.speed_problems.get(state, ''),
            (pose.x, pose.y) if pose is not None else None,
            tuple(elsewhere),
        )

    def _takers(self, group: ActionGroup) -> tuple[Endpoint, ...]:
        """Return who takes the commands of a group."""
        if group.message in GRIPPER_ACTIONS:
            return self._graph.action_servers(group.topic)
        return self._graph.subscriptions(group.topic, RELIABLE)

    # Beginnings

    def _listen_to_policy(self) -> None:
        if self._lifecycle is None and self._policies:
            node, request = self._policies[0], GetState.Request()
            self._subscribe(PolicyStatus, f'{node}/status', self._take_status, _LATCHED)
            self._lifecycle = Call(self._node, GetState, f'{node}/get_state', request)

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> None:
        self._node.create_subscription(
            kind, topic, callback, qos, event_callbacks=NO_SUBSCRIPTION_EVENTS
        )

    def _count(self, topic: str, message: Any) -> None:
        self._commands[topic] += 1

    def _take_status(self, message: PolicyStatus) -> None:
        self._status = message


def type_name(kind: type) -> str:
    """Return a message class's name on the graph, as ``sensor_msgs/msg/Image``."""
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'


def _type_of(stream: Camera | StateSource) -> str:
    if isinstance(stream, Camera):
        kind = 'CompressedImage' if stream.transport == 'compressed' else 'Image'
        return f'sensor_msgs/msg/{kind}'
    return (
        'nav_msgs/msg/Odometry' if stream.interface == 'odometry' else 'sensor_msgs/msg/JointState'
    )


def _qos_of(stream: Camera | StateSource) -> QoSProfile:
    return qos_profile_sensor_data if isinstance(stream, Camera) else STATES


def _type_of_commands(group: ActionGroup) -> str:
    if group.message in GRIPPER_ACTIONS:
        return f'control_msgs/action/{ACTION_NAMES[group.message]}'
    return type_name(MESSAGE_TYPES[group.message])
