"""What trials say: shares with Wilson's interval, and policies against each other."""

from __future__ import annotations

import pytest

from pizero_ros.evaluation.intervals import mean, share
from pizero_ros.evaluation.scores import scores_of


@pytest.mark.parametrize(
    ('hits', 'n', 'low', 'high'),
    # Wilson's interval as in Newcombe (1998), table I, and its closed form at the ends.
    [
        (81, 263, 0.2553, 0.3662),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_the_wilson_interval(hits, n, low, high):
    found = share(hits, n)
    assert found.share == hits / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_nothing_has_no_interval():
    assert share(0, 0) is None
    assert mean([]) is None
    assert mean([0.5]) == (1, 0.5, None, None)


def whole(content, policy, condition='flat'):
    return next(
        each
        for each in content['scores']
        if (each['policy'], each['condition'], each['task']) == (policy, condition, None)
    )


def test_success_progress_and_language_are_counted(record):
    content = scores_of(
        [
            record(1, success=True),
            record(2, success=False, progress=0.5, approached='red'),
            record(3, success=False, progress=0.25, approached='blue'),
            record(4, success=False, progress=0.05, approached=None),
        ]
    )
    found = whole(content, 'ours')
    assert (found['success']['hits'], found['success']['n']) == (1, 4)
    assert found['progress']['mean'] == pytest.approx(0.45)
    assert found['progress']['low'] <= 0.45 <= found['progress']['high']
    # Where nothing was approached nothing was followed, unless such trials are left out.
    assert (found['followed']['hits'], found['followed']['n']) == (2, 4)
    of_approached = found['followed_of_approached']
    assert (of_approached['hits'], of_approached['n']) == (2, 3)
    assert found['done_s'] == 3.0
    assert found['ended'] == {'success': 1, 'time': 3}
    task = content['scores'][1]
    assert (task['task'], task['success']) == ('touch_red', found['success'])


def test_where_nothing_was_approached_at_all_there_is_no_share_of_it(record):
    found = whole(scores_of([record(success=False, approached=None)]), 'ours')
    assert found['followed_of_approached'] is None
    assert found['followed']['share'] == 0.0
    assert found['done_s'] is None


def test_a_trial_in_which_a_node_failed_is_a_failure_even_if_all_steps_were_done(record):
    fault = record(success=True, ended='fault')
    assert not fault['success']
    assert fault['done_s'] is None
    assert whole(scores_of([fault]), 'ours')['success']['hits'] == 0


def test_policies_are_compared_on_the_scenes_that_both_have(record):
    records = [record(seed, success=seed < 8) for seed in range(10)]
    records += [record(seed, 'small', success=seed < 3, progress=0.5) for seed in range(12)]
    (pair,) = scores_of(records)['pairs']
    assert (pair['a'], pair['b'], pair['success']['n']) == ('ours', 'small', 10)
    assert pair['success']['mean'] == pytest.approx(0.5)
    assert 0.1 <= pair['success']['low'] < 0.5 < pair['success']['high'] <= 0.9
    assert scores_of(records)['pairs'] == [pair]


def test_baselines_are_compared_with_policies_only(record):
    names = ('ours', 'hold', 'random')
    pairs = scores_of([record(1, name) for name in names])['pairs']
    assert [(pair['a'], pair['b']) for pair in pairs] == [('ours', 'hold'), ('ours', 'random')]


def test_conditions_are_compared_for_each_policy(record):
    task = 'touch_red_then_hover_blue'
    records = [record(seed, condition='flat', task=task, success=False) for seed in range(4)]
    records += [record(seed, condition='human', task=task) for seed in range(4)]
    (pair,) = scores_of(records)['pairs']
    assert (pair['policy'], pair['condition'], pair['steps']) == ('ours', None, 2)
    assert (pair['a'], pair['b'], pair['success']['mean']) == ('flat', 'human', -1.0)


def test_tasks_of_one_and_of_two_steps_are_not_mixed(record):
    content = scores_of([record(), record(task='touch_red_then_hover_blue')])
    counts = {
        each['steps']: each['success']['n'] for each in content['scores'] if each['task'] is None
    }
    assert counts == {1: 1, 2: 1}
