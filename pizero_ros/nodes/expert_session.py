"""One robot's demonstrations from the outside: sets scenes, assigns tasks, judges and records."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pizero_ros.errors import DatasetError
from pizero_ros.nodes.expert_recorder import DemonstrationRecorder
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.sim.seeds import require_demonstrable
from pizero_ros.sim.tasks.judge import Judge, Score
from pizero_ros.sim.truth import truth_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rclpy.task import Future

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.tasks.task import Task
    from pizero_ros.sim.truth import Truth

DWELL_S = 0.8
"""How long an episode goes on after success: a policy has to learn to stay, too."""

ANSWER_LIMIT_S = 20.0
EPISODE_LIMIT_S = 120.0
"""Real time after which a robot that does not come to an end is given up."""


class Outcome(NamedTuple):
    """How an episode went.

    Attributes:
        score: The judge's.
        flaw: What the demonstration was made to suffer from.
        interventions: What the safety gate changed: group and reason → how often.
        messages: Topic → messages recorded.
        duration_s: Length of the recording, from its first action on.
        bytes: Size of the recording, 0 if it was removed.
    """

    score: Score
    flaw: str
    interventions: dict[str, int]
    messages: dict[str, int]
    duration_s: float
    bytes: int


class ExpertSession:
    """A node beside ``sim_robot`` and ``expert_node`` that runs one episode after the other."""

    def __init__(self, embodiment: Embodiment, domain: int, check: Callable[[], None]) -> None:
        """Join the ROS domain of the two.

        Args:
            embodiment: The robot.
            domain: Its ROS domain.
            check: Called while waiting; raises if it is in vain.
        """
        self._check = check
        self._context = Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = Node('demonstrate', context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._truth: Truth | None = None
        self._judge: Judge | None = None
        self._score: Score | None = None
        self._expert: dict[str, Any] = {}
        self.recorder = DemonstrationRecorder(self._node, embodiment)
        node = self._node
        node.create_subscription(String, '/sim_robot/scene', self._on_scene, LATCHED)
        node.create_subscription(String, '/expert_node/state', self._on_expert, LATCHED)
        self._assignments = node.create_publisher(String, '/expert_node/assignment', LATCHED)
        self._parameters = node.create_client(SetParameters, '/sim_robot/set_parameters')
        self._reset = node.create_client(Trigger, '/sim_robot/reset')

    def __enter__(self) -> ExpertSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.recorder.end(keep=False)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_until_ready(self, limit_s: float) -> None:
        """Wait for the two nodes.

        Raises:
            DatasetError: If they do not come.
        """
        self._until(
            lambda: (
                self._parameters.service_is_ready()
                and self._reset.service_is_ready()
                and self._truth is not None
                and self._assignments.get_subscription_count()
            ),
            'sim_robot and expert_node on the network',
            limit_s,
        )

    def run(
        self,
        task: Task,
        seed: int,
        kind: str,
        instructions: Sequence[str],
        folder: Path,
        *,
        keep_failed: bool,
    ) -> Outcome:
        """Run and record one episode.

        Args:
            task: What to do.
            seed: Of the scene.
            kind: How.
            instructions: What the robot is told: once, or for each step of the task.
            folder: Of the recording, to be created.
            keep_failed: Whether the recording stays when the task was not done.

        Raises:
            DatasetError: If the seed is kept for evaluation, or the nodes do not answer.
            BagError: If the recording cannot be written.
        """
        require_demonstrable(seed)
        self._assign({})
        episode = self._set_scene(seed, task.start)
        assert self._truth is not None
        self._begin_judging(task, self._truth)
        self.recorder.forget_instruction()
        self.recorder.begin(folder, self._truth.stamp_ns)
        try:
            wanted = {'task': task.name, 'kind': kind, 'instructions': list(instructions)}
            self._assign({**wanted, 'episode': episode})
            self._until(
                lambda: (
                    self._expert.get('task') == task.name
                    and self._expert.get('episode') == episode
                    and self.recorder.instruction == instructions[0]
                ),
                'beginning of the demonstration',
                ANSWER_LIMIT_S,
            )
            self._until(lambda: self._over(task), 'end of the demonstration', EPISODE_LIMIT_S)
        except BaseException:
            self.recorder.end(keep=False)
            raise
        score, expert = self._end_judging(), dict(self._expert)
        self._assign({})
        began_ns = self.recorder.first_action_ns or self._truth.stamp_ns
        counts = dict(self.recorder.counts)
        duration_s = (self._truth.stamp_ns - began_ns) * 1e-9
        learnable = self.recorder.first_action_ns is not None
        size = self.recorder.end(keep=learnable and (score.success or keep_failed))
        return Outcome(score, expert['flaw'], expert['interventions'], counts, duration_s, size)

    def _begin_judging(self, task: Task, truth: Truth) -> None:
        self._judge, self._score = Judge(task, truth), None

    def _end_judging(self) -> Score:
        score, self._judge = self._score, None
        assert score is not None
        return score

    def _over(self, task: Task) -> bool:
        score = self._score
        if score is None:
            return False
        if score.done_s is not None:
            return score.elapsed_s - score.done_s >= DWELL_S
        return score.elapsed_s >= task.limit_s

    def _assign(self, assignment: dict[str, Any]) -> None:
        """Tell the expert what to do; wait until it has stopped if that is nothing."""
        if not assignment:
            assignment = {'task': '', 'episode': -1 - (self._truth.episode if self._truth else 0)}
        self._assignments.publish(String(data=json.dumps(assignment)))
        if not assignment['task']:
            self._until(
                lambda: self._expert.get('episode') == assignment['episode'],
                'answer of expert_node',
                ANSWER_LIMIT_S,
            )

    def _set_scene(self, seed: int, start: str) -> int:
        """Put a scene on the stage; return the number of the episode once its truth is here."""
        wanted = [
            Parameter('scene_seed', value=seed).to_parameter_msg(),
            Parameter('scene_start', value=start).to_parameter_msg(),
        ]
        answer = self._call(self._parameters.call_async(SetParameters.Request(parameters=wanted)))
        refused = [result.reason for result in answer.results if not result.successful]
        before = self._truth.episode if self._truth else 0
        done = self._call(self._reset.call_async(Trigger.Request()))
        if refused or not done.success:
            raise DatasetError.at(
                'sim_robot',
                '~/reset',
                found=', '.join(refused) or done.message,
                expected=f'scene {seed} from the {start}',
            )
        self._until(
            lambda: (
                self._truth is not None
                and self._truth.episode > before
                and self._truth.seed == seed
            ),
            'truth of the new scene',
            ANSWER_LIMIT_S,
        )
        assert self._truth is not None
        return self._truth.episode

    def _call(self, future: Future) -> Any:
        self._until(future.done, 'answer of sim_robot', ANSWER_LIMIT_S)
        return future.result()

    def _until(self, condition: Callable[[], object], what: str, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        looked = 0.0
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            if now - looked > 0.2:
                looked = now
                self._check()
            if now > deadline:
                raise DatasetError.at(
                    'demonstrations', '', found=f'no {what} within {limit_s:g} s', expected='one'
                )

    def _on_scene(self, message: String) -> None:
        self._truth = truth_from_json(message.data)
        if self._judge is not None:
            self._score = self._judge.update(self._truth)

    def _on_expert(self, message: String) -> None:
        self._expert = json.loads(message.data)
