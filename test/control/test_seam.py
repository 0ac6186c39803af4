"""Seam alignment: a new chunk goes on from the executing trajectory and hides nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.commander import Commander
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.executing import CurrentCommand, ExecutingTrajectory
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.safety import SafetyGate
from pizero_ros.control.seam import SeamFade, align, faded
from pizero_ros.control.trajectory import build, trim, waypoint_velocities

MS = 1_000_000
HOME = {'arm_0': 0.0, 'arm_1': 0.0}
FREE = {'lower': np.full(2, -np.inf), 'upper': np.full(2, np.inf)}


@pytest.mark.parametrize('rate', [20.0, 30.0, 50.0])
def test_weights_fall_from_one_to_zero_without_corners(rate):
    fade = SeamFade(8)
    elapsed = np.rint(np.arange(12) * 1e9 / rate).astype(np.int64)
    weights = fade.weights(elapsed, rate)
    assert weights[0] == 1.0
    assert weights[4] == pytest.approx(0.5)
    assert weights[8:] == pytest.approx(np.zeros(4), abs=1e-12)
    drops = -np.diff(weights[:9])
    assert (drops > 0.0).all()
    # Steepest in the middle, at pi / 2 times the mean; a quarter of that at the ends.
    assert drops.max() < np.pi / 2 / 8
    assert drops[[0, -1]] == pytest.approx(np.full(2, 0.038), abs=1e-3)


def test_a_negative_fade_is_refused():
    with pytest.raises(ValueError, match='0 \\(off\\) or more'):
        SeamFade(-1)


def test_the_difference_at_the_first_waypoint_is_faded_out():
    positions = np.arange(8.0).reshape(4, 2)
    weights = np.array([1.0, 0.5, 0.0, 0.0])
    moved = faded(positions, np.array([0.4, 0.6]), weights, **FREE)
    np.testing.assert_allclose(moved, [[0.4, 0.6], [2.2, 2.8], [4.0, 5.0], [6.0, 7.0]])


def test_the_fade_leaves_the_limits_only_where_the_chunk_does():
    positions = np.array([[0.9, 0.0], [1.0, 0.0], [1.2, 0.0]])
    limits = {'lower': np.array([-1.0, 0.0]), 'upper': np.array([1.0, 1.0])}
    moved = faded(positions, np.array([1.0, -0.2]), np.array([1.0, 0.8, 0.6]), **limits)
    np.testing.assert_allclose(moved, [[1.0, 0.0], [1.0, 0.0], [1.2, 0.0]])


def commander(make, steps, **group):
    robot = make.robot(make.arm(**group))
    return Commander(robot, Asynchronous(robot), fade=SeamFade(steps))


def deliver(commander, make, actions, observed_ms, now_ms):
    request = commander.begin(observed_ms * MS)
    chunk = make.chunk(actions, observed_ns=observed_ms * MS, epoch=request.epoch)
    return commander.accept(chunk, now_ms * MS, HOME)


def ramp(offset=0.0, start=0.0):
    """0.5 rad/s for both joints, 10 mrad per step."""
    return np.repeat(offset + start + 0.01 * np.arange(50.0)[:, None], 2, axis=1)


@pytest.mark.parametrize('velocities', [False, True])
def test_a_new_chunk_goes_on_from_the_executing_one(make, velocities):
    robot = commander(make, 8, velocities=velocities)
    # From rest a chunk starts at its arrival plus the lead: action 0 at 190 ms.
    assert deliver(robot, make, ramp(), 0, 150).reason == 'accepted'
    # Observed at 400 ms, when action 10.5 was due, but 30 mrad off; action 8 is at 560 ms.
    decision = deliver(robot, make, ramp(0.03, start=0.105), 400, 550)
    (command,) = decision.commands
    assert decision.steps == range(10, 50)
    # 20 ms or more after now, before the first waypoint with its lead of 40 ms: step 9.
    assert command.time_from_start_ns[:3].tolist() == [30 * MS, 50 * MS, 70 * MS]
    own = ramp(0.03, start=0.105)[9:]
    difference = command.positions - own
    np.testing.assert_allclose(difference[:2], -0.03, atol=1e-12)
    np.testing.assert_allclose(difference[5], -0.015, atol=1e-12)
    np.testing.assert_allclose(difference[9:], 0.0, atol=1e-12)
    if velocities:
        before = robot.current(550 * MS, HOME)
        np.testing.assert_allclose(
            command.velocities,
            waypoint_velocities(command.positions, command.time_from_start_ns, np.full(2, 0.18)),
        )
        assert before == pytest.approx({'arm_0': 0.18, 'arm_1': 0.18})
        assert not command.velocities[-1].any()


def test_without_a_fade_the_chunk_is_published_as_it_is(make):
    robot = commander(make, 0)
    deliver(robot, make, ramp(), 0, 150)
    (command,) = deliver(robot, make, ramp(0.03, start=0.105), 400, 550).commands
    np.testing.assert_array_equal(command.positions, ramp(0.03, start=0.105)[10:])
    assert command.time_from_start_ns[0] == 50 * MS


def test_the_first_chunk_starts_where_the_robot_is(make):
    robot = commander(make, 4)
    (command,) = deliver(robot, make, ramp(0.02), 0, 150).commands
    assert command.time_from_start_ns[0] == 40 * MS
    np.testing.assert_allclose(command.positions[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(command.positions[4:], ramp(0.02)[4:])


def test_a_chunk_after_a_hold_starts_where_the_robot_holds(make):
    robot = commander(make, 8)
    deliver(robot, make, ramp(), 0, 150)
    (hold,) = robot.hold(400 * MS, HOME)
    (command,) = deliver(robot, make, ramp(0.02, start=0.105), 500, 650).commands
    np.testing.assert_allclose(command.positions[0], hold.positions[0])


@pytest.mark.parametrize('steps', [0, 8])
def test_a_jump_is_refused_with_and_without_a_fade(make, steps):
    """The faded first waypoint would be near; the chunk's own is 0.6 rad away, 0.5 allowed."""
    robot = commander(make, steps)
    deliver(robot, make, ramp(), 0, 150)
    decision = deliver(robot, make, ramp(0.6, start=0.105), 400, 550)
    assert decision.reason == 'refused'
    assert robot.status().interventions == {('arm', 'max_step'): 1}
    np.testing.assert_allclose(decision.commands[0].positions, [[0.18, 0.18]])


