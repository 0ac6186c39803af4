"""The figures of an episode: exact where they can be, None where they are not defined."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from episodes import (
    COLUMNS,
    EVERY,
    HORIZON,
    PERIOD_NS,
    RATE_HZ,
    START_NS,
    demonstration,
    deployed,
    make_episode,
    open_loop,
    windows,
    with_sources,
)

from pizero_ros.replay.summary import WORST, label_of, summarise

NAN = math.nan
SHOULDER, ELBOW, FINGER, FORWARD, TURN = range(5)
JOINTS = ('shoulder', 'elbow', 'finger', 'linear.x', 'angular.z')


@pytest.fixture
def actions():
    return demonstration()


@pytest.fixture
def recorded(actions):
    return windows(actions)


def numbers(value):
    """Every number in a summary, with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, dict | list):
            yield from ((f'{key}.{path}', number) for path, number in numbers(each))
        elif isinstance(each, float | int):
            yield str(key), each


def test_the_recording_scores_exactly_zero():
    recording = summarise(make_episode())['sources']['recording']
    for figures in recording.values():
        errors = {
            path: number
            for key in ('overall', 'groups', 'joints')
            for path, number in numbers(figures[key])
            if path.split('.')[-1] not in ('joints', 'steps', 'count')
        }
        assert len(errors) > 20
        assert set(errors.values()) == {0.0}
        assert figures['relative_to_hold'] == 0.0
        assert figures['grippers']['finger']['f1'] == 1.0
    assert set(recording['open_loop']['by_step']['mae_share']) == {0.0}
    assert recording['deployed']['jerk']['arm']['ratio'] == 1.0


def test_a_summary_is_json_without_nan_and_the_same_every_time():
    episode = make_episode()
    text = json.dumps(summarise(episode), allow_nan=False)
    assert text == json.dumps(summarise(make_episode()), allow_nan=False)
    assert json.loads(text) == summarise(episode)


def test_an_episode_without_any_query_or_moment_has_figures_of_none():
    empty = np.empty((0, HORIZON, 5))
    nothing = deployed(np.empty((0, 5)), np.empty((0, 5)), chunks=(), seams=())
    episode = replace(
        make_episode(),
        open_loop={'tiny#0': open_loop(empty, empty)},
        deployed={'tiny#0': nothing},
    )
    found = summarise(episode)
    json.dumps(found, allow_nan=False)
    figures = found['sources']['tiny#0']
    overall = {'mae_share': None, 'rmse_share': None, 'joints': 0, 'steps': 0}
    assert figures['open_loop']['overall'] == overall
    assert figures['open_loop']['by_step']['mae_share'] == [None] * HORIZON
    assert figures['deployed']['moving_share'] is None
    assert figures['deployed']['latency_s'] == {'p50': None, 'p95': None, 'max': None}
    assert found['worst'] == []


def test_an_offset_in_one_joint_is_its_error_there_and_nowhere_else(recorded):
    off = recorded.copy()
    off[..., SHOULDER] += 0.1
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    for name in JOINTS:
        expected = 0.1 if name == 'shoulder' else 0.0
        joint = figures['joints'][name]
        assert [joint[key] for key in ('mae', 'rmse', 'max')] == pytest.approx([expected] * 3)
    # Spans are 4, 2, 0.04, 1 and 2.
    assert figures['joints']['shoulder']['mae_share'] == pytest.approx(0.025)
    assert figures['overall']['mae_share'] == pytest.approx(0.025 / 5)
    assert figures['overall']['rmse_share'] == pytest.approx(0.025 / math.sqrt(5))
    arm = figures['groups']['arm']
    assert (arm['unit'], arm['joints']) == ('rad', 2)
    assert arm['mae'] == pytest.approx(0.05)
    assert arm['rmse'] == pytest.approx(0.1 / math.sqrt(2))
    assert figures['by_step']['joints']['shoulder'] == pytest.approx([0.1] * HORIZON)
    assert figures['by_step']['mae_share'] == pytest.approx([0.005] * HORIZON)


