"""The arrays that go into the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class ModelInputs:
    """One observation in model space; absent cameras and pad tokens are left out, not masked.

    Attributes:
        images: float32 [N, 3, H, W] in [-1, 1], the present cameras in slot order.
        tokens: int64 [L], prompt tokens without padding.
        state: float32 [state_dim], normalised, zero-padded.
    """

    images: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]
    state: npt.NDArray[np.float32]
