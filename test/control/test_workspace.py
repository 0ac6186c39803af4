"""A base that is kept inside its workspace."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pizero_ros.control.base import BaseStream
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.safety import SafetyGate
from pizero_ros.control.workspace import PlanarPose, WorkspaceGuard
from pizero_ros.embodiment.schema import Workspace

STEP_NS = 20_000_000
AREA = Workspace('/odom', (-1.0, 1.0), (-0.5, 0.5))


@pytest.fixture
def base(make):
    def group():
        axes = [
            make.joint('linear.x', 0, position=None, velocity=1.0, acceleration=2.0),
            make.joint('linear.y', 1, position=None, velocity=1.0, acceleration=2.0),
            make.joint('angular.z', 2, position=None, velocity=1.0),
        ]
        return make.group('base', axes, output='twist')

    robot = make.robot(group())
    values, gate = JointValues(robot.actions[0]), SafetyGate(robot)
    guard = WorkspaceGuard(AREA, values, 100_000_000, STEP_NS)
    stream = BaseStream(values, gate, 50.0, None, guard)
    stream.gate = gate
    return stream


def drive(base, make, velocity, pose, steps=400, turn=0.0):
    """Integrate what is sent, with a position measured at every step; returns the path."""
    rows = np.tile([*velocity, turn], (50, 1))
    x, y, yaw = pose
    path = []
    for k in range(steps):
        now_ns = k * STEP_NS
        if k % 25 == 0:
            base.start(make.chunk(rows, observed_ns=now_ns), range(50), now_ns)
        base.locate('/odom', PlanarPose(x, y, yaw, now_ns))
        forward, left, about = base.tick(now_ns).values
        x += (math.cos(yaw) * forward - math.sin(yaw) * left) * 0.02
        y += (math.sin(yaw) * forward + math.cos(yaw) * left) * 0.02
        yaw += about * 0.02
        path.append((x, y, yaw))
    return np.array(path)


@pytest.mark.parametrize('yaw', [0.0, 0.5, math.pi / 2, 2.5, -1.2])
@pytest.mark.parametrize('velocity', [(1.0, 0.0), (-0.7, 0.0), (0.0, 1.0), (0.6, -0.6)])
def test_base_comes_to_rest_inside_in_every_direction(make, base, velocity, yaw):
    path = drive(base, make, velocity, (0.0, 0.0, yaw))
    assert np.abs(path[:, 0]).max() <= 1.0
    assert np.abs(path[:, 1]).max() <= 0.5
    assert np.abs(path[:, :2]).max() > 0.2  # It went there.
    np.testing.assert_allclose(path[-1], path[-50], atol=1e-9)
    assert base.gate.interventions['base', 'workspace'] >= 1


@pytest.mark.parametrize(('speed', 'turn'), [(1.0, 1.0), (0.5, 1.0), (0.4, -0.8), (1.0, -0.3)])
def test_a_turning_base_stays_inside(make, base, speed, turn):
    """Along the wall and into it: it turns on while it brakes."""
    toward = math.copysign(1.0, turn)
    path = drive(base, make, (speed, 0.0), (-0.9, 0.4 * toward, 0.0), steps=300, turn=turn)
    assert np.abs(path[:, 0]).max() <= 1.0
    assert np.abs(path[:, 1]).max() <= 0.5
    assert path[:, 0].max() > -0.9


def test_turning_goes_on_at_the_edge(make, base):
    path = drive(base, make, (0.5, 0.0), (0.98, 0.0, 0.0), steps=50, turn=0.4)
    assert path[:, 0].max() <= 1.0
    assert path[-1, 2] == pytest.approx(0.4, rel=0.05)


def test_from_outside_only_the_way_back_is_open(make, base):
    assert drive(base, make, (0.3, 0.0), (1.5, 0.0, 0.0), steps=50)[-1, 0] == 1.5
    base.reset()
    assert drive(base, make, (-0.3, 0.0), (1.5, 0.0, 0.0), steps=50)[-1, 0] < 1.3


def test_without_a_fresh_position_there_is_no_linear_motion(make, base):
    rows = np.tile([0.3, 0.0, 0.2], (50, 1))
    base.start(make.chunk(rows), range(50), 0)
    assert base.tick(0).values.tolist() == [0.0, 0.0, 0.2]
    assert 'no position on /odom' in base.gate.last.text
    base.locate('/elsewhere', PlanarPose(0.0, 0.0, 0.0, 0))
    assert base.tick(STEP_NS).values[0] == 0.0
    base.locate('/odom', PlanarPose(0.0, 0.0, 0.0, 2 * STEP_NS))
    assert base.tick(2 * STEP_NS).values[0] > 0.0
    assert base.tick(8 * STEP_NS).values[0] == 0.0
    assert '0.12 s old' in base.gate.last.text
    base.locate('/odom', PlanarPose(math.nan, 0.0, 0.0, 9 * STEP_NS))
    assert base.tick(9 * STEP_NS).values[0] == 0.0
    # Once for each time that it began, not with every tick.
    assert base.gate.interventions['base', 'workspace'] == 2
