from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.policy.sampler import integrate, time_grid


def run(steps, velocity, hook=None):
    x_t = np.full((3, 2), 2.0, np.float32)
    t = np.zeros(3, np.float32)
    seen = []

    def step():
        seen.append(float(t[0]))
        return velocity(x_t, t)

    integrate(step, x_t, t, steps, hook)
    return x_t, seen


def test_grid_is_exact_and_goes_from_noise_towards_actions():
    np.testing.assert_array_equal(
        time_grid(10), np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], np.float32)
    )


@pytest.mark.parametrize('steps', [1, 4, 10])
def test_a_constant_velocity_moves_by_itself_once(steps):
    x_t, seen = run(steps, lambda x, t: np.full_like(x, 0.5))
    np.testing.assert_allclose(x_t, 1.5, atol=1e-6)
    assert len(seen) == steps
    assert seen[0] == 1.0


def test_update_is_in_place_and_float32():
    x_t, _ = run(10, lambda x, t: x)
    expected = np.float32(2)
    for _ in range(10):
        expected = expected + np.float32(-0.1) * expected
    assert x_t.dtype == np.float32
    np.testing.assert_array_equal(x_t, expected)


def test_hook_replaces_the_velocity_or_leaves_it():
    kept, _ = run(10, lambda x, t: np.ones_like(x), lambda x, v, t: None)
    zeroed, _ = run(10, lambda x, t: np.ones_like(x), lambda x, v, t: np.zeros_like(v))
    np.testing.assert_allclose(kept, 1.0, atol=1e-6)
    np.testing.assert_array_equal(zeroed, 2.0)
