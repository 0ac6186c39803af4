"""The base and gripper streams."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.base import BaseStream
from pizero_ros.control.gripper import GripperStream
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.safety import SafetyGate

MS = 1_000_000


@pytest.fixture
def base(make):
    robot = make.mobile()
    return BaseStream(JointValues(robot.actions[2]), SafetyGate(robot), 50.0, None)


@pytest.fixture
def gripper(make):
    robot = make.mobile()
    return GripperStream(JointValues(robot.actions[3]), SafetyGate(robot), 2)


def column(index, values):
    actions = np.zeros((len(values), 7))
    actions[:, index] = values
    return actions


def test_base_sends_the_step_that_belongs_to_now(make, base):
    base.start(make.chunk(column(5, np.arange(50) * 0.01)), range(10, 30), 150 * MS)
    command = base.tick(150 * MS)
    assert (command.group, command.stamp_ns) == ('base', 150 * MS)
    assert command.axes == ('linear.x', 'angular.z')
    assert command.values.tolist() == [0.0, 0.07]
    assert base.tick(160 * MS - 1).values[1] == 0.07
    assert base.tick(160 * MS).values[1] == 0.08


def test_base_is_zero_when_the_published_steps_have_run_out(make, base):
    base.start(make.chunk(column(5, np.full(50, 0.5))), range(10, 30), 150 * MS)
    assert base.tick(600 * MS - 1).values[1] == 0.5
    assert base.tick(600 * MS).values.tolist() == [0.0, 0.0]
    assert base.tick(10_000 * MS).values.tolist() == [0.0, 0.0]


def test_base_is_silent_before_the_first_chunk_and_after_stop(make, base):
    assert base.tick(0) is None
    assert base.stop(0) is None
    base.start(make.chunk(column(5, np.full(50, 0.5))), range(10, 30), 150 * MS)
    assert base.tick(150 * MS).values[1] == 0.5
    assert base.stop(160 * MS).values.tolist() == [0.0, 0.0]
    assert base.tick(170 * MS) is None


def test_base_is_zero_after_a_time_out(make):
    robot = make.mobile()
    base = BaseStream(JointValues(robot.actions[2]), SafetyGate(robot), 50.0, 200 * MS)
    base.start(make.chunk(column(5, np.full(50, 0.5))), range(10, 50), 100 * MS)
    assert base.tick(300 * MS).values[1] == 0.5
    assert base.tick(300 * MS + 1).values[1] == 0.0


def test_base_ramps_up_and_stops_at_once(make, base):
    base.start(make.chunk(column(4, np.full(50, 0.25))), range(2, 50), 0)
    sent = [base.tick(k * 20 * MS).values[0] for k in range(4)]
    np.testing.assert_allclose(sent, [0.1, 0.2, 0.25, 0.25])
    assert base.stop(80 * MS).values[0] == 0.0


def test_base_ramp_is_not_jumped_over_after_a_gap(make, base):
    base.start(make.chunk(column(4, np.full(50, 1.0))), range(2, 50), 0)
    assert base.tick(0).values[0] == pytest.approx(0.1)
    assert base.tick(500 * MS).values[0] == pytest.approx(0.2)


def test_gripper_takes_the_value_of_now_plus_lead(make, gripper):
    gripper.start(make.chunk(column(6, np.arange(50) * 0.02)), range(10, 30))
    assert gripper.tick(150 * MS).positions.tolist() == [pytest.approx(0.18)]


def test_gripper_is_silent_within_the_deadband(make, gripper):
    values = np.full(50, 0.5)
    values[10:20] = [0.6, 0.41, 0.59, 0.5, 0.45, 0.6001, 0.6001, 0.55, 0.65, 0.5]
    gripper.start(make.chunk(column(6, values)), range(2, 50))
    goals = [gripper.tick(k * 20 * MS) for k in range(48)]
    sent = {k + 2: goal.positions[0] for k, goal in enumerate(goals) if goal is not None}
    assert sent == {2: 0.5, 15: 0.6001, 19: 0.5}


def test_first_gripper_goal_is_always_sent_and_again_after_reset(make, gripper):
    chunk = make.chunk(column(6, np.zeros(50)))
    gripper.start(chunk, range(2, 50))
    assert gripper.tick(0).positions.tolist() == [0.0]
    assert gripper.tick(20 * MS) is None
    gripper.start(chunk, range(2, 50))
    assert gripper.tick(40 * MS) is None
    gripper.reset()
    gripper.start(chunk, range(2, 50))
    assert gripper.tick(40 * MS).positions.tolist() == [0.0]


def test_gripper_beyond_its_limit_is_sent_once(make, gripper):
    interventions = gripper.start(make.chunk(column(6, np.linspace(1.5, 9.0, 50))), range(2, 50))
    assert [note.reason for note in interventions] == ['position']
    goals = [gripper.tick(k * 20 * MS) for k in range(48)]
    assert [goal.positions.tolist() for goal in goals if goal is not None] == [[1.0]]


def test_gripper_keeps_its_goal_past_the_published_steps(make, gripper):
    gripper.start(make.chunk(column(6, np.linspace(0.0, 1.0, 50))), range(2, 10))
    assert gripper.tick(10_000 * MS) is None
