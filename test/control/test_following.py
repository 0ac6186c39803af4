"""Arms that do not go where they are told are noticed; arms that lag, sag or rest are not."""

from __future__ import annotations

import math

import pytest

from pizero_ros.control.following import FollowingWatch
from pizero_ros.embodiment.load import load_embodiment

TICK_NS = 20_000_000
ARM = [f'joint_{k}' for k in range(1, 7)]


@pytest.fixture
def watch():
    return FollowingWatch(load_embodiment('sim_single_arm'))


def _run(watch, commanded, measured, seconds, start_ns=10**18):
    """Check at 50 Hz with functions of time; return when something was said, and what."""
    for tick in range(round(seconds * 50)):
        time_s = tick * 0.02
        told = dict.fromkeys(ARM, commanded(time_s))
        seen = {name: measured(time_s) for name in (*ARM, 'gripper_joint')}
        text = watch.check(told, seen, start_ns + tick * TICK_NS)
        if text:
            return time_s, text
    return None


def _sine(time_s):
    return 0.6 * math.sin(3.0 * time_s)


def test_arm_that_lags_by_two_tenths_of_a_second_follows(watch):
    assert _run(watch, _sine, lambda t: _sine(t - 0.2), 5.0) is None


def test_arm_that_sags_by_less_than_the_tolerance_follows(watch):
    assert _run(watch, _sine, lambda t: _sine(t) - 0.19, 5.0) is None


def test_arm_that_stays_behind_is_named_with_its_distance(watch):
    seconds, text = _run(watch, lambda t: min(0.5, t), lambda _: 0.0, 5.0)
    # 0.2 rad at 0.2 s, for 0.3 s after the last 0.3 s of commands lie beyond it.
    assert seconds == pytest.approx(0.2 + 0.3 + 0.3, abs=0.041)
    assert text.startswith('arm does not follow: joint_1 is at 0, ')
    assert 'controller deaf or refusing' in text


def test_short_excursion_is_forgiven(watch):
    assert _run(watch, lambda _: 0.0, lambda t: 1.0 if t % 1.0 < 0.28 else 0.0, 5.0) is None


def test_joint_of_unknown_position_is_not_judged(watch):
    assert _run(watch, lambda _: 0.0, lambda _: math.nan, 2.0) is None


def test_arm_is_judged_by_what_it_was_told_after_a_reset_only(watch):
    assert _run(watch, lambda _: 1.0, lambda _: 0.0, 0.4) is None
    watch.reset()
    assert _run(watch, lambda _: 0.0, lambda _: 0.0, 2.0, start_ns=10**18 + 10**9) is None


def test_clock_that_jumps_back_starts_anew(watch):
    assert _run(watch, lambda _: 1.0, lambda _: 0.0, 0.4) is None
    assert _run(watch, lambda _: 0.0, lambda _: 0.0, 2.0, start_ns=10**17) is None


def test_grippers_may_be_blocked(watch):
    names = {**dict.fromkeys(ARM, 0.0), 'gripper_joint': 0.04}
    seen = dict.fromkeys(names, 0.0)
    assert not any(watch.check(names, seen, 10**18 + k * TICK_NS) for k in range(100))
