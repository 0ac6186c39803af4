"""Controllers of the simulated robot: what they accept, how they move it, when they stop."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EmbodimentError
from pizero_ros.sim.controllers import SimulatedControllers
from pizero_ros.sim.faults import RobotFaults, parse_fault
from pizero_ros.sim.simulation import Simulation

SECOND = 1_000_000_000


def _stamp(time_ns):
    return SimpleNamespace(sec=time_ns // SECOND, nanosec=time_ns % SECOND)


def _trajectory(names, positions, period_ns, stamp_ns=0):
    """A message with the fields of trajectory_msgs/JointTrajectory, one row per period."""
    points = [
        SimpleNamespace(
            positions=list(row),
            velocities=[],
            accelerations=[],
            effort=[],
            time_from_start=_stamp((k + 1) * period_ns),
        )
        for k, row in enumerate(positions)
    ]
    return SimpleNamespace(
        header=SimpleNamespace(stamp=_stamp(stamp_ns)), joint_names=list(names), points=points
    )


def _twist(stamp_ns=0, **axes):
    values = {'x': 0.0, 'y': 0.0, 'z': 0.0}
    linear = SimpleNamespace(**values | {'x': axes.get('x', 0.0), 'y': axes.get('y', 0.0)})
    angular = SimpleNamespace(**values | {'z': axes.get('turn', 0.0)})
    twist = SimpleNamespace(linear=linear, angular=angular)
    return SimpleNamespace(header=SimpleNamespace(stamp=_stamp(stamp_ns)), twist=twist)


def _run(robot, controllers, duration_s):
    robot.step_to(
        robot.time_s + duration_s, lambda time_s: controllers.update(round(time_s * 1e9))
    )


@pytest.mark.parametrize('replacement', ['discard', 'blend'])
@pytest.mark.parametrize('from_desired', [True, False])
def test_trajectory_of_every_group_is_followed(robot, replacement, from_desired):
    controllers = SimulatedControllers(
        robot, replacement=replacement, interpolate_from_desired_state=from_desired
    )
    goals = {}
    for group in robot.embodiment.actions:
        if group.message != 'joint_trajectory':
            continue
        names = [joint.name for joint in group.joints]
        start = robot.positions(names)
        goal = start + [0.01 if j.velocity < 0.5 else 0.3 for j in group.joints]
        ramp = start + (goal - start) * np.linspace(0.02, 1.0, 50)[:, None]
        assert controllers.receive(group.name, _trajectory(names, ramp, 20_000_000), 0) is None
        goals |= dict(zip(names, goal, strict=True))
    _run(robot, controllers, 1.3)
    error = robot.positions(list(goals)) - list(goals.values())
    assert np.abs(error).max() < 0.01
    assert robot.targets(list(goals)) == pytest.approx(list(goals.values()))
    moved = [name for name, c in controllers.groups.items() if c.accepted]
    assert len(moved) == sum(g.message == 'joint_trajectory' for g in robot.embodiment.actions)


def test_refused_trajectory_is_counted_by_reason_and_does_not_move(make_robot):
    robot = make_robot('sim_single_arm')
    controllers = SimulatedControllers(robot)
    names = [f'joint_{k}' for k in range(1, 7)]
    rows = np.zeros((3, 6))
    unknown = _trajectory([*names[:5], 'elbow'], rows, 20_000_000)
    late = _trajectory(names, rows, 20_000_000, stamp_ns=SECOND)
    assert 'elbow' in controllers.receive('arm', unknown, 5 * SECOND)
    assert 'past' in controllers.receive('arm', late, 5 * SECOND)
    assert controllers.receive('arm', _trajectory(names, rows[:0], 1), 0) is not None
    arm = controllers.groups['arm']
    assert arm.accepted == 0
    assert arm.rejected == {'unknown_joint': 1, 'ends_in_the_past': 1, 'no_points': 1}
    _run(robot, controllers, 0.2)
    assert robot.targets(names) == pytest.approx([robot.neutral[name] for name in names])


def test_gripper_array_applies_at_once_and_is_checked(make_robot):
    robot = make_robot('sim_single_arm')
    controllers = SimulatedControllers(robot)
    receive = controllers.groups['gripper'].receive
    assert receive(SimpleNamespace(data=[0.035]), 0) is None
    assert receive(SimpleNamespace(data=[0.0, 0.0]), 0) == '2 values for 1 joints'
    assert receive(SimpleNamespace(data=[float('nan')]), 0) == 'values that are not finite'
    _run(robot, controllers, 0.5)
    assert robot.positions(['gripper_joint'])[0] == pytest.approx(0.035, abs=0.001)
    assert controllers.groups['gripper'].accepted == 1
    assert controllers.groups['gripper'].rejected == {'length_mismatch': 1, 'not_finite': 1}


def test_base_stops_when_it_is_not_told_for_half_a_second(make_robot):
    robot = make_robot('sim_mobile')
    controllers = SimulatedControllers(robot)
    assert controllers.receive('base', _twist(x=-0.2, turn=0.1), 0) is None
    _run(robot, controllers, 0.5)
    assert robot.odometry().linear_x == pytest.approx(-0.2, abs=0.01)
    _run(robot, controllers, 0.3)
    assert robot.odometry().linear_x == pytest.approx(0.0, abs=0.001)
    assert robot.odometry().x == pytest.approx(-0.1, abs=0.01)


def test_base_refuses_old_and_impossible_velocities(make_robot):
    controllers = SimulatedControllers(make_robot('sim_mobile'))
    receive = controllers.groups['base'].receive
    now = 10 * SECOND
    assert receive(_twist(now - 600_000_000, x=0.1), now) == 'a command 0.600 s old'
    assert receive(_twist(now, y=float('inf')), now) == 'a velocity that is not finite'
    assert receive(_twist(now - 400_000_000, x=0.1), now) is None
    assert controllers.groups['base'].rejected == {'stale': 1, 'not_finite': 1}


def test_simulation_gives_up_what_it_cannot_catch_up(make_robot):
    robot = make_robot('sim_single_arm')
    simulation = Simulation(robot, SimulatedControllers(robot))
    simulation.start(100 * SECOND)
    simulation.advance(100 * SECOND + 50_000_000)
    assert robot.time_s == pytest.approx(0.05)
    assert simulation.stamp_ns == 100 * SECOND + 50_000_000
    simulation.advance(102 * SECOND)
    assert robot.time_s == pytest.approx(0.15)
    assert simulation.stamp_ns == 102 * SECOND
    assert simulation.ratio(102 * SECOND) == pytest.approx(0.075)


def test_own_clock_never_jumps(make_robot):
    robot = make_robot('sim_single_arm')
    simulation = Simulation(robot, SimulatedControllers(robot), own_clock=True)
    simulation.start(100 * SECOND)
    simulation.advance(102 * SECOND)
    assert simulation.stamp_ns == 100 * SECOND + 100_000_000


def test_injected_faults_keep_controllers_from_hearing_and_accepting(make_robot):
    robot = make_robot('sim_dual_arm')
    texts = ('deaf:left_arm', 'rejecting:right_arm')
    faults = RobotFaults(map(parse_fault, texts), load_embodiment('sim_dual_arm'))
    controllers = SimulatedControllers(robot, faults=faults)
    for side, refused in (('left', None), ('right', 'by an injected fault')):
        names = [f'{side}_joint_{k}' for k in range(1, 7)]
        message = _trajectory(names, np.zeros((3, 6)), 20_000_000)
        assert controllers.receive(f'{side}_arm', message, 0) == refused
        assert controllers.groups[f'{side}_arm'].accepted == 0
    assert controllers.groups['left_arm'].rejected == {}
    assert controllers.groups['right_arm'].rejected == {'injected_fault': 1}
    faults.replace([])
    assert controllers.receive('right_arm', message, 0) is None
    assert controllers.groups['right_arm'].accepted == 1


def test_base_velocity_is_what_was_told_until_the_time_out(make_robot):
    robot = make_robot('sim_mobile')
    controllers = SimulatedControllers(robot)
    assert SimulatedControllers(make_robot('sim_single_arm')).base_velocity is None
    controllers.receive('base', _twist(x=-0.2, turn=0.1), 0)
    assert controllers.base_velocity['linear.x'] == -0.2
    assert controllers.base_velocity['angular.z'] == 0.1
    _run(robot, controllers, 0.49)
    assert controllers.base_velocity['linear.x'] == -0.2
    _run(robot, controllers, 0.03)
    assert set(controllers.base_velocity.values()) == {0.0}


def test_clock_offset_moves_the_stamps_and_not_the_physics(make_robot):
    robot = make_robot('sim_single_arm')
    simulation = Simulation(robot, SimulatedControllers(robot), own_clock=True)
    simulation.start(10 * SECOND)
    simulation.advance(10 * SECOND + 50_000_000)
    simulation.set_clock_offset(-3 * SECOND)
    simulation.advance(10 * SECOND + 90_000_000)
    assert simulation.stamp_ns == pytest.approx(7 * SECOND + 90_000_000, abs=2_100_000)
    simulation.set_clock_offset(0)
    assert simulation.stamp_ns == pytest.approx(10 * SECOND + 90_000_000, abs=2_100_000)
    assert robot.time_s == pytest.approx(0.09, abs=0.0021)


def test_gripper_that_takes_actions_is_refused_with_the_remedy(make_robot):
    robot = make_robot('sim_single_arm')
    gripper = replace(robot.embodiment.actions[1], message='gripper_command')
    robot.embodiment = replace(robot.embodiment, actions=(robot.embodiment.actions[0], gripper))
    with pytest.raises(EmbodimentError, match='gripper: found gripper_command, expected joint_'):
        SimulatedControllers(robot)
