"""The samples of a step are a function of seed, step and rank, in the paper's proportions."""

from collections import Counter

import numpy as np
import pytest

from pizero_ros.errors import DatasetError
from pizero_ros.training.mixture import Mixture

SIZES = (1000, 30, 7)


def mixture(sizes=SIZES, batch_size=16, seed=5, **changes):
    return Mixture(sizes, batch_size=batch_size, seed=seed, **changes)


def test_weights_are_the_size_to_the_power_of_0_43():
    weights = mixture((1, 100)).weights
    assert weights[1] / weights[0] == pytest.approx(100**0.43)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(('exponent', 'shares'), [(1.0, (0.1, 0.9)), (0.0, (0.5, 0.5))])
def test_exponent_goes_from_pairs_alike_to_samples_alike(exponent, shares):
    np.testing.assert_allclose(mixture((10, 90), exponent=exponent).weights, shares)


def test_pairs_are_picked_in_their_proportions():
    mixed = mixture(batch_size=64)
    count = Counter(pick.pair for step in range(500) for pick in mixed.picks(step))
    total = sum(count.values())
    for pair, weight in enumerate(mixed.weights):
        # Four deviations of a binomial count.
        assert abs(count[pair] - weight * total) < 4 * np.sqrt(total * weight * (1 - weight))


def test_every_sample_of_a_pair_comes_once_a_time_round():
    mixed = mixture()
    turns = {pair: [] for pair in range(3)}
    for step in range(200):
        for pick in mixed.picks(step):
            turns[pick.pair].append(pick.number)
    for pair, size in enumerate(SIZES[1:], start=1):
        rounds = [
            turns[pair][at : at + size] for at in range(0, len(turns[pair]) - size + 1, size)
        ]
        assert len(rounds) > 5
        for each in rounds:
            assert sorted(each) == list(range(size))
        assert rounds[0] != rounds[1]


def test_picks_do_not_depend_on_what_was_asked_before():
    forward = mixture()
    expected = [forward.picks(step) for step in range(60)]
    assert mixture().picks(59) == expected[59]
    assert [forward.picks(step) for step in (3, 59, 0)] == [expected[s] for s in (3, 59, 0)]


def test_far_step_is_the_same_fresh_and_after_all_the_others():
    """Counting starts anew in a resumed run; blocks of draws must join without a seam."""
    sizes, batch = (50_000, 20), 1024
    through = mixture(sizes, batch)
    edge = (1 << 16) // batch
    expected = {step: through.picks(step) for step in range(2 * edge + 2)}
    for step in (edge - 1, edge, 2 * edge + 1):
        assert mixture(sizes, batch).picks(step) == expected[step]
    seen = [p.number for s in expected for p in expected[s] if p.pair == 0]
    assert len(set(seen[:50_000])) == 50_000


@pytest.mark.parametrize('world', [2, 4, 16])
def test_processes_share_the_batch_of_one(world):
    mixed = mixture()
    for step in (0, 9):
        parts = [pick for rank in range(world) for pick in mixed.picks(step, rank, world)]
        assert parts == mixed.picks(step)


def test_other_seed_picks_otherwise():
    assert mixture(seed=6).picks(0) != mixture(seed=5).picks(0)


def test_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(DatasetError, match='batch_size: found 16, expected a multiple of 3'):
        mixture().picks(0, 0, 3)


@pytest.mark.parametrize('sizes', [(), (5, 0)])
def test_empty_pair_is_refused(sizes):
    with pytest.raises(DatasetError, match='at least one sample'):
        mixture(sizes)
