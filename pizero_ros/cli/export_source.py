"""What ``pizero export`` exports: a checkpoint or random weights, with all that is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.checkpoints.model_spec import model_spec
from pizero_ros.cli.checkpoint_arguments import ACTIONS_ONLY, CHECKPOINT_ONLY, choices_of, refuse
from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.export.bundle import slots_of
from pizero_ros.export.random_bundle import random_model_spec, random_semantics
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.model.pi0 import Pi0
from pizero_ros.policy.manifest import CANONICAL_SLOTS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from pizero_ros.cli.output import PhaseDisplay
    from pizero_ros.export.random_bundle import ActionMode
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics


@dataclass(frozen=True)
class Source:
    """A policy that is about to be exported.

    Attributes:
        kind: ``random`` or the format of the checkpoint.
        name: Architecture or checkpoint, for the manifest.
        model: Gives the policy: built, where it is random, or its weights one at a time.
        spec: Its input rules.
        semantics: Embodiment → meaning of state and actions.
        seed: Seed of random weights.
        tokenizer: File that the bundle must hold.
        ignored: Tensor of the checkpoint → the rule by which it is not read.
        notes: What the user should know.
    """

    kind: str
    name: str
    model: Callable[[], Pi0 | StreamedWeights]
    spec: ModelSpec
    semantics: Mapping[str, RobotSemantics]
    seed: int | None = None
    tokenizer: Path | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def from_random(arguments: argparse.Namespace) -> Source:
    """Take random weights of an architecture.

    Raises:
        UsageError: An option makes no sense for them.
    """
    refuse(arguments, CHECKPOINT_ONLY, '--random')
    seed = 0 if arguments.seed is None else arguments.seed
    if seed < 0:
        raise UsageError.at('--seed', '', found=seed, expected='0 or more')
    architecture = read_architecture(architecture_path(arguments.random))
    robots = [load_embodiment(each) for each in arguments.embodiment]
    actions: ActionMode = arguments.actions or 'absolute'
    slots = slots_of(robots) if robots else CANONICAL_SLOTS
    steps = arguments.steps or 10
    return Source(
        kind='random',
        name=Path(arguments.random).name,
        model=lambda: Pi0.random(architecture, seed),
        spec=random_model_spec(architecture, slots, prompts=arguments.prompt, steps=steps),
        semantics={each.name: random_semantics(each, architecture, actions) for each in robots},
        seed=seed,
    )


def from_checkpoint(arguments: argparse.Namespace, display: PhaseDisplay) -> Source:
    """Take a checkpoint, whole and understood.

    Args:
        arguments: The command line.
        display: Shows how far it is.

    Raises:
        UsageError: An option makes no sense for it.
        CheckpointError: It cannot be trusted.
        UnstatedError: With all that must still be said.
    """
    if arguments.seed is not None:
        raise UsageError.at(
            '--seed', '', found=arguments.seed, expected='no seed: weights are not random'
        )
    if arguments.model_only:
        refuse(arguments, ('actions', *ACTIONS_ONLY), '--model-only')
    if len(arguments.embodiment) > 1:
        raise UsageError.at(
            '--embodiment',
            '',
            found=', '.join(arguments.embodiment),
            expected='one: the statistics of a checkpoint belong to one robot',
        )
    robots = [load_embodiment(each) for each in arguments.embodiment]
    choices = choices_of(arguments)
    given = arguments.architecture
    display.phase('checking every weight')
    checkpoint = open_checkpoint(
        arguments.checkpoint,
        None if given is None else read_architecture(architecture_path(given)),
        actions=bool(robots),
        slots=choices.slots,
        sha256=arguments.sha256,
        on_bytes=display.bytes,
    )
    notes = checkpoint.notes
    semantics: dict[str, RobotSemantics] = {}
    for robot in robots:
        semantics[robot.name], found = checkpoint.semantics(robot, choices)
        notes += found
    spec, tokenizer = model_spec(
        checkpoint,
        choices=choices,
        prompts=arguments.prompt,
        carry_tokenizer=not arguments.prompts_only,
        needs_prompts=bool(robots),
        steps=arguments.steps,
    )
    return Source(
        kind=checkpoint.family,
        name=checkpoint.folder.resolve().name,
        model=lambda: StreamedWeights(
            checkpoint.architecture,
            lambda name: checkpoint.weights[name].load(),
            checkpoint.sha256,
        ),
        spec=spec,
        semantics=semantics,
        tokenizer=tokenizer,
        ignored=checkpoint.ignored,
        notes=notes,
    )
