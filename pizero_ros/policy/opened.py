"""One way to open a policy's folder for evaluation, whoever trained what is in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.compatibility import require_embodiment
from pizero_ros.policy.foreign.bundle import ForeignBundle, is_foreign
from pizero_ros.policy.foreign.compatibility import require_robot
from pizero_ros.policy.foreign.predictor import ForeignPredictor
from pizero_ros.policy.memory import require_memory
from pizero_ros.policy.predictor import ChunkPredictor
from pizero_ros.policy.providers import resolve_provider
from pizero_ros.policy.runtime import Policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.chunk import ActionChunk
    from pizero_ros.policy.guidance import Leftover
    from pizero_ros.policy.noise import NoiseSource
    from pizero_ros.policy.providers import ProviderName

NO_EFFECT = (
    'has no effect on the chunk: export the graph again, with an example tensor of its own for '
    'each input'
)
"""What is said of an input that the graph ignores."""

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """Turns observations into chunks for one robot; one thread at a time calls it.

    Attributes:
        rate_hz: Action rate of its chunks.
        noise: Where its noise comes from; may be exchanged between chunks.
    """

    rate_hz: float
    noise: NoiseSource

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        ...

    def warm_up(self, prompt: str) -> tuple[float, ...]:
        """Run blank inputs; return the seconds of every run."""
        ...

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> ActionChunk:
        """Return the chunk of one observation, the same one for the same noise."""
        ...


def open_policy(
    path: str | Path,
    embodiment: Embodiment,
    provider: ProviderName | str = 'auto',
    threads: int | None = None,
    noise: NoiseSource | None = None,
    steps: int | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> Predictor:
    """Open a π0 bundle or a chunk policy, check it against a robot, and load it.

    What is unusual but no error is logged as a warning.

    Args:
        path: The folder; ``kind`` in its ``policy.yaml`` says what it is.
        embodiment: The robot.
        provider: As ``Policy.load`` takes it.
        threads: Threads inside an operator; None for one per core.
        noise: Where chunks start; None for ``GaussianNoise(0)``.
        steps: Euler steps of a π0 bundle, None for its manifest's number. The steps of a chunk
            policy are inside its graph, and this number does not concern it.
        on_bytes: Called with the number of bytes hashed since the last call.

    Returns:
        The predictor, not yet warm.

    Raises:
        BundleError: The folder is not complete and unaltered, or does not fit the robot.
        EnvironmentFault: ONNX Runtime or the provider asked for is not there, or memory lacks.
    """
    if is_foreign(path):
        foreign = ForeignBundle.open(path, on_bytes)
        for finding in require_robot(foreign, embodiment):
            _log.warning('%s: %s', path, finding.message)
        predictor = ForeignPredictor(foreign, embodiment, provider, threads, noise)
        for name in predictor.ignored_inputs():
            _log.warning('%s: input %s %s', path, name, NO_EFFECT)
        return predictor
    bundle = Bundle.open(path, on_bytes)
    for finding in require_embodiment(bundle, embodiment):
        _log.warning('%s: %s', path, finding.message)
    if resolve_provider(provider) == 'cpu':
        require_memory(bundle.path)
    return ChunkPredictor(Policy.load(bundle, provider, threads), embodiment, noise, steps)
