"""What ``pizero export`` exports of a run of ``pizero train``, which says everything itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.cli.checkpoint_arguments import CHECKPOINT_ONLY, refuse
from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.cli.export_source import Source
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.model.architecture import read_architecture
from pizero_ros.policy.manifest import TOKENIZER_FILES
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.training.attachments import SEMANTICS, saved_semantics
from pizero_ros.training.snapshot import ARCHITECTURE

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from pizero_ros.cli.output import PhaseDisplay
    from pizero_ros.processing.spec import RobotSemantics

_SAYS_ITSELF = ('actions', *(name for name in CHECKPOINT_ONLY if name != 'sha256'))


def is_trained(checkpoint: Path) -> bool:
    """Tell whether a folder is a checkpoint of a run of ``pizero train``."""
    return (checkpoint / SEMANTICS).is_file()


def from_trained(arguments: argparse.Namespace, display: PhaseDisplay) -> Source:
    """Take a checkpoint of a run, for one or several of the robots that it was trained for.

    Args:
        arguments: The command line.
        display: Shows how far it is.

    Raises:
        UsageError: An option says what the checkpoint says itself, or a robot is not in it.
        CheckpointError: It cannot be trusted.
        TrainingError: What lies beside its weights cannot be read.
    """
    folder: Path = arguments.checkpoint
    refuse(arguments, _SAYS_ITSELF, f'--checkpoint {folder}, which says so itself')
    model, known = saved_semantics(folder)
    if not known:
        raise UsageError.at(
            f'--checkpoint {folder}',
            '',
            found='a policy that has learned to see and not to act',
            expected='one that was trained on recordings',
            remedy='Train it further: `init: run` in a configuration with `objective: flow`.',
        )
    chosen: dict[str, RobotSemantics] = {}
    for word in arguments.embodiment:
        robot = load_embodiment(word)
        if robot.name not in known:
            raise UsageError.at(
                '--embodiment',
                '',
                found=robot.name,
                expected=f'one of {", ".join(known)}, for which the policy was trained',
            )
        chosen[robot.name] = known[robot.name]
    display.phase('checking every weight')
    checkpoint = open_checkpoint(
        folder,
        read_architecture(folder / ARCHITECTURE),
        actions=False,
        sha256=arguments.sha256,
        on_bytes=display.bytes,
    )
    name = TOKENIZER_FILES.get(model.prompt.tokenizer)
    tokenizer = None if name is None else folder / name
    encode = PromptEncoder(model.prompt, model.vocabulary, tokenizer)
    named = {text: tuple(encode(text).tolist()) for text in arguments.prompt}
    spec = replace(
        model,
        prompt=replace(model.prompt, named=named),
        steps=arguments.steps or model.steps,
    )
    return Source(
        kind='pizero_ros',
        name=str(folder.resolve().relative_to(folder.resolve().parents[2])),
        model=lambda: StreamedWeights(
            checkpoint.architecture,
            lambda name: checkpoint.weights[name].load(),
            checkpoint.sha256,
        ),
        spec=spec,
        semantics=chosen,
        tokenizer=tokenizer,
        ignored=checkpoint.ignored,
    )
