"""Samples in robot space into a batch in model space, by the transforms of the robot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pizero_ros.errors import DatasetError
from pizero_ros.model.pi0 import Conditioning
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline
from pizero_ros.training.batch import Batch, padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.processing.prompt import PromptEncoder
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics
    from pizero_ros.training.example import Example


class Collator:
    """Puts samples of any of the robots into one batch."""

    def __init__(
        self,
        model: ModelSpec,
        robots: Mapping[str, tuple[Embodiment, RobotSemantics]],
        prompt: PromptEncoder,
    ) -> None:
        """Build the pipelines that the robots will run.

        Args:
            model: Sizes and input rules.
            robots: Name → robot, and what its values mean to the policy.
            prompt: Tokens of the instructions.

        Raises:
            BundleError: If a robot does not fit the model, or its statistics do not fit it.
            DatasetError: If a robot has another horizon than the model.
        """
        self.model = model
        self._inputs: dict[str, InputPipeline] = {}
        self._outputs: dict[str, OutputPipeline] = {}
        for name, (embodiment, semantics) in robots.items():
            if embodiment.horizon != model.horizon:
                raise DatasetError.at(
                    embodiment.source,
                    'horizon',
                    found=embodiment.horizon,
                    expected=f'{model.horizon}, the horizon of the model',
                )
            self._inputs[name] = InputPipeline(model, semantics, prompt, embodiment)
            self._outputs[name] = OutputPipeline(model, semantics, embodiment)

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of B samples.

        Cameras that no sample has are left out. Where some samples lack a camera it is masked,
        and its pixels are 0.

        Raises:
            DatasetError: If a sample is of an unknown robot, or its pictures are of another size.
            PromptError: If a prompt cannot become tokens.
        """
        if not examples:
            msg = 'a batch of nothing'
            raise ValueError(msg)
        model = self.model
        slots = [s for s in model.slots if any(s in example.images for example in examples)]
        count = len(examples)
        images = np.zeros((count, len(slots), 3, *model.image_size), np.float32)
        cameras = np.zeros((count, len(slots)), np.bool_)
        prompts = []
        states = np.empty((count, model.state_dim), np.float32)
        actions = np.empty((count, model.horizon, model.action_dim), np.float32)
        for row, example in enumerate(examples):
            inputs = self._pipeline(example)(_observation(example, model.image_size))
            present = [slot in example.images for slot in slots]
            images[row, present] = inputs.images
            cameras[row] = present
            prompts.append(inputs.tokens)
            states[row] = inputs.state
            outputs = self._outputs[example.embodiment]
            actions[row] = outputs.inverse(example.actions, example.state)
        valid = np.stack([example.actions_valid for example in examples])
        tokens, words = padded(prompts)
        seen = Conditioning(
            images=torch.from_numpy(images),
            tokens=tokens,
            state=torch.from_numpy(states),
            camera_mask=torch.from_numpy(cameras),
            token_mask=words,
        )
        names = [example.name for example in examples]
        return Batch(seen, torch.from_numpy(actions), torch.from_numpy(valid), names)

    def _pipeline(self, example: Example) -> InputPipeline:
        try:
            return self._inputs[example.embodiment]
        except KeyError:
            raise DatasetError.at(
                'sample',
                'embodiment',
                found=example.embodiment,
                expected=f'one of {", ".join(self._inputs)}',
            ) from None


def _observation(example: Example, size: tuple[int, int]) -> Observation:
    """Return a sample as the observation that the robot's pipeline takes."""
    frames = {}
    for slot in example.images:
        picture = example.images[slot]
        if picture.shape != (*size, 3):
            raise DatasetError.at(
                'sample',
                f'images.{slot}',
                found=f'{list(picture.shape)}',
                expected=f'{[*size, 3]}, the image size of the model',
                remedy='Read the data for this model.',
            )
        frames[slot] = Frame.of(picture)
    return Observation(
        stamp_ns=0,
        oldest_ns=0,
        images=frames,
        state=example.state,
        state_mapped=example.state_mapped,
        prompt=example.prompt,
    )
