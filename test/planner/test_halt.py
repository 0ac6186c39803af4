"""A policy that was told to stop is watched until it does, and switched off if it does not."""

from __future__ import annotations

import pytest

from pizero_ros.planner.execution import STOP, PolicyView
from pizero_ros.planner.halt import CONFIRM_S, HaltWatch


@pytest.fixture
def watch():
    watch = HaltWatch()
    watch.told('touch', 0.0)
    watch.told(STOP, 10.0)
    return watch


@pytest.mark.parametrize('prompt', [STOP, 'touch'])
def test_policy_that_goes_on_is_switched_off_once(watch, prompt):
    going_on = PolicyView('running', prompt)
    assert not watch.must_switch_off(going_on, 10.0 + CONFIRM_S - 0.01)
    assert watch.must_switch_off(going_on, 10.0 + CONFIRM_S)
    assert not watch.pending
    assert not watch.must_switch_off(going_on, 100.0)


@pytest.mark.parametrize(
    'view', [PolicyView('holding', STOP), PolicyView('dry_run', STOP), PolicyView('inactive', 'x')]
)
def test_policy_that_holds_is_left_alone(watch, view):
    assert not watch.must_switch_off(view, 11.0)
    assert not watch.pending
    assert not watch.must_switch_off(PolicyView('running', STOP), 100.0)


def test_hold_for_another_reason_confirms_nothing(watch):
    assert not watch.must_switch_off(PolicyView('holding', 'touch'), 100.0)
    assert watch.must_switch_off(PolicyView('running', 'touch'), 100.0)


def test_policy_that_somebody_else_has_told_is_left_alone(watch):
    assert not watch.must_switch_off(PolicyView('running', 'wave'), 100.0)
    assert not watch.pending


def test_silent_policy_is_not_judged(watch):
    assert not watch.must_switch_off(PolicyView('silent'), 100.0)
    assert watch.pending


def test_next_prompt_ends_the_watch(watch):
    watch.told('hover', 11.0)
    assert not watch.must_switch_off(PolicyView('running', 'hover'), 100.0)
    assert not watch.pending


def test_nothing_is_watched_before_anything_was_told():
    assert not HaltWatch().must_switch_off(PolicyView('running', 'wave'), 100.0)
