"""The planner node: a long instruction in, one prompt after the other out to the policy node."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.msg import PolicyStatus
from pizero_ros.nodes import planner_parameters
from pizero_ros.nodes.acknowledgement import unacknowledged
from pizero_ros.nodes.events import NO_PUBLISHER_EVENTS
from pizero_ros.nodes.planner_cameras import PlannerCameras
from pizero_ros.nodes.planner_making import make_planner
from pizero_ros.nodes.planner_reporting import SWITCHED_OFF, plan_diagnostics, plan_json
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.planner.asking import Asking
from pizero_ros.planner.execution import STOP, Execution, PolicyState, PolicyView
from pizero_ros.planner.halt import HaltWatch
from pizero_ros.planner.plan import NoAnswer

if TYPE_CHECKING:
    from pizero_ros.planner.execution import PlanView

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TICK_S = 0.05
REPORT_S = 1.0
SILENT_S = 3.0
"""The policy tells its status every second."""

STOP_TOLD_S = 0.5
"""So long an ending node waits until its last prompt has arrived."""

END_S = 4.0
"""So long an ending node waits for the policy to hold; `ros2 launch` has patience for 5 s."""

_STATES: dict[int, PolicyState] = {
    PolicyStatus.STATE_INACTIVE: 'inactive',
    PolicyStatus.STATE_RUNNING: 'running',
    PolicyStatus.STATE_HOLDING: 'holding',
    PolicyStatus.STATE_DRY_RUN: 'dry_run',
    PolicyStatus.STATE_FAULT: 'fault',
}


class PlannerNode(Node):
    """Parameters are in ``planner_parameters.DECLARATIONS``; the planner has its own thread."""

    def __init__(self, **options: Any) -> None:
        """Set everything up.

        Args:
            options: As of ``Node``.

        Raises:
            PizeroError: A parameter, the script or the embodiment is wrong.
        """
        super().__init__('planner_node', **options)
        planner_parameters.declare(self)
        chosen = self._chosen = planner_parameters.read(self)
        where = f'parameters of {self.get_fully_qualified_name()}'
        warn = self.get_logger().warning
        self._planner = make_planner(chosen, os.environ, where, warn)
        look: Any = dict
        if self._planner.sees:
            look = PlannerCameras(self, load_embodiment(chosen.embodiment)).look
        self._execution = Execution(
            looks_every_s=self._planner.looks_every_s, planning_limit_s=chosen.planning_limit_s
        )
        self._halt = HaltWatch()
        self._policy = PolicyView('silent')
        self._heard_s = float('-inf')
        self._told: tuple[int, str] = (0, STOP)
        self._reported: tuple[object, ...] = ()
        self._instruction = chosen.instruction
        self._switched_off = False
        self._create_interfaces()
        self._asking = Asking(self._planner, look, self._on_broken)
        self.get_logger().info(f'{chosen.planner} plans for {self._prompts.topic_name}')

    def _create_interfaces(self) -> None:
        policy = self._chosen.policy
        quiet = {'event_callbacks': NO_PUBLISHER_EVENTS}
        self._prompts = self.create_publisher(String, f'{policy}/prompt', LATCHED, **quiet)
        self._plans = self.create_publisher(String, '~/plan', LATCHED, **quiet)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10, **quiet)
        self._enable = self.create_client(SetBool, f'{policy}/enable')
        # A latched subscription does not hear a volatile publisher (ros2 topic pub), and a
        # volatile one misses what was latched before it came.
        for qos in (LATCHED, QoSProfile(depth=1)):
            self.create_subscription(String, '~/instruction', self._on_instruction, qos)
        if self._chosen.planner == 'human':
            self.create_subscription(String, '~/human', self._on_human, 10)
        self.create_subscription(String, self._chosen.verdict_topic, self._on_verdict, 10)
        self.create_subscription(PolicyStatus, f'{policy}/status', self._on_status, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_S, self._on_tick, clock=steady)
        self.create_timer(REPORT_S, self._report, clock=steady)

    # What comes from outside

    def _on_instruction(self, message: String) -> None:
        self._instruction = ''
        self._execution.instruct(message.data, self._now_s())

    def _on_human(self, message: String) -> None:
        self._execution.say(message.data, self._now_s())

    def _on_verdict(self, message: String) -> None:
        self._execution.judge(message.data)

    def _on_status(self, message: PolicyStatus) -> None:
        self._heard_s = time.monotonic()
        self._policy = PolicyView(_STATES[message.state], message.prompt, message.reason)

    def _on_broken(self, error: Exception) -> None:
        self.get_logger().error(f'the planner is broken: {type(error).__name__}: {error}')

    # What is done about it

    def _on_tick(self) -> None:
        now_s = self._now_s()
        if time.monotonic() - self._heard_s > SILENT_S:
            self._policy = PolicyView('silent')
        self._execution.heed(self._policy)
        # A large bundle takes longer to load than a subtask may.
        if self._instruction and self._policy.state not in ('silent', 'inactive'):
            instruction, self._instruction = self._instruction, ''
            self._execution.instruct(instruction, now_s)
        answered = self._asking.answer()
        if answered is not None:
            question, answer = answered
            if isinstance(answer, NoAnswer):
                self.get_logger().warning(f'no answer: {answer.reason}', throttle_duration_sec=2.0)
            self._execution.answered(question, answer, now_s)
        self._execution.tick(now_s)
        if not self._asking.busy:
            asked = self._execution.question(now_s)
            if asked is not None:
                self._asking.ask(asked)
        self._tell()

    def _tell(self) -> None:
        """Publish the prompt if it is another, and see that a stop is obeyed."""
        execution = self._execution
        told = execution.generation, execution.prompt
        if told != self._told:
            self._told = told
            self._prompts.publish(String(data=execution.prompt))
            self._halt.told(execution.prompt, time.monotonic())
            self._switched_off = False
            self.get_logger().info(
                f'prompt: {execution.prompt!r}' if execution.prompt else 'the policy is to hold'
            )
        if self._halt.must_switch_off(self._policy, time.monotonic()):
            self._switch_off()
        plan = execution.view(self._now_s())
        if self._news(plan) != self._reported:
            if plan.state in ('done', 'failed', 'stopped') and plan.state not in self._reported:
                self.get_logger().info(f'{plan.state}: {plan.reason}')
            self._report()

    def _switch_off(self) -> Any:
        """Stop a policy that does not obey its prompt; only a person switches it on again."""
        self._switched_off = True
        self.get_logger().error(f'{SWITCHED_OFF}: {self._enable.srv_name} false')
        return self._enable.call_async(SetBool.Request(data=False))

    def _news(self, plan: PlanView) -> tuple[object, ...]:
        return plan.state, plan.step, plan.prompt, plan.policy, self._switched_off

    def _report(self) -> None:
        plan, now_ns = self._execution.view(self._now_s()), self.get_clock().now().nanoseconds
        self._reported = self._news(plan)
        told: dict[str, Any] = {
            'planner': self._chosen.planner,
            'now_ns': now_ns,
            'switched_off': self._switched_off,
            'counts': {**plan.counts, **self._planner.counts()},
        }
        self._plans.publish(String(data=plan_json(plan, **told)))
        self._diagnostics.publish(plan_diagnostics(plan, self.get_name(), **told))

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    # The end

    def finish(self, executor: SingleThreadedExecutor) -> None:
        """Leave the policy holding if it carries out an instruction of ours; takes ``END_S``.

        Args:
            executor: Spins the node meanwhile; nobody else does any more.
        """
        self._execution.stop('the planner was ended', self._now_s())
        self._tell()
        unacknowledged({'prompts': self._prompts}, STOP_TOLD_S)
        deadline_s = time.monotonic() + END_S
        while self._halt.pending and self._policy.state != 'silent':
            executor.spin_once(timeout_sec=0.05)
            if self._halt.pending and time.monotonic() >= deadline_s:
                if self._policy.state == 'running':
                    executor.spin_until_future_complete(self._switch_off(), timeout_sec=0.5)
                break
        if not self._asking.close():
            self.get_logger().error('the planner did not end in time')


def main(args: list[str] | None = None) -> int:
    """Plan until SIGINT or SIGTERM, and leave the policy holding.

    Args:
        args: Command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0 when stopped, 1 if a parameter, a script or the key is wrong.
    """
    stopping = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = PlannerNode()
    except (PizeroError, ParameterException) as error:
        print(f'planner_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopping.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.finish(executor)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
