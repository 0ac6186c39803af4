"""Where a chunk's starting noise comes from: repeatable, and a function of the observation's time.

``t = 1`` is noise, so what these return is ``x_t`` at the first denoise step.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

_FEATURES = 64
"""Cosines per action value; enough for a marginal that is close to normal."""


class NoiseSource(Protocol):
    """Gives the noise of one chunk; called by the inference thread only."""

    def __call__(self, observed_ns: int, horizon: int, dim: int) -> npt.NDArray[np.float32]:
        """Return noise, float32 [horizon, dim], for the observation stamped ``observed_ns``."""
        ...


def make_noise(kind: str, seed: int, rate_hz: float, *, untrained: bool) -> NoiseSource:
    """Build the noise that a user asks for, from its beginning.

    Args:
        kind: ``gaussian``, ``continuous``, or ``auto``: continuous for untrained policies only.
        seed: Non-negative seed.
        rate_hz: Action rate.
        untrained: Whether the policy has random weights.
    """
    if kind == 'continuous' or (kind == 'auto' and untrained):
        return ContinuousNoise(seed, rate_hz)
    return GaussianNoise(seed)


class GaussianNoise:
    """Independent standard normal noise, what a trained policy expects.

    It depends on the seed and on the observation's stamp and on nothing else: a replay that skips
    chunks, or takes them in another order, gets the same noise for the same observation.
    """

    def __init__(self, seed: int) -> None:
        """Fix the sequence.

        Args:
            seed: Non-negative seed.
        """
        self._seed = seed

    def __call__(self, observed_ns: int, horizon: int, dim: int) -> npt.NDArray[np.float32]:
        """Return noise, float32 [horizon, dim], for the observation stamped ``observed_ns``."""
        stamp = observed_ns % (1 << 64)
        generator = np.random.default_rng([self._seed, stamp])
        return generator.standard_normal((horizon, dim), dtype=np.float32)


class ContinuousNoise:
    """Smooth unit-variance noise in absolute time, for untrained bundles and timing tests.

    Waypoint k of a chunk observed at ``observed_ns`` gets the value of one band-limited process
    at ``observed_ns + k / rate_hz``, so successive chunks agree where they overlap. With a random
    policy a chunk is nearly its own noise; a smooth function of absolute time therefore makes
    every scheduling mistake visible as a seam. It rises from zero, so that such a policy starts
    from the mean of its statistics and not with a jump. A trained policy wants ``GaussianNoise``:
    its waypoints were never trained on correlated noise.
    """

    def __init__(
        self,
        seed: int,
        rate_hz: float,
        bandwidth_hz: float = 0.3,
        *,
        epoch_ns: int | None = None,
        rise_s: float = 3.0,
    ) -> None:
        """Draw the process.

        Args:
            seed: Non-negative seed.
            rate_hz: Action rate: waypoints are ``1 / rate_hz`` apart.
            bandwidth_hz: Highest frequency of the process.
            epoch_ns: Origin of its time; None for the stamp of the first observation.
            rise_s: Time from the origin to full variance; 0 for full variance at once.
        """
        if rate_hz <= 0 or bandwidth_hz <= 0:
            msg = f'rate and bandwidth must be positive, got {rate_hz} and {bandwidth_hz}'
            raise ValueError(msg)
        self._seed = seed
        self._rate_hz = rate_hz
        self._bandwidth_hz = bandwidth_hz
        self._epoch_ns = epoch_ns
        self._rise_s = rise_s
        self._omega = np.empty((0, _FEATURES))
        self._phase = np.empty((0, _FEATURES))

    def __call__(self, observed_ns: int, horizon: int, dim: int) -> npt.NDArray[np.float32]:
        """Return noise, float32 [horizon, dim], for the observation stamped ``observed_ns``."""
        if dim > len(self._omega):
            self._draw(dim)
        if self._epoch_ns is None:
            self._epoch_ns = observed_ns
        start_s = (observed_ns - self._epoch_ns) * 1e-9
        times_s = start_s + np.arange(horizon) / self._rate_hz
        angles = times_s[:, None, None] * self._omega[:dim] + self._phase[:dim]
        values = np.sqrt(2.0 / _FEATURES) * np.cos(angles).sum(axis=-1)
        if self._rise_s > 0:
            risen = np.clip(times_s / self._rise_s, 0.0, 1.0)[:, None]
            values *= risen * risen * (3.0 - 2.0 * risen)
        return np.asarray(values, np.float32)

    def _draw(self, dim: int) -> None:
        """Draw a frequency in each of equal bands, and phases; independent of ``dim``."""
        omega, phase = np.empty((dim, _FEATURES)), np.empty((dim, _FEATURES))
        for index in range(dim):
            generator = np.random.default_rng([self._seed, index])
            fraction = (np.arange(_FEATURES) + generator.random(_FEATURES)) / _FEATURES
            omega[index] = 2 * np.pi * self._bandwidth_hz * fraction
            phase[index] = generator.uniform(0, 2 * np.pi, _FEATURES)
        self._omega, self._phase = omega, phase