def test_group_and_overall_errors_are_those_of_all_values_together(recorded):
    generator = np.random.default_rng(3)
    off = recorded + generator.standard_normal(recorded.shape)
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    difference = (off - recorded)[np.isfinite(recorded).all(axis=2)]
    arm = difference[:, :2]
    assert figures['compared'] == len(difference)
    assert figures['groups']['arm']['mae'] == pytest.approx(np.abs(arm).mean())
    assert figures['groups']['arm']['rmse'] == pytest.approx(np.sqrt((arm**2).mean()))
    shares = difference / COLUMNS.spans
    assert figures['overall']['mae_share'] == pytest.approx(np.abs(shares).mean())
    assert figures['overall']['rmse_share'] == pytest.approx(np.sqrt((shares**2).mean()))


def test_a_group_of_mixed_units_has_shares_only(recorded):
    figures = summarise(with_sources({'tiny#0': recorded + 0.1}))['sources']['tiny#0']
    base = figures['open_loop']['groups']['base']
    assert (base['unit'], base['mae'], base['rmse']) == (None, None, None)
    assert base['mae_share'] == pytest.approx((0.1 + 0.05) / 2)
    assert figures['open_loop']['consistency']['base']['rms'] is None
    assert figures['open_loop']['consistency']['base']['rms_share'] is not None


def test_steps_after_the_end_of_the_recording_do_not_count(recorded):
    off = np.where(np.isfinite(recorded), recorded, 1e6)
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    assert figures['queries'] == 20
    # 100 steps, every 5th asked, 10 ahead: the last query sees only 5.
    assert figures['compared'] == 19 * 10 + 5
    assert figures['joints']['elbow']['count'] == 195
    assert figures['overall']['mae_share'] == 0.0


def test_a_joint_that_a_baseline_lacks_is_none_and_left_out_of_means(recorded):
    hold = recorded + 0.1
    hold[..., [FORWARD, TURN]] = NAN
    figures = summarise(with_sources({'hold': hold}))['sources']['hold']['open_loop']
    assert figures['joints']['linear.x'] is None
    assert figures['groups']['base'] is None
    assert figures['by_step']['joints']['angular.z'] is None
    assert figures['overall']['joints'] == 3
    assert figures['overall']['mae_share'] == pytest.approx((0.025 + 0.05 + 2.5) / 3)
    assert figures['undefined'] == 0


def test_a_policy_that_is_not_finite_is_told(recorded):
    off = recorded.copy()
    off[3, 2, ELBOW], off[4, 0, ELBOW], off[5, 1, FINGER] = NAN, np.inf, -np.inf
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    assert figures['undefined'] == 3
    assert figures['joints']['elbow']['count'] == 193
    assert figures['overall']['mae_share'] == 0.0


def test_relative_to_hold_uses_what_both_have(recorded):
    hold, policy = recorded.copy(), recorded.copy()
    hold[..., SHOULDER] += 0.2
    hold[..., [FORWARD, TURN]] = NAN
    hold[:2, :, ELBOW] = NAN
    policy[..., SHOULDER] -= 0.05
    policy[..., FORWARD] += 100.0
    policy[:2, :, ELBOW] += 100.0
    found = summarise(with_sources({'tiny#0': policy, 'hold': hold}))['sources']
    assert found['tiny#0']['open_loop']['relative_to_hold'] == pytest.approx(0.25)
    assert found['hold']['open_loop']['relative_to_hold'] == 1.0


