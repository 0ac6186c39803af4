"""One policy's trials from the outside: sets scenes, tells the task, judges, and films."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from pizero_ros.demo.processes import NodeEnded
from pizero_ros.errors import EvaluationError
from pizero_ros.msg import PolicyStatus
from pizero_ros.nodes.policy_account import Account
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.nodes.simulation_session import SimulationSession
from pizero_ros.nodes.trial_film import Film
from pizero_ros.sim.seeds import require_evaluable
from pizero_ros.sim.tasks.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.evaluation.trial import Trial
    from pizero_ros.sim.tasks.judge import Score
    from pizero_ros.sim.truth import Truth

POLICY, PLANNER = 'policy_node', 'planner_node'
STATUSES = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SETTLE_S = 0.5
"""Simulated time between the setting of a scene and the activation of the policy: by then
pictures and joint states of the scene before are older than any observation may be."""

DWELL_S = 0.5
"""How long a trial goes on after success, for those who watch the video."""

LOADING_LIMIT_S = 300.0
_PATIENCE = 5.0
"""A trial that takes so many times its time limit, and a minute, is given up."""


class Outcome(NamedTuple):
    """How a trial went.

    Attributes:
        score: The judge's.
        ended: ``success``, ``time``, ``fault`` (inference failed) or ``crash`` (a node ended).
        reason: What the node said of a fault or crash.
        account: What the policy node counted.
        frames_skipped: Pictures that the simulation left out because the machine was busy.
        film: Pictures, if they were asked for.
    """

    score: Score
    ended: str
    reason: str
    account: dict[str, Any]
    frames_skipped: int
    film: list[npt.NDArray[np.uint8]]


class EvaluatorSession(SimulationSession):
    """A node beside ``sim_robot``, ``policy_node`` and ``planner_node``; not all need be there."""

    error = EvaluationError

    def __init__(
        self,
        embodiment: Embodiment,
        domain: int,
        check: Callable[[], None],
        *,
        policy: bool = True,
        planner: bool = False,
        film: bool = True,
        speed: float | None = None,
    ) -> None:
        """Join the ROS domain of the nodes.

        Args:
            embodiment: The robot.
            domain: Its ROS domain.
            check: Called while waiting; raises ``NodeEnded`` if one of them has ended.
            policy: Whether there is a policy node; without, nothing moves the robot.
            planner: Whether there is a planner node.
            film: Whether to keep pictures of the robot's first camera.
            speed: Simulated seconds per second at most; simulated time then waits for this node,
                too. ``None`` for the system's clock.
        """
        super().__init__('evaluate', domain, check)
        self._has_policy, self._has_planner, self._speed = policy, planner, speed or 1.0
        self._film = Film(self.node, embodiment.cameras[0]) if film else None
        self._trial: Trial | None = None
        self._judge: Judge | None = None
        self._score: Score | None = None
        self._account = Account()
        self._skipped = 0
        self._plan: dict[str, Any] = {}
        node = self.node
        node.create_subscription(PolicyStatus, f'/{POLICY}/status', self._on_status, STATUSES)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        node.create_subscription(String, f'/{PLANNER}/plan', self._on_plan, LATCHED)
        if speed is not None:
            self._pace = node.create_publisher(Time, '/sim_robot/pace', 10)
            node.create_subscription(Clock, '/clock', self._on_clock, 10)
        self._prompts = node.create_publisher(String, f'/{POLICY}/prompt', LATCHED)
        self._instructions = node.create_publisher(String, f'/{PLANNER}/instruction', LATCHED)
        self._verdicts = node.create_publisher(String, f'/{PLANNER}/verdict', 10)
        self._states = node.create_client(ChangeState, f'/{POLICY}/change_state')
        self._settings = node.create_client(SetParameters, f'/{POLICY}/set_parameters')

    def prepare(self, limit_s: float) -> None:
        """Wait for the nodes, and load the policy.

        Args:
            limit_s: How long to wait for each.

        Raises:
            EvaluationError: If they do not come, or the policy cannot be configured.
        """
        self.until(self.robot_is_ready, 'sim_robot on the network', limit_s)
        if self._has_policy:
            self.until(
                lambda: self._states.service_is_ready() and self._settings.service_is_ready(),
                f'{POLICY} on the network',
                limit_s,
            )
            self._change(Transition.TRANSITION_CONFIGURE)
            self.until(self._prompts.get_subscription_count, f'{POLICY} that listens', limit_s)
        if self._has_planner:
            self.until(
                lambda: self._plan and self._verdicts.get_subscription_count(),
                f'{PLANNER} on the network',
                limit_s,
            )

    def run(self, trial: Trial) -> Outcome:
        """Run one trial; the robot holds at its end.

        Args:
            trial: Which.

        Raises:
            DatasetError: If its scene is not kept for evaluation.
            EvaluationError: If the nodes do not answer, or do not do what they are asked for.
            NodeEnded: If a node ended before the trial began, or it was not the policy's.
        """
        require_evaluable(trial.seed)
        task, limit_s = trial.task, trial.task.limit_s
        self.set_scene(trial.seed, task.start)
        self._let_pass(SETTLE_S)
        self._tell_first(trial)
        assert self.truth is not None
        skipped = self._skipped
        self._account = Account()
        self._trial, self._judge = trial, Judge(task, self.truth)
        self._score = self._judge.score
        if self._film is not None:
            self._film.begin()
        ended, reason = '', ''
        try:
            if self._has_policy:
                self._change(Transition.TRANSITION_ACTIVATE)
            if trial.condition == 'planner':
                self._instructions.publish(String(data=task.instruction))
            patience_s = 60.0 + _PATIENCE * (limit_s + DWELL_S) / self._speed
            self.until(lambda: self._over(limit_s), 'end of the trial', patience_s)
            self._trial = self._judge = None
            if self._has_policy:
                self._finish(trial)
        except NodeEnded as error:
            if error.name != POLICY:
                raise
            ended, reason = 'crash', str(error)
        finally:
            self._trial = self._judge = None
        score = self._score
        if not ended:
            ended, reason = ('success', '') if score.success else ('time', '')
            if not score.success and self._account.fault:
                ended, reason = 'fault', self._account.fault
        return Outcome(
            score,
            ended,
            reason,
            self._account.plain(),
            self._skipped - skipped,
            [] if self._film is None else self._film.end(),
        )

    def _let_pass(self, seconds: float) -> None:
        assert self.truth is not None
        until_ns = self.truth.stamp_ns + round(seconds * 1e9)
        self.until(
            lambda: self.truth is not None and self.truth.stamp_ns >= until_ns,
            'truth of a moment later',
            60.0 + seconds / self._speed,
        )

    def _tell_first(self, trial: Trial) -> None:
        """Set the prompt with which the trial begins; a planner gives its own."""
        if not self._has_policy:
            return
        told = {
            'flat': trial.task.instruction,
            'human': trial.task.steps[0].instruction,
            'planner': '',
        }[trial.condition]
        wanted = [Parameter('prompt', value=told).to_parameter_msg()]
        request = SetParameters.Request(parameters=wanted)
        answer = self.call(self._settings.call_async(request), POLICY)
        if not answer.results[0].successful:
            raise EvaluationError.at(
                POLICY, 'prompt', found=answer.results[0].reason, expected=repr(told)
            )

    def _finish(self, trial: Trial) -> None:
        """Let the robot hold, and take the last count."""
        self._change(Transition.TRANSITION_DEACTIVATE)
        # A fault lasts until the next activation, and is told instead of inactivity.
        self.until(lambda: self._account.fault or not self._account.active, f'status of {POLICY}')
        if trial.condition == 'planner':
            self._instructions.publish(String(data=''))
            self.until(
                lambda: self._plan.get('state') not in ('planning', 'running'),
                f'end of the plan of {PLANNER}',
            )

    def _change(self, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self.call(self._states.call_async(request), POLICY, LOADING_LIMIT_S)
        if not answer.success:
            name = {
                Transition.TRANSITION_CONFIGURE: 'configured',
                Transition.TRANSITION_ACTIVATE: 'activated',
                Transition.TRANSITION_DEACTIVATE: 'deactivated',
            }[transition]
            raise EvaluationError.at(
                POLICY,
                '',
                found=f'that it could not be {name}',
                expected='a policy that can',
                remedy='Its log says why.',
            )

    def _over(self, limit_s: float) -> bool:
        score = self._score
        assert score is not None
        if score.done_s is not None:
            return score.elapsed_s - score.done_s >= DWELL_S
        return score.elapsed_s >= limit_s or bool(self._account.fault)

    def on_truth(self, truth: Truth) -> None:
        """Judge by it, and say what a person who watches would say when a step is done."""
        if self._judge is None or self._trial is None:
            return
        before = 0 if self._score is None else self._score.steps_done
        self._score = score = self._judge.update(truth)
        steps = self._trial.task.steps
        if score.steps_done == before:
            return
        if self._trial.condition == 'planner':
            self._verdicts.publish(String(data=f'succeeded: {steps[before].instruction}'))
        elif self._trial.condition == 'human' and score.steps_done < len(steps):
            self._prompts.publish(String(data=steps[score.steps_done].instruction))

    def _on_clock(self, message: Clock) -> None:
        self._pace.publish(message.clock)

    def _on_status(self, message: PolicyStatus) -> None:
        self._account.take(message)

    def _on_plan(self, message: String) -> None:
        self._plan = json.loads(message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == 'sim_robot: cameras':
                counts = Counter({each.key: int(each.value) for each in status.values})
                self._skipped = counts['skipped']
