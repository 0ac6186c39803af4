"""The policy with which a run begins, and what it is to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.errors import TrainingConfigError, TrainingError
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.model.pi0 import Pi0
from pizero_ros.training.flow import FlowMatching
from pizero_ros.training.grounding import Grounding
from pizero_ros.training.saved import latest_checkpoint
from pizero_ros.training.snapshot import ARCHITECTURE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pizero_ros.model.architecture import Architecture
    from pizero_ros.training.config import ModelConfig, TrainingConfig
    from pizero_ros.training.objective import Objective


def source_checkpoint(config: ModelConfig) -> Path | None:
    """Return the checkpoint from which a run begins, or None at random weights.

    Raises:
        TrainingError: The run named as the source has no checkpoint.
    """
    if config.init != 'run' or config.source is None:
        return config.source
    latest = latest_checkpoint(config.source)
    if latest is None:
        raise TrainingError.at(
            config.source,
            '',
            found='no checkpoint',
            expected='the folder of a run of `pizero train`',
            remedy='`init: checkpoint` starts from a folder with model.safetensors.',
        )
    return latest


def first_policy(
    config: ModelConfig, seed: int, on_bytes: Callable[[int, int], object] | None = None
) -> Pi0:
    """Build the policy, float32 on the CPU.

    Args:
        config: What learns.
        seed: Of random weights.
        on_bytes: Told the bytes of a checkpoint looked at so far and of the whole.

    Returns:
        The policy.

    Raises:
        ArchitectureError: There is no such architecture.
        CheckpointError: The checkpoint cannot be trusted, or is of another architecture.
        TrainingError: The run named as the source has no checkpoint.
        TrainingConfigError: The run named as the source has another architecture.
    """
    architecture = read_architecture(architecture_path(config.architecture))
    checkpoint = source_checkpoint(config)
    if checkpoint is None:
        return Pi0.random(architecture, seed)
    sizes = checkpoint / ARCHITECTURE
    if sizes.is_file():
        _check_equal(read_architecture(sizes), architecture, checkpoint)
    opened = open_checkpoint(checkpoint, architecture, actions=False, on_bytes=on_bytes)
    return opened.model()


def objective_of(config: TrainingConfig, policy: Pi0) -> Objective:
    """Return what a run makes small, around its policy."""
    if config.grounding is not None:
        return Grounding(policy, config.grounding.bins, config.grounding.keypoints)
    return FlowMatching(
        policy,
        learn_repeated=config.learn_repeated,
        max_delay=config.rtc_max_delay,
        draws=config.draws,
    )


def _check_equal(found: Architecture, expected: Architecture, checkpoint: Path) -> None:
    if found != expected:
        sizes, wanted = found.as_mapping(), expected.as_mapping()
        differing = [key for key in sizes if sizes[key] != wanted[key]]
        raise TrainingConfigError.at(
            'model.architecture',
            ', '.join(differing),
            found='; '.join(f'{wanted[key]}' for key in differing),
            expected='; '.join(f'{sizes[key]}' for key in differing) + f', as {checkpoint} has',
            remedy=f'Name {checkpoint / ARCHITECTURE}.',
        )
