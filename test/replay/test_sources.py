"""Policies whose chunks have another rate or length than the robot's."""

import numpy as np
import pytest
from bags import write_embodiment

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.policy.noise import GaussianNoise
from pizero_ros.replay.sources import PolicySource


class Ramp:
    """A policy whose action is the time in seconds since the observation, for every joint."""

    untrained = False
    noise = None

    def __init__(self, rate_hz, horizon):
        self.rate_hz = rate_hz
        self.horizon = horizon

    def warm_up(self, prompt):
        return ()

    def __call__(self, observation, sequence=0, epoch=0, leftover=None):
        times = np.arange(self.horizon) / self.rate_hz
        actions = np.repeat(times[:, None], 3, axis=1)
        return ActionChunk(0, self.rate_hz, actions, actions.astype(np.float32))


@pytest.mark.parametrize(
    ('rate_hz', 'horizon', 'steps'),
    [(20, 10, 10), (20, 4, 4), (20, 30, 10), (10, 5, 9), (50, 25, 10), (50, 20, 8)],
)
def test_chunks_are_compared_at_the_steps_of_the_robot(tmp_path, rate_hz, horizon, steps):
    robot = load_embodiment(write_embodiment(tmp_path))
    source = PolicySource(Ramp(rate_hz, horizon), GaussianNoise(0), robot)
    raw = source(None).raw
    assert raw.shape == (10, 3)
    np.testing.assert_allclose(raw[:steps, 0], np.arange(steps) / 20, atol=1e-12)
    # The finger's column has a scale of 10.
    np.testing.assert_allclose(raw[:steps, 2], np.arange(steps) / 200, atol=1e-12)
    assert np.isnan(raw[steps:]).all()
