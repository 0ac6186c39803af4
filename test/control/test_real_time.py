"""Real-time chunking as a schedule: what a new chunk is told to agree with, and when it counts."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.commander import Commander
from pizero_ros.control.leftover import actions_at
from pizero_ros.control.modes import SCHEDULERS, make_scheduler
from pizero_ros.control.real_time import RealTime

MS = 1_000_000


def ramp(offset=0.0):
    """Action k is k in the first joint and -k in the second."""
    values = np.arange(50.0) + offset
    return np.stack([values, -values], axis=1)


def deliver(scheduler, make, request, observed_ms, arrived_ms, actions=None, **changes):
    chunk = make.chunk(
        ramp() if actions is None else actions,
        observed_ns=observed_ms * MS,
        epoch=request.epoch,
        **changes,
    )
    return scheduler.accept(chunk, arrived_ms * MS)


@pytest.fixture
def scheduler(make):
    return RealTime(make.robot(make.arm()))


@pytest.fixture
def moving(scheduler, make):
    """Executes a chunk observed at 500 ms, of which 25 steps are executed until 1150 ms."""
    deliver(scheduler, make, scheduler.begin(0), 0, 150)
    acceptance = deliver(scheduler, make, scheduler.begin(500 * MS), 500, 650)
    assert acceptance.chunk.start_ns == 500 * MS
    assert scheduler.next_request_ns() == 1000 * MS
    return scheduler


def test_asks_when_async_does(make):
    ours, other = RealTime(make.robot(make.arm())), SCHEDULERS['async'](make.robot(make.arm()))
    for start_ms in (0, 500, 1000):
        for each in (ours, other):
            deliver(each, make, each.begin(start_ms * MS), start_ms, start_ms + 150)
        assert ours.next_request_ns() == other.next_request_ns()
    assert ours.mode == 'rtc'


def test_first_chunk_is_free(scheduler):
    request = scheduler.begin(0)
    assert request.commitment is None
    assert request.leftover(0) is None


def test_request_tells_the_leftover_on_the_clock_of_the_new_observation(moving):
    """Observed 25 steps after the executing chunk: 25 are left, 10 of delay and lead bind."""
    request = moving.begin(1000 * MS)
    assert request.delay_ns == 150 * MS
    assert request.commitment.chunk is moving.executing
    leftover = request.leftover(1000 * MS)
    np.testing.assert_allclose(leftover.actions, ramp()[25:], atol=1e-9)
    # Arrival at 1150, lead 40: the first step is due at 1200, step 10; the publishing rule.
    assert (leftover.delay, leftover.end) == (10, 25)


def test_committed_steps_are_those_that_the_publishing_rule_drops(moving, make):
    """Whatever the stamp: the robot has executed ``delay`` steps when the first one is due."""
    for observed_ms in (960, 967, 1000, 1013, 1020):
        request = moving.begin(1000 * MS)
        delay = request.leftover(observed_ms * MS).delay
        steps = deliver(moving, make, request, observed_ms, 1150).steps
        assert steps.start == delay
        moving.held()
        deliver(moving, make, moving.begin(0), 0, 150)
        deliver(moving, make, moving.begin(500 * MS), 500, 650)


def test_an_observation_between_the_steps_gets_interpolated_actions(moving):
    leftover = moving.begin(1000 * MS).leftover(1005 * MS)
    # Takeover at 1190: steps 0 to 9 are due at 1005, 1025 … 1185.
    assert (leftover.delay, leftover.end) == (10, 24)
    np.testing.assert_allclose(leftover.actions, ramp(25.25)[:24], atol=1e-9)


def test_nothing_rounds_to_a_step_less_at_rates_that_are_no_whole_nanoseconds(make):
    chunk = make.chunk(ramp(), rate_hz=30.0)
    for steps in range(50):
        sampled = actions_at(chunk, round(steps * 1e9 / 30.0), 50)
        np.testing.assert_allclose(sampled, ramp()[steps:], atol=1e-6)
    assert len(actions_at(chunk, 2_000_000_000, 50)) == 0


def test_fewer_executed_steps_leave_more_to_agree_on(make):
    scheduler = RealTime(make.robot(make.arm(), executed_steps=10))
    deliver(scheduler, make, scheduler.begin(0), 0, 150)
    deliver(scheduler, make, scheduler.begin(200 * MS), 200, 350)
    leftover = scheduler.begin(400 * MS).leftover(400 * MS)
    assert (len(leftover.actions), leftover.delay, leftover.end) == (40, 10, 40)


def test_slow_inference_leaves_only_what_is_there(make):
    """Observations 35 steps apart: e = H - s would be 25, the executing chunk ends at 15."""
    scheduler = RealTime(make.robot(make.arm()))
    deliver(scheduler, make, scheduler.begin(0), 0, 700)
    deliver(scheduler, make, scheduler.begin(700 * MS), 700, 1400)
    leftover = scheduler.begin(1400 * MS).leftover(1400 * MS)
    assert len(leftover.actions) == 15
    assert (leftover.delay, leftover.end) == (15, 15)


def test_a_chunk_that_starts_from_rest_is_left_over_from_its_start(scheduler, make):
    """It was observed at 0 and starts at 190 ms; before that the robot waits for action 0."""
    deliver(scheduler, make, scheduler.begin(0), 0, 150)
    assert scheduler.executing.start_ns == 190 * MS
    np.testing.assert_allclose(
        scheduler.begin(490 * MS).leftover(490 * MS).actions, ramp()[15:], atol=1e-9
    )
    scheduler.fail()
    early = scheduler.begin(160 * MS).leftover(150 * MS)
    np.testing.assert_allclose(early.actions[:4, 0], [0, 0, 0, 1], atol=1e-9)
    assert len(early.actions) == 50


def test_a_new_prompt_keeps_the_committed_steps_and_frees_the_rest(moving):
    moving.advance_epoch()
    leftover = moving.begin(1000 * MS).leftover(1000 * MS)
    assert (leftover.delay, leftover.end) == (10, 10)


def test_a_robot_at_rest_has_committed_nothing(moving, make):
    end_ns = moving.end_ns
    assert moving.begin(end_ns - 1).commitment is not None
    moving.fail()
    assert moving.begin(end_ns).commitment is None
    moving.fail()
    moving.held()
    assert moving.begin(1000 * MS).commitment is None


def test_an_observation_older_than_the_executing_one_has_no_leftover(moving):
    request = moving.begin(1000 * MS)
    assert request.leftover(499 * MS) is None
    assert request.leftover(500 * MS) is not None
    assert request.leftover(1481 * MS) is None


def test_a_guided_chunk_that_is_late_is_used(moving, make):
    request = moving.begin(1000 * MS)
    acceptance = deliver(moving, make, request, 1000, 1250)
    assert (acceptance.reason, acceptance.steps) == ('accepted', range(15, 50))


def test_a_chunk_with_a_trained_prefix_that_is_late_is_discarded_and_the_estimate_rises(make):
    scheduler = make_scheduler('rtc', make.robot(make.arm()), trained_prefix=True)
    deliver(scheduler, make, scheduler.begin(0), 0, 150)
    assert deliver(scheduler, make, scheduler.begin(500 * MS), 500, 650).accepted
    request = scheduler.begin(1000 * MS)
    acceptance = deliver(scheduler, make, request, 1000, 1161)
    assert (acceptance.reason, acceptance.steps) == ('beyond_prefix', range(0))
    assert scheduler.executing.observed_ns == 500 * MS
    assert scheduler.wants_inference(1161 * MS)
    assert scheduler.delay_ns == 161 * MS
    request = scheduler.begin(1170 * MS)
    assert request.leftover(1170 * MS).delay == 11
    assert deliver(scheduler, make, request, 1170, 1331).steps.start == 11


def test_delays_beyond_what_is_left_end_in_a_free_chunk_and_not_in_refusal_for_ever(make):
    """d ≤ H - s cannot hold: the robot runs out and starts anew."""
    scheduler = make_scheduler('rtc', make.robot(make.arm()), trained_prefix=True)
    now_ms, reasons = 0, []
    for _ in range(4):
        request = scheduler.begin(now_ms * MS)
        reasons.append(deliver(scheduler, make, request, now_ms, now_ms + 900).reason)
        now_ms += 900
    assert reasons == ['accepted', 'accepted', 'beyond_prefix', 'accepted']


def test_a_trained_prefix_of_a_motion_that_was_stopped_does_not_count(make):
    scheduler = make_scheduler('rtc', make.robot(make.arm()), trained_prefix=True)
    deliver(scheduler, make, scheduler.begin(0), 0, 150)
    request = scheduler.begin(500 * MS)
    scheduler.held()
    assert deliver(scheduler, make, request, 500, 900).accepted


def test_discarded_chunks_are_counted_and_what_was_published_goes_on(make):
    robot = make.robot(make.arm())
    commander = Commander(robot, make_scheduler('rtc', robot, trained_prefix=True))
    measured = {'arm_0': 0.0, 'arm_1': 0.0}
    for observed_ms, arrived_ms in ((0, 150), (500, 650), (1000, 1300)):
        request = commander.begin(observed_ms * MS)
        chunk = make.chunk(
            np.full((50, 2), 0.1), observed_ns=observed_ms * MS, epoch=request.epoch
        )
        decision = commander.accept(chunk, arrived_ms * MS, measured)
    assert (decision.reason, decision.commands) == ('beyond_prefix', ())
    assert commander.status().decisions == {'accepted': 2, 'beyond_prefix': 1}
    assert not commander.status().holding
