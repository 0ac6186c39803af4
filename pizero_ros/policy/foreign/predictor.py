"""Observation in, timed chunk of robot actions out, through a policy that others trained."""

from __future__ import annotations

import time
from math import prod
from typing import TYPE_CHECKING

from pizero_ros.errors import ObservationError
from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.policy.foreign.compatibility import require_robot
from pizero_ros.policy.foreign.graph import ForeignGraph
from pizero_ros.policy.foreign.pictures import Picture
from pizero_ros.policy.foreign.vectors import ActionVector, StateVector
from pizero_ros.policy.manifest import MANIFEST_FILE
from pizero_ros.policy.noise import GaussianNoise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.foreign.bundle import ForeignBundle
    from pizero_ros.policy.guidance import Leftover
    from pizero_ros.policy.noise import NoiseSource
    from pizero_ros.policy.providers import ProviderName

_WARM_UP_RUNS = 4


class ForeignPredictor:
    """Predicts chunks as ``ChunkPredictor`` does, for evaluation. Not thread-safe."""

    def __init__(
        self,
        bundle: ForeignBundle,
        embodiment: Embodiment,
        provider: ProviderName | str = 'auto',
        threads: int | None = None,
        noise: NoiseSource | None = None,
    ) -> None:
        """Check the policy against the robot and load its graph.

        Args:
            bundle: The checked folder.
            embodiment: The robot, which must be the one that the manifest names.
            provider: As ``Policy.load`` takes it.
            threads: Threads inside an operator; None for one per core.
            noise: What fills the noise input, if there is one; None for ``GaussianNoise(0)``.

        Raises:
            BundleError: The policy does not fit the robot, or its graph not the manifest.
            EnvironmentFault: ONNX Runtime or the provider asked for is not there.
        """
        manifest = bundle.manifest
        require_robot(bundle, embodiment)
        where = str(bundle.path / MANIFEST_FILE)
        state = manifest.state
        self.bundle = bundle
        self.rate_hz = manifest.rate_hz
        self.noise: NoiseSource = GaussianNoise(0) if noise is None else noise
        self._pictures = [Picture(each) for each in manifest.images]
        self._state = None if state is None else StateVector(state.vector, where)
        self._actions = ActionVector(
            manifest.output,
            () if state is None else state.vector.indices,
            embodiment.action_width,
            where,
        )
        self._graph = ForeignGraph(bundle, provider, threads)

    @property
    def provider(self) -> str:
        """Provider that the graph runs on."""
        return self._graph.provider

    @property
    def untrained(self) -> bool:
        """Whether its weights are random: nobody describes such a policy."""
        return False

    def ignored_inputs(self) -> tuple[str, ...]:
        """Return the inputs of the graph without effect on its chunk; a sound graph has none."""
        return self._graph.ignored()

    def warm_up(self, prompt: str) -> tuple[float, ...]:
        """Run made-up inputs of the shapes to come.

        Args:
            prompt: Instruction; without meaning to a policy that takes none.

        Returns:
            Seconds of every run, in order.
        """
        blank = self._graph.blank()
        times = []
        for _ in range(_WARM_UP_RUNS):
            start = time.perf_counter()
            self._graph(blank)
            times.append(time.perf_counter() - start)
        return tuple(times)

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> ActionChunk:
        """Predict the chunk of one observation.

        Args:
            observation: What the robot perceived; its prompt is not looked at.
            sequence: Number of the chunk since activation.
            epoch: Prompt and reset generation.
            leftover: Must be None: nothing in such a graph could be held to it.

        Returns:
            The chunk, from the row on that belongs to the observation's own time;
            ``durations_s`` holds ``preprocess``, ``infer`` and ``postprocess``.

        Raises:
            PizeroError: The observation lacks a camera or a joint that the policy takes, or an
                image cannot be used.
            ValueError: There is a leftover.
        """
        if leftover is not None:
            msg = 'a leftover, and a chunk policy cannot be held to one: use no real-time chunking'
            raise ValueError(msg)
        manifest = self.bundle.manifest
        start = time.perf_counter()
        arrays = self._images(observation)
        adapted = None
        if self._state is not None and manifest.state is not None:
            adapted = self._state.adapt(observation.state, observation.state_mapped)
            arrays[manifest.state.input] = self._state(adapted)
        if manifest.noise is not None:
            shape = manifest.noise.shape
            noise = self.noise(observation.stamp_ns, prod(shape[:-1]), shape[-1])
            arrays[manifest.noise.input] = noise.reshape(shape)
        ready = time.perf_counter()
        rows = self._graph(arrays)[manifest.first_step :]
        inferred = time.perf_counter()
        actions = self._actions(rows, adapted)
        return ActionChunk(
            observed_ns=observation.stamp_ns,
            rate_hz=self.rate_hz,
            actions=actions,
            model_actions=rows,
            durations_s={
                'preprocess': ready - start,
                'infer': inferred - ready,
                'postprocess': time.perf_counter() - inferred,
            },
            sequence=sequence,
            epoch=epoch,
        )

    def _images(self, observation: Observation) -> dict[str, npt.NDArray[np.float32]]:
        """Return the image inputs by name; every one is needed, none is masked."""
        images = {}
        for picture in self._pictures:
            spec = picture.spec
            if spec.slot not in observation.images:
                raise ObservationError.at(
                    'observation',
                    'images',
                    found=f'no usable camera for slot {spec.slot}',
                    expected='every camera that the policy takes: it knows no absent one',
                )
            images[spec.input] = picture(observation.images[spec.slot])
        return images
