"""From the data part of a configuration to what a run learns from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.training.collate import Collator
from pizero_ros.training.demonstrations import Demonstrations, hold_out
from pizero_ros.training.input_rules import input_rules
from pizero_ros.training.source import ExamplesSource
from pizero_ros.training.sources import load_robots, read_sources
from pizero_ros.training.statistics import meaning
from pizero_ros.training.statistics_cache import fit_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics
    from pizero_ros.training.config import DataConfig, TrainingConfig
    from pizero_ros.training.sources import Pairs
    from pizero_ros.training.statistics import Still

_VECTORS = ('mean', 'std', 'q01', 'q99')


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run knows about its data.

    Attributes:
        model: Sizes and input rules, for pipelines and manifest.
        robots: Name → robot, and what its values mean to the policy.
        learn: Task-robot pairs to learn from.
        held_out: The same pairs' held-out demonstrations; pairs without any are left out.
        still: Values that hardly move: a person should know.
        identity: The same for the same samples in the same parts with the same meaning.
    """

    model: ModelSpec
    robots: Mapping[str, tuple[Embodiment, RobotSemantics]]
    learn: tuple[Demonstrations, ...]
    held_out: tuple[Demonstrations, ...]
    still: tuple[Still, ...]
    identity: str
    _collate: Collator

    @property
    def semantics(self) -> dict[str, RobotSemantics]:
        """Robot → what its values mean to the policy."""
        return {name: meant for name, (_, meant) in self.robots.items()}

    def batches(self, config: TrainingConfig, *, ahead: int = 0) -> ExamplesSource:
        """Return batches to learn from."""
        exponent = config.data.weight_exponent
        return self.source(config.batch, config.seed, exponent, ahead=ahead)

    def held_out_batches(self, config: TrainingConfig) -> ExamplesSource | None:
        """Return batches of held-out demonstrations, None where there are none."""
        return self.validation(config.batch, config.seed, config.data.weight_exponent)

    def summary(self) -> tuple[list[dict[str, Any]], int]:
        """Say what there is to learn from, and how many demonstrations are held out."""
        learn = [
            {'name': pair.name, 'episodes': len(pair.episodes), 'samples': len(pair)}
            for pair in self.learn
        ]
        return learn, sum(len(pair.episodes) for pair in self.held_out)

    def source(
        self, batch_size: int, seed: int, exponent: float, *, ahead: int = 0
    ) -> ExamplesSource:
        """Return batches to learn from; see ``ExamplesSource``."""
        return ExamplesSource(
            self.learn,
            self._collate,
            batch_size=batch_size,
            seed=seed,
            exponent=exponent,
            ahead=ahead,
        )

    def validation(self, batch_size: int, seed: int, exponent: float) -> ExamplesSource | None:
        """Return batches of held-out demonstrations, None where there are none."""
        if not self.held_out:
            return None
        return ExamplesSource(
            self.held_out, self._collate, batch_size=batch_size, seed=seed, exponent=exponent
        )


def prepare(
    config: DataConfig,
    architecture: Architecture,
    cache: Path,
    seed: int,
    *,
    model: ModelSpec | None = None,
    known: Mapping[str, RobotSemantics] | None = None,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
    tell: Callable[[str], None],
) -> TrainingData:
    """Read all recordings, hold some out, and measure the robots' statistics.

    Args:
        config: What to learn from.
        architecture: Sizes of the policy.
        cache: Folder of cached samples.
        seed: Of the choice of what is held out.
        model: Input rules of a policy that is trained further, None to make them.
        known: Robots whose meaning such a policy has learnt already; it is kept, because other
            statistics would be other inputs.
        progress: Told what is being done, and the share of it that is done.
        tell: Told, line by line, what a person should know.

    Returns:
        The data.

    Raises:
        BagError: If a recording is damaged or lacks what its robot needs.
        DatasetError: If a sample cannot be learnt from, or nothing is left to learn from.
        EmbodimentError: If there is no such robot.
        BundleError: If a robot does not fit the policy.
        TrainingConfigError: If the input rules are not those of ``model``.
    """
    known = known or {}
    robots = load_robots(config)
    model = input_rules(config, architecture, robots.values(), model)
    pairs = read_sources(config, robots, model, cache, progress=progress, tell=tell)
    learn, held_out = _split(pairs, config.validation_share, seed)
    meant: dict[str, tuple[Embodiment, RobotSemantics]] = {}
    still: list[Still] = []
    for robot in {pair.embodiment.name: pair.embodiment for pair in learn}.values():
        semantics = known.get(robot.name) if known else None
        if semantics is not None:
            _check_known(semantics, robot)
        else:
            fitted = fit_once(
                [pair for pair in learn if pair.embodiment.name == robot.name],
                meaning(robot, config.actions, config.normalization),
                config.still,
                cache,
                progress=partial(progress, f'statistics of {robot.name}'),
                tell=tell,
            )
            semantics = fitted.semantics
            still += fitted.still
            for each in fitted.still:
                tell(f'{robot.name}: {each}')
        meant[robot.name] = robot, semantics
    prompt = PromptEncoder(model.prompt, model.vocabulary, config.tokenizer)
    # A prompt that does not fit is told now, not in the middle of a run.
    for pair in (*learn, *held_out):
        for text in {text for episode in pair.episodes for text in episode.prompts}:
            prompt(text)
    return TrainingData(
        model=model,
        robots=meant,
        learn=learn,
        held_out=held_out,
        still=tuple(still),
        identity=_identity(model, learn, held_out, [each for _, each in meant.values()]),
        _collate=Collator(model, meant, prompt),
    )


def _split(
    pairs: Pairs, share: float, seed: int
) -> tuple[tuple[Demonstrations, ...], tuple[Demonstrations, ...]]:
    learn, held_out = [], []
    for (_, task), (robot, episodes) in pairs.items():
        # The only demonstration of a task is learnt from: other tasks are looked at.
        taught, held = hold_out(episodes, share if len(episodes) > 1 else 0.0, seed)
        learn.append(Demonstrations(f'{task} on {robot.name}', robot, taught))
        if held:
            held_out.append(Demonstrations(f'{task} on {robot.name}', robot, held))
    return tuple(learn), tuple(held_out)


def _check_known(semantics: RobotSemantics, robot: Embodiment) -> None:
    """Refuse to train a policy further on a robot whose actions are due at another rate."""
    if semantics.rate_hz != robot.rate_hz:
        raise DatasetError.at(
            robot.source,
            'rate_hz',
            found=f'{robot.rate_hz:g}',
            expected=f'{semantics.rate_hz:g}, as the policy has learnt {robot.name}',
            remedy='Measure statistics anew, or give the robot the rate that it had.',
        )


def _identity(
    model: ModelSpec,
    learn: Iterable[Demonstrations],
    held_out: Iterable[Demonstrations],
    semantics: Iterable[RobotSemantics],
) -> str:
    digest = hashlib.sha256(repr(model).encode())
    for part in (learn, held_out):
        for pair in part:
            content = [(each.digest, each.prompts) for each in pair.episodes]
            digest.update(repr((pair.name, content)).encode())
    for each in semantics:
        vectors = [getattr(s, key) for s in (each.state, each.action) for key in _VECTORS]
        for array in (*vectors, each.relative, each.signs):
            digest.update(b'-' if array is None else np.asarray(array, np.float64).tobytes())
        plain = (each.embodiment, each.rate_hz, each.normalization, each.eps)
        digest.update(repr((plain, each.state_grippers, each.action_grippers)).encode())
    return digest.hexdigest()
