"""Opens a checkpoint: known format, every tensor accounted for, every file consistent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from pizero_ros.checkpoints.detect import MODEL, Detected, detect
from pizero_ros.checkpoints.lerobot import read_lerobot
from pizero_ros.checkpoints.lerobot_legacy import Legacy, legacy_actions, read_legacy
from pizero_ros.checkpoints.match import canonical_shapes, match_tensors
from pizero_ros.checkpoints.openpi import DEFAULT_STEPS, read_openpi
from pizero_ros.checkpoints.semantics import check_agreement, openpi_rules, robot_semantics
from pizero_ros.checkpoints.sizes import complete_sizes
from pizero_ros.checkpoints.tensors import Weights, equal, not_finite
from pizero_ros.digest import file_digest
from pizero_ros.errors import CheckpointError
from pizero_ros.model.pi0 import Pi0

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pizero_ros.checkpoints.choices import Choices
    from pizero_ros.checkpoints.contents import ActionRules, Contents, InputRules
    from pizero_ros.checkpoints.match import Match
    from pizero_ros.checkpoints.names import Family
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.spec import RobotSemantics


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has passed every check that needs no robot.

    Attributes:
        folder: Where it is.
        family: Its format.
        architecture: Its sizes.
        weights: ``Pi0``'s parameter names → tensors, loaded one at a time.
        inputs: How observations become inputs.
        actions: What actions mean, where the format says it and it was asked for.
        ignored: Tensor in the file → the rule by which it is not read.
        notes: What the user should know.
    """

    folder: Path
    family: Family
    architecture: Architecture
    weights: Weights
    inputs: InputRules
    actions: ActionRules | None
    ignored: Mapping[str, str]
    notes: tuple[str, ...]

    def model(self) -> Pi0:
        """Build the policy in float32, in evaluation mode, on the CPU."""
        with torch.device('meta'):
            model = Pi0(self.architecture)
        weights = {
            name: source.load().to(torch.float32, copy=True)
            for name, source in self.weights.items()
        }
        model.load_state_dict(weights, strict=True, assign=True)
        return model.eval()

    def sha256(self) -> str:
        """Return the digest of the model file; reads all of it."""
        return file_digest(self.folder / MODEL)

    def semantics(
        self, embodiment: Embodiment, choices: Choices
    ) -> tuple[RobotSemantics, tuple[str, ...]]:
        """Say what state and actions mean on a robot.

        Args:
            embodiment: The robot.
            choices: The user's word, for what the checkpoint does not say.

        Returns:
            The semantics and notes for the user.

        Raises:
            UnstatedError: With everything that nobody says.
            CheckpointError: The checkpoint was not made for this robot, or its statistics
                cannot be right.
        """
        if self.family == 'openpi':
            rules = openpi_rules(
                self.folder, embodiment, choices, self.architecture, self.inputs.slots
            )
        elif self.actions is None:
            msg = 'the meaning of actions was not read: open_checkpoint(…, actions=True)'
            raise ValueError(msg)
        else:
            rules = self.actions
            check_agreement(rules, choices)
        return robot_semantics(rules, embodiment, choices, self.architecture, self.inputs.slots)


def open_checkpoint(
    folder: str | Path,
    architecture: Architecture | None = None,
    *,
    actions: bool = True,
    slots: tuple[str, ...] | None = None,
    sha256: str | None = None,
    on_bytes: Callable[[int, int], object] | None = None,
) -> Checkpoint:
    """Check a checkpoint: format, configuration, names, shapes, types and values of all tensors.

    Args:
        folder: The checkpoint.
        architecture: Its sizes; None if they are those of the published π0 where no tensor shows
            them.
        actions: Whether the meaning of actions is wanted too; a model-only bundle does without.
        slots: Other names for its cameras, in the same order.
        sha256: What the model file's digest must be: the only check that sees a square matrix
            that was transposed, or two of a shape that were exchanged.
        on_bytes: Told the bytes looked at so far and of the whole, for a progress bar.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: With all that is missing, unexpected, misshapen, wrongly typed or not
            finite; or for another format, named; or for files that contradict each other.
        UnstatedError: A size shows nowhere.
    """
    detected = detect(folder)
    if sha256 is not None:
        _check_digest(detected.folder / MODEL, sha256)
    contents, legacy = _read(detected, published=architecture is None, actions=actions)
    listing, family = detected.tensors.listing, detected.family
    shapes = canonical_shapes(listing, family)
    where = str(detected.folder / MODEL)
    sizes = complete_sizes(shapes, contents.sizes, architecture, where)
    buffers = legacy.buffers if legacy else {}
    match = match_tensors(listing, family, sizes, buffers, contents.precision)
    weights = Weights(detected.tensors, match.sources)
    faults = [*match.faults]
    faults += [
        f'not finite: {name}: {value}' for name, value in not_finite(weights, on_bytes).items()
    ]
    if faults:
        count = f'{len(faults)} mistakes' if len(faults) > 1 else 'a mistake'
        msg = f'{where}: {count}, read as {family}:\n' + '\n'.join(f'  {x}' for x in faults)
        raise CheckpointError(msg)
    rules = contents.actions
    if legacy is not None and actions:
        rules = legacy_actions(detected.tensors, legacy)
    return Checkpoint(
        folder=detected.folder,
        family=family,
        architecture=sizes,
        weights=weights,
        inputs=_rename(contents.inputs, slots, detected.folder),
        actions=rules,
        ignored=match.ignored,
        notes=(*contents.notes, *_unequal(detected, match), *_steps(contents.inputs)),
    )


def _read(detected: Detected, *, published: bool, actions: bool) -> tuple[Contents, Legacy | None]:
    """Read the files beside the model; old lerobot files hold statistics inside it too."""
    if detected.family == 'openpi':
        return read_openpi(detected, published=published), None
    if detected.family == 'lerobot-0.3':
        legacy = read_legacy(detected)
        return legacy.contents, legacy
    return read_lerobot(detected, published=published, actions=actions), None


def _rename(inputs: InputRules, slots: tuple[str, ...] | None, folder: Path) -> InputRules:
    """Give the cameras the user's names, in the checkpoint's order."""
    if slots is None:
        return inputs
    if len(slots) != len(inputs.slots) or len(set(slots)) != len(slots):
        raise CheckpointError.at(
            folder,
            '--slots',
            found=', '.join(slots),
            expected=f'{len(inputs.slots)} names, for {", ".join(inputs.slots)}',
        )
    return replace(inputs, slots=slots)


def _unequal(detected: Detected, match: Match) -> list[str]:
    """Compare the two copies of the embedding, of which upstream reads the first."""
    if match.copies is None:
        return []
    first, second = (detected.tensors.load(name) for name in match.copies)
    if first.dtype == second.dtype and equal(first, second):
        return []
    return [f'{match.copies[0]} and {match.copies[1]} differ: the first is used, as upstream does']


def _steps(inputs: InputRules) -> list[str]:
    if inputs.steps == DEFAULT_STEPS:
        return []
    return [f'{inputs.steps} Euler steps, as config.json says; π0 has {DEFAULT_STEPS}']


def _check_digest(path: Path, expected: str) -> None:
    found = file_digest(path)
    if found != expected.lower():
        raise CheckpointError.at(path, 'SHA-256', found=found, expected=expected.lower())
