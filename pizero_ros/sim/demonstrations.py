"""Which demonstrations are to be made, and the index of those that were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.sim.seeds import require_demonstrable
from pizero_ros.sim.tasks.task import Task, task_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment

INDEX = 'episodes.json'
SCHEMA = 1
CURATED, IMPERFECT = 'curated', 'imperfect'


@dataclass(frozen=True)
class Assignment:
    """One episode that is to be demonstrated.

    Attributes:
        number: From 0.
        seed: Of its scene.
        task: What is done in it.
        kind: ``curated`` or ``imperfect``.
        instructions: What the robot is told: once, or for each step of the task.
    """

    number: int
    seed: int
    task: Task
    kind: str
    instructions: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where its recording goes, below that of all."""
        return f'{self.kind}/{self.task.name}/{self.seed:06d}'


@dataclass(frozen=True)
class Order:
    """What was asked for; each episode follows from it alone.

    Attributes:
        embodiment: Name of the robot.
        tasks: Names of the tasks, which take turns.
        seed: Of the first scene; the others follow one by one.
        imperfect: Share of imperfect demonstrations, 0 to 1.
        width: Of the pictures, px.
        height: Of the pictures, px.
        stepwise: Whether the steps of a task are told one by one.
    """

    embodiment: str
    tasks: tuple[str, ...]
    seed: int
    imperfect: float
    width: int
    height: int
    stepwise: bool = False

    def assignment(self, number: int, embodiment: Embodiment) -> Assignment:
        """Return an episode.

        Args:
            number: From 0.
            embodiment: The robot.

        Raises:
            DatasetError: If its scene is kept for evaluation.
        """
        seed = require_demonstrable(self.seed + number)
        # Part 5 of the seed's generators: scenes and performances use those before it.
        rng = np.random.default_rng([seed, 5])
        kind = IMPERFECT if rng.random() < self.imperfect else CURATED
        task = task_named(embodiment, self.tasks[number % len(self.tasks)])
        told = [Task((step,)) for step in task.steps] if self.stepwise else [task]
        return Assignment(number, seed, task, kind, tuple(each.say(rng) for each in told))


class Index:
    """What has been demonstrated so far, in a file that is complete after every episode.

    Attributes:
        episodes: One entry for each episode, in the order in which they were made.
    """

    def __init__(self, folder: Path, order: Order) -> None:
        """Open the index of a folder, or begin one.

        Args:
            folder: Of all recordings; made if needed.
            order: What is asked for now.

        Raises:
            DatasetError: If the folder holds what was asked for otherwise, or an index that
                cannot be read.
        """
        self._path = folder / INDEX
        self._order = order
        self.episodes: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return
        wanted = {'schema': SCHEMA, **_plain(order)}
        try:
            found = json.loads(self._path.read_text(encoding='utf-8'))
            self.episodes = list(found.pop('episodes'))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DatasetError.at(
                self._path, '', found=str(error), expected='an index of demonstrations'
            ) from None
        for key, value in wanted.items():
            if found.get(key) != value:
                raise DatasetError.at(
                    self._path,
                    key,
                    found=found.get(key),
                    expected=f'{value}, as it is asked for now',
                    remedy='Ask for the same to go on with it, or name another folder.',
                )

    def missing(self, count: int) -> Iterator[int]:
        """Yield the numbers below ``count`` that were not demonstrated yet."""
        done = {episode['number'] for episode in self.episodes}
        return (number for number in range(count) if number not in done)

    def add(self, episode: dict[str, Any]) -> None:
        """Enter an episode, and write the file.

        Raises:
            DatasetError: If it cannot be written.
        """
        self.episodes.append(episode)
        content = {'schema': SCHEMA, **_plain(self._order), 'episodes': self.episodes}
        waiting = self._path.with_suffix('.part')
        try:
            waiting.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
            waiting.replace(self._path)
        except OSError as error:
            raise DatasetError.at(
                self._path, '', found=error.strerror, expected='a file that can be written'
            ) from None

    def successes(self) -> dict[str, tuple[int, int]]:
        """Return task → episodes that succeeded, and all of them."""
        found: dict[str, tuple[int, int]] = {}
        for episode in self.episodes:
            good, total = found.get(episode['task'], (0, 0))
            found[episode['task']] = (good + bool(episode['success']), total + 1)
        return found


def _plain(order: Order) -> dict[str, Any]:
    tasks: Sequence[str] = order.tasks
    return {
        'embodiment': order.embodiment,
        'tasks': list(tasks),
        'seed': order.seed,
        'imperfect': order.imperfect,
        'width': order.width,
        'height': order.height,
        'stepwise': order.stepwise,
    }
