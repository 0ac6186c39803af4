"""Chunks as no policy should make them, around where the robot is commanded to be."""

from __future__ import annotations

import numpy as np

BENIGN = ('walk', 'walk', 'walk', 'ramp', 'ramp', 'stay', 'offset')
HOSTILE = (
    'step', 'alternating', 'noise', 'far', 'limit', 'beyond', 'overshoot', 'zero', 'tiny',
    'denormal', 'huge', 'overflow', 'late_overflow', 'nan', 'inf', 'negative_inf', 'mixed',
)  # fmt: skip
NOT_FINITE = ('nan', 'inf', 'negative_inf')


class ChunkMaker:
    """Draws the actions of one robot; columns that belong to no group are noise."""

    def __init__(self, embodiment, rng):
        self._rng = rng
        self._rate_hz = embodiment.rate_hz
        self.width = embodiment.action_width
        # Columns without a joint: a map of 1 and any limits.
        self._factor, self._offset = np.ones(self.width), np.zeros(self.width)
        self._lower, self._upper = np.full(self.width, -1.0), np.ones(self.width)
        self._velocity, self._max_step = np.ones(self.width), np.ones(self.width)
        for joint in embodiment.action_joints:
            i = joint.index
            self._factor[i], self._offset[i] = joint.sign * joint.scale, joint.offset
            limits = joint.position or (-joint.velocity, joint.velocity)
            self._lower[i], self._upper[i] = limits
            self._velocity[i], self._max_step[i] = joint.velocity, joint.max_step

    def draw(self, at):
        """Draw one chunk.

        Args:
            at: float64 [W], raw values around which it is drawn.

        Returns:
            float64 [H, W] in the robot vector.
        """
        rng = self._rng
        kinds = BENIGN if rng.random() < 0.6 else HOSTILE
        kind = kinds[rng.integers(len(kinds))]
        short = rng.random() < 0.95
        horizon = int(rng.integers(1, 12)) if short else int(rng.integers(12, 51))
        return self.actions(kind, horizon, at)

    def actions(self, kind, horizon, at):
        """Return float64 [H, W] of a kind, in the robot vector."""
        if kind == 'mixed':
            columns = [self.actions(self._finite_kind(), horizon, at) for _ in range(2)]
            chosen = self._rng.random(self.width) < 0.5
            return np.where(chosen, *columns)
        if kind in ('tiny', 'denormal', 'huge', 'overflow'):
            size = {'tiny': 1e-300, 'denormal': 5e-324, 'huge': 1e300, 'overflow': 1.7e308}[kind]
            return self._rng.choice([-size, size], (horizon, self.width))
        if kind == 'late_overflow':
            actions = self._raw('walk', horizon, at) * self._factor + self._offset
            actions[horizon // 2 :] = self._rng.choice([-1.7e308, 1.7e308], self.width)
            return actions
        if kind in NOT_FINITE:
            actions = self._raw('walk', horizon, at) * self._factor + self._offset
            value = {'nan': np.nan, 'inf': np.inf, 'negative_inf': -np.inf}[kind]
            actions[self._rng.integers(horizon), self._rng.integers(self.width)] = value
            return actions
        return self._raw(kind, horizon, at) * self._factor + self._offset

    def _finite_kind(self):
        return ('step', 'alternating', 'noise', 'limit', 'walk', 'ramp', 'huge')[
            self._rng.integers(7)
        ]

    def _raw(self, kind, horizon, at):
        """Return float64 [H, W] in raw units."""
        rng, width = self._rng, self.width
        steps = np.arange(1, horizon + 1)[:, None]
        per_step = self._velocity / self._rate_hz
        if kind == 'walk':
            size = 10.0 ** rng.uniform(-3.0, 0.5)
            return at + np.cumsum(rng.normal(0.0, size * per_step, (horizon, width)), axis=0)
        if kind == 'ramp':
            return at + steps * per_step * rng.uniform(-1.5, 1.5, width)
        if kind == 'stay':
            return np.tile(at, (horizon, 1))
        if kind == 'offset':
            return np.tile(at + rng.uniform(-1.0, 1.0, width) * self._max_step, (horizon, 1))
        if kind == 'step':
            later = steps > rng.integers(0, horizon + 1)
            return np.where(later, rng.uniform(self._lower, self._upper), at)
        if kind == 'alternating':
            rows = np.where(steps % 2, self._lower, self._upper)
            rows[: min(4, horizon)] = at
            return rows
        if kind == 'noise':
            size = 10.0 ** rng.uniform(-2.0, 0.5)
            return at + rng.normal(0.0, size * self._max_step, (horizon, width))
        if kind == 'far':
            away = rng.choice([-1.0, 1.0], width) * self._max_step * rng.uniform(1.0, 50.0)
            return np.tile(at + away, (horizon, 1))
        if kind == 'zero':
            return np.zeros((horizon, width)) * rng.choice([-1.0, 1.0])
        limit = np.where(rng.random(width) < 0.5, self._lower, self._upper)
        towards = np.sign(limit - at) * per_step * rng.uniform(0.5, 3.0, width)
        path = at + steps * towards
        if kind == 'limit':
            return np.clip(path, np.minimum(self._lower, at), np.maximum(self._upper, at))
        if kind == 'beyond':
            return path * rng.uniform(1.0, 1.5)
        # overshoot: first to a place near the limit, then on to beyond it
        near = at + np.clip(limit - at, -self._max_step, self._max_step) * 0.999
        return near + (steps - 1) * np.sign(limit - at) * self._max_step