def test_relative_to_hold_pairs_queries_by_their_time(recorded):
    hold, policy = recorded + 0.2, recorded + 0.1
    policy[0] += 7.0
    episode = with_sources({'tiny#0': policy, 'hold': hold})
    asked = episode.open_loop['hold']
    later = replace(
        asked,
        asked_ns=asked.asked_ns[1:],
        observed_ns=asked.observed_ns[1:],
        predicted=asked.predicted[1:],
        recorded=asked.recorded[1:],
    )
    episode = replace(episode, open_loop={**episode.open_loop, 'hold': later})
    figures = summarise(episode)['sources']['tiny#0']['open_loop']
    assert figures['relative_to_hold'] == pytest.approx(0.5)


def test_without_a_hold_or_with_a_perfect_one_there_is_no_relative_error(recorded):
    alone = summarise(with_sources({'tiny#0': recorded + 1.0}))['sources']['tiny#0']
    assert alone['open_loop']['relative_to_hold'] is None
    perfect = summarise(with_sources({'tiny#0': recorded + 1.0, 'hold': recorded}))
    assert perfect['sources']['tiny#0']['open_loop']['relative_to_hold'] is None


def test_error_by_step_tells_early_from_late(recorded):
    off = recorded.copy()
    off[..., ELBOW] += 0.01 * np.arange(HORIZON)
    off[::2, :, SHOULDER] += 0.4 * (np.arange(HORIZON) == 7)
    by_step = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']['by_step']
    assert by_step['joints']['elbow'] == pytest.approx((0.01 * np.arange(HORIZON)).tolist())
    # Step 7 of the last of the 20 queries is after the end: 10 of 19 are off.
    assert by_step['joints']['shoulder'][7] == pytest.approx(0.4 * 10 / 19)
    assert by_step['mae_share'][7] == pytest.approx((0.07 / 2 + 0.4 * 10 / 19 / 4) / 5)


def test_chunks_that_jump_by_turns_are_inconsistent_by_the_jump(actions):
    steps = np.full((20, HORIZON, 5), 0.0)
    steps[::2, :, SHOULDER] += 0.3
    figures = summarise(with_sources({'tiny#0': steps}))['sources']['tiny#0']['open_loop']
    arm = figures['consistency']['arm']
    assert arm['max'] == pytest.approx(0.3)
    assert arm['rms'] == pytest.approx(0.3 / math.sqrt(2))
    assert arm['rms_share'] == pytest.approx(0.3 / 4 / math.sqrt(2))
    assert figures['consistency']['gripper']['rms'] == 0.0


def test_queries_out_of_order_give_the_same_figures(recorded):
    off = recorded + np.random.default_rng(2).standard_normal(recorded.shape)
    episode = with_sources({'tiny#0': off})
    chunks = episode.open_loop['tiny#0']
    order = np.random.default_rng(5).permutation(len(off))
    mixed = replace(
        chunks,
        asked_ns=chunks.asked_ns[order],
        observed_ns=chunks.observed_ns[order],
        predicted=chunks.predicted[order],
        recorded=chunks.recorded[order],
    )
    one = summarise(episode)['sources']['tiny#0']['open_loop']
    other = summarise(replace(episode, open_loop={'tiny#0': mixed}))['sources']['tiny#0']
    assert other['open_loop']['consistency'] == one['consistency']
    assert other['open_loop']['grippers'] == one['grippers']
    assert other['open_loop']['overall'] == pytest.approx(one['overall'])


def test_open_loop_gripper_events_are_those_of_the_executed_steps(recorded):
    # What a chunk says of the time after the next query is never executed.
    off = np.where(np.isfinite(recorded), recorded, 0.04)
    off[:, EVERY:, FINGER] = 0.04 - off[:, EVERY:, FINGER]
    found = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    finger = found['grippers']['finger']
    assert (finger['events_recorded'], finger['events_predicted'], finger['f1']) == (2, 2, 1.0)
    assert finger['balanced_accuracy'] < 0.6
    assert set(found['grippers']) == {'finger'}


