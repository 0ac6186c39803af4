from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.errors import BundleError
from pizero_ros.processing.normalize import Identity, make_normalizer, near_constant
from pizero_ros.processing.pad import Pad
from pizero_ros.processing.spec import Statistics


def statistics(rng, width=14):
    mean, std = rng.normal(size=width), rng.uniform(0.05, 2, width)
    return Statistics(mean, std, mean - 2 * std, mean + 2 * std)


@pytest.mark.parametrize('mode', ['zscore', 'quantile'])
@pytest.mark.parametrize('name', ['state', 'actions'])
def test_normalisation_and_padding_are_openpis(openpi, openpi_statistics, mode, name):
    normalize = make_normalizer(mode, openpi_statistics[name], 1e-6, 'norm_stats.json')
    values = openpi[f'norm_in_{name}']
    normalized = normalize(values)
    assert np.abs(normalized - openpi[f'{mode}_{name}']).max() < 1e-12
    pad = Pad(14, 32)
    padded = pad(normalized)
    assert np.abs(padded - openpi[f'{mode}_padded_{name}']).max() < 1e-12
    assert (padded[..., 14:] == 0).all()
    back = normalize.inverse(pad.inverse(padded))
    assert np.abs(back - openpi[f'{mode}_unnorm_{name}'][..., :14]).max() < 1e-12
    assert np.abs(back - values).max() < 1e-12


@pytest.mark.parametrize('mode', ['zscore', 'quantile', 'identity'])
@pytest.mark.parametrize('eps', [1e-6, 1e-8])
@pytest.mark.parametrize('seed', range(5))
def test_inverse_undoes(mode, eps, seed):
    rng = np.random.default_rng(seed)
    normalize = make_normalizer(mode, statistics(rng), eps, 'x')
    values = rng.normal(size=(50, 14)) * 3
    assert np.abs(normalize.inverse(normalize(values)) - values).max() < 1e-12
    assert np.abs(normalize(normalize.inverse(values)) - values).max() < 1e-12


def test_quantile_maps_the_quantiles_to_minus_one_and_one():
    stats = statistics(np.random.default_rng(0))
    normalize = make_normalizer('quantile', stats, 0.0, 'x')
    assert np.allclose(normalize(stats.q01), -1)
    assert np.allclose(normalize(stats.q99), 1)


def test_near_constant_values_are_reported_and_not_clamped():
    std = np.array([0.5, 0.0, 0.2, 9e-4])
    normalize = make_normalizer('zscore', Statistics(np.zeros(4), std, None, None), 1e-6, 'x')
    assert near_constant(normalize) == (1, 3)
    assert normalize(np.full(4, 0.01))[1] == pytest.approx(1e4)
    assert near_constant(Identity()) == ()


def test_missing_statistics_are_refused():
    with pytest.raises(BundleError, match=r'policy\.yaml: q01: found nothing'):
        make_normalizer(
            'quantile', Statistics(np.zeros(3), np.ones(3), None, None), 0, 'policy.yaml'
        )


@pytest.mark.parametrize(
    ('mean', 'std', 'eps', 'message'),
    [
        ([0, 0], [1, 1, 1], 1e-6, 'std: found 3 values, expected 2'),
        ([0, np.nan], [1, 1], 1e-6, r'mean\[1\]: found nan'),
        ([0, 0], [1, np.inf], 1e-6, r'std\[1\]: found inf'),
        ([0, 0], [1, -0.1], 1e-6, r'std\[1\]: found a spread of -0.1'),
        ([0, 0], [1, 0], 0.0, 'eps: found 0, and a spread of 0 at index 1'),
        ([], [], 1e-6, r'mean: found shape \[0\]'),
    ],
)
def test_statistics_that_cannot_be_right_are_refused(mean, std, eps, message):
    stats = Statistics(np.array(mean, float), np.array(std, float), None, None)
    with pytest.raises(BundleError, match=message):
        make_normalizer('zscore', stats, eps, 'policy.yaml')


def test_padding_never_cuts():
    with pytest.raises(ValueError, match='cannot pad 19 values to 18'):
        Pad(19, 18)
    with pytest.raises(ValueError, match='13 values, expected 14'):
        Pad(14, 18)(np.zeros(13))
    with pytest.raises(ValueError, match='14 values, expected 18'):
        Pad(14, 18).inverse(np.zeros(14))


def test_padding_round_trip_keeps_dtype():
    values = np.random.default_rng(0).normal(size=(50, 14)).astype(np.float32)
    pad = Pad(14, 18)
    assert pad(values).dtype == np.float32
    assert np.array_equal(pad.inverse(pad(values)), values)
