"""From the grounding part of a configuration to what a run learns from."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import TrainingConfigError
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.sim.tasks.task import tasks_of
from pizero_ros.training.input_rules import input_rules
from pizero_ros.training.locations import VISIBLE, Locations
from pizero_ros.training.questions import QuestionSource, SceneSet
from pizero_ros.training.scene_pictures import scene_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics
    from pizero_ros.sim.tasks.task import Task
    from pizero_ros.training.config import GroundingConfig, TrainingConfig


@dataclass(frozen=True)
class GroundingData:
    """Everything that a run knows about its scenes.

    Attributes:
        model: Sizes and input rules.
        semantics: None: pictures say nothing about what a robot's values mean.
        learn: Scenes of each robot to learn from.
        held_out: Scenes of each robot that are only looked at; may be empty.
        identity: The same for the same questions about the same scenes.
    """

    model: ModelSpec
    semantics: Mapping[str, RobotSemantics]
    learn: tuple[SceneSet, ...]
    held_out: tuple[SceneSet, ...]
    identity: str
    _prompt: PromptEncoder
    _locations: Locations
    _side: int

    def batches(self, config: TrainingConfig, *, ahead: int = 0) -> QuestionSource:
        """Return batches to learn from."""
        return self._source(self.learn, config, ahead)

    def held_out_batches(self, config: TrainingConfig) -> QuestionSource | None:
        """Return batches of held-out scenes, None where there are none."""
        return self._source(self.held_out, config, 0) if self.held_out else None

    def summary(self) -> tuple[list[dict[str, Any]], int]:
        """Say what there is to learn from, and how many scenes are held out."""
        learn = [
            {
                'name': f'where things are for {each.scenes.robot.name}',
                'scenes': len(each.scenes),
                'pictures': len(each.scenes) * len(each.scenes.slots),
            }
            for each in self.learn
        ]
        return learn, sum(len(each.scenes) for each in self.held_out)

    def _source(
        self, sets: tuple[SceneSet, ...], config: TrainingConfig, ahead: int
    ) -> QuestionSource:
        return QuestionSource(
            sets,
            self.model,
            self._prompt,
            self._locations,
            self._side,
            batch_size=config.batch,
            seed=config.seed,
            ahead=ahead,
        )


def prepare_scenes(
    config: TrainingConfig,
    architecture: Architecture,
    *,
    model: ModelSpec | None = None,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
    tell: Callable[[str], None],
) -> GroundingData:
    """Render what is not there yet, in as many processes as the run may have threads.

    Args:
        config: A run with that objective.
        architecture: Sizes of the policy.
        model: Input rules of a policy that is trained further, None to make them.
        progress: Told what is being done, and the share of it that is done.
        tell: Told, line by line, what a person should know.

    Returns:
        The data.

    Raises:
        TrainingConfigError: If the answers' tokens do not fit, a robot has a camera without a
            slot, or the input rules are not those of ``model``.
        BundleError: If the vocabulary is too small for the tokenizer.
        DatasetError: If the scenes cannot be written or read.
        EmbodimentError: If a robot is none of the simulated ones.
        EnvironmentFault: If MuJoCo or OpenGL is missing.
        PromptError: If an instruction is too long for the model.
    """
    grounding = config.grounding
    if grounding is None:
        msg = 'a run without grounding'
        raise ValueError(msg)
    robots = [load_embodiment(each) for each in grounding.robots]
    model = input_rules(config.data, architecture, robots, model)
    prompt = PromptEncoder(model.prompt, model.vocabulary, config.data.tokenizer)
    locations = Locations(model.vocabulary, grounding.bins)
    locations.check(prompt)
    if grounding.keypoints:
        _check_keypoints(robots, architecture)
    for robot in robots:
        # An instruction that does not fit is told now, not in the middle of a run.
        for task in tasks_of(robot):
            for text in (task.instruction, *task.steps[0].paraphrases):
                prompt(text)
    learn: list[SceneSet] = []
    held_out: list[SceneSet] = []
    for robot in robots:
        first, end = grounding.seed, grounding.seed + grounding.scenes
        wanted = [('scenes', learn, range(first, end))]
        if grounding.held_out:
            wanted.append(('held-out scenes', held_out, range(end, end + grounding.held_out)))
        for what, sets, seeds in wanted:
            scenes = scene_pictures(
                robot,
                seeds,
                grounding.picture,
                model.image_size,
                model.resize,
                config.data.cache,
                config.threads or os.cpu_count() or 1,
                progress=partial(progress, f'{what} of {robot.name}'),
                tell=tell,
            )
            sets.append(SceneSet(scenes, seeds.start, _tasks(robot, scenes.objects)))
    return GroundingData(
        model=model,
        semantics={},
        learn=tuple(learn),
        held_out=tuple(held_out),
        identity=_identity(model, grounding, (*learn, *held_out)),
        _prompt=prompt,
        _locations=locations,
        _side=grounding.picture,
    )


def _tasks(robot: Embodiment, objects: tuple[str, ...]) -> tuple[tuple[Task, ...], ...]:
    """Return the tasks about each object: their words are how the policy is told of it."""
    about: dict[str, list[Task]] = {name: [] for name in objects}
    for task in tasks_of(robot):
        about[_object_of(task)].append(task)
    return tuple(tuple(about[name]) for name in objects)


def _object_of(task: Task) -> str:
    step = task.steps[0]
    return f'{step.colour} {"post" if step.kind == "drive" else "cube"}'


def _check_keypoints(robots: Sequence[Embodiment], architecture: Architecture) -> None:
    stem = architecture.vision.stem
    objects = dict.fromkeys(_object_of(task) for robot in robots for task in tasks_of(robot))
    if stem is not None and stem.keypoints < len(objects):
        raise TrainingConfigError.at(
            'grounding.keypoints',
            '',
            found=f'{stem.keypoints} keypoints in the architecture',
            expected=f'at least one for each of {", ".join(objects)}',
            remedy='`grounding.keypoints: 0` tells them nothing.',
        )


def _identity(model: ModelSpec, grounding: GroundingConfig, sets: tuple[SceneSet, ...]) -> str:
    digest = hashlib.sha256(repr((model, grounding.bins, grounding.picture, VISIBLE)).encode())
    for each in sets:
        said = [
            [(task.instruction, task.steps[0].paraphrases) for task in tasks]
            for tasks in each.tasks
        ]
        content = (each.scenes.robot.name, each.first, each.scenes.digest, said)
        digest.update(repr(content).encode())
    return digest.hexdigest()