def test_short_chunks_are_compared_where_they_have_a_value(recorded):
    short = recorded + 0.1
    short[:, 3:] = NAN
    found = summarise(with_sources({'tiny#0': short, 'hold': recorded + 0.2}))['sources']
    figures = found['tiny#0']['open_loop']
    assert (figures['compared'], figures['overall']['steps']) == (20 * 3, 3)
    assert (found['hold']['open_loop']['overall']['steps'], figures['undefined']) == (HORIZON, 0)
    assert figures['by_step']['shares']['elbow']['count'] == [20, 20, 20] + [0] * 7


def test_relative_to_hold_is_over_the_steps_that_both_have(recorded):
    short, hold = recorded + 0.1, recorded + 0.2
    short[:, 3:] = NAN
    hold[:, 3:] += 5.0
    found = summarise(with_sources({'tiny#0': short, 'hold': hold}))['sources']
    assert found['tiny#0']['open_loop']['relative_to_hold'] == pytest.approx(0.5)


def test_shares_by_step_make_up_those_of_the_joint(recorded):
    off = recorded + np.random.default_rng(3).standard_normal(recorded.shape)
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    elbow = figures['by_step']['shares']['elbow']
    assert elbow['count'] == [20] * 5 + [19] * 5
    mean = np.average(elbow['mae_share'], weights=elbow['count'])
    square = np.average(np.square(elbow['rmse_share']), weights=elbow['count'])
    assert figures['joints']['elbow']['mae_share'] == pytest.approx(mean)
    assert figures['joints']['elbow']['rmse_share'] == pytest.approx(math.sqrt(square))


def test_rmse_of_a_group_weighs_joints_equally_however_many_values_they_have(recorded):
    off = recorded.copy()
    off[..., SHOULDER] += 0.1
    off[..., ELBOW] += 0.3
    off[5:, :, ELBOW] = NAN
    figures = summarise(with_sources({'tiny#0': off}))['sources']['tiny#0']['open_loop']
    assert figures['groups']['arm']['rmse'] == pytest.approx(math.sqrt((0.01 + 0.09) / 2))


def test_seeds_give_a_spread(recorded):
    sources = {f'a/b#{i}': recorded + error for i, error in enumerate((0.1, 0.2, 0.6))}
    found = summarise(with_sources({**sources, 'one#7': recorded + 0.1}))['seeds']
    share = float(np.mean(0.1 / COLUMNS.spans))
    assert found['a/b']['open_loop']['mae_share'] == pytest.approx(
        {'n': 3, 'mean': 3 * share, 'std': math.sqrt(7) * share, 'min': share, 'max': 6 * share}
    )
    assert found['one']['open_loop']['mae_share']['std'] is None
    assert 'deployed' not in found['one']
    assert (label_of('a/b#0'), label_of('hold')) == ('a/b', None)


def test_the_worst_moments_are_those_of_the_policy_each_once(recorded):
    off, other = recorded.copy(), recorded.copy()
    for place, error in enumerate((0.1, 0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)):
        off[place, :, ELBOW] += error
    other[3, :, SHOULDER] += 1.6
    found = summarise(with_sources({'tiny#0': off, 'tiny#1': other, 'hold': recorded + 5.0}))
    worst = found['worst']
    assert len(worst) == WORST
    assert [round(each['at_s'] * RATE_HZ / EVERY) for each in worst] == [1, 3, 7, 6, 5, 4]
    assert worst[0] == {
        'source': 'tiny#0',
        'asked_ns': START_NS + EVERY * PERIOD_NS,
        'at_s': pytest.approx(0.25),
        'mae_share': pytest.approx(0.9 / 2 / 5),
        'joint': 'elbow',
        'error': pytest.approx(0.9),
        'unit': 'rad',
    }
    assert (worst[1]['source'], worst[1]['joint']) == ('tiny#1', 'shoulder')


def test_inputs_are_told_as_they_came():
    episode = make_episode()
    found = summarise(episode)['inputs']
    assert found['streams'][0]['missing'] == 2
    assert found['refused'] == {'missing': 1}
    assert found['oldest_age_s']['max'] == 0.04
