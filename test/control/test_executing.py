"""The current command, and holds."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.executing import ExecutingTrajectory
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.trajectory import build

MS = 1_000_000
MEASURED = {'arm_0': 0.5, 'arm_1': -0.5}


def follow(executing, values, make, chunk, steps, now_ns):
    current = executing.current(now_ns, MEASURED)
    command = build(values, chunk, steps, now_ns, current=current.positions)
    executing.replace(command, now_ns, current)
    return command


def test_before_the_first_command_the_measured_position_counts(make):
    executing = ExecutingTrajectory(JointValues(make.arm()), 50.0)
    assert not executing.commanded
    assert executing.current(0, MEASURED).positions.tolist() == [0.5, -0.5]
    assert executing.current(0, {'arm_0': 0.5}) is None
    assert executing.current(0, {'arm_0': 0.5, 'arm_1': float('nan')}) is None


def test_current_command_is_sampled_after_two_replacements(make):
    values = JointValues(make.arm())
    executing = ExecutingTrajectory(values, 50.0)
    first = make.chunk(np.full((50, 2), 1.0))
    follow(executing, values, make, first, range(2, 50), 0)  # 0.5 → 1.0 over 40 ms
    np.testing.assert_allclose(executing.current(20 * MS, {}).positions, [0.75, 0.25])
    second = make.chunk(np.full((50, 2), 0.0))
    follow(executing, values, make, second, range(3, 50), 20 * MS)  # to 0 at 60 ms
    np.testing.assert_allclose(executing.current(40 * MS, {}).positions, [0.375, 0.125])
    np.testing.assert_allclose(executing.current(40 * MS, {}).velocities, [-18.75, -6.25])
    np.testing.assert_allclose(executing.current(60 * MS, {}).positions, [0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize('velocities', [False, True])
def test_hold_is_one_point_at_the_current_command(make, velocities):
    values = JointValues(make.arm(velocities=velocities))
    executing = ExecutingTrajectory(values, 50.0)
    ramp = make.chunk(np.repeat(np.arange(50.0)[:, None] * 0.01, 2, axis=1))
    follow(executing, values, make, ramp, range(2, 50), 0)
    current = executing.current(210 * MS, {})
    np.testing.assert_allclose(current.positions, [0.105, 0.105], atol=1e-12)
    hold = executing.hold(current)
    assert (hold.stamp_ns, hold.time_from_start_ns.tolist()) == (0, [40 * MS])
    np.testing.assert_array_equal(hold.positions, current.positions[None])
    assert (hold.velocities is None) != velocities
    executing.replace(hold, 210 * MS, current)
    assert executing.current(260 * MS, {}).positions == pytest.approx([0.105, 0.105])


def test_the_end_of_a_trajectory_holds(make):
    values = JointValues(make.arm())
    executing = ExecutingTrajectory(values, 50.0)
    follow(executing, values, make, make.chunk(np.full((50, 2), 0.7)), range(2, 50), 0)
    current = executing.current(10_000 * MS, {})
    assert current.positions.tolist() == [0.7, 0.7]
    assert current.velocities.tolist() == [0.0, 0.0]
    executing.reset()
    assert executing.current(0, MEASURED).positions.tolist() == [0.5, -0.5]
