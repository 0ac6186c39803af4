"""What a bundle says about the transforms around the model: the manifest's processing part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

ResizeRule = Literal['antialias', 'lerobot', 'lerobot_left_top']
NormalizationMode = Literal['zscore', 'quantile', 'identity']
TokenizerKind = Literal['none', 'bytes', 'sentencepiece', 'huggingface']


@dataclass(frozen=True)
class Statistics:
    """Statistics of a robot vector's leading values; each float64 [width].

    ``mean`` and ``std`` serve z-score, ``q01`` and ``q99`` quantile normalisation; the pair that
    the mode does not use may be ``None``.
    """

    mean: npt.NDArray[np.float64] | None
    std: npt.NDArray[np.float64] | None
    q01: npt.NDArray[np.float64] | None
    q99: npt.NDArray[np.float64] | None

    @property
    def width(self) -> int:
        """Number of values that the statistics cover."""
        present = next(
            (x for x in (self.mean, self.std, self.q01, self.q99) if x is not None), None
        )
        return 0 if present is None else len(present)


@dataclass(frozen=True)
class GripperMap:
    """Map of one gripper value between robot and policy units.

    ``kind`` is ``linear`` (``policy = scale * robot + offset``) or ``aloha`` (openpi's linkage;
    state and action use two different maps, pi0.md section 3).
    """

    index: int
    kind: Literal['linear', 'aloha']
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class PromptSpec:
    """How text becomes tokens: ``max_tokens`` long, named prompts baked in as ids.

    ``newline`` appends the newline token that PaliGemma prompts end with; ``clean`` is openpi's
    rule (strip, underscores and newlines to spaces). ``named`` maps prompt text to token ids.
    ``newline_as_text`` is lerobot's rule: the newline belongs to the text, where it is absent.
    """

    tokenizer: TokenizerKind
    max_tokens: int
    clean: bool
    newline: bool
    named: Mapping[str, tuple[int, ...]]
    newline_as_text: bool = False


@dataclass(frozen=True)
class RobotSemantics:
    """What actions and state mean for one embodiment; a bundle has one per embodiment.

    Attributes:
        embodiment: Its name.
        rate_hz: Action rate the policy was trained at.
        horizon: Actions per chunk.
        normalization: Mode for state and actions.
        eps: Added to the divisor (1e-6 openpi, 1e-8 lerobot).
        state: Statistics of the state.
        action: Statistics of the actions; of the relative actions where ``relative`` is set.
        relative: bool [action width]; True where an action is relative to the state at the
            observation.
        signs: float64 [width] of ±1 applied to state and actions (openpi's ALOHA adaptation).
        grippers: Gripper maps of the state and of the actions.
    """

    embodiment: str
    rate_hz: float
    horizon: int
    normalization: NormalizationMode
    eps: float
    state: Statistics
    action: Statistics
    relative: npt.NDArray[np.bool_]
    signs: npt.NDArray[np.float64] | None
    state_grippers: tuple[GripperMap, ...]
    action_grippers: tuple[GripperMap, ...]


@dataclass(frozen=True)
class ModelSpec:
    """Sizes and input rules that all embodiments of a bundle share.

    ``slots`` are the camera slots in the order in which the model was trained to see them.
    """

    slots: tuple[str, ...]
    image_size: tuple[int, int]
    resize: ResizeRule
    prompt: PromptSpec
    state_dim: int
    action_dim: int
    horizon: int
    steps: int
    vocabulary: int
