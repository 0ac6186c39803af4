"""Which trials an evaluation has: robot, policy, condition, task and scene of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pizero_ros.sim.seeds import require_evaluable
from pizero_ros.sim.tasks.task import tasks_of, two_step_tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.tasks.task import Task

Condition = Literal['flat', 'human', 'planner']
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
"""Who tells a policy the steps of a task: nobody (the overall instruction only), somebody who
watches and knows when a step is done, or the planner node."""

HOLD, RANDOM = 'hold', 'random'
BASELINES = (HOLD, RANDOM)
SEEDS_PER_TASK = 1000
"""Tasks have seeds of their own, whichever of them are asked for."""


@dataclass(frozen=True)
class Trial:
    """One episode of one policy.

    Attributes:
        embodiment: Name of the robot.
        policy: Name of the policy or baseline.
        condition: Who tells it the steps.
        task: What is to be done.
        number: From 0, for each task.
        seed: Of the scene: the same for all policies and conditions.
    """

    embodiment: str
    policy: str
    condition: Condition
    task: Task
    number: int
    seed: int

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What no other trial of the folder has."""
        return self.embodiment, self.policy, self.condition, self.task.name, self.seed

    @property
    def video(self) -> str:
        """Where its video goes, in the folder of the evaluation."""
        folder = '/'.join(('videos', self.embodiment, self.policy, self.condition))
        return f'{folder}/{self.task.name}_{self.seed}.webp'


def seed_of(embodiment: Embodiment, task: Task, number: int, first: int) -> int:
    """Return the seed of a scene.

    Args:
        embodiment: The robot.
        task: One of its tasks.
        number: Of the trial, from 0.
        first: Seed of the first trial of the robot's first task.

    Raises:
        DatasetError: If the scene is none that is kept for evaluation.
    """
    every = (*tasks_of(embodiment), *two_step_tasks_of(embodiment))
    return require_evaluable(first + SEEDS_PER_TASK * every.index(task) + number)


def trials_of(
    embodiment: Embodiment,
    policy: str,
    conditions: Sequence[Condition],
    tasks: Sequence[Task],
    count: int,
    first: int,
) -> Iterator[Trial]:
    """Yield the trials of one policy on one robot, in the order in which they are run.

    Args:
        embodiment: The robot.
        policy: Name of the policy.
        conditions: Who tells it the steps; a task of one step is only told as a whole, and so is
            nobody (``hold``).
        tasks: What is to be done.
        count: Trials of each task.
        first: See ``seed_of``.

    Raises:
        DatasetError: If a scene is none that is kept for evaluation.
    """
    for task in tasks:
        for number in range(count):
            seed = seed_of(embodiment, task, number, first)
            told = len(task.steps) > 1 and policy != HOLD
            for condition in conditions if told else ('flat',):
                yield Trial(embodiment.name, policy, condition, task, number, seed)