def test_alignment_neither_hides_a_jump_nor_makes_one(make):
    """Seams of every size, at speeds beyond what ``max_step`` allows within the lead."""
    rng = np.random.default_rng(7)
    joints = [make.joint(f'arm_{i}', i, velocity=20.0, max_step=0.2) for i in range(2)]
    robot = make.robot(make.group('arm', joints))
    values = JointValues(robot.actions[0])
    refused = aligned = 0
    for _ in range(400):
        executing = ExecutingTrajectory(values, 50.0)
        still = CurrentCommand(np.zeros(2), np.zeros(2))
        old = make.chunk(np.cumsum(rng.normal(0.0, 0.07, (50, 2)), axis=0).clip(-3.0, 3.0))
        executing.replace(build(values, old, range(1, 50), 0, current=still[0]), 0, still)
        now = int(rng.integers(100, 500)) * MS
        current = executing.current(now, {})
        size = rng.choice([0.02, 0.1, 0.3])
        new = make.chunk(current.positions + rng.normal(0.0, size, (50, 2)), now - 90 * MS)
        steps = trim(new, now, lead_steps=2, limit=50)
        plain = build(values, new, steps, now, current=current.positions)
        smooth = align(
            plain, new, steps, values=values, executing=executing, current=current, fade=SeamFade()
        )
        results = [SafetyGate(robot).trajectory(each, current) for each in (plain, smooth)]
        assert results[0].hold == results[1].hold
        assert (np.diff(smooth.time_from_start_ns, prepend=0) > 0).all()
        refused += results[0].hold
        aligned += smooth is not plain
    assert refused > 50
    assert aligned > 50


def test_grippers_and_bases_are_exempt(make):
    robot = make.mobile()
    sent = []
    for fade in (None, SeamFade(8)):
        controlled = Commander(robot, Asynchronous(robot), fade=fade)
        at_rest = {'l0': 0.0, 'l1': 0.0, 'r0': 0.0, 'r1': 0.0}
        streamed, arms = [], []
        for number in range(3):
            request = controlled.begin(number * 400 * MS)
            actions = np.full((50, 7), 0.03 * number)
            actions[:, 4:6], actions[:, 6] = 0.2 * number, 0.4 * number
            chunk = make.chunk(actions, number * 400 * MS, epoch=request.epoch)
            now = number * 400 + 150
            arms += controlled.accept(chunk, now * MS, at_rest).commands
            for later in range(0, 400, 20):
                for command in controlled.tick((now + later) * MS):
                    values = getattr(command, 'values', None)
                    values = command.positions if values is None else values
                    streamed.append((command.group, command.stamp_ns, values.tolist()))
        sent.append((streamed, [arm.positions[-45:].tolist() for arm in arms]))
    (plain, plain_arms), (smooth, smooth_arms) = sent
    assert {group for group, _, _ in plain} == {'base', 'gripper'}
    assert plain == smooth
    assert plain_arms != smooth_arms


@pytest.mark.parametrize('replacement', ['discard', 'blend'])
@pytest.mark.parametrize('velocities', [False, True])
def test_the_controller_commands_what_the_commander_thinks(make, replacement, velocities):
    """Random chunks: accepted by the controller, and the current command is the controller's."""
    rng = np.random.default_rng(3)
    robot = commander(make, 8, velocities=velocities)
    model = JointTrajectoryController(tuple(HOME), np.zeros(2), replacement=replacement)
    accepted = 0
    for start in range(1_000, 6_000, 330):
        walk = np.cumsum(rng.normal(0.0, 0.01, (50, 2)), axis=0)
        now = (start + 150) * MS + 7
        model.sample(now)
        for command in deliver(robot, make, walk, start, start + 150).commands:
            assert model.accept(command, now) is None
            accepted += 1
        for later in range(0, 330, 7):
            expected, _ = model.sample(now + later * MS)
            current = robot.current(now + later * MS, HOME)
            np.testing.assert_allclose(list(current.values()), expected, atol=1e-6)
    assert accepted == 16


def test_fewer_executed_steps_than_the_fade_still_arrive(make):
    """A chunk every 5 steps with a fade of 8: the rest of a difference shrinks at every seam."""
    robot = commander(make, 8)
    deliver(robot, make, np.zeros((50, 2)), 0, 50)
    left = []
    for now in range(150, 1_150, 100):
        deliver(robot, make, np.full((50, 2), 0.03), now - 50, now)
        left.append(0.03 - robot.current((now + 100) * MS, HOME)['arm_0'])
    assert (np.diff(left) < 0.0).all()
    assert left[-1] < 0.002
