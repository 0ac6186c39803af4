"""Policies whose chunks have another rate or length than the robot's."""

import numpy as np
import pytest
from bags import PERIOD_NS, RATE_HZ, START_NS, write_embodiment

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.observation import Observation
from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.policy.noise import GaussianNoise
from pizero_ros.replay.actions import RecordedActions, Track
from pizero_ros.replay.sources import MAKERS, PolicySource


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


SLOPE = np.array([0.3, -0.2, 0.01])
STEPS = np.arange(10)


def moving(hz, seconds, skip=()):
    """Even motion of all joints as recorded at a rate; ``skip`` leaves samples out."""
    kept = np.array([n for n in range(round(seconds * hz)) if n not in skip])
    stamps = START_NS + np.round(kept * 1e9 / hz).astype(np.int64)
    return Track('/demo/action', (0, 1, 2), stamps, stamps, kept[:, None] / hz * SLOPE, held=False)


def linear(robot, tracks, step):
    """What the baseline answers to an observation at a step of the robot, raw [H, J]."""
    source = MAKERS['linear'](robot, RecordedActions(robot, tracks, ''))
    stamp = START_NS + round(step * PERIOD_NS)
    seen = Observation(stamp, stamp, {}, np.zeros(32), np.ones(32, bool), '')
    return source(seen).raw


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(write_embodiment(tmp_path))


@pytest.mark.parametrize('hz', [RATE_HZ, 5 * RATE_HZ, RATE_HZ / 2])
@pytest.mark.parametrize('step', [8, 9, 9.3])
def test_linear_goes_on_at_the_speed_of_the_motion_at_any_rate(robot, hz, step):
    expected = ((step + STEPS) / RATE_HZ)[:, None] * SLOPE
    np.testing.assert_allclose(linear(robot, [moving(hz, 1.0)], step), expected, atol=1e-12)


def test_linear_stays_after_a_single_action_and_in_gaps(robot):
    """There is no speed there."""
    first = linear(robot, [moving(RATE_HZ, 1.0)], 1)
    np.testing.assert_array_equal(first, np.zeros((10, 3)))
    gapped = [moving(RATE_HZ, 2.0, skip=range(8, 18))]
    for step, last in ((15, 7), (19, 18)):  # In the gap, and after one sample behind it.
        expected = np.tile(last / RATE_HZ * SLOPE, (10, 1))
        np.testing.assert_allclose(linear(robot, gapped, step), expected, atol=1e-12)
    on = ((20 + STEPS) / RATE_HZ)[:, None] * SLOPE
    np.testing.assert_allclose(linear(robot, gapped, 20), on, atol=1e-12)


def test_linear_keeps_goals_that_are_held(robot):
    arm = moving(RATE_HZ, 1.0)
    arm = Track('/arm', (0, 1), arm.stamps_ns, arm.stamps_ns, arm.values[:, :2], held=False)
    stamps = START_NS + np.array([2, 7], np.int64) * PERIOD_NS
    finger = Track('/gripper', (2,), stamps, stamps, np.array([[0.04], [0.01]]), held=True)
    found = linear(robot, [arm, finger], 8)
    np.testing.assert_array_equal(found[:, 2], [0.01] * 10)
    expected = ((8 + STEPS) / RATE_HZ)[:, None] * SLOPE[:2]
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-12)


def test_recorded_motion_waits_in_a_gap(robot):
    source = MAKERS['recording'](
        robot, RecordedActions(robot, [moving(RATE_HZ, 2.0, skip=range(8, 18))], '')
    )
    stamp = START_NS + 5 * PERIOD_NS
    raw = source(Observation(stamp, stamp, {}, np.zeros(32), np.ones(32, bool), '')).raw
    expected = np.minimum(5 + STEPS, 7)[:, None] / RATE_HZ * SLOPE
    np.testing.assert_allclose(raw, expected, atol=1e-12)
