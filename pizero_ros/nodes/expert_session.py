"""One robot's demonstrations from the outside: sets scenes, assigns tasks, judges and records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from std_msgs.msg import String

from pizero_ros.nodes.expert_recorder import DemonstrationRecorder
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.nodes.simulation_session import ANSWER_LIMIT_S, SimulationSession
from pizero_ros.sim.seeds import require_demonstrable
from pizero_ros.sim.tasks.judge import Judge, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.tasks.task import Task
    from pizero_ros.sim.truth import Truth

DWELL_S = 0.8
"""How long an episode goes on after success: a policy has to learn to stay, too."""

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


class ExpertSession(SimulationSession):
    """A node beside ``sim_robot`` and ``expert_node`` that runs one episode after the other."""

    def __init__(self, embodiment: Embodiment, domain: int, check: Callable[[], None]) -> None:
        """Join the ROS domain of the two.

        Args:
            embodiment: The robot.
            domain: Its ROS domain.
            check: Called while waiting; raises if it is in vain.
        """
        super().__init__('demonstrate', domain, check)
        self._judge: Judge | None = None
        self._score: Score | None = None
        self._expert: dict[str, Any] = {}
        self.recorder = DemonstrationRecorder(self.node, embodiment)
        self.node.create_subscription(String, '/expert_node/state', self._on_expert, LATCHED)
        self._assignments = self.node.create_publisher(String, '/expert_node/assignment', LATCHED)

    def __exit__(self, *error: object) -> None:
        """Leave the domain; a recording that is under way is removed."""
        self.recorder.end(keep=False)
        super().__exit__(*error)

    def wait_until_ready(self, limit_s: float) -> None:
        """Wait for the two nodes.

        Raises:
            DatasetError: If they do not come.
        """
        self.until(
            lambda: self.robot_is_ready() and self._assignments.get_subscription_count(),
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
        episode = self.set_scene(seed, task.start)
        assert self.truth is not None
        self._begin_judging(task, self.truth)
        self.recorder.forget_instruction()
        self.recorder.begin(folder, self.truth.stamp_ns)
        try:
            wanted = {'task': task.name, 'kind': kind, 'instructions': list(instructions)}
            self._assign({**wanted, 'episode': episode})
            self.until(
                lambda: (
                    self._expert.get('task') == task.name
                    and self._expert.get('episode') == episode
                    and self.recorder.instruction == instructions[0]
                ),
                'beginning of the demonstration',
                ANSWER_LIMIT_S,
            )
            self.until(lambda: self._over(task), 'end of the demonstration', EPISODE_LIMIT_S)
        except BaseException:
            self.recorder.end(keep=False)
            raise
        score, expert = self._end_judging(), dict(self._expert)
        self._assign({})
        began_ns = self.recorder.first_action_ns or self.truth.stamp_ns
        counts = dict(self.recorder.counts)
        duration_s = (self.truth.stamp_ns - began_ns) * 1e-9
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
            assignment = {'task': '', 'episode': -1 - (self.truth.episode if self.truth else 0)}
        self._assignments.publish(String(data=json.dumps(assignment)))
        if not assignment['task']:
            self.until(
                lambda: self._expert.get('episode') == assignment['episode'],
                'answer of expert_node',
                ANSWER_LIMIT_S,
            )

    def on_truth(self, truth: Truth) -> None:
        """Judge the episode by it."""
        if self._judge is not None:
            self._score = self._judge.update(truth)

    def _on_expert(self, message: String) -> None:
        self._expert = json.loads(message.data)
