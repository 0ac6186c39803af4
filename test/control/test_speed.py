"""Controllers that run slower than the clock: speed sliders, reduced mode, protective stops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.commander import Commander
from pizero_ros.control.commands import TrajectoryCommand, TwistCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.modes import SCHEDULERS
from pizero_ros.control.real_time import RealTime
from pizero_ros.control.seam import SeamFade
from pizero_ros.control.speed import Blocked, TrajectoryClock
from pizero_ros.embodiment.schema import SpeedScaling

MS = 1_000_000
SOURCE = SpeedScaling('/speed', 'float64', 'fraction', required=False, max_age_s=0.5)
REQUIRED = SpeedScaling('/speed', 'float64', 'fraction', required=True, max_age_s=0.5)
MEASURED = {'l0': 0.0, 'l1': 0.0, 'r0': 0.0, 'r1': 0.0}


@pytest.fixture
def clock():
    return TrajectoryClock(SOURCE)


def test_both_clocks_are_one_until_a_factor_comes(clock):
    assert [clock.at(t) for t in (0, 7, 10**19)] == [0, 7, 10**19]
    assert clock.node_ns(123) == 123
    assert (clock.factor, clock.received, clock.blocked(10**18)) == (1.0, None, None)


def test_factor_is_integrated_between_its_changes(clock):
    for factor, at in ((1.0, 100), (0.5, 200), (0.5, 300), (0.25, 400), (1.0, 800)):
        clock.update(factor, at * MS)
    expected = {50: 50, 200: 200, 300: 250, 400: 300, 600: 350, 800: 400, 900: 500}
    assert {at: clock.at(at * MS) / MS for at in expected} == expected
    assert [clock.node_ns(at * MS) for at in expected.values()] == [at * MS for at in expected]


def test_clock_stands_still_at_factor_0_and_its_later_times_are_unknown(clock):
    clock.update(0.0, 100 * MS)
    assert clock.at(5_000 * MS) == 100 * MS
    assert clock.node_ns(100 * MS) == 100 * MS
    assert clock.node_ns(101 * MS) is None
    clock.update(1.0, 600 * MS)
    assert clock.node_ns(101 * MS) == 601 * MS


def test_full_speed_is_exact_for_days(clock):
    clock.update(1.0, 1_700_000_000_000_000_001)
    later = 1_700_000_000_000_000_001 + 3 * 86_400 * 10**9 + 7
    assert clock.at(later) == later


def test_history_is_bounded(clock):
    for k in range(20_000):
        clock.update(0.5 + 0.1 * (k % 2), k * 10 * MS)
    assert len(clock._factors) <= 3_002
    newest = 19_999 * 10 * MS
    assert clock.at(newest) - clock.at(newest - 20 * MS) == 11 * MS


@pytest.mark.parametrize('factor', [math.nan, math.inf, -0.1, 1.01, 100.0])
def test_impossible_factor_blocks_and_is_not_followed(clock, factor):
    clock.update(0.5, 100 * MS)
    clock.update(factor, 200 * MS)
    blocked = clock.blocked(210 * MS)
    assert blocked.reason == 'out_of_range'
    assert f'/speed: found factor {factor:g}, expected 0 to 1; percent needs' in blocked.text
    assert clock.at(300 * MS) == 200 * MS
    clock.update(0.5, 300 * MS)
    assert clock.blocked(310 * MS) is None


def test_rounding_above_1_is_full_speed(clock):
    clock.update(1.0001, 100 * MS)
    assert clock.blocked(110 * MS) is None
    assert clock.at(10_000 * MS) == 10_000 * MS


@pytest.mark.parametrize(('factor', 'paused'), [(0.0, True), (0.009, True), (0.01, False)])
def test_slower_than_the_slowest_slider_is_a_pause(clock, factor, paused):
    clock.update(factor, 100 * MS)
    expected = Blocked('paused', '/speed: the controllers stand still') if paused else None
    assert clock.blocked(110 * MS) == expected


def test_factor_that_was_seen_and_stopped_coming_is_stale(clock):
    clock.update(1.0, 100 * MS)
    assert clock.blocked(600 * MS) is None
    text = '/speed: no speed factor for more than 0.5 s'
    assert clock.blocked(601 * MS) == Blocked('stale', text)
    clock.update(1.0, 700 * MS)
    assert clock.blocked(701 * MS) is None


def test_factor_that_never_came_blocks_only_if_it_is_required():
    assert TrajectoryClock(SOURCE).blocked(10**12) is None
    required = TrajectoryClock(REQUIRED)
    assert required.blocked(10**12) == Blocked('missing', '/speed: no message yet')
    required.update(1.0, 10**12)
    assert required.blocked(10**12) is None


def test_clock_that_jumps_back_starts_anew_after_a_reset_only(clock):
    clock.update(0.5, 1_000 * MS)
    clock.update(0.25, 2_000 * MS)
    clock.update(0.25, 100 * MS)
    # What was executed before the jump is still asked for, to be held there.
    assert clock.at(2_000 * MS) == 1_500 * MS
    clock.reset()
    clock.update(0.5, 120 * MS)
    assert clock.at(220 * MS) == 170 * MS
    assert clock.blocked(221 * MS) is None


# The commander on a slowed clock


def slow_robot(make, source=SOURCE):
    return make.robot(*make.mobile().actions, speed_scaling=source)


def actions(value=0.0, base=0.0, gripper=0.0):
    chunk = np.full((50, 7), float(value))
    chunk[:, 4:6] = base
    chunk[:, 6] = gripper
    return chunk


def deliver(commander, make, values, observed_ms, now_ms):
    request = commander.begin(observed_ms * MS)
    chunk = make.chunk(values, observed_ns=observed_ms * MS, epoch=request.epoch)
    return commander.accept(chunk, now_ms * MS, MEASURED)


def moving(make, source=SOURCE):
    """A commander that executes a second chunk, so that its clock counts from observation."""
    robot = slow_robot(make, source)
    commander = Commander(robot, Asynchronous(robot))
    commander.scale_speed(1.0, 0)
    assert deliver(commander, make, actions(0.0), 0, 100).reason == 'accepted'
    return commander


def test_chunk_is_trimmed_by_what_the_controllers_did_since_its_observation(make):
    commander = moving(make)
    commander.scale_speed(0.5, 400 * MS)
    decision = deliver(commander, make, actions(0.05), 400, 520)
    # 120 ms are 60 ms of the trajectory: waypoint 5 is due 40 ms of it later.
    assert decision.steps == range(5, 50)
    command = decision.commands[0]
    assert command.stamp_ns == 520 * MS
    assert command.time_from_start_ns[:3].tolist() == [40 * MS, 60 * MS, 80 * MS]
    assert decision.start_ns == 400 * MS
    # 980 ms of trajectory from its observation, at half speed.
    assert commander.status().end_ns == 2_360 * MS
    assert commander.status().speed == 0.5


def test_slow_robot_starves_later_and_asks_later(make):
    commander = moving(make)
    commander.scale_speed(0.5, 100 * MS)
    for at in range(100, 2_200, 100):
        commander.scale_speed(0.5, at * MS)
        assert not [c for c in commander.tick(at * MS) if isinstance(c, TrajectoryCommand)]
    assert not commander.wants_inference(899 * MS)
    assert commander.wants_inference(900 * MS)
    assert commander.status().end_ns == 2_140 * MS
    commander.tick(2_150 * MS)
    assert commander.status().starved


def test_base_is_slowed_with_the_arms_and_covers_the_same_way(make):
    way = {}
    for factor in (1.0, 0.5):
        commander = moving(make)
        ramp = actions(0.0)
        ramp[:, 5] = np.linspace(0.0, 0.5, 50)
        assert deliver(commander, make, ramp, 400, 400).reason == 'accepted'
        total = 0.0
        for at in range(400, 3_000, 10):
            commander.scale_speed(factor, at * MS)
            twists = [c for c in commander.tick(at * MS) if isinstance(c, TwistCommand)]
            total += twists[0].values[1] * 0.01
            assert twists[0].stamp_ns == at * MS
        way[factor] = total
    assert way[1.0] == pytest.approx(0.25, rel=0.02)
    assert way[0.5] == pytest.approx(way[1.0], rel=0.02)


def test_time_out_of_the_base_lasts_longer_at_half_speed(make):
    robot = slow_robot(make)
    commander = Commander(robot, Asynchronous(robot), base_timeout_ns=300 * MS)
    commander.scale_speed(0.5, 0)
    assert deliver(commander, make, actions(0.0, base=0.1), 0, 100).reason == 'accepted'
    driven = {}
    for at in range(100, 1_000, 10):
        commander.scale_speed(0.5, at * MS)
        twists = [c for c in commander.tick(at * MS) if isinstance(c, TwistCommand)]
        driven[at] = bool(twists[0].values.any())
    # From the first step, one lead (40 ms of trajectory) after arrival.
    assert [at for at, moved in driven.items() if moved] == list(range(180, 710, 10))


def test_pause_holds_once_and_then_nothing_is_sent_until_a_fresh_chunk(make):
    commander = moving(make)
    assert deliver(commander, make, actions(0.08, base=0.1, gripper=0.5), 300, 400).reason == (
        'accepted'
    )
    commander.tick(410 * MS)
    request = commander.begin(420 * MS)
    commander.scale_speed(0.0, 430 * MS)
    commands = commander.tick(440 * MS)
    assert [c.group for c in commands] == ['left', 'right', 'base']
    assert [len(c) for c in commands[:2]] == [1, 1]
    assert commands[2].values.tolist() == [0.0, 0.0]
    status = commander.status()
    assert (status.holding, status.blocked.reason, status.speed) == (True, 'paused', 0.0)
    # The inference under way is about the scene before the pause.
    late = make.chunk(actions(0.1), observed_ns=420 * MS, epoch=request.epoch)
    assert commander.accept(late, 460 * MS, MEASURED).reason == 'speed_scaling'
    for at in range(460, 5_000, 20):
        commander.scale_speed(0.0, at * MS)
        assert not commander.wants_inference(at * MS)
        (twist,) = commander.tick(at * MS)
        assert twist.values.tolist() == [0.0, 0.0]
    assert commander.status().interventions == {('speed_scaling', 'paused'): 1}
    commander.scale_speed(0.5, 5_000 * MS)
    assert commander.wants_inference(5_000 * MS)
    (twist,) = commander.tick(5_000 * MS)
    assert twist.values.tolist() == [0.0, 0.0]
    assert commander.status().blocked is None
    assert commander.accept(late, 5_010 * MS, MEASURED).reason == 'stale_epoch'
    decision = deliver(commander, make, actions(0.02), 5_020, 5_120)
    assert decision.reason == 'accepted'
    # From rest: the first waypoint is one lead away, whatever inference took.
    assert decision.steps.start == 0
    assert decision.commands[0].stamp_ns == 5_120 * MS


@pytest.mark.parametrize(
    ('factor', 'reason'), [(None, 'stale'), (1.5, 'out_of_range'), (math.nan, 'out_of_range')]
)
def test_unknown_speed_holds_and_is_counted_once(make, factor, reason):
    commander = moving(make)
    held = []
    for at in range(120, 900, 20):
        if factor is not None:
            commander.scale_speed(factor, at * MS)
        held += [c for c in commander.tick(at * MS) if isinstance(c, TrajectoryCommand)]
    assert [c.group for c in held] == ['left', 'right']
    status = commander.status()
    assert status.interventions == {('speed_scaling', reason): 1}
    assert status.blocked.reason == reason
    assert not commander.wants_inference(900 * MS)
    commander.scale_speed(1.0, 920 * MS)
    commander.tick(920 * MS)
    assert deliver(commander, make, actions(0.01), 940, 960).reason == 'accepted'


def test_required_speed_that_never_came_is_named_and_nothing_is_inferred(make):
    robot = slow_robot(make, REQUIRED)
    commander = Commander(robot, Asynchronous(robot))
    assert commander.tick(100 * MS) == []
    assert not commander.wants_inference(100 * MS)
    assert commander.status().blocked.text == '/speed: no message yet'
    assert commander.status().interventions == {('speed_scaling', 'missing'): 1}
    commander.scale_speed(1.0, 200 * MS)
    assert commander.wants_inference(200 * MS)


def test_reset_in_a_pause_does_not_end_it(make):
    commander = moving(make)
    commander.scale_speed(0.0, 200 * MS)
    commander.tick(200 * MS)
    commander.reset()
    assert not commander.wants_inference(210 * MS)
    assert commander.tick(220 * MS) == []
    assert commander.status().blocked.reason == 'paused'


def test_pause_that_comes_back_between_two_ticks_holds_again(make):
    """Pins that the plan of before went on after a second pause of the same kind."""
    commander = moving(make)
    commander.scale_speed(0.0, 120 * MS)
    commander.tick(120 * MS)
    commander.scale_speed(1.0, 130 * MS)
    assert deliver(commander, make, actions(0.01), 131, 135).reason == 'accepted'
    commander.scale_speed(0.0, 138 * MS)
    held = [c for c in commander.tick(140 * MS) if isinstance(c, TrajectoryCommand)]
    assert [c.group for c in held] == ['left', 'right']
    assert commander.status().interventions == {('speed_scaling', 'paused'): 2}


def test_clock_goes_on_from_where_it_is_after_a_reset(clock):
    """Pins a leap of the controllers' clock with the first factor after a jump back."""
    for factor, at in ((0.5, 10_000), (1.0, 20_000), (0.9, 60_000)):
        clock.update(factor, at * MS)
    assert clock.at(60_000 * MS) == 55_000 * MS
    clock.reset()
    before = clock.at(1_000 * MS)
    clock.update(1.0, 1_000 * MS)
    assert clock.at(1_000 * MS) == before
    assert clock.at(1_100 * MS) == before + 100 * MS


