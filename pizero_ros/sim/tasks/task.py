"""What a robot can be told to do: steps, tasks made of them, and the tasks of each robot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Literal

from pizero_ros.errors import DatasetError
from pizero_ros.sim.layout import CUBES, FLOOR, POSTS, TABLE, layout_of
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    import numpy as np

    from pizero_ros.embodiment.schema import Embodiment

Kind = Literal['touch', 'hover', 'drive']

STEP_LIMIT_S = 8.0
"""Time limit of a task, for each of its steps."""

_WORDS: dict[Kind, tuple[str, ...]] = {
    'touch': (
        'touch the {colour} cube{arm}',
        'tap the {colour} cube{arm}',
        'reach for the {colour} cube and touch it{arm}',
        'put the fingers on the {colour} cube{arm}',
        'make contact with the {colour} cube{arm}',
    ),
    'hover': (
        'hover over the {colour} cube{arm}',
        'hold still above the {colour} cube{arm}',
        'stay above the {colour} cube{arm}',
        'move over the {colour} cube and wait there{arm}',
        'point at the {colour} cube from above{arm}',
    ),
    'drive': (
        'drive to the {colour} post{arm}',
        'go to the {colour} post{arm}',
        'drive up to the {colour} post{arm}',
        'move the base to the {colour} post{arm}',
        'approach the {colour} post{arm}',
    ),
}
"""Kind → instructions, the canonical one first."""

_ARM = (' with the {arm} arm', ' using the {arm} arm', ' with your {arm} hand')
_BOTH = ('{0}, then {1}', 'first {0}, then {1}', '{0} and then {1}')


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        kind: Touch a cube, hover over it, or drive to a post.
        colour: Of the cube or post.
        arm: Which arm shall do it, ``None`` where there is only one, or none is needed.
    """

    kind: Kind
    colour: str
    arm: str | None = None

    @property
    def name(self) -> str:
        """For files and tables, such as ``touch_red_left``."""
        return '_'.join(filter(None, (self.kind, self.colour, self.arm)))

    @property
    def instruction(self) -> str:
        """What a robot is told."""
        return self._said(_WORDS[self.kind][0], _ARM[0])

    @property
    def paraphrases(self) -> tuple[str, ...]:
        """Other words for the same."""
        every = [
            self._said(words, arm)
            for words in _WORDS[self.kind]
            for arm in (_ARM if self.arm else _ARM[:1])
        ]
        return tuple(every[1:])

    def _said(self, words: str, arm: str) -> str:
        with_arm = arm.format(arm=self.arm) if self.arm else ''
        return words.format(colour=self.colour, arm=with_arm)


@dataclass(frozen=True)
class Task:
    """One or two steps, one after the other.

    Attributes:
        steps: What to do, in order.
    """

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """For files and tables, such as ``touch_red_then_hover_blue``."""
        return '_then_'.join(step.name for step in self.steps)

    @property
    def instruction(self) -> str:
        """The canonical instruction."""
        told = [step.instruction for step in self.steps]
        return told[0] if len(told) == 1 else _BOTH[0].format(*told)

    @property
    def start(self) -> str:
        """Where the robot has to start: ``table`` or ``floor``."""
        return FLOOR if self.steps[0].kind == 'drive' else TABLE

    @property
    def limit_s(self) -> float:
        """Time after which it counts as failed."""
        return STEP_LIMIT_S * len(self.steps)

    def say(self, rng: np.random.Generator) -> str:
        """Draw an instruction for training: the canonical one about every second time."""
        told = [
            step.instruction
            if rng.random() < 0.5
            else step.paraphrases[rng.integers(len(step.paraphrases))]
            for step in self.steps
        ]
        if len(told) == 1:
            return told[0]
        return _BOTH[rng.integers(len(_BOTH))].format(*told)


def tasks_of(embodiment: Embodiment) -> tuple[Task, ...]:
    """Return the single-step tasks of a robot.

    Raises:
        EmbodimentError: If it has none.
    """
    layout = layout_of(embodiment)
    arms = [None] if len(layout.arms) == 1 else [arm.name for arm in layout.arms]
    kinds: tuple[Kind, Kind] = ('touch', 'hover')
    steps = [Step(kind, colour, arm) for kind in kinds for colour in CUBES for arm in arms]
    if FLOOR in layout.starts:
        steps += [Step('drive', colour) for colour in POSTS]
    return tuple(Task((step,)) for step in steps)


def two_step_tasks_of(embodiment: Embodiment) -> tuple[Task, ...]:
    """Return the tasks of a robot that are two of its single ones, of different colours.

    Raises:
        EmbodimentError: If it has none.
    """
    steps = [task.steps[0] for task in tasks_of(embodiment)]
    return tuple(
        Task((first, second))
        for first, second in permutations(steps, 2)
        if first.colour != second.colour and (first.kind == 'drive') == (second.kind == 'drive')
    )


def task_named(embodiment: Embodiment, name: str) -> Task:
    """Return a task of a robot by its name or its canonical instruction.

    Raises:
        DatasetError: If the robot has no such task.
        EmbodimentError: If it has none at all.
    """
    every = (*tasks_of(embodiment), *two_step_tasks_of(embodiment))
    for task in every:
        if name in (task.name, task.instruction):
            return task
    single = ', '.join(task.name for task in tasks_of(embodiment))
    raise DatasetError.at(
        'task',
        '',
        found=repr(name),
        expected=f'one of {single}, or two of them joined by _then_',
        remedy=suggestion(name, [task.name for task in every]) or '',
    )
