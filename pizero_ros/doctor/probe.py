"""Gathers facts from a live graph in bounded time; publishes no command, asks for no change."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from pizero_ros.doctor.asking import Parameters
from pizero_ros.doctor.facts import ClockFacts, Facts
from pizero_ros.doctor.fast_dds import transport_facts
from pizero_ros.doctor.graph import Graph
from pizero_ros.doctor.listening import Listening
from pizero_ros.doctor.watch import streams
from pizero_ros.embodiment.schema import GRIPPER_ACTIONS
from pizero_ros.errors import EnvironmentFault
from pizero_ros.nodes.control_messages import require_control_msgs
from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.observation.intake import stamp_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.embodiment.schema import Embodiment

SHORTEST_S = 1.0
"""DDS finds a local peer within it."""

SETTLED_S = 3.5
"""What is not there by now, after so long without news, is missing. Announcements may be lost on a
busy machine or network; Fast DDS repeats them every 3 s (``leaseDuration_announcementperiod``)."""

LONGEST_S = 10.0
"""For a graph on which others come and go all the time."""

POLICY_PARAMETERS = frozenset({'embodiment', 'bundle', 'use_sim_time', 'scheduling', 'dry_run'})
STATUS_TYPE = 'pizero_ros/msg/PolicyStatus'
POLICY_NAME = 'policy_node'
"""By which a policy node is known that has published no status yet."""

_CLOCK = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""As rclpy's own: the newest tick is the time, on a busy machine too."""


class Probe:
    """A node in a ROS context of its own, from ``with`` to the block's end.

    Attributes:
        policies: Full names of the policy nodes, the one that is meant first.
        policy_parameters: Those of the first that matter here, None while it has not answered.
    """

    def __init__(self, policy: str = '') -> None:
        """Appear on the graph.

        Args:
            policy: Full name of the policy node that is meant; empty takes any.
        """
        self.policies: list[str] = []
        self.policy_parameters: dict[str, object] | None = None
        self._wanted = policy
        self._asked: Parameters | None = None
        self._ticks = self._clock_ns = 0
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        # The underscore hides it from `ros2 node list`.
        self._node = Node(
            f'_pizero_doctor_{os.getpid()}',
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._graph = Graph(self._node)
        self._node.create_subscription(
            Clock, '/clock', self._tick, _CLOCK, event_callbacks=NO_SUBSCRIPTION_EVENTS
        )

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def discover(
        self,
        embodiment: Embodiment | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Wait until everything is there or nothing more comes, and look for a policy node.

        Args:
            embodiment: Whose topics to wait for; None waits for a policy node.
            progress: Called often with the share done, 0 to 1.
        """
        since = news_at = time.monotonic()
        known: object = None
        while (elapsed := time.monotonic() - since) < LONGEST_S:
            self._executor.spin_once(timeout_sec=0.02)
            progress(elapsed / LONGEST_S)
            self._find_policy()
            if (seen := self._graph.everything()) != known:
                known, news_at = seen, time.monotonic()
            waiting = self._asked is not None and self.policy_parameters is None
            # A publisher of /clock may be one that never ticks: that is the system clock.
            waiting |= bool(self._node.count_publishers('/clock')) and not self._ticks
            if elapsed > SHORTEST_S and not waiting and self._complete(embodiment):
                return
            if time.monotonic() - news_at > SETTLED_S:
                return

    def gather(
        self,
        embodiment: Embodiment,
        seconds: float,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Facts:
        """Listen, and return what was found; call ``discover`` before.

        Args:
            embodiment: What the robot is expected to be.
            seconds: How long to listen, once everybody who is there has been heard.
            progress: Called often with the share done, 0 to 1.
        """
        simulated = self._simulated()

        def now_ns() -> int:
            return self._clock_ns if simulated else time.time_ns()

        absolute = self._absolute(embodiment)
        listening = Listening(self._node, self._graph, absolute, self.policies, now_ns)
        ticks, since = self._ticks, time.monotonic()
        heard_at: float | None = None
        while True:
            now = time.monotonic()
            if heard_at is None and (now > since + SETTLED_S or not listening.waits()):
                heard_at = now
            share = 0.0 if heard_at is None else (now - heard_at) / seconds
            if share >= 1.0:
                break
            self._executor.spin_once(timeout_sec=0.02)
            self._find_policy()
            listening.poll(share)
            progress(share)
        clocks = self._graph.publishers('/clock', _CLOCK)
        return Facts(
            listened_s=now - since,
            domain=self._context.get_domain_id(),
            inputs=listening.inputs(),
            looks=listening.looks,
            groups=listening.groups(),
            policy=listening.policy(self.policy_parameters),
            clock=ClockFacts(
                'simulated' if simulated else 'system',
                tuple(each.node or 'a nameless node' for each in clocks),
                self._ticks - ticks,
            ),
            transport=transport_facts(str(rclpy.get_rmw_implementation_identifier()), os.environ),
            manager_problem=listening.controllers.manager_problem,
            types_problem=_types_problem(embodiment),
            speed=listening.controllers.speed(),
        )

    def _find_policy(self) -> None:
        if self._asked is not None:
            self._asked.poll()
            self.policy_parameters = self._asked.values
            return
        topics = self._graph.topics_of(STATUS_TYPE, published=True)
        nodes = self._graph.nodes()
        found = {topic.rpartition('/')[0] for topic in topics}
        found |= {name for name in nodes if name.rpartition('/')[2] == POLICY_NAME}
        if self._wanted:
            found = {self._wanted} & (found | set(nodes))
        # In place: whoever listens already takes up a node that is discovered late.
        self.policies[:] = sorted(found)
        if self.policies:
            self._asked = Parameters(self._node, self.policies[0], POLICY_PARAMETERS)

    def _complete(self, embodiment: Embodiment | None) -> bool:
        """Tell whether everything that is looked for has been seen."""
        if embodiment is None:
            return bool(self.policies)
        absolute = self._absolute(embodiment)
        return all(self._node.count_publishers(each.topic) for each in streams(absolute)) and all(
            self._node.count_subscribers(group.topic)
            for group in absolute.actions
            if group.message not in GRIPPER_ACTIONS
        )

    def _absolute(self, embodiment: Embodiment) -> Embodiment:
        """Return the embodiment with the topics that the policy node makes of its names."""
        node = self.policies[0] if self.policies else f'/{POLICY_NAME}'
        namespace, _, name = node.rpartition('/')

        def absolute(each: Any) -> Any:
            if each is None:
                return None
            return replace(each, topic=expand_topic_name(each.topic, name, namespace or '/'))

        return replace(
            embodiment,
            cameras=tuple(map(absolute, embodiment.cameras)),
            state=tuple(map(absolute, embodiment.state)),
            actions=tuple(
                replace(absolute(group), workspace=absolute(group.workspace))
                for group in embodiment.actions
            ),
            speed_scaling=absolute(embodiment.speed_scaling),
        )

    def _simulated(self) -> bool:
        """Tell whether the policy node goes by /clock, or should if there is none yet."""
        follows = (self.policy_parameters or {}).get('use_sim_time')
        if isinstance(follows, bool):
            return follows
        return self._ticks > 0

    def _tick(self, message: Clock) -> None:
        self._ticks += 1
        self._clock_ns = stamp_ns(message.clock)


def _types_problem(embodiment: Embodiment) -> str:
    try:
        require_control_msgs(embodiment)
    except EnvironmentFault as error:
        return str(error)
    return ''
