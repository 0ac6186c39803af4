"""Gripper thresholds, shares and events, by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pizero_ros.replay.columns import Column
from pizero_ros.replay.gripper_metrics import (
    Event,
    Samples,
    Stream,
    Threshold,
    confusion,
    events,
    gripper_figures,
    matches,
    threshold,
    tolerance_s,
)

FINGER = Column('finger', 'gripper', 'gripper', 'm', 0.0, 1.0)
HALF = Threshold(0.5, 0.1, acted=True)
RATE = 10.0
NAN = math.nan


def at(seconds):
    return np.rint(np.asarray(seconds) * 1e9).astype(np.int64)


def figures(predicted, recorded, rate=RATE, column=FINGER):
    predicted, recorded = np.asarray(predicted, float), np.asarray(recorded, float)
    times = at(np.arange(len(recorded)) / rate)
    return gripper_figures(
        column, Samples(predicted, recorded), Stream(times, predicted, recorded), rate
    )


def test_the_threshold_is_the_middle_of_what_the_demonstrator_did():
    recorded = np.array([0.2] * 50 + [0.8] * 50 + [NAN] * 20)
    limit = threshold(recorded, FINGER)
    assert limit == pytest.approx((0.5, 0.06, True))


def test_one_wild_value_does_not_move_the_threshold():
    recorded = np.array([0.2] * 250 + [0.6] * 250 + [9.0])
    assert threshold(recorded, FINGER).value == pytest.approx(0.4)


@pytest.mark.parametrize('span', [1.0, 50.0])
def test_a_gripper_that_hardly_moves_did_not_act(span):
    column = Column('finger', 'gripper', 'gripper', 'm', 0.0, span)
    recorded = 0.3 * span + 0.09 * span * (np.arange(100) % 2)
    limit = threshold(recorded, column)
    assert not limit.acted
    assert limit.value == span / 2
    assert threshold(np.array([NAN]), column).acted is False


def test_shares_by_hand():
    recorded = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, NAN, 0.1])
    predicted = np.array([0.9, 0.9, 0.9, 0.2, 0.6, 0.1, 0.1, NAN])
    assert confusion(predicted, recorded, HALF) == (1 - (0.5 + 0.25) / 2, 0.5, 0.25)


def test_always_open_is_as_good_as_guessing():
    recorded = np.array([0.9] * 95 + [0.1] * 5)
    assert confusion(np.ones(100), recorded, HALF) == (0.5, 1.0, 0.0)


def test_a_tremble_around_the_threshold_is_no_event():
    values = np.array([0.9, 0.55, 0.45, 0.55, 0.41, 0.59, 0.39, 0.45, 0.58, 0.61, 0.9])
    found = events(np.arange(11), values, HALF)
    assert found == [Event(6, opens=False), Event(9, opens=True)]


def test_the_first_value_says_on_which_side_a_gripper_begins():
    assert events(np.arange(3), np.array([0.45, 0.3, 0.2]), HALF) == []
    assert events(np.arange(3), np.array([0.55, 0.3, 0.2]), HALF) == [Event(1, opens=False)]
    assert events(np.empty(0, np.int64), np.empty(0), HALF) == []


@pytest.mark.parametrize('seed', range(4))
def test_events_equal_those_of_a_plain_loop(seed):
    values = np.random.default_rng(seed).random(200)
    state, expected = values[0] > 0.5, []
    for i, value in enumerate(values):
        if state and value < 0.5 - 0.1:
            state = False
            expected.append(Event(i, opens=False))
        elif not state and value > 0.5 + 0.1:
            state = True
            expected.append(Event(i, opens=True))
    assert events(np.arange(200), values, HALF) == expected
    assert len(expected) > 20


def test_events_match_within_the_tolerance_and_in_their_direction():
    done = [Event(int(1e9), opens=False), Event(int(3e9), opens=True)]
    assert matches([Event(int(1.25e9), opens=False)], done, 0.25) == 1
    assert matches([Event(int(1.26e9), opens=False)], done, 0.25) == 0
    assert matches([Event(int(1.0e9), opens=True)], done, 0.25) == 0


def test_an_event_is_matched_once():
    close = [Event(int(t * 1e9), opens=False) for t in (1.0, 1.1, 1.2)]
    assert matches(close, close[:1], 0.25) == 1
    # The first of the two could match both recorded ones; it must leave the second to the other.
    done = [Event(int(t * 1e9), opens=False) for t in (0.9, 1.2)]
    assert matches([close[0], Event(int(1.4e9), opens=False)], done, 0.25) == 2


@pytest.mark.parametrize('seed', range(8))
def test_as_many_events_are_matched_as_is_possible(seed):
    generator = np.random.default_rng(seed)
    said, done = (
        [Event(int(t), opens=True) for t in np.sort(generator.integers(0, 2_000_000_000, n))]
        for n in generator.integers(2, 6, 2)
    )
    few, many = sorted((said, done), key=len)
    best = max(
        sum(abs(a.at_ns - b.at_ns) <= 250_000_000 for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    assert matches(said, done, 0.25) == best


def test_the_tolerance_is_never_below_one_step_and_a_half():
    assert tolerance_s(50.0) == 0.25
    assert tolerance_s(20.0) == 0.25
    assert tolerance_s(5.0) == 0.3


def test_the_demonstrator_agrees_with_itself():
    recorded = [1.0] * 20 + [0.0] * 20 + [1.0] * 20
    found = figures(recorded, recorded)
    assert found.threshold == 0.5
    assert (found.balanced_accuracy, found.false_open, found.false_closed) == (1.0, 0.0, 0.0)
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)
    assert (found.events_recorded, found.events_predicted) == (2, 2)


def test_a_grasp_that_comes_late_is_a_miss_and_a_false_alarm():
    recorded = [1.0] * 20 + [0.0] * 20 + [1.0] * 20
    predicted = [1.0] * 23 + [0.0] * 19 + [1.0] * 18  # closes 0.3 s late, opens 0.2 s late
    found = figures(predicted, recorded)
    assert found.false_open == 3 / 20
    assert found.false_closed == 2 / 40
    assert (found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5)


def test_a_policy_that_never_grasps_has_no_precision_and_no_recall():
    found = figures([1.0] * 60, [1.0] * 20 + [0.0] * 20 + [1.0] * 20)
    assert math.isnan(found.precision)
    assert (found.recall, found.f1, found.events_predicted) == (0.0, 0.0, 0)


def test_of_a_gripper_that_did_not_act_only_the_predicted_events_are_told():
    found = figures([0.9] * 20 + [0.0] * 40, [0.9] * 60)
    assert math.isnan(found.threshold)
    assert math.isnan(found.balanced_accuracy)
    assert math.isnan(found.recall)
    assert (found.events_recorded, found.events_predicted) == (0, 1)
    assert (found.precision, found.f1) == (0.0, 0.0)
    still = figures([0.8] * 60, [0.9] * 60)
    assert still.events_predicted == 0
    assert math.isnan(still.f1)


def test_moments_that_either_lacks_make_no_events():
    recorded = np.array([1.0] * 10 + [0.0] * 10 + [1.0] * 10)
    predicted = recorded.copy()
    predicted[:5], recorded[25:] = NAN, NAN
    predicted[27] = 0.0
    found = figures(predicted, recorded)
    assert (found.events_recorded, found.events_predicted, found.f1) == (2, 2, 1.0)
