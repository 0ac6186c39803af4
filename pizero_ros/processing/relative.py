"""Actions relative to the state at the observation, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RelativeActions:
    """Subtract the observed state from the actions where ``mask`` is set.

    One base for the whole chunk, not step to step (openpi calls these delta actions). The base is
    the un-normalised state in policy units: after signs and gripper maps.

    Attributes:
        mask: bool [action width].
    """

    mask: npt.NDArray[np.bool_]

    def __call__(self, actions: Array, state: Array) -> Array:
        """Return absolute ``actions`` [..., H, width] relative to ``state`` [>= masked width]."""
        return actions - self._base(state)

    def inverse(self, actions: Array, state: Array) -> Array:
        """Return relative ``actions`` [..., H, width] as absolute ones."""
        return actions + self._base(state)

    @property
    def needed(self) -> int:
        """Number of leading state values that must be known."""
        return int(np.flatnonzero(self.mask)[-1]) + 1 if self.mask.any() else 0

    def _base(self, state: Array) -> Array:
        if len(state) < self.needed:
            msg = f'state of {len(state)} values, relative actions need {self.needed}'
            raise ValueError(msg)
        base = np.zeros(len(self.mask))
        shared = min(len(base), len(state))
        base[:shared][self.mask[:shared]] = state[:shared][self.mask[:shared]]
        return base
