"""Statistics that no recording has end an import; strange ones need a person's word."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('torch')

from pizero_ros.checkpoints.statistics import examine, for_manifest, settle
from pizero_ros.errors import CheckpointError, UnstatedError

ZSCORE, QUANTILE = ('mean', 'std'), ('q01', 'q99')
STILL = np.zeros(3, bool)


def statistics(**changes):
    data = np.random.default_rng(1).normal([0.1, -0.5, 2.0], [0.2, 0.3, 0.4], (1000, 3))
    named = {
        'min': data.min(axis=0),
        'max': data.max(axis=0),
        'mean': data.mean(axis=0),
        'std': data.std(axis=0),
        'q01': np.quantile(data, 0.01, axis=0),
        'q99': np.quantile(data, 0.99, axis=0),
    }
    return {'state': dict(named), 'action': {**named, **changes}}


def at(key, index, value):
    values = statistics()['action'][key].copy()
    values[index] = value
    return {key: values}


def test_real_statistics_have_nothing_wrong():
    for pair in (ZSCORE, QUANTILE, None):
        found = examine(statistics(), pair, STILL, None)
        assert (found.mistakes, found.doubts) == ((), ())


MISTAKES = {
    'not a number': (at('mean', 1, np.nan), 'action.mean[1] is nan'),
    'infinite': (at('std', 1, np.inf), 'action.std[1] is inf'),
    'negative deviation': (at('std', 2, -0.4), 'action.std[2] is -0.4'),
    'constant': (at('std', 0, 0.0), 'action[0] never moved'),
    'other width': ({'std': np.ones(2)}, 'widths differ'),
    'no width': (
        {key: np.empty(0) for key in statistics()['action']},
        'widths differ or are none',
    ),
    'mean outside': (at('mean', 0, 5.0), 'action.mean[0] is 5, outside min … max'),
    'deviation over half the range': (at('std', 0, 3.0), 'over half of max − min'),
    'swapped quantiles': (
        {'q01': statistics()['action']['q99'], 'q99': statistics()['action']['q01']},
        'swapped?',
    ),
    'swapped mean and deviation': (
        {'mean': statistics()['action']['std'], 'std': statistics()['action']['mean']},
        'action.std[1] is -0.49',
    ),
    'swapped bounds': (
        {'min': statistics()['action']['max'], 'max': statistics()['action']['min']},
        'swapped?',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_are_refused_whatever_is_accepted(mistake):
    changes, message = MISTAKES[mistake]
    found = examine(statistics(**changes), ZSCORE, STILL, None)
    assert any(message in each for each in found.mistakes), found
    with pytest.raises(CheckpointError, match='cannot be right'):
        settle(found, 'norm_stats.json', accept=True)


def test_absent_statistics_are_refused():
    named = statistics()
    del named['action']['std']
    assert examine(named, ZSCORE, STILL, None).mistakes == ('action.std is not there',)


def test_nearly_constant_value_needs_a_word():
    found = examine(statistics(**at('std', 1, 2e-4)), ZSCORE, STILL, None)
    assert found.mistakes == ()
    assert 'action[1] hardly moved, spread 0.0002' in found.doubts[-1]
    with pytest.raises(UnstatedError, match='--accept-statistics'):
        settle(found, 'norm_stats.json', accept=False)
    assert settle(found, 'norm_stats.json', accept=True) == found.doubts


def test_nearly_constant_quantiles_need_a_word():
    low = statistics()['action']['q01']
    changes = {
        'q99': low + np.array([1.0, 1e-4, 1.0]),
        'mean': low + 0.001,
        'std': np.full(3, 0.2),
    }
    found = examine(statistics(**changes), QUANTILE, STILL, None)
    assert any('action[1] hardly moved' in each for each in found.doubts)


def test_quantiles_that_no_distribution_has_need_a_word():
    named = statistics(**at('q01', 1, -5.0), **at('min', 1, -6.0))
    doubts = examine(named, ZSCORE, STILL, None).doubts
    assert any('action.q01[1] is -5, impossible beside mean' in each for each in doubts)


@pytest.mark.parametrize('pair', [ZSCORE, QUANTILE])
def test_relative_actions_that_look_like_positions_need_a_word(pair):
    relative = np.array([True, False, True])
    doubts = examine(statistics(), pair, relative, None).doubts
    assert len(doubts) == 1
    assert 'action[2] is to be relative, yet lies around' in doubts[0]


def test_widening_is_told_and_done():
    named = statistics(**at('std', 0, 0.0))
    found = examine(named, ZSCORE, STILL, 0.01)
    assert found.mistakes == ()
    assert found.widened == ('action[0] spread 0, widened to 0.01',)
    assert found.widened[0] in settle(found, 'norm_stats.json', accept=True)
    kept = for_manifest(named['action'], ZSCORE, 0.01)
    assert kept.std is not None
    assert kept.std.tolist()[0] == 0.01
    np.testing.assert_array_equal(kept.std[1:], named['action']['std'][1:])
    low = named['action']['q01']
    bounds = for_manifest({'q01': low, 'q99': low + np.array([0.0, 1.0, 2.0])}, QUANTILE, 0.5)
    np.testing.assert_allclose(bounds.q99 - bounds.q01, [0.5, 1.0, 2.0])
    np.testing.assert_allclose((bounds.q99 + bounds.q01)[0] / 2, low[0])


def test_synthetic_asset_with_a_still_value_is_refused(numerics):
    """The reference asset has a gripper that never moved and quantiles that fit no mean."""
    from pizero_ros.checkpoints.openpi import read_norm_stats

    path = numerics / 'openpi_transforms/assets/trossen/norm_stats.json'
    found = examine(read_norm_stats(path), ZSCORE, np.zeros(14, bool), None)
    assert len(found.mistakes) == 1
    assert 'action[13] never moved' in found.mistakes[0]
