"""Normalisation of state and actions, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError

if TYPE_CHECKING:
    from pizero_ros.processing.spec import NormalizationMode, Statistics

Array = npt.NDArray[np.float64]

NEAR_CONSTANT = 1e-3
"""Spread (rad, m) under which a value counts as constant: noise of 1 mrad then becomes a whole
standard deviation, which is how training losses explode (pi0.md section 6.5)."""


@dataclass(frozen=True, eq=False)
class ZScore:
    """``(x - mean) / (std + eps)``; ``mean`` and ``std`` are float64 [width]."""

    mean: Array
    std: Array
    eps: float

    def __call__(self, values: Array) -> Array:
        """Normalise ``values`` [..., width]."""
        return (values - self.mean) / (self.std + self.eps)

    def inverse(self, values: Array) -> Array:
        """Return normalised ``values`` [..., width] to robot units."""
        return values * (self.std + self.eps) + self.mean

    @property
    def spread(self) -> Array:
        """How far the data reached, in robot units, float64 [width]."""
        return self.std


@dataclass(frozen=True, eq=False)
class Quantile:
    """``(x - q01) / (q99 - q01 + eps) * 2 - 1``; ``q01`` and ``q99`` are float64 [width]."""

    q01: Array
    q99: Array
    eps: float

    def __call__(self, values: Array) -> Array:
        """Normalise ``values`` [..., width]."""
        return (values - self.q01) / (self.q99 - self.q01 + self.eps) * 2.0 - 1.0

    def inverse(self, values: Array) -> Array:
        """Return normalised ``values`` [..., width] to robot units."""
        return (values + 1.0) / 2.0 * (self.q99 - self.q01 + self.eps) + self.q01

    @property
    def spread(self) -> Array:
        """How far the data reached, in robot units, float64 [width]."""
        return self.q99 - self.q01


@dataclass(frozen=True)
class Identity:
    """No normalisation."""

    def __call__(self, values: Array) -> Array:
        """Return ``values``."""
        return values

    def inverse(self, values: Array) -> Array:
        """Return ``values``."""
        return values

    @property
    def spread(self) -> Array:
        """Nothing is divided, so nothing can be too narrow: float64 [0]."""
        return np.empty(0)


Normalizer = ZScore | Quantile | Identity


def near_constant(normalizer: Normalizer) -> tuple[int, ...]:
    """Return the indices whose data hardly moved, where normalisation magnifies noise.

    They are reported, never clamped: whether the value matters is for a person to say.
    """
    return tuple(int(i) for i in np.flatnonzero(normalizer.spread < NEAR_CONSTANT))


def make_normalizer(
    mode: NormalizationMode, statistics: Statistics, eps: float, where: str
) -> Normalizer:
    """Build the normaliser of one vector.

    Args:
        mode: Which formula.
        statistics: What it needs.
        eps: Added to the divisor.
        where: Place in the manifest, for messages.

    Returns:
        The normaliser.

    Raises:
        BundleError: If the statistics of that mode are absent, of unequal width, not finite, or
            of negative spread, or if a divisor would be zero.
    """
    if mode == 'identity':
        return Identity()
    first, second = ('mean', 'std') if mode == 'zscore' else ('q01', 'q99')
    low = _present(getattr(statistics, first), where, first)
    high = _present(getattr(statistics, second), where, second)
    if low.shape != high.shape:
        raise BundleError.at(
            where, second, found=f'{len(high)} values', expected=f'{len(low)}, as {first} has'
        )
    normalizer = ZScore(low, high, eps) if mode == 'zscore' else Quantile(low, high, eps)
    worst = int(np.argmin(normalizer.spread))
    if normalizer.spread[worst] < 0:
        raise BundleError.at(
            where,
            f'{second}[{worst}]',
            found=f'a spread of {normalizer.spread[worst]:g}',
            expected='0 or more',
        )
    if normalizer.spread[worst] + eps <= 0:
        raise BundleError.at(
            where,
            'eps',
            found=f'{eps:g}, and a spread of 0 at index {worst}',
            expected='a divisor over 0',
        )
    return normalizer


def _present(values: Array | None, where: str, key: str) -> Array:
    if values is None:
        raise BundleError.at(where, key, found='nothing', expected='one number per value')
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array):
        raise BundleError.at(where, key, found=f'shape {list(array.shape)}', expected='[width]')
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise BundleError.at(
            where, f'{key}[{index}]', found=array[index], expected='a finite number'
        )
    return array
