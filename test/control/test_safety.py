"""The safety gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.executing import CurrentCommand
from pizero_ros.control.safety import SafetyGate

STEP_NS = 20_000_000


def trajectory(positions, velocities=None, group='arm'):
    positions = np.asarray(positions, np.float64)
    names = tuple(f'arm_{i}' for i in range(positions.shape[1]))
    times = np.arange(1, len(positions) + 1) * STEP_NS
    return TrajectoryCommand(group, 1, names, positions, velocities, times)


def at(*positions):
    return CurrentCommand(np.array(positions), np.zeros(len(positions)))


@pytest.fixture
def gate(make):
    return SafetyGate(make.robot(make.arm()))


def test_a_trajectory_exactly_at_its_limits_passes_untouched(gate):
    # 2 rad/s over 20 ms is 0.04; the largest position is 3.
    ramp = 2.6 + 0.04 * np.arange(1, 11)
    command = trajectory(np.stack([ramp, -ramp], axis=1))
    assert command.positions.max() == pytest.approx(3.0, abs=1e-15)
    command.positions[-1] = [3.0, -3.0]
    result = gate.trajectory(command, at(2.6, -2.6))
    assert result.command is command
    assert result.interventions == ()
    assert not gate.interventions


def test_positions_are_clamped_and_counted_once_per_command(gate):
    positions = np.full((10, 2), 2.99)
    positions[4:, 0] = 3.02
    command = trajectory(positions)
    result = gate.trajectory(command, at(2.99, 2.99))
    assert result.command.positions[:, 0].max() == 3.0
    assert command.positions[:, 0].max() == 3.02
    assert gate.interventions == {('arm', 'position'): 1}
    assert result.interventions[0].text == ('arm_0: position 3.02 clamped to 3, 6 of 10 steps')


def test_velocity_is_limited_forward_from_the_current_command(gate):
    result = gate.trajectory(trajectory(np.full((10, 2), [0.1, 0.03])), at(0.0, 0.0))
    np.testing.assert_allclose(result.command.positions[:4, 0], [0.04, 0.08, 0.1, 0.1])
    np.testing.assert_allclose(result.command.positions[:, 1], 0.03)
    assert gate.interventions == {('arm', 'velocity'): 1}
    again = gate.trajectory(result.command, at(0.0, 0.0))
    assert again.command is result.command
    assert gate.interventions == {('arm', 'velocity'): 1}


def test_velocities_follow_the_altered_positions(make):
    gate = SafetyGate(make.robot(make.arm(velocities=True)))
    asked = np.full((10, 2), 0.1)
    result = gate.trajectory(trajectory(asked, np.zeros_like(asked)), at(0.0, 0.0))
    np.testing.assert_allclose(result.command.velocities[:4, 0], [2.0, 1.5, 0.0, 0.0])
    assert not result.command.velocities[-1].any()


def test_waypoint_velocities_beyond_the_limit_are_replaced(make):
    gate = SafetyGate(make.robot(make.arm(velocities=True)))
    still = np.zeros((10, 2))
    result = gate.trajectory(trajectory(still, np.full_like(still, 9.0)), at(0.0, 0.0))
    assert not result.command.velocities.any()
    assert gate.interventions == {('arm', 'velocity'): 1}


def test_first_step_beyond_max_step_is_refused(gate):
    assert gate.trajectory(trajectory(np.full((10, 2), 0.5)), at(0.0, 0.5)).command is not None
    result = gate.trajectory(trajectory(np.full((10, 2), 0.501)), at(0.0, 0.5))
    assert result.hold
    assert gate.interventions[('arm', 'max_step')] == 1
    assert 'arm_0: first waypoint is 0.501' in gate.last.text


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_non_finite_is_refused(gate, bad):
    positions = np.zeros((10, 2))
    positions[7, 1] = bad
    result = gate.trajectory(trajectory(positions), at(0.0, 0.0))
    assert result.hold
    assert gate.interventions == {('arm', 'non_finite'): 1}
    assert gate.trajectory(trajectory(np.zeros((1, 2))), at(np.nan, 0.0)).hold
    actions = np.zeros((50, 7))
    assert gate.chunk(actions) is None
    actions[3, 6] = bad
    assert gate.chunk(actions).text == '1 of 350 actions not finite, first at step 3 value 6'


def acceleration(positions, current, step_s=0.02):
    speed = np.diff(positions, axis=0, prepend=current) / step_s
    return np.diff(speed, axis=0, prepend=0.0) / step_s


def test_acceleration_beyond_the_limit_is_followed_within_it(make):
    gate = SafetyGate(make.robot(make.group('arm', [make.joint('arm_0', 0, acceleration=10.0)])))
    speed = np.array([0.2, 0.4, 0.6, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    gentle = np.cumsum(speed * 0.02)[:, None]
    command = trajectory(gentle)
    result = gate.trajectory(command, at(0.0))
    assert (result.command, result.interventions) == (command, ())
    leap = gentle + (np.arange(len(speed)) >= 3)[:, None] * 0.01
    result = gate.trajectory(trajectory(leap), at(0.0))
    assert gate.interventions == {('arm', 'acceleration'): 1}
    # Speeds 0.6, 1.1, 0.4 at steps 2, 3, 4: -35 per second squared is the largest change.
    assert result.interventions[0].text.startswith('arm_0: 35 per second squared, at most 10 is')
    followed = result.command.positions
    assert np.abs(acceleration(followed, 0.0)).max() <= 10.0 * (1 + 1e-9)
    behind = leap - followed
    assert np.abs(behind).max() <= 0.01 + 1e-9
    np.testing.assert_allclose(behind[-2:], 0.0, atol=1e-9)


def test_a_step_is_reached_and_not_swung_about(make):
    arm = make.group('arm', [make.joint('arm_0', 0, acceleration=8.0, velocity=1.0)])
    gate = SafetyGate(make.robot(arm))
    asked = np.full((50, 1), 0.3)
    followed = gate.trajectory(trajectory(asked), at(0.0)).command.positions
    assert np.abs(np.diff(followed, axis=0, prepend=0.0)).max() <= 0.02 * (1 + 1e-9)
    assert np.abs(acceleration(followed, 0.0)).max() <= 8.0 * (1 + 1e-9)
    assert followed.max() <= 0.3 + 1e-9
    np.testing.assert_allclose(followed[-1], 0.3, atol=1e-6)


def test_a_position_limit_is_braked_for(make):
    """Asked to run on to the limit, with more speed than can be braked at once."""
    arm = make.group('arm', [make.joint('arm_0', 0, acceleration=5.0, position=(-1.0, 0.2))])
    gate = SafetyGate(make.robot(arm))
    asked = np.minimum(np.arange(1, 31) * 0.03, 0.2)[:, None]
    followed = gate.trajectory(trajectory(asked), at(0.0)).command.positions
    assert followed.max() <= 0.2
    assert np.abs(acceleration(followed, 0.0)).max() <= 5.0 * (1 + 1e-9)
    np.testing.assert_allclose(followed[-1], 0.2, atol=1e-4)


def test_a_hold_outside_the_limits_is_not_moved_into_them(gate):
    hold = trajectory(np.array([[3.2, 0.0]]))
    assert gate.hold(hold, at(3.2, 0.0)).command is hold
    assert gate.hold(trajectory(np.array([[np.nan, 0.0]])), at(np.nan, 0.0)).hold


def test_braking_ends_at_the_limit_and_not_a_rounding_beyond(make):
    """Pins that a limit was left by the last bit of a double."""
    arm = make.group('arm', [make.joint('arm_0', 0, position=(-0.01, 0.015), acceleration=20.0)])
    gate = SafetyGate(make.robot(arm))
    for start in np.linspace(-0.01, 0.015, 300):
        beyond = trajectory(np.full((20, 1), -0.2))
        followed = gate.trajectory(beyond, at(start)).command.positions
        assert followed.min() == pytest.approx(-0.01, abs=1e-6)
        assert followed.min() >= -0.01
    for start in np.linspace(0.1, 0.5, 50):
        followed = gate.trajectory(trajectory(np.full((50, 1), 0.0)), at(start)).command.positions
        moved = np.diff(followed, axis=0, prepend=start)
        # From outside it moves inwards only.
        assert (moved[followed > 0.015] < 0.0).all()


def test_the_first_step_is_no_longer_than_max_step_whatever_the_speed(make):
    """Pins that an arm with more speed than it can brake at once went on beyond it."""
    arm = make.group('arm', [make.joint('arm_0', 0, acceleration=1.0, max_step=0.1)])
    gate = SafetyGate(make.robot(arm, rate_hz=5.0))
    fast = CurrentCommand(np.array([0.0]), np.array([1.5]))
    result = gate.trajectory(
        replace(trajectory(np.zeros((10, 1))), time_from_start_ns=np.arange(1, 11) * 200_000_000),
        fast,
    )
    assert result.command.positions[0, 0] == pytest.approx(0.1)
    assert [note.reason for note in result.interventions] == ['acceleration']


def test_the_way_back_from_far_outside_starts_with_max_step(make):
    """Pins that clamping made a first step of 1 out of one of 0.4."""
    arm = make.group('arm', [make.joint('arm_0', 0, velocity=100.0)])
    gate = SafetyGate(make.robot(arm))
    result = gate.trajectory(trajectory(np.full((5, 1), 3.6)), at(4.0))
    np.testing.assert_allclose(result.command.positions[:, 0], [3.5, 3.0, 3.0, 3.0, 3.0])


@pytest.fixture
def towards_the_limit():
    """1 mrad below the upper limit of 3, at 2 rad/s."""
    return CurrentCommand(np.array([2.999, 0.0]), np.array([2.0, 0.0]))


def test_a_cubic_that_swings_out_over_a_limit_is_made_straight(make, towards_the_limit):
    """Pins that a waypoint within the limits led the controller 5 mrad beyond them."""
    gate = SafetyGate(make.robot(make.arm(velocities=True)))
    still = trajectory(np.tile(towards_the_limit.positions, (10, 1)), np.zeros((10, 2)))
    result = gate.trajectory(still, towards_the_limit)
    assert result.command.velocities is None
    np.testing.assert_array_equal(result.command.positions, still.positions)
    assert [note.reason for note in result.interventions] == ['position']
    assert 'arm_0: the way to the first waypoint swings 0.004926 out' in gate.last.text
    inside = CurrentCommand(np.array([2.9, 0.0]), np.array([2.0, 0.0]))
    result = gate.trajectory(trajectory(np.tile([2.9, 0.0], (10, 1)), still.velocities), inside)
    assert (result.command.velocities is None, result.interventions) == (False, ())


def test_a_hold_does_not_swing_out_over_a_limit(make, towards_the_limit):
    """Pins that a hold led the controller beyond the limit that it was moving towards."""
    gate = SafetyGate(make.robot(make.arm(velocities=True)))
    hold = trajectory(towards_the_limit.positions[None], np.zeros((1, 2)))
    result = gate.hold(hold, towards_the_limit)
    assert result.command.velocities is None
    assert gate.interventions == {('arm', 'position'): 1}
    assert gate.hold(hold, at(2.999, 0.0)).command is hold


def test_twist_is_clamped_and_ramped(make):
    gate = SafetyGate(make.mobile())
    axes = ('linear.x', 'angular.z')
    command = TwistCommand('base', 1, axes, np.array([3.0, -3.0]))
    result = gate.twist(command, np.zeros(2), STEP_NS)
    np.testing.assert_allclose(result.command.values, [0.1, -1.0])  # 5 m/s² over 20 ms
    assert command.values.tolist() == [3.0, -3.0]
    assert gate.interventions == {('base', 'velocity'): 1, ('base', 'acceleration'): 1}
    assert gate.twist(command, np.zeros(2), 0).command.values[0] == pytest.approx(0.0, abs=1e-7)
    bad = TwistCommand('base', 1, axes, np.array([np.nan, 0.0]))
    assert gate.twist(bad, np.zeros(2), STEP_NS).hold


def test_gripper_goals_are_clamped(make):
    gate = SafetyGate(make.mobile())
    at_limit = GripperGoal('gripper', 1, ('g',), np.array([1.0]))
    assert gate.gripper(at_limit).interventions == ()
    beyond = GripperGoal('gripper', 1, ('g',), np.array([1.5]))
    assert gate.gripper(beyond).command.positions.tolist() == [1.0]
    assert gate.gripper(GripperGoal('gripper', 1, ('g',), np.array([np.nan]))).hold


def test_inputs_are_never_changed(make):
    gate = SafetyGate(make.robot(make.arm(velocities=True)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        positions = rng.normal(0.0, 0.2, (50, 2))
        velocities = rng.normal(0.0, 3.0, (50, 2))
        command = trajectory(positions, velocities)
        before = [positions.copy(), velocities.copy(), command.time_from_start_ns.copy()]
        gate.trajectory(command, at(0.0, 0.0))
        np.testing.assert_array_equal(command.positions, before[0])
        np.testing.assert_array_equal(command.velocities, before[1])
        np.testing.assert_array_equal(command.time_from_start_ns, before[2])


def test_whatever_passes_respects_every_limit(make):
    gate = SafetyGate(make.robot(make.arm()))
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(300):
        current = rng.uniform(-3.0, 3.0, 2)
        asked = current + np.cumsum(rng.normal(0.0, 0.06, (50, 2)), axis=0)
        result = gate.trajectory(trajectory(asked), CurrentCommand(current, np.zeros(2)))
        if result.command is None:
            continue
        passed += 1
        positions = result.command.positions
        assert np.abs(positions).max() <= 3.0
        moved = np.abs(np.diff(positions, axis=0, prepend=current[None]))
        assert moved.max() <= 0.04 * (1 + 1e-9)
    assert passed == 300