def test_status_of_the_smallest_factor_is_that_of_a_pause(make):
    """Pins an OverflowError from a factor of which a time divided by it is infinite."""
    commander = moving(make)
    commander.scale_speed(5e-324, 120 * MS)
    assert commander.status().end_ns is None
    assert commander.next_request_ns() is None
    commander.tick(140 * MS)
    assert commander.status().blocked.reason == 'paused'


def reference(time_ns):
    t = np.asarray(time_ns) * 1e-9
    return 0.45 * np.sin(2 * np.pi * 0.3 * t) + 0.07 * np.sin(2 * np.pi * 0.7 * t + 1.0)


def speed_at(ms):
    """1, from 4 s on a ramp to 0.5, from 8 s at once back to 1."""
    return 1.0 if ms < 4_000 or ms >= 8_000 else max(0.5, 1.0 - (ms - 4_000) / 400)


def errors_mrad(make, mode, *, heed, replacement='discard', fade=0):
    """Errors of a scaled controller's command, sampled at 500 Hz for 12 s, past the first.

    Chunks are perfect: they go on from where the controllers are when the observation is taken,
    150 ms before they arrive. The factor is published at 100 Hz and takes 4 ms.
    """
    robot = make.robot(
        make.group('arm', [make.joint('a', 0, velocity=100.0)]), speed_scaling=SOURCE
    )
    commander = Commander(robot, SCHEDULERS[mode](robot), fade=SeamFade(fade))
    start = 1_000 * MS
    model = JointTrajectoryController(
        ('a',), np.array([reference(start)]), replacement=replacement
    )
    measured = {'a': float(reference(start))}
    progress_ns, errors, request = start, [], None
    for ms in range(0, 12_000, 2):
        now = start + ms * MS
        if heed and ms % 10 == 4:
            commander.scale_speed(speed_at(ms - 4), now)
        commander.tick(now)
        if request is None and commander.wants_inference(now):
            request, observed, observed_progress = commander.begin(now), now, progress_ns
        if request is not None and now == observed + 150 * MS:
            times = observed_progress + np.arange(50) * 20 * MS
            chunk = make.chunk(
                reference(times)[:, None], observed_ns=observed, epoch=request.epoch
            )
            request = None
            for command in commander.accept(chunk, now, measured).commands:
                # On a clock that does f * dt per update, a stamp of now is now.
                stamped = TrajectoryCommand(
                    command.group,
                    progress_ns if command.stamp_ns else 0,
                    command.joint_names,
                    command.positions,
                    command.velocities,
                    command.time_from_start_ns,
                )
                assert model.accept(stamped, progress_ns) is None
        commanded, _ = model.sample(progress_ns)
        if ms > 1_000:
            errors.append(1e3 * (commanded[0] - reference(progress_ns)))
        progress_ns += round(speed_at(ms) * 2 * MS)
    return np.array(errors)


@pytest.mark.parametrize('replacement', ['discard', 'blend'])
@pytest.mark.parametrize('mode', [Asynchronous.mode, RealTime.mode])
def test_error_stays_small_while_the_speed_changes(make, mode, replacement):
    heeded = errors_mrad(make, mode, heed=True, replacement=replacement)
    ignored = errors_mrad(make, mode, heed=False, replacement=replacement)
    rms = [float(np.sqrt(np.mean(np.square(each)))) for each in (heeded, ignored)]
    assert rms[0] < 1.0
    assert rms[1] > 20 * rms[0]
