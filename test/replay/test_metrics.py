"""Errors, overlaps of chunks, executed parts and jerk, against numbers by hand and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pizero_ros.replay.metrics import (
    absolute_errors,
    executed_part,
    jerks,
    joint_errors,
    mean,
    overlaps,
    rms,
    takeovers,
    undefined,
)

NAN = math.nan
MS = 1_000_000


def with_holes(generator, shape, share):
    values = generator.standard_normal(shape)
    values[generator.random(shape) < share] = NAN
    return values


def test_errors_of_equal_arrays_are_exactly_zero():
    values = np.random.default_rng(1).standard_normal((5, 7, 3)) * 1e3
    found = joint_errors(absolute_errors(values, values.copy()))
    for figures in (found.mae, found.rmse, found.largest):
        assert figures.tolist() == [0.0, 0.0, 0.0]
    assert found.count.tolist() == [35, 35, 35]


def test_errors_by_hand():
    predicted = np.array([[1.0, 0.0], [2.0, NAN], [-1.0, np.inf]])
    recorded = np.array([[0.0, 0.5], [2.0, 1.0], [NAN, 1.0]])
    found = joint_errors(absolute_errors(predicted, recorded))
    assert found.mae.tolist() == [0.5, 0.5]
    assert found.rmse == pytest.approx([math.sqrt(0.5), 0.5])
    assert found.largest.tolist() == [1.0, 0.5]
    assert found.count.tolist() == [2, 1]


def test_a_joint_without_errors_has_no_figures():
    found = joint_errors(np.array([[NAN, 1.0], [NAN, 3.0]]))
    assert np.isnan([found.mae[0], found.rmse[0], found.largest[0]]).all()
    assert (found.mae[1], found.largest[1], found.count.tolist()) == (2.0, 3.0, [0, 2])


def test_no_rows_at_all_have_no_figures():
    found = joint_errors(np.empty((0, 10, 2)))
    assert np.isnan(found.mae).all()
    assert np.isnan(found.largest).all()


@pytest.mark.parametrize('seed', range(5))
def test_errors_equal_those_of_a_plain_loop(seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 9, 3))
    predicted, recorded = (with_holes(generator, shape, 0.3) for _ in range(2))
    found = joint_errors(absolute_errors(predicted, recorded))
    for j in range(shape[2]):
        errors = []
        for q in range(shape[0]):
            for k in range(shape[1]):
                difference = float(predicted[q, k, j] - recorded[q, k, j])
                if not math.isnan(difference):
                    errors.append(abs(difference))
        assert found.count[j] == len(errors)
        if errors:
            assert found.mae[j] == pytest.approx(sum(errors) / len(errors))
            assert found.rmse[j] == pytest.approx(
                math.sqrt(sum(e * e for e in errors) / len(errors))
            )
            assert found.largest[j] == max(errors)
        else:
            assert math.isnan(found.mae[j])


def test_mean_and_rms_leave_out_what_is_not_there():
    values = np.array([[3.0, NAN], [-4.0, NAN]])
    np.testing.assert_array_equal(mean(values), [-0.5, NAN])
    np.testing.assert_allclose(rms(values), [math.sqrt(12.5), NAN])


def test_missing_predictions_count_only_in_joints_that_are_predicted_at_all():
    predicted = np.array([[1.0, NAN], [NAN, NAN], [np.inf, NAN], [NAN, NAN]])
    recorded = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [NAN, 1.0]])
    assert undefined(predicted, recorded) == 2


def test_chunks_of_one_straight_path_agree():
    rate = 30.0
    observed = np.array([0, 410, 425, 2000], np.int64) * MS
    steps = np.arange(20) / rate
    times = observed[:, None] * 1e-9 + steps
    predicted = np.stack([2.0 * times - 1.0, 0.5 * times], axis=2)
    found = overlaps(observed, predicted, rate)
    assert len(found) == 7 + 19  # 12.3 periods apart: 7 lie between two waypoints; 0.45: 19
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


def test_chunks_whole_steps_apart_are_compared_without_interpolation():
    # 1/30 s is not a whole number of nanoseconds; two periods are rounded to one.
    observed = np.array([0, 66_666_667], np.int64)
    predicted = np.array([[0.0, 1.0, 5.0, 7.0], [5.5, 7.0, 9.0, 9.0]])[:, :, None]
    assert overlaps(observed, predicted, 30.0)[:, 0].tolist() == [0.5, 0.0]


def test_chunks_that_do_not_meet_are_not_compared():
    predicted = np.zeros((3, 5, 2))
    assert overlaps(np.array([0, 500, 10_000]) * MS, predicted, 10.0).shape == (0, 2)
    assert overlaps(np.array([0]), predicted[:1], 10.0).shape == (0, 2)
    assert overlaps(np.empty(0, np.int64), predicted[:0], 10.0).shape == (0, 2)


@pytest.mark.parametrize('seed', range(5))
def test_overlaps_equal_those_of_a_plain_loop(seed):
    generator = np.random.default_rng(seed)
    rate, horizon, joints = 20.0, 8, 2
    observed = np.cumsum(generator.integers(0, 500 * MS, 12))
    predicted = generator.standard_normal((12, horizon, joints))
    expected = []
    for q in range(1, 12):
        for k in range(horizon):
            place = (observed[q] - observed[q - 1]) * 1e-9 * rate + k
            before = math.floor(place)
            if before + 1 < horizon:
                share = place - before
                old = (1 - share) * predicted[q - 1, before] + share * predicted[q - 1, before + 1]
                expected.append(predicted[q, k] - old)
    np.testing.assert_allclose(overlaps(observed, predicted, rate), expected, atol=1e-12)


def test_a_takeover_is_measured_where_the_new_chunk_is_published_first():
    # 10 Hz. Chunk 1 takes over at its step 2, 0.5 s later: step 7 of chunk 0. Chunk 2 takes over
    # at step 1, 0.25 s later: between steps 3 and 4 of chunk 1. Chunk 3 starts from rest, and
    # chunk 4 when chunk 3 is over.
    start = np.array([0, 500, 750, 1000, 2900], np.int64) * MS
    steps = np.array([[0, 10], [2, 10], [1, 10], [0, 10], [1, 10]])
    joined = np.array([True, True, True, False, True])
    actions = np.arange(10.0)[None, :, None] * np.array([1.0, 2.0, 0.0, 5.0, 5.0])[:, None, None]
    found = takeovers(start, steps, actions, joined, 10.0)
    assert found[:, 0] == pytest.approx([4.0 - 7.0, 0.0 - 7.0])


def test_a_takeover_at_the_last_published_step_still_counts():
    steps = np.array([[0, 5], [1, 10]])
    actions = np.array([np.arange(10.0), np.zeros(10)])[:, :, None]
    for gap_ms, expected in ((300, [[-4.0]]), (301, [])):
        start = np.array([0, gap_ms], np.int64) * MS
        found = takeovers(start, steps, actions, np.ones(2, bool), 10.0)
        assert found.tolist() == expected


def test_of_each_chunk_only_what_precedes_the_next_observation_is_executed():
    # 10 Hz: the second chunk comes after 2 steps, the third after 1.5 more.
    observed = np.array([0, 200, 350], np.int64) * MS
    predicted = np.arange(12.0).reshape(3, 4, 1)
    times, executed, recorded = executed_part(observed, predicted, -predicted, 10.0)
    assert (times // MS).tolist() == [0, 100, 200, 300, 350, 450, 550, 650]
    assert executed[:, 0].tolist() == [0, 1, 4, 5, 8, 9, 10, 11]
    assert (recorded == -executed).all()


def test_nothing_of_a_chunk_is_executed_that_the_same_observation_replaces():
    times, executed, _ = executed_part(
        np.array([0, 0]), np.arange(4.0).reshape(2, 2, 1), np.zeros((2, 2, 1)), 1.0
    )
    assert times.tolist() == [0, 1_000_000_000]
    assert executed[:, 0].tolist() == [2.0, 3.0]


def test_jerk_of_a_cubic_is_its_third_derivative():
    rate = 50.0
    time = np.arange(40) / rate
    commanded = (time**3)[:, None]
    ours, theirs = jerks(commanded, 2 * commanded, np.ones(40, bool), rate)
    np.testing.assert_allclose(ours, 6.0, rtol=1e-6)
    np.testing.assert_allclose(theirs, 12.0, rtol=1e-6)


def test_jerk_counts_only_inside_motion_and_where_both_are_known():
    commanded = np.arange(12.0)[:, None] ** 3
    recorded = commanded.copy()
    recorded[11] = NAN
    moving = np.array([False] * 2 + [True] * 4 + [False] + [True] * 5)
    ours, theirs = jerks(commanded, recorded, moving, 1.0)
    assert np.flatnonzero(np.isfinite(ours[:, 0])).tolist() == [2, 7]
    assert ours[[2, 7], 0] == pytest.approx([6.0, 6.0])
    assert (np.isfinite(ours) == np.isfinite(theirs)).all()


def test_three_moments_have_no_jerk():
    ours, theirs = jerks(np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3, bool), 10.0)
    assert ours.shape == theirs.shape == (0, 2)


def test_steps_behind_a_short_horizon_are_not_undefined():
    recorded = np.zeros((2, 4, 1))
    predicted = np.zeros((2, 4, 1))
    predicted[:, 2:] = np.nan
    assert undefined(predicted, recorded) == 0
    predicted[1, 0] = np.nan
    assert undefined(predicted, recorded) == 1


def test_takeovers_beyond_the_actions_or_without_values_do_not_count():
    actions = np.zeros((4, 4, 2))
    actions[1] = 1.0
    actions[1, 2:] = NAN
    actions[2] = 3.0
    actions[3] = 7.0
    start = np.array([0, 100, 400, 500], np.int64) * MS
    joined = np.ones(4, np.bool_)
    # 10 Hz: chunk 1 takes over at 1, chunk 2 where chunk 1 has no value, chunk 3 has no row 9.
    steps = np.array([[0, 9], [0, 9], [0, 9], [9, 12]])
    assert takeovers(start, steps, actions, joined, 10.0).tolist() == [[1.0, 1.0]]
    # Halfway between the last step and one that does not exist.
    late = np.array([0, 350], np.int64) * MS
    assert takeovers(late, steps[:2], actions[:2], joined[:2], 10.0).shape == (0, 2)


@pytest.mark.parametrize('first', [0, 2, 7, 11, -1])
@pytest.mark.parametrize('count', [1, 5, 40])
def test_takeovers_take_any_steps(first, count):
    generator = np.random.default_rng(first + 7 * count)
    actions = with_holes(generator, (6, 8, 3), 0.2)
    start = np.cumsum(generator.integers(0, 900 * MS, 6))
    steps = np.repeat([[first, first + count]], 6, axis=0)
    found = takeovers(start, steps, actions, np.ones(6, np.bool_), 10.0)
    assert found.shape[1] == 3
    assert np.isfinite(found).any(axis=1).all()


def test_a_stream_lacks_nothing_before_its_first_value():
    predicted = np.array([[NAN, 1.0], [NAN, NAN], [2.0, 1.0], [NAN, 1.0]])
    assert undefined(predicted, np.zeros((4, 2))) == 2
