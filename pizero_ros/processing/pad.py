"""Zero-padding of a vector to the width of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar('Number', bound=np.generic)


@dataclass(frozen=True)
class Pad:
    """Widen the last axis from ``width`` to ``padded`` with zeros.

    It belongs after normalisation, so that padded values are exactly 0 in model space.
    """

    width: int
    padded: int

    def __post_init__(self) -> None:
        if not 0 < self.width <= self.padded:
            msg = f'cannot pad {self.width} values to {self.padded}'
            raise ValueError(msg)

    def __call__(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return ``values`` [..., width] as [..., padded]."""
        if values.shape[-1] != self.width:
            msg = f'{values.shape[-1]} values, expected {self.width}'
            raise ValueError(msg)
        padded = np.zeros((*values.shape[:-1], self.padded), values.dtype)
        padded[..., : self.width] = values
        return padded

    def inverse(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return the leading ``width`` of ``values`` [..., padded], as a view."""
        if values.shape[-1] != self.padded:
            msg = f'{values.shape[-1]} values, expected {self.padded}'
            raise ValueError(msg)
        return values[..., : self.width]
