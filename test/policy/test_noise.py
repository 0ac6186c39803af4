from __future__ import annotations

import numpy as np

from pizero_ros.policy.noise import ContinuousNoise, GaussianNoise

NOW_NS = 1_763_000_000_000_000_000


def test_gaussian_noise_is_standard_normal_and_float32():
    noise = GaussianNoise(1)(NOW_NS, 2000, 18)
    assert noise.dtype == np.float32
    assert noise.shape == (2000, 18)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_gaussian_noise_repeats_for_a_stamp_whatever_came_before():
    first, second = GaussianNoise(1), GaussianNoise(1)
    second(NOW_NS + 1, 50, 18)
    np.testing.assert_array_equal(first(NOW_NS, 50, 18), second(NOW_NS, 50, 18))
    assert not np.array_equal(first(NOW_NS, 50, 18), first(NOW_NS + 1, 50, 18))
    assert not np.array_equal(first(NOW_NS, 50, 18), GaussianNoise(2)(NOW_NS, 50, 18))


def test_continuous_noise_has_unit_variance_over_time():
    noise = ContinuousNoise(3, rate_hz=50, bandwidth_hz=0.5, epoch_ns=NOW_NS)
    values = noise(NOW_NS, 100_000, 4)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.std(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.2)


def test_successive_chunks_agree_where_they_overlap():
    noise = ContinuousNoise(3, rate_hz=50, epoch_ns=NOW_NS)
    early = noise(NOW_NS, 50, 18)
    late = noise(NOW_NS + 20 * 20_000_000, 50, 18)
    np.testing.assert_allclose(early[20:], late[:30], atol=1e-6)


def test_overlap_holds_with_stamps_of_wall_clock_time_and_no_epoch():
    noise = ContinuousNoise(3, rate_hz=50)
    early = noise(NOW_NS, 50, 18)
    late = noise(NOW_NS + 20 * 20_000_000, 50, 18)
    np.testing.assert_allclose(early[20:], late[:30], atol=1e-5)


def test_continuous_noise_rises_from_zero_at_the_first_observation():
    noise = ContinuousNoise(3, rate_hz=50, rise_s=2.0)
    first = noise(NOW_NS, 150, 4)
    np.testing.assert_array_equal(first[0], 0)
    assert np.abs(first[:5]).max() < 0.03
    full = ContinuousNoise(3, rate_hz=50, epoch_ns=NOW_NS, rise_s=0)(NOW_NS, 150, 4)
    np.testing.assert_allclose(first[100:], full[100:])


def test_continuous_noise_is_band_limited():
    values = ContinuousNoise(3, 50, bandwidth_hz=0.5, epoch_ns=0, rise_s=0)(0, 50_000, 1)[:, 0]
    power = np.abs(np.fft.rfft(values * np.hanning(len(values)))) ** 2
    frequency = np.fft.rfftfreq(len(values), 1 / 50)
    assert power[frequency > 0.55].sum() < 1e-6 * power.sum()


def test_a_value_does_not_depend_on_how_many_there_are():
    narrow = ContinuousNoise(3, rate_hz=50, epoch_ns=0)(NOW_NS, 50, 7)
    grown = ContinuousNoise(3, rate_hz=50, epoch_ns=0)
    grown(NOW_NS, 50, 2)
    np.testing.assert_array_equal(narrow, grown(NOW_NS, 50, 18)[:, :7])
