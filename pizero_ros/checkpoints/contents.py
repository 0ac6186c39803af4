"""What a checkpoint says beside its weights, in the same words for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.checkpoints.sizes import StatedSizes
    from pizero_ros.processing.spec import NormalizationMode, ResizeRule

Named = Mapping[str, npt.NDArray[np.float64]]
"""Statistics of one vector by name: ``mean``, ``std``, ``min``, ``max``, ``q01``, … [width]."""


@dataclass(frozen=True)
class InputRules:
    """How observations become the model's inputs.

    Attributes:
        slots: Cameras in the order in which the model sees them.
        resize: How their images are resized.
        clean: Whether prompts are cleaned as openpi does.
        newline_as_text: Whether the closing newline is put into the text, where it is absent,
            rather than behind its tokens.
        steps: Euler steps.
        tokenizer: The tokenizer's file, if the checkpoint has it.
        tokenizer_name: What the checkpoint calls its tokenizer.
    """

    slots: tuple[str, ...]
    resize: ResizeRule
    clean: bool
    newline_as_text: bool
    steps: int
    tokenizer: Path | None
    tokenizer_name: str


@dataclass(frozen=True)
class ActionRules:
    """What state and actions mean, as far as a checkpoint of lerobot says it.

    Attributes:
        where: Where it says so, for messages.
        normalization: Formula for both vectors.
        pair: The two statistics in that formula; None for ``identity``.
        eps: Added to the divisor.
        statistics: Those of ``state`` and ``action``.
        relative: bool [action width].
        action_names: Name of each action in the training data, if known.
    """

    where: str
    normalization: NormalizationMode
    pair: tuple[str, str] | None
    eps: float
    statistics: Mapping[str, Named]
    relative: npt.NDArray[np.bool_]
    action_names: tuple[str, ...] | None


@dataclass(frozen=True)
class Contents:
    """Everything that the files beside the model say.

    Attributes:
        sizes: Sizes that the configuration repeats or adds.
        inputs: How observations become inputs.
        actions: What actions mean; None where the format does not say it, or nobody asked.
        notes: What a user should know, one sentence each.
        precision: ``float32`` where every tensor must be that, ``bfloat16`` where some are; None
            where the files do not say it.
    """

    sizes: StatedSizes
    inputs: InputRules
    actions: ActionRules | None
    notes: tuple[str, ...] = ()
    precision: str | None = None
