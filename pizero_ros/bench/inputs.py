"""What a timed inference is fed with: pictures of a robot's cameras, or arrays of model space."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.policy.predictor import prompt_encoder
from pizero_ros.processing.model_inputs import ModelInputs
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline

if TYPE_CHECKING:
    from pizero_ros.policy.bundle import Bundle

_SEED = 3
_FRAME = (480, 640, 3)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """How much one inference is.

    Attributes:
        cameras: Cameras present.
        tokens: Prompt tokens.
        steps: Euler steps.
    """

    cameras: int
    tokens: int
    steps: int


class Around(Protocol):
    """What comes before and after the model."""

    def before(self, size: Size) -> tuple[ModelInputs, float | None]:
        """Return the model's inputs, and the seconds that making them took, if it is timed."""
        ...

    def after(self, actions: Array) -> float | None:
        """Turn actions float32 [H, A] into a robot's; return the seconds, if it is timed."""
        ...


class ModelSpace:
    """Random arrays: for bundles that know no robot. Nothing around the model is timed.

    Pictures differ from one inference to the next, by rows, as a camera's do: a variant that
    keeps what it made of unchanged views would otherwise be timed without its image tower.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Hold what the arrays depend on."""
        self._model = bundle.manifest.model
        self._made: dict[tuple[int, int], ModelInputs] = {}
        self._count = itertools.count()

    def before(self, size: Size) -> tuple[ModelInputs, float | None]:
        """Return random arrays; of two instances, the first of the same size are the same."""
        model, key = self._model, (size.cameras, size.tokens)
        if key not in self._made:
            generator = np.random.default_rng(_SEED)
            shape = (size.cameras, 3, *model.image_size)
            self._made[key] = ModelInputs(
                images=generator.uniform(-1, 1, shape).astype(np.float32),
                tokens=generator.integers(0, model.vocabulary, size.tokens),
                state=generator.standard_normal(model.state_dim, dtype=np.float32),
            )
        made = self._made[key]
        return replace(made, images=np.roll(made.images, next(self._count), axis=2)), None

    def after(self, actions: Array) -> float | None:
        """Do nothing: there is no robot."""
        return None


class Robot:
    """The real pipelines of one embodiment, from 640x480 pictures to robot actions.

    A prompt of the length that is asked for takes the place of the tokeniser's: it is tokenised
    once on a robot too, not once per chunk.
    """

    def __init__(self, bundle: Bundle, embodiment: str) -> None:
        """Build the pipelines.

        Args:
            bundle: The bundle.
            embodiment: One that it knows.

        Raises:
            BundleError: It does not know it, or its parts do not fit.
        """
        model = bundle.manifest.model
        semantics = bundle.semantics(embodiment)
        self._tokens = ModelSpace(bundle)
        self._inputs = InputPipeline(model, semantics, prompt_encoder(bundle))
        self._outputs = OutputPipeline(model, semantics)
        self._slots = model.slots
        self._prompt = next(iter(model.prompt.named), 'go')
        width = max(self._inputs.state.width, self._outputs.width)
        statistics = semantics.state.mean
        self._state = np.zeros(width) if statistics is None else np.resize(statistics, width)
        self._mapped = np.arange(width) < self._inputs.state.width
        self._count = itertools.count()
        generator = np.random.default_rng(_SEED)
        self._pictures = {
            slot: generator.integers(0, 256, _FRAME, dtype=np.uint8) for slot in model.slots
        }

    def before(self, size: Size) -> tuple[ModelInputs, float | None]:
        """Resize, normalise and pad as on the robot, from frames that nobody has looked at."""
        # A frame remembers what was made of it, so every inference gets new ones, and new pictures
        # for the same reason as in model space.
        rows = next(self._count)
        frames = {
            slot: Frame.of(np.roll(self._pictures[slot], rows, axis=0))
            for slot in self._slots[: size.cameras]
        }
        start = time.perf_counter()
        inputs = self._inputs(
            Observation(
                stamp_ns=0,
                oldest_ns=0,
                images=frames,
                state=self._state,
                state_mapped=self._mapped,
                prompt=self._prompt,
            )
        )
        seconds = time.perf_counter() - start
        return replace(inputs, tokens=self._tokens.before(size)[0].tokens), seconds

    def after(self, actions: Array) -> float | None:
        """Unnormalise and make absolute, as on the robot."""
        start = time.perf_counter()
        self._outputs(actions, self._state)
        return time.perf_counter() - start


def around(bundle: Bundle, embodiment: str | None) -> Around:
    """Return a robot's pipelines where the bundle knows a robot, random arrays elsewhere.

    Args:
        bundle: The bundle.
        embodiment: Which robot; None for the first that the bundle names.

    Raises:
        BundleError: The bundle does not know the robot that is asked for.
    """
    name = embodiment or next(iter(bundle.manifest.embodiments), None)
    return ModelSpace(bundle) if name is None else Robot(bundle, name)


def noise(bundle: Bundle) -> Array:
    """Return where every chunk starts, float32 [H, A]."""
    model = bundle.manifest.model
    shape = (model.horizon, model.action_dim)
    return np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
