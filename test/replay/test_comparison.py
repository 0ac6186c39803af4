"""Policies side by side: means, paired differences and intervals over episodes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from episodes import COLUMNS, deployed, make_episode

from pizero_ros.replay.comparison import compare, interval
from pizero_ros.replay.summary import summarise

BAGS = [f'/bags/episode_{i}' for i in range(6)]


def episode(bag, policy, error, **changes):
    made = make_episode(bag, policy, error=error, **changes)
    return {'bag': bag, 'policy': policy}, summarise(made)


@pytest.fixture(scope='module')
def two_policies():
    """``good`` and ``bad`` on six recordings, both with two seeds."""
    return [
        episode(bag, policy, error * (1 + 0.1 * i))
        for i, bag in enumerate(BAGS)
        for policy, error in (('good', 0.01), ('bad', 0.05))
    ]


def test_interval_of_equal_values_is_the_value():
    assert interval([0.25] * 8) == (8, 0.25, 0.25, 0.25)


def test_one_episode_has_no_interval():
    assert interval([0.3]) == (1, 0.3, None, None)


def test_interval_is_deterministic_and_near_that_of_the_normal_law():
    values = np.random.default_rng(4).normal(10.0, 2.0, 200)
    found = interval(values)
    assert found == interval(values)
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_of_two_values_by_hand():
    # Resampled means of 0 and 1 are 0, 0.5 and 1 with chances 1/4, 1/2 and 1/4.
    assert interval([0.0, 1.0]) == (2, 0.5, 0.0, 1.0)


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    generator = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        found = interval(generator.normal(1.0, 0.5, 30))
        covered += found.low <= 1.0 <= found.high
    assert 180 <= covered <= 198


def test_means_are_over_episodes_and_their_seeds(two_policies):
    found = compare(two_policies)['measures']['open_loop.mae_share']['sources']
    shares = [
        np.mean([
            summary['sources'][f'good#{seed}']['open_loop']['overall']['mae_share']
            for seed in (0, 1)
        ])
        for facts, summary in two_policies
        if facts['policy'] == 'good'
    ]  # fmt: skip
    assert found['good']['n'] == 6
    assert found['good']['mean'] == pytest.approx(np.mean(shares))
    assert min(shares) <= found['good']['low'] < found['good']['high'] <= max(shares)
    assert list(found) == ['good', 'bad', 'recording', 'hold', 'last_action', 'linear']
    assert found['recording'] == {'n': 6, 'mean': 0.0, 'low': 0.0, 'high': 0.0}


def test_differences_are_paired(two_policies):
    found = compare(two_policies)['measures']['deployed.mae_share']
    pairs = {(pair['a'], pair['b']): pair for pair in found['pairs']}
    assert list(pairs) == [('good', 'bad'), ('good', 'hold'), ('bad', 'hold')]
    pair = pairs['good', 'bad']
    means = found['sources']
    assert pair['mean'] == pytest.approx(means['good']['mean'] - means['bad']['mean'])
    assert (pair['n'], pair['joints']) == (6, [5])
    assert pair['high'] < 0.0
    # Errors grow from recording to recording, for both alike: pairing takes that out.
    assert pair['high'] - pair['low'] < means['bad']['high'] - means['bad']['low']


def test_a_policy_does_not_differ_from_its_equal():
    same = [episode(bag, policy, 0.02) for bag in BAGS[:3] for policy in ('one', 'two')]
    for name, measure in compare(same)['measures'].items():
        pair = measure['pairs'][0]
        assert (pair['a'], pair['b'], pair['n']) == ('one', 'two', 3), name
        assert (pair['mean'], pair['low'], pair['high']) == (0.0, 0.0, 0.0), name


def test_only_recordings_that_both_have_are_paired(two_policies):
    fewer = [
        (facts, summary)
        for facts, summary in two_policies
        if facts['policy'] == 'good' or facts['bag'] in BAGS[:2]
    ]
    found = compare(fewer)['measures']['open_loop.mae_share']
    assert (found['sources']['good']['n'], found['sources']['bad']['n']) == (6, 2)
    assert [pair['n'] for pair in found['pairs']] == [2, 6, 2]
    alone = [
        (facts, summary)
        for facts, summary in two_policies
        if (facts['policy'] == 'good') == (facts['bag'] in BAGS[:3])
    ]
    pairs = compare(alone)['measures']['open_loop.mae_share']['pairs']
    assert [(pair['a'], pair['b']) for pair in pairs] == [('good', 'hold'), ('bad', 'hold')]


def test_a_difference_with_hold_is_over_the_joints_that_hold_has():
    facts, summary = episode(BAGS[0], 'good', 0.01)
    joints = {
        name: summary['sources'][name]['open_loop']['joints']
        for name in ('good#0', 'good#1', 'hold')
    }
    mine, mine_too, its = (
        np.mean([each[joint]['mae_share'] for joint in ('shoulder', 'elbow', 'finger')])
        for each in joints.values()
    )
    pair = compare([(facts, summary)])['measures']['open_loop.mae_share']['pairs'][0]
    assert (pair['a'], pair['b'], pair['n'], pair['joints']) == ('good', 'hold', 1, [3])
    assert pair['mean'] == pytest.approx((mine + mine_too) / 2 - its)
    assert (pair['low'], pair['high']) == (None, None)


def cut(made, label, steps):
    """An episode whose policy has this many steps, and is called so."""
    sources = {}
    for name, chunks in made.open_loop.items():
        own = name.startswith('law#')
        predicted = chunks.predicted.copy()
        if own:
            predicted[:, steps:] = np.nan
        sources[name.replace('law', label)] = replace(chunks, predicted=predicted)
    streams = {name.replace('law', label): each for name, each in made.deployed.items()}
    return replace(made, policy=label, open_loop=sources, deployed=streams)


@pytest.fixture(scope='module')
def horizons():
    """One law of errors with 3 and with 10 steps, growing along the chunk, on three recordings."""
    entries = []
    for number, bag in enumerate(BAGS[:3]):
        made = make_episode(bag, 'law', error=0.02, steps=60 + 20 * number)
        grown = {
            name: replace(
                chunks,
                predicted=chunks.predicted + 0.05 * np.arange(10)[:, None] * COLUMNS.spans,
            )
            if name.startswith('law#')
            else chunks
            for name, chunks in made.open_loop.items()
        }
        made = replace(made, open_loop=grown)
        for label, steps in (('brief', 3), ('long', 10)):
            short = cut(made, label, steps)
            entries.append(({'bag': bag, 'policy': label}, summarise(short)))
    return entries


def test_policies_of_different_horizons_are_compared_where_both_have_steps(horizons):
    measures = compare(horizons)['measures']
    for name in ('open_loop.mae_share', 'open_loop.rmse_share'):
        found = measures[name]
        pair = found['pairs'][0]
        assert (pair['a'], pair['b'], pair['n']) == ('brief', 'long', 3)
        assert (pair['mean'], pair['low'], pair['high']) == (0.0, 0.0, 0.0)
        assert (pair['steps'], pair['joints']) == ([3], [5])
        # So are the means that are shown beside each other.
        assert found['steps'] == 3
        brief, long = (found['sources'][label]['mean'] for label in ('brief', 'long'))
        assert brief == pytest.approx(long)
    alone = compare([each for each in horizons if each[0]['policy'] == 'long'])['measures']
    found = alone['open_loop.mae_share']
    assert (found['steps'], found['pairs'][0]['steps']) == (10, [10])
    assert found['sources']['long']['mean'] > 2 * long


def test_what_is_over_whole_chunks_has_no_difference_between_horizons(horizons):
    measures = compare(horizons)['measures']
    for name in ('open_loop.relative_to_hold', 'open_loop.gripper_accuracy'):
        pairs = [(pair['a'], pair['b']) for pair in measures[name]['pairs']]
        assert ('brief', 'long') not in pairs
        assert ('long', 'hold') in pairs
    assert measures['deployed.mae_share']['pairs'][0]['steps'] is None
    assert measures['deployed.mae_share']['steps'] is None
    assert measures['deployed.relative_to_hold']['pairs'][0]['mean'] == 0.0


def test_the_rmse_of_shared_joints_is_the_overall_one_when_all_are_shared(two_policies):
    found = compare(two_policies)['measures']['open_loop.rmse_share']
    means = {label: each['mean'] for label, each in found['sources'].items()}
    assert found['pairs'][0]['mean'] == pytest.approx(means['good'] - means['bad'])


def test_grippers_jerk_and_counts_are_compared():
    found = compare([episode(bag, 'good', 0.01, seeds=(0,)) for bag in BAGS[:2]])['measures']
    assert found['open_loop.gripper_f1']['sources']['good']['mean'] == 1.0
    assert found['open_loop.gripper_f1']['better'] == 'higher'
    assert found['deployed.limit_hits']['sources']['good'] == {
        'n': 2, 'mean': 4.0, 'low': 4.0, 'high': 4.0,
    }  # fmt: skip
    assert found['deployed.jerk_ratio']['sources']['recording']['mean'] == 1.0
    assert found['open_loop.relative_to_hold']['sources']['hold']['mean'] == 1.0


def test_figures_that_no_source_has_are_left_out():
    made = replace(make_episode(), deployed={})
    measures = compare([({'bag': made.bag}, summarise(made))])['measures']
    assert measures
    assert all(name.startswith('open_loop.') for name in measures)
    assert compare([])['measures'] == {}


def test_an_episode_in_which_a_figure_is_not_defined_does_not_count():
    facts, summary = episode(BAGS[0], 'good', 0.01)
    still = make_episode(BAGS[1], 'good', error=0.01)
    recorded = np.zeros((100, len(COLUMNS)))
    unused = {name: deployed(recorded, recorded) for name in ('good#0', 'good#1')}
    other = {'bag': BAGS[1]}, summarise(replace(still, deployed=unused))
    found = compare([(facts, summary), other])['measures']
    assert found['deployed.gripper_accuracy']['sources']['good']['n'] == 1
    assert found['deployed.mae_share']['sources']['good']['n'] == 2


def test_the_order_of_recordings_changes_nothing(two_policies):
    by_bag = sorted(two_policies, key=lambda each: each[0]['bag'], reverse=True)
    assert compare(by_bag) == compare(two_policies)
    json.dumps(compare(two_policies), allow_nan=False)


def test_baselines_are_taken_from_any_episode_of_a_recording():
    first = episode(BAGS[0], 'good', 0.01, baselines=False)
    second = episode(BAGS[0], 'bad', 0.02)
    found = compare([first, second])['measures']['open_loop.mae_share']
    assert found['sources']['hold']['n'] == 1
    assert [(pair['a'], pair['b']) for pair in found['pairs']] == [
        ('good', 'bad'), ('good', 'hold'), ('bad', 'hold'),
    ]  # fmt: skip


def test_a_policy_twice_on_one_recording_is_refused(two_policies):
    with pytest.raises(ValueError, match="two episodes of policy 'good'"):
        compare([*two_policies, two_policies[0]])


def test_a_policy_with_the_name_of_a_baseline_is_refused():
    with pytest.raises(ValueError, match="'hold', which is the name of a baseline"):
        compare([episode(BAGS[0], 'hold', 0.1)])
