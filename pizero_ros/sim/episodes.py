"""Episodes in one process, without ROS: scene, expert, controllers, physics and judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pizero_ros.sim.controllers import SimulatedControllers
from pizero_ros.sim.experts.demonstrator import REPLAN_STEPS, Demonstrator
from pizero_ros.sim.experts.profile import CURATED, perform
from pizero_ros.sim.scene import sample_scene
from pizero_ros.sim.staging import Stage
from pizero_ros.sim.tasks.judge import Judge
from pizero_ros.sim.truth import TruthReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pizero_ros.control.commands import Command
    from pizero_ros.sim.experts.demonstrator import Label
    from pizero_ros.sim.robot import SimulatedRobot
    from pizero_ros.sim.tasks.judge import Score
    from pizero_ros.sim.tasks.task import Task
    from pizero_ros.sim.truth import Truth


class Episode(NamedTuple):
    """How one episode went.

    Attributes:
        score: The judge's.
        labels: Clean actions, one per step.
        interventions: What the safety gate had to change.
        refused: What controllers refused.
        flaw: What the demonstration was made to suffer from.
    """

    score: Score
    labels: Sequence[Label]
    interventions: dict[str, int]
    refused: Sequence[str]
    flaw: str


class Episodes:
    """Runs episodes on one robot, one after the other."""

    def __init__(self, robot: SimulatedRobot) -> None:
        """Take over a robot.

        Args:
            robot: Nothing else may move it.
        """
        self.robot = robot
        self._stage = Stage(robot)
        self._controllers = SimulatedControllers(robot)
        self._reader = TruthReader(robot)
        self._names = [joint.name for joint in robot.embodiment.state_joints]
        self._names = [name for name in self._names if '.' not in name]

    def run(
        self,
        task: Task,
        seed: int,
        kind: str = CURATED,
        *,
        dwell_s: float = 0.0,
        replan_steps: int = REPLAN_STEPS,
        look: Callable[[Truth, Sequence[Command]], None] = lambda _truth, _commands: None,
    ) -> Episode:
        """Let the expert do a task.

        Args:
            task: What to do.
            seed: Of the scene.
            kind: ``curated`` or ``imperfect``.
            dwell_s: How long to go on after success.
            replan_steps: Steps between two plans of the expert.
            look: Called with each state and what is sent then.
        """
        robot, embodiment = self.robot, self.robot.embodiment
        self._stage.set(sample_scene(embodiment, seed, task.start))
        self._controllers.reset()
        truth = self._reader.read(0, seed=seed, start=task.start)
        judge = Judge(task, truth)
        performance = perform(embodiment, task, kind, seed, truth)
        demonstrator = Demonstrator(
            embodiment,
            robot.model,
            performance,
            0,
            truth,
            self._measured(),
            replan_steps=replan_steps,
        )
        labels: list[Label] = []
        refused: list[str] = []
        now_ns, step_ns = 0, round(1e9 / embodiment.rate_hz)
        while True:
            commands, new = demonstrator.tick(now_ns, truth, self._measured())
            labels += new
            refused += self._controllers.execute(commands, now_ns)
            look(truth, commands)
            now_ns += step_ns
            # The target of the end of the step: physics follows it on the way.
            self._controllers.update(now_ns)
            robot.step_to(now_ns * 1e-9)
            truth = self._reader.read(now_ns, seed=seed, start=task.start)
            score = judge.update(truth)
            end_s = task.limit_s if score.done_s is None else score.done_s + dwell_s
            if score.elapsed_s >= end_s:
                break
        return Episode(score, labels, demonstrator.interventions, refused, performance.flaw)

    def _measured(self) -> dict[str, float]:
        values = self.robot.positions(self._names).tolist()
        return dict(zip(self._names, values, strict=True))
