"""The publishing rule."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.spline import Knots
from pizero_ros.control.trajectory import (
    build,
    changes,
    durations_s,
    step_at,
    steps_ns,
    trim,
    waypoint_velocities,
)

MS = 1_000_000


def test_waypoints_before_now_plus_lead_are_dropped(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert trim(chunk, 150 * MS, lead_steps=2, limit=50) == range(10, 50)  # 190 ms: step 9.5
    assert trim(chunk, 160 * MS, lead_steps=2, limit=50) == range(10, 50)  # 200 ms: step 10
    assert trim(chunk, 160 * MS + 1, lead_steps=2, limit=50) == range(11, 50)


def test_published_steps_bound_the_blind_motion(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert trim(chunk, 150 * MS, lead_steps=2, limit=25) == range(10, 35)


def test_lead_zero_never_gives_a_point_due_now(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert trim(chunk, 40 * MS, lead_steps=0, limit=50) == range(3, 50)
    assert trim(chunk, 40 * MS - 1, lead_steps=0, limit=50) == range(2, 50)


def test_a_chunk_in_the_past_gives_nothing(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert not trim(chunk, 5_000 * MS, lead_steps=2, limit=50)
    assert not trim(chunk, 960 * MS, lead_steps=1, limit=0)


def test_a_rest_shorter_than_one_step_gives_nothing(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert trim(chunk, 960 * MS, lead_steps=0, limit=50) == range(49, 50)
    assert not trim(chunk, 960 * MS + 1, lead_steps=0, limit=50)


def test_a_single_published_step_without_lead_lasts_at_least_one_step(make):
    chunk = make.chunk(np.zeros((50, 2)))
    assert trim(chunk, 150 * MS, lead_steps=0, limit=1) == range(9, 10)  # 8 is due in 10 ms
    assert trim(chunk, 150 * MS, lead_steps=0, limit=2) == range(8, 10)


def test_horizon_one_can_never_be_published(make):
    assert not trim(make.chunk(np.zeros((1, 2))), 0, lead_steps=0, limit=50)


@pytest.mark.parametrize('rate_hz', [10.0, 15.0, 18.5, 30.0, 49.9, 50.0, 100.0])
def test_step_at_agrees_with_the_rounding_of_waypoints(rate_hz):
    observed = 1_700_000_000_123_456_789
    for step in range(200):
        due = observed + steps_ns(step, rate_hz)
        assert step_at(observed, rate_hz, due) == step
        assert step_at(observed, rate_hz, due - 1) == step - 1


def test_stamp_is_now_and_times_are_the_chunks_clock(make):
    now = 1_700_000_000_123_456_789
    observed = now - 77_777_777
    chunk = make.chunk(np.zeros((50, 2)), observed_ns=observed, rate_hz=30.0)
    steps = trim(chunk, now, lead_steps=2, limit=50)
    command = build(JointValues(make.arm()), chunk, steps, now, current=np.zeros(2))
    expected = [observed + round(k * 1e9 / 30.0) - now for k in steps]
    assert command.stamp_ns == now
    assert command.time_from_start_ns.tolist() == expected
    assert command.time_from_start_ns[0] >= round(2e9 / 30.0)
    assert command.time_from_start_ns.dtype == np.int64
    assert command.velocities is None


def test_joint_mapping_is_the_inverse_of_the_state_mapping(make):
    joints = [
        make.joint('a', 5, scale=2.0, offset=0.25, sign=-1),
        make.joint('b', 1, scale=0.5, offset=-1.0),
    ]
    raw = np.array([[0.3, -0.7], [0.1, 0.2], [-0.4, 0.9]])
    vector = np.full((3, 18), 9.0)
    vector[:, 5] = -2.0 * raw[:, 0] + 0.25
    vector[:, 1] = 0.5 * raw[:, 1] - 1.0
    np.testing.assert_allclose(JointValues(make.group('arm', joints)).raw(vector), raw, atol=1e-15)


def test_velocities_are_central_differences_and_end_at_zero():
    times = np.arange(1, 6) * 20 * MS
    positions = (np.arange(1, 6) * 0.02)[:, None] ** 2
    velocities = waypoint_velocities(positions, times, np.zeros(1))
    np.testing.assert_allclose(velocities[:, 0], [0.04, 0.08, 0.12, 0.16, 0.0], atol=1e-12)


def test_interpolation_with_velocities_never_leaves_its_waypoints():
    rng = np.random.default_rng(3)
    positions = np.clip(np.cumsum(rng.normal(0.0, 0.05, (50, 4)), axis=0), -0.1, 0.1)
    times = np.arange(1, 51) * 20 * MS
    velocities = waypoint_velocities(positions, times, np.zeros(4))
    path = Knots.of(times, positions, velocities)
    sampled = np.array([path.sample(t)[0] for t in range(20 * MS, 1000 * MS, MS)])
    assert sampled.max() <= 0.1 + 1e-12
    assert sampled.min() >= -0.1 - 1e-12


def test_one_waypoint_has_zero_velocity():
    assert not waypoint_velocities(np.ones((1, 3)), np.array([20 * MS]), np.zeros(3)).any()


@pytest.mark.parametrize('count', [1, 2, 50])
def test_changes_and_durations_are_those_of_numpy_bit_for_bit(count):
    rng = np.random.default_rng(count)
    values = rng.normal(0, 10.0 ** rng.integers(-9, 9, (count, 6)))
    values[0, 0], values[-1, 1] = np.nan, np.inf
    start = rng.normal(size=6)
    expected = np.diff(values, axis=0, prepend=start[None])
    assert np.array_equal(changes(values, start), expected, equal_nan=True)
    due_ns = np.cumsum(rng.integers(1, 10**9, count))
    kept = due_ns.copy()
    assert np.array_equal(durations_s(due_ns), np.diff(due_ns, prepend=0)[:, None] * 1e-9)
    assert np.array_equal(due_ns, kept)
