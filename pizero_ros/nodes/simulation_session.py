"""A node beside the simulated robot: sets its scenes, hears its truth, and waits for answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pizero_ros.errors import DatasetError, PizeroError
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.sim.truth import truth_from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.task import Future
    from typing_extensions import Self

    from pizero_ros.sim.truth import Truth

ANSWER_LIMIT_S = 20.0
_LOOK_S = 0.2


class SimulationSession:
    """Base of those who run episodes on ``sim_robot``, one after the other, from one thread.

    Attributes:
        node: Theirs.
        truth: The latest of the scene, ``None`` before the first.
    """

    error: type[PizeroError] = DatasetError
    """What is raised when a node does not answer."""

    def __init__(self, name: str, domain: int, check: Callable[[], None]) -> None:
        """Join a ROS domain.

        Args:
            name: Of the node.
            domain: Where the robot is.
            check: Called while waiting; raises if it is in vain.
        """
        self._name = name
        self._check = check
        self._context = Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = Node(name, context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.truth: Truth | None = None
        self.node.create_subscription(String, '/sim_robot/scene', self._on_scene, LATCHED)
        self._parameters = self.node.create_client(SetParameters, '/sim_robot/set_parameters')
        self._reset = self.node.create_client(Trigger, '/sim_robot/reset')

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def robot_is_ready(self) -> bool:
        """Whether ``sim_robot`` is there."""
        return (
            self._parameters.service_is_ready()
            and self._reset.service_is_ready()
            and self.truth is not None
        )

    def set_scene(self, seed: int, start: str) -> int:
        """Put a scene on the stage; return the number of the episode once its truth is here.

        Args:
            seed: Of the scene.
            start: Where the robot begins.

        Raises:
            PizeroError: If the robot refuses it or does not answer.
        """
        wanted = [
            Parameter('scene_seed', value=seed).to_parameter_msg(),
            Parameter('scene_start', value=start).to_parameter_msg(),
        ]
        request = SetParameters.Request(parameters=wanted)
        answer = self.call(self._parameters.call_async(request), 'sim_robot')
        refused = [result.reason for result in answer.results if not result.successful]
        before = self.truth.episode if self.truth else 0
        done = self.call(self._reset.call_async(Trigger.Request()), 'sim_robot')
        if refused or not done.success:
            raise self.error.at(
                'sim_robot',
                '~/reset',
                found=', '.join(refused) or done.message,
                expected=f'scene {seed} from the {start}',
            )
        self.until(
            lambda: (
                self.truth is not None and self.truth.episode > before and self.truth.seed == seed
            ),
            'truth of the new scene',
        )
        assert self.truth is not None
        return self.truth.episode

    def call(self, future: Future, who: str, limit_s: float = ANSWER_LIMIT_S) -> Any:
        """Return the answer of a service.

        Args:
            future: Of the call.
            who: Whose service it is.
            limit_s: Time to answer, s.

        Raises:
            PizeroError: If there is none in time.
        """
        self.until(future.done, f'answer of {who}', limit_s)
        return future.result()

    def until(
        self, condition: Callable[[], object], what: str, limit_s: float = ANSWER_LIMIT_S
    ) -> None:
        """Take in messages until a condition holds.

        Args:
            condition: Looked at after each message.
            what: What is waited for.
            limit_s: How long, s of the system's clock.

        Raises:
            PizeroError: If it does not come in time, or ``check`` says that it is in vain.
        """
        deadline = time.monotonic() + limit_s
        looked = 0.0
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            if now - looked > _LOOK_S:
                looked = now
                self._check()
            if now > deadline:
                raise self.error.at(
                    self._name, '', found=f'no {what} within {limit_s:g} s', expected='one'
                )

    def on_truth(self, truth: Truth) -> None:
        """Take in the next truth of the scene."""

    def _on_scene(self, message: String) -> None:
        self.truth = truth_from_json(message.data)
        self.on_truth(self.truth)
