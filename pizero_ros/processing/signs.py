"""Directions of joints: openpi's ALOHA adaptation flips some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError

Array = npt.NDArray[np.float64]

ALOHA_SIGNS = (1, -1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1)
"""``adapt_to_pi`` of openpi's aloha_policy.py: [left 6, gripper, right 6, gripper]."""


@dataclass(frozen=True, eq=False)
class Signs:
    """Multiply by ±1, float64 [width]; its own inverse."""

    signs: Array

    @classmethod
    def of(cls, signs: Array | None, width: int, where: str) -> Signs:
        """Take the leading ``width`` of ``signs``, all +1 where there are none.

        Raises:
            BundleError: If there are fewer than ``width``, or one is not ±1.
        """
        if signs is None:
            return cls(np.ones(width))
        if len(signs) < width:
            raise BundleError.at(where, '', found=f'{len(signs)} signs', expected=f'{width}')
        wrong = np.flatnonzero(np.abs(signs) != 1)
        if len(wrong):
            raise BundleError.at(where, f'[{wrong[0]}]', found=signs[wrong[0]], expected='1 or -1')
        return cls(np.asarray(signs[:width], np.float64))

    def __call__(self, values: Array) -> Array:
        """Return ``values`` [..., width] with the signs applied."""
        return values * self.signs

    def inverse(self, values: Array) -> Array:
        """Return ``values`` [..., width] with the signs taken off."""
        return values * self.signs
