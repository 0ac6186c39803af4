"""The commander: chunks in, commands out, for a whole robot."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.commander import Commander
from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.decision import Decision
from pizero_ros.control.open_loop import OpenLoop

MS = 1_000_000
MEASURED = {'l0': 0.0, 'l1': 0.0, 'r0': 0.0, 'r1': 0.0}


@pytest.fixture
def robot(make):
    return make.mobile()


@pytest.fixture
def commander(robot):
    return Commander(robot, Asynchronous(robot))


def actions(value=0.0, base=0.0, gripper=0.0):
    chunk = np.full((50, 7), float(value))
    chunk[:, 4:6] = base
    chunk[:, 6] = gripper
    return chunk


def deliver(commander, make, values, observed_ms=0, now_ms=100, measured=MEASURED):
    request = commander.begin(observed_ms * MS)
    chunk = make.chunk(values, observed_ns=observed_ms * MS, epoch=request.epoch, sequence=3)
    return commander.accept(chunk, now_ms * MS, measured)


def test_one_chunk_moves_every_group_on_one_clock(commander, make):
    decision = deliver(commander, make, actions(0.05, base=0.1, gripper=0.7))
    assert (decision.reason, decision.steps) == ('accepted', range(50))
    assert decision.start_ns == 140 * MS
    assert [command.group for command in decision.commands] == ['left', 'right']
    for command in decision.commands:
        assert command.stamp_ns == 100 * MS
        assert command.time_from_start_ns.tolist() == [k * 20 * MS for k in range(2, 52)]
        np.testing.assert_array_equal(command.positions, np.full((50, 2), 0.05))
    assert decision.commands[0].velocities is None
    assert not decision.commands[1].velocities[-1].any()
    twist, goal = commander.tick(100 * MS)
    assert twist.values.tolist() == [0.0, 0.0]
    assert isinstance(goal, GripperGoal)
    assert goal.positions.tolist() == [0.7]
    (twist,) = commander.tick(140 * MS)
    assert isinstance(twist, TwistCommand)
    assert twist.values.tolist() == [0.1, 0.1]
    status = commander.status()
    assert (status.mode, status.sequence, status.end_ns) == ('async', 3, 1120 * MS)
    assert status.decisions == {'accepted': 1}
    assert not status.holding


@pytest.mark.parametrize('column', range(7))
def test_nan_in_one_group_holds_all(commander, make, column):
    assert deliver(commander, make, actions(0.05, base=0.1)).reason == 'accepted'
    bad = actions(0.08, base=0.1)
    bad[49, column] = np.nan
    decision = deliver(commander, make, bad, observed_ms=200, now_ms=300)
    assert (decision.reason, decision.steps) == ('refused', range(0))
    assert [(command.group, len(command)) for command in decision.commands] == [
        ('left', 1),
        ('right', 1),
    ]
    for command in decision.commands:
        np.testing.assert_allclose(command.positions, 0.05)
        assert command.stamp_ns == 0
    assert commander.status().interventions == {('chunk', 'non_finite'): 1}
    (twist,) = commander.tick(310 * MS)
    assert twist.values.tolist() == [0.0, 0.0]
    assert commander.wants_inference(310 * MS)


def test_a_refused_group_stops_the_others(commander, make):
    values = actions(0.05, base=0.3, gripper=1.0)
    values[:, 3] = 0.9
    decision = deliver(commander, make, values)
    assert decision.reason == 'refused'
    assert [note[:2] for note in decision.interventions] == [('right', 'max_step')]
    for command in decision.commands:
        np.testing.assert_array_equal(command.positions, [[0.0, 0.0]])
    assert commander.tick(110 * MS) == []


def test_a_clamped_group_still_moves(commander, make):
    decision = deliver(commander, make, actions(0.2, base=4.0))
    assert decision.reason == 'accepted'
    assert sorted(note[:2] for note in decision.interventions) == [
        ('base', 'velocity'),
        ('left', 'velocity'),
        ('right', 'velocity'),
    ]
    # 2 rad/s from now: 40 ms to the first waypoint, then 20 ms each.
    np.testing.assert_allclose(
        decision.commands[0].positions[:7, 0], [0.08, 0.12, 0.16, 0.2, 0.2, 0.2, 0.2]
    )


def test_late_chunk_is_a_result_and_changes_nothing(commander, make):
    assert deliver(commander, make, actions(0.05)).reason == 'accepted'
    decision = deliver(commander, make, actions(0.4), observed_ms=200, now_ms=5000)
    assert decision == Decision('late')
    assert commander.current(5000 * MS, {}) == pytest.approx(dict.fromkeys(MEASURED, 0.05))


def test_missing_measurement_refuses_the_chunk(commander, make):
    decision = deliver(commander, make, actions(0.05), measured={'l0': 0.0, 'l1': 0.0, 'r0': 0.0})
    assert decision.reason == 'refused'
    assert [command.group for command in decision.commands] == ['left']
    assert commander.status().interventions == {('right', 'no_position'): 1}


def test_hold_from_the_measured_position_when_nothing_was_commanded(commander):
    measured = {'l0': 0.1, 'l1': 0.2, 'r0': 0.3, 'r1': 4.0}
    left, right = commander.hold(50 * MS, measured)
    assert left.positions.tolist() == [[0.1, 0.2]]
    assert right.positions.tolist() == [[0.3, 4.0]]
    assert right.velocities.tolist() == [[0.0, 0.0]]
    assert left.time_from_start_ns.tolist() == [40 * MS]
    assert commander.status().holding


def test_hold_mid_motion_stays_at_the_current_command(commander, make):
    deliver(commander, make, actions(0.04))
    left, _ = commander.hold(120 * MS, MEASURED)
    np.testing.assert_allclose(left.positions, [[0.02, 0.02]])


def test_starvation_holds_once_zeroes_the_base_and_is_counted(commander, make):
    deliver(commander, make, actions(0.05, base=0.2))
    commands = commander.tick(1141 * MS)
    assert [type(command) for command in commands] == [TrajectoryCommand] * 2 + [TwistCommand]
    np.testing.assert_allclose(commands[0].positions, [[0.05, 0.05]])
    assert commands[2].values.tolist() == [0.0, 0.0]
    assert commander.status().starved
    assert [type(command) for command in commander.tick(1160 * MS)] == [TwistCommand]
    assert commander.status().interventions == {('chunk', 'starved'): 1}
    deliver(commander, make, actions(0.05), observed_ms=1200, now_ms=1300)
    assert not commander.status().starved


def test_after_starvation_a_refused_observation_ends_the_plan(commander, make):
    deliver(commander, make, actions(0.05))
    commander.tick(1141 * MS)
    assert commander.status().sequence == 3
    assert commander.refuse('stale', 'camera', 1160 * MS, MEASURED) == []
    assert commander.status().sequence is None


def test_a_hold_of_an_arm_that_is_elsewhere_takes_as_long_as_the_way(commander, make):
    deliver(commander, make, actions(0.05))
    near = commander.hold(400 * MS, {**MEASURED, 'l0': 0.04, 'l1': 0.05, 'r0': 0.05, 'r1': 0.05})
    assert [hold.time_from_start_ns.tolist() for hold in near] == [[40 * MS], [40 * MS]]
    away = {**MEASURED, 'l0': 0.05 - 1.0, 'l1': 0.05, 'r0': 0.05, 'r1': 0.05}
    far, other = commander.hold(500 * MS, away)
    # 1 rad at the velocity limit of 2 rad/s.
    assert far.time_from_start_ns.tolist() == [500 * MS]
    np.testing.assert_allclose(far.positions, 0.05)
    assert other.time_from_start_ns.tolist() == [40 * MS]


def test_stop_zeroes_the_base_and_ignores_what_is_under_way(commander, make):
    deliver(commander, make, actions(0.05, base=0.2))
    commander.tick(110 * MS)
    request = commander.begin(500 * MS)
    commands = commander.stop(520 * MS, MEASURED)
    assert [command.group for command in commands] == ['left', 'right', 'base']
    assert commands[2].values.tolist() == [0.0, 0.0]
    chunk = make.chunk(actions(0.1, base=0.2), observed_ns=500 * MS, epoch=request.epoch)
    assert commander.accept(chunk, 600 * MS, MEASURED).commands == ()
    assert commander.tick(620 * MS) == []
    assert not commander.wants_inference(620 * MS)
    commander.reset()
    assert commander.wants_inference(620 * MS)
    assert commander.accept(chunk, 640 * MS, MEASURED).reason == 'stale_epoch'
    assert deliver(commander, make, actions(0.05), 700, 800).reason == 'accepted'
    assert commander.status().decisions == {'accepted': 2, 'stopped': 1, 'stale_epoch': 1}


def test_refused_observations_hold_once_and_are_all_counted(commander, make):
    deliver(commander, make, actions(0.05, base=0.2))
    commander.begin(200 * MS)
    assert len(commander.refuse('stale', 'camera base is 0.7 s old', 210 * MS, MEASURED)) == 2
    assert commander.wants_inference(220 * MS)
    commander.begin(220 * MS)
    assert commander.refuse('stale', 'camera base is 0.7 s old', 230 * MS, MEASURED) == []
    assert commander.status().interventions == {('observation', 'stale'): 2}
    assert commander.status().last_intervention.text == 'camera base is 0.7 s old'
    (twist,) = commander.tick(240 * MS)
    assert twist.values.tolist() == [0.0, 0.0]


def test_a_new_prompt_lets_motion_go_on(commander, make):
    deliver(commander, make, actions(0.05))
    commander.begin(300 * MS)
    assert commander.advance_epoch() == 1
    assert not commander.status().holding
    assert commander.status().end_ns == 1120 * MS
    stale = make.chunk(actions(0.4), observed_ns=300 * MS, epoch=0)
    assert commander.accept(stale, 400 * MS, MEASURED).reason == 'stale_epoch'
    assert deliver(commander, make, actions(0.06), 400, 500).reason == 'accepted'


def test_a_narrow_chunk_is_a_broken_invariant(commander, make):
    with pytest.raises(ValueError, match=r'expected \[H, 7\]'):
        commander.accept(make.chunk(np.zeros((50, 6))), 0, MEASURED)


def test_open_loop_publishes_executed_steps_only(make, robot):
    commander = Commander(robot, OpenLoop(robot))
    assert deliver(commander, make, actions(0.05)).steps == range(25)


def test_a_call_and_its_publication_cannot_be_overtaken(commander, make):
    """A stop that arrives between accept and its publication must come after both."""
    order = []
    inside = threading.Event()

    def stop():
        inside.wait()
        with commander.in_order():
            commander.stop(200 * MS, MEASURED)
            order.append('stop')

    thread = threading.Thread(target=stop)
    thread.start()
    with commander.in_order():
        decision = deliver(commander, make, actions(0.05))
        inside.set()
        thread.join(0.05)
        order.append(decision.reason)
    thread.join()
    assert order == ['accepted', 'stop']


@pytest.mark.parametrize('replacement', ['discard', 'blend'])
@pytest.mark.parametrize('velocities', [False, True])
def test_current_command_is_what_the_controller_commands(make, replacement, velocities):
    robot = make.robot(make.arm(velocities=velocities))
    commander = Commander(robot, Asynchronous(robot))
    model = JointTrajectoryController(
        ('arm_0', 'arm_1'), np.array([0.1, 0.2]), replacement=replacement
    )
    measured = {'arm_0': 0.1, 'arm_1': 0.2}
    rng = np.random.default_rng(5)
    for start in range(1_000, 4_000, 330):
        walk = np.cumsum(rng.normal(0.0, 0.02, (50, 2)), axis=0)
        now = (start + 150) * MS + 7
        model.sample(now)
        decision = deliver(commander, make, walk, start, start + 150, measured)
        if decision.reason == 'accepted':
            for command in decision.commands:
                assert model.accept(command, now) is None
        for later in range(0, 330, 7):
            expected, _ = model.sample(now + later * MS)
            current = commander.current(now + later * MS, measured)
            # The model installs 7 ns after the stamp.
            np.testing.assert_allclose(list(current.values()), expected, atol=1e-6)
    assert commander.status().decisions == {'accepted': 10}
