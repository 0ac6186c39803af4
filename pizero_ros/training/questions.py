"""Questions about scenes: an instruction, the pictures, and where the object is that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pizero_ros.model.pi0 import Conditioning
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.training.ahead import Ahead
from pizero_ros.training.batch import moved, padded
from pizero_ros.training.heat_maps import Objects
from pizero_ros.training.locations import PER_CAMERA
from pizero_ros.training.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.processing.prompt import PromptEncoder
    from pizero_ros.processing.spec import ModelSpec
    from pizero_ros.sim.tasks.task import Task
    from pizero_ros.training.locations import Locations
    from pizero_ros.training.scene_pictures import ScenePictures

_ASKED = 2
"""Stream of the questions: the mixture has the ones before it."""


class Questions(NamedTuple):
    """Samples of grounding, on the CPU.

    Attributes:
        seen: Pictures and instruction; the state is 0, because the VLM has no part of it.
        answer: int64 [B, 2 N], for each of N cameras the tokens of u and v.
        told: bool [B, 2 N], False at cameras that a sample does not have.
        objects: Where all objects are, not only the one that is asked for.
        samples: Name of each sample, for messages.
    """

    seen: Conditioning
    answer: torch.Tensor
    told: torch.Tensor
    objects: Objects
    samples: Sequence[str] = ()

    def to(self, device: torch.device) -> Questions:
        """Return the batch with its tensors on ``device``."""
        return self._replace(
            seen=moved(self.seen, device),
            answer=self.answer.to(device),
            told=self.told.to(device),
            objects=self.objects.to(device),
        )

    def numbers(self) -> Mapping[str, torch.Tensor]:
        """Return what has to be finite, by name, each [B, ...]."""
        return {'images': self.seen.images}


class SceneSet(NamedTuple):
    """Scenes of one robot, and what it may be told about each object in them.

    Attributes:
        scenes: The scenes.
        first: Seed of the first one.
        tasks: Of each object, in the order of ``scenes.objects``.
    """

    scenes: ScenePictures
    first: int
    tasks: tuple[tuple[Task, ...], ...]


class QuestionSource:
    """A ``BatchSource`` of questions: scenes in turn, object and words by seed and number."""

    def __init__(
        self,
        sets: Sequence[SceneSet],
        model: ModelSpec,
        prompt: PromptEncoder,
        locations: Locations,
        side: int,
        *,
        batch_size: int,
        seed: int,
        ahead: int = 0,
    ) -> None:
        """Prepare.

        Args:
            sets: The scenes of each robot; robots are asked about equally often.
            model: Camera slots, and how pictures become images.
            prompt: Tokens of the instructions.
            locations: Tokens of the answers.
            side: Side of the pictures in which the objects' pixels count, px.
            batch_size: Samples of a step, of all processes together.
            seed: Of all choices.
            ahead: Batches that are made while the current one is learnt from; 0 for no thread.

        Raises:
            DatasetError: If there is no scene.
        """
        self._mixture = Mixture(
            [len(each.scenes) for each in sets], batch_size=batch_size, seed=seed, exponent=0.0
        )
        self._sets = tuple(sets)
        # The order of ``Objects``.
        self._objects = tuple(dict.fromkeys(name for each in sets for name in each.scenes.objects))
        self._model = model
        self._prompt = prompt
        self._locations = locations
        self._side = side
        self._resize = ResizeWithPad(model.image_size, model.resize)
        self._words: dict[str, npt.NDArray[np.int64]] = {}
        self._ahead = Ahead(self._make, ahead)

    def __enter__(self) -> QuestionSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.close()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Questions:
        """Return what process ``rank`` of ``world`` is asked in a step, from 0.

        Raises:
            DatasetError: If a scene cannot be read, or the batch cannot be shared equally.
            PromptError: If an instruction cannot become tokens.
        """
        return self._ahead(step, rank, world)

    def _make(self, step: int, rank: int, world: int) -> Questions:
        model, mixture = self._model, self._mixture
        picks = mixture.picks(step, rank, world)
        used = {slot for pick in picks for slot in self._sets[pick.pair].scenes.slots}
        slots = [slot for slot in model.slots if slot in used]
        count = len(picks)
        images = np.zeros((count, len(slots), 3, *model.image_size), np.float32)
        cameras = np.zeros((count, len(slots)), np.bool_)
        prompts = []
        answer = np.zeros((count, len(slots), PER_CAMERA), np.int64)
        shape = (count, len(slots), len(self._objects))
        places = np.zeros((*shape, 2), np.float32)
        shown, known = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        names = []
        first = step * mixture.batch_size + rank * count
        for row, pick in enumerate(picks):
            scenes, seed, tasks = self._sets[pick.pair]
            rng = np.random.default_rng([mixture.seed, _ASKED, first + row])
            asked = int(rng.integers(len(tasks)))
            text = tasks[asked][rng.integers(len(tasks[asked]))].say(rng)
            prompts.append(self._tokens(text))
            pixels, visible = scenes.pixels[pick.number], scenes.visible[pick.number]
            where = self._locations.tokens(pixels[:, asked], visible[:, asked], self._side)
            shares = self._locations.shares(pixels, self._side)
            seen = self._locations.seen(pixels, visible)
            at = [self._objects.index(name) for name in scenes.objects]
            for number, picture in enumerate(scenes.pictures(pick.number)):
                place = slots.index(scenes.slots[number])
                images[row, place] = self._resize(picture)
                cameras[row, place] = True
                answer[row, place] = where[number]
                places[row, place, at] = shares[number]
                shown[row, place, at] = seen[number]
                known[row, place, at] = True
            names.append(f'scene {seed + pick.number} of {scenes.robot.name}, {text!r}')
        tokens, words = padded(prompts)
        conditioning = Conditioning(
            images=torch.from_numpy(images),
            tokens=tokens,
            state=torch.zeros(count, model.state_dim),
            camera_mask=torch.from_numpy(cameras),
            token_mask=words,
        )
        told = torch.from_numpy(cameras.repeat(PER_CAMERA, axis=1))
        objects = Objects(*(torch.from_numpy(each) for each in (places, shown, known)))
        answers = torch.from_numpy(answer.reshape(count, -1))
        return Questions(conditioning, answers, told, objects, names)

    def _tokens(self, text: str) -> npt.NDArray[np.int64]:
        if text not in self._words:
            self._words[text] = self._prompt(text)
        return self._words[text]
