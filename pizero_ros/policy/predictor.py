"""Observation in, timed chunk of robot actions out: the whole path of one inference."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.policy.guidance import RealTimeChunking, guidance
from pizero_ros.policy.manifest import TOKENIZER_FILES
from pizero_ros.policy.noise import GaussianNoise
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline
from pizero_ros.processing.prompt import PromptEncoder

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.guidance import Leftover
    from pizero_ros.policy.noise import NoiseSource
    from pizero_ros.policy.runtime import Policy
    from pizero_ros.policy.sampler import Array, StepHook


class ChunkPredictor:
    """Predicts chunks for one robot.

    Not thread-safe, as the policy below it is not; ``inputs.prepare_image`` alone may be called
    by other threads, to resize frames as they arrive.
    """

    def __init__(
        self,
        policy: Policy,
        embodiment: Embodiment,
        noise: NoiseSource | None = None,
        steps: int | None = None,
        chunking: RealTimeChunking | None = None,
    ) -> None:
        """Build the pipelines around a policy.

        Args:
            policy: The loaded policy.
            embodiment: The robot, which the bundle must know.
            noise: Where chunks start; None for ``GaussianNoise(0)``.
            steps: Euler steps; None for the manifest's number.
            chunking: How chunks with a leftover are held to it; None for the defaults.

        Raises:
            BundleError: The bundle was not made for this robot, or its parts do not fit.
        """
        bundle = policy.bundle
        model = bundle.manifest.model
        semantics = bundle.semantics(embodiment.name)
        self.policy = policy
        self.rate_hz = semantics.rate_hz
        self.inputs = InputPipeline(model, semantics, prompt_encoder(bundle), embodiment)
        self.outputs = OutputPipeline(model, semantics, embodiment)
        self._cameras = len(embodiment.cameras)
        self.noise: NoiseSource = GaussianNoise(0) if noise is None else noise
        self._steps = steps
        self._chunking = RealTimeChunking() if chunking is None else chunking
        if self._chunking.method == 'jacobian' and not policy.graphs.differentiated:
            msg = 'guidance by the Jacobian, and the policy was loaded without its graph'
            raise ValueError(msg)

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        return self.policy.bundle.manifest.untrained

    def warm_up(self, prompt: str) -> tuple[float, ...]:
        """Run blank inputs of the shapes to come: every camera of the robot, this prompt.

        Args:
            prompt: Instruction that the robot will start with; empty for the longest possible.

        Returns:
            Seconds of every run, in order (``Policy.warm_up``).

        Raises:
            PromptError: The prompt cannot become tokens.
        """
        tokens = len(self.inputs.prompt(prompt)) if prompt else None
        return self.policy.warm_up(self._cameras, tokens)

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> ActionChunk:
        """Predict the chunk of one observation.

        Args:
            observation: What the robot perceived.
            sequence: Number of the chunk since activation.
            epoch: Prompt and reset generation.
            leftover: Rest of the executing chunk that this one is held to, in robot space: its
                actions are measured anew from this observation's state where the policy's are
                relative, and normalised. Values that the robot does not have are held to 0.

        Returns:
            The chunk; ``durations_s`` holds ``preprocess`` (noise included), ``observe``,
            ``denoise`` and ``postprocess``.

        Raises:
            PizeroError: The observation cannot become model inputs.
        """
        model = self.policy.bundle.manifest.model
        start = time.perf_counter()
        inputs = self.inputs(observation)
        noise = self.noise(observation.stamp_ns, model.horizon, model.action_dim)
        hook, prefix = self._conditions(leftover, observation)
        ready = time.perf_counter()
        result = self.policy.infer(inputs, noise, self._steps, hook, prefix)
        inferred = time.perf_counter()
        actions = self.outputs(result.actions, observation.state)
        return ActionChunk(
            observed_ns=observation.stamp_ns,
            rate_hz=self.rate_hz,
            actions=actions,
            model_actions=result.actions,
            durations_s={
                'preprocess': ready - start,
                **result.durations_s,
                'postprocess': time.perf_counter() - inferred,
            },
            sequence=sequence,
            epoch=epoch,
            leftover_steps=0 if leftover is None else len(leftover.actions),
        )

    def _conditions(
        self, leftover: Leftover | None, observation: Observation
    ) -> tuple[StepHook | None, Array | None]:
        """Return what holds the sample to a leftover: a hook, or a prefix, or nothing."""
        if leftover is None:
            return None, None
        target = self.outputs.inverse(leftover.actions, observation.state)
        if self._chunking.method == 'trained_prefix':
            return None, target[: leftover.delay]
        horizon = self.policy.bundle.manifest.model.horizon
        graphs = self.policy.graphs
        pull_back = graphs.pull_back if self._chunking.method == 'jacobian' else None
        return guidance(self._chunking, leftover, target, horizon, pull_back), None


def prompt_encoder(bundle: Bundle) -> PromptEncoder:
    """Build what turns prompts into tokens, from a bundle's rules and tokenizer.

    Raises:
        BundleError: The tokenizer is no tokenizer, or does not fit the rules.
        EnvironmentFault: Its library is not installed.
    """
    model = bundle.manifest.model
    name = TOKENIZER_FILES.get(model.prompt.tokenizer)
    return PromptEncoder(model.prompt, model.vocabulary, bundle.path / name if name else None)
