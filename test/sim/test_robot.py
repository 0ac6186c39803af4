"""Models, physics, base and pictures of the simulated robots."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EmbodimentError


@pytest.mark.parametrize(
    ('name', 'actuators'), [('sim_single_arm', 7), ('sim_dual_arm', 14), ('sim_mobile', 18)]
)
def test_model_has_one_actuator_per_action(make_robot, name, actuators):
    robot = make_robot(name)
    assert robot.model.nu == actuators == len(robot.embodiment.action_joints)


def test_joint_limits_of_model_are_those_of_the_embodiment(robot):
    for group in robot.embodiment.actions:
        for joint in group.joints:
            if joint.position is not None:
                assert tuple(robot.model.joint(joint.name).range) == joint.position
                assert tuple(robot.model.actuator(joint.name).ctrlrange) == joint.position


def test_neutral_pose_is_held(robot):
    robot.step_to(1.0)
    names = list(robot.neutral)
    error = np.abs(robot.positions(names) - [robot.neutral[name] for name in names])
    assert error.max() < 0.01
    assert np.abs(robot.readings(names).velocities).max() < 0.01


def test_cubes_rest_on_the_table(robot):
    robot.step_to(1.0)
    for name in ('red_cube', 'green_cube', 'blue_cube'):
        x, y, z = robot.model.joint(name).qpos0[:3]
        now = robot._data.joint(name).qpos[:3]
        assert now == pytest.approx([x, y, z], abs=0.002)
        assert now[2] == pytest.approx(0.022, abs=0.001)


def test_every_joint_reaches_a_new_target(robot):
    names = list(robot.neutral)
    goal = np.array([robot.neutral[name] for name in names])
    goal += [0.01 if 'gripper' in name else 0.05 if 'torso' in name else -0.2 for name in names]
    robot.set_targets(names, goal)
    robot.step_to(1.0)
    assert np.abs(robot.positions(names) - goal).max() < 0.01


def test_second_finger_follows_the_first(make_robot):
    robot = make_robot('sim_single_arm')
    assert robot.positions(['mirror_joint']) == pytest.approx(robot.neutral['gripper_joint'])
    robot.set_targets(['gripper_joint'], [0.04])
    robot.step_to(1.0)
    assert robot.positions(['gripper_joint', 'mirror_joint']) == pytest.approx(0.04, abs=0.001)


def test_lag_behind_a_moving_target_is_small(make_robot):
    """0.5 Hz sine of 0.3 rad: the gains give 20 ms, that is 0.02 rad at 0.94 rad/s."""
    robot = make_robot('sim_single_arm')
    start = robot.neutral['joint_1']
    lags = []

    def control(time_s):
        target = start + 0.3 * math.sin(math.pi * time_s)
        robot.set_targets(['joint_1'], [target])
        lags.append(abs(robot.positions(['joint_1'])[0] - target))

    robot.step_to(3.0, control)
    assert len(lags) == 1500
    assert max(lags) < 0.025


def test_reset_returns_to_neutral_at_time_zero(robot):
    names = list(robot.neutral)
    robot.set_targets(names[:1], [0.5])
    robot.step_to(0.5)
    robot.reset()
    assert robot.time_s == 0.0
    assert robot.positions(names) == pytest.approx([robot.neutral[name] for name in names])
    assert robot.targets(names) == pytest.approx([robot.neutral[name] for name in names])


def test_step_to_does_as_many_steps_as_fit(make_robot):
    robot = make_robot('sim_single_arm')
    times = []
    for k in range(1, 101):
        robot.step_to(k * 0.01, times.append)
    assert len(times) == 500
    assert robot.time_s == pytest.approx(1.0)
    robot.step_to(0.5, times.append)
    assert len(times) == 500


def test_base_drives_in_its_own_frame(make_robot):
    robot = make_robot('sim_mobile')
    robot.set_base_velocity(0.0, 0.0, math.pi / 2)
    robot.step_to(1.0)
    robot.set_base_velocity(0.0, 0.0, 0.0)
    robot.step_to(1.2)
    turned = robot.odometry()
    assert turned.yaw == pytest.approx(math.pi / 2, abs=0.03)
    robot.set_base_velocity(-0.2, 0.0, 0.0)
    robot.step_to(2.2)
    driven = robot.odometry()
    assert driven.y - turned.y == pytest.approx(-0.2, abs=0.01)
    assert driven.x - turned.x == pytest.approx(0.0, abs=0.02)
    assert driven.linear_x == pytest.approx(-0.2, abs=0.01)
    assert driven.linear_y == pytest.approx(0.0, abs=0.01)
    assert driven.half_turn == pytest.approx((math.sin(driven.yaw / 2), math.cos(driven.yaw / 2)))


def test_pictures_are_lit_and_differ_between_cameras(robot):
    slots = [camera.slot for camera in robot.embodiment.cameras]
    pictures = [robot.render(slot) for slot in slots]
    for picture in pictures:
        assert picture.shape == (224, 224, 3)
        assert picture.dtype == np.uint8
        assert 60 < picture.mean() < 220
        assert picture.std() > 15
    for first, second in ((0, 1), (0, 2), (1, 2)):
        difference = pictures[first].astype(int) - pictures[second]
        assert np.abs(difference).mean() > 5


def test_each_picture_shows_a_cube(robot):
    robot.step_to(0.1)
    for slot in robot.cameras:
        red, green, blue = (robot.render(slot)[..., k].astype(int) for k in range(3))
        is_red = (red > 2 * green) & (red > 2 * blue) & (red > 100)
        is_green = (green > 2 * red) & (green > 2 * blue) & (green > 80)
        assert max(is_red.sum(), is_green.sum()) > 50, slot


def test_wrist_camera_moves_with_the_arm(make_robot):
    robot = make_robot('sim_single_arm')
    before = {slot: robot.render(slot) for slot in robot.cameras}
    robot.set_targets(['joint_6'], [1.0])
    robot.step_to(1.0)
    for slot, picture in before.items():
        change = np.abs(robot.render(slot).astype(int) - picture).mean()
        assert change > (10 if robot.cameras[slot] == 'wrist_camera' else 0.05)


def test_any_picture_size_can_be_rendered(make_robot):
    robot = make_robot('sim_single_arm', width=2048, height=100)
    assert robot.render('base_0_rgb').shape == (100, 2048, 3)


def test_closing_twice_is_allowed(make_robot):
    robot = make_robot('sim_single_arm')
    robot.render('base_0_rgb')
    robot.close()
    robot.close()


def test_robot_without_simulation_is_refused(make_robot):
    with pytest.raises(EmbodimentError, match=r"expected one of \['sim_dual_arm', 'sim_mobile"):
        make_robot('ur5e')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('camera', 'camera roof_camera: found nothing of that name'),
        ('state', 'joint joint_9: found nothing of that name'),
        ('action', 'actuator joint_9: found nothing of that name'),
    ],
)
def test_name_that_the_model_lacks_is_named(change, message):
    from pizero_ros.sim.robot import SimulatedRobot

    known = load_embodiment('sim_single_arm')
    if change == 'camera':
        camera = dataclasses.replace(known.cameras[0], topic='/roof_camera/image_raw')
        wrong = dataclasses.replace(known, cameras=(camera, *known.cameras[1:]))
    elif change == 'state':
        source = known.state[0]
        joint = dataclasses.replace(source.joints[0], name='joint_9')
        source = dataclasses.replace(source, joints=(joint, *source.joints[1:]))
        wrong = dataclasses.replace(known, state=(source,))
    else:
        group = known.actions[0]
        action = dataclasses.replace(group.joints[0], name='joint_9')
        group = dataclasses.replace(group, joints=(action, *group.joints[1:]))
        wrong = dataclasses.replace(known, actions=(group, *known.actions[1:]))
    with pytest.raises(EmbodimentError, match=message):
        SimulatedRobot(wrong)


def test_file_that_is_no_model_is_refused(tmp_path):
    from pizero_ros.sim.robot import SimulatedRobot

    path = tmp_path / 'broken.xml'
    path.write_text('<mujoco><worldbody></mujoco>')
    with pytest.raises(EmbodimentError, match='expected a MuJoCo model'):
        SimulatedRobot(load_embodiment('sim_single_arm'), path)


@pytest.mark.parametrize(
    ('topic', 'name'),
    [
        ('/wrist_camera/image_raw', 'wrist_camera'),
        ('/wrist_camera/image_raw/compressed', 'wrist_camera'),
        ('/robot/head/image_raw', 'robot_head'),
    ],
)
def test_camera_is_named_after_its_topic(topic, name):
    from pizero_ros.sim.robot import camera_name

    camera = load_embodiment('sim_single_arm').cameras[0]
    assert camera_name(dataclasses.replace(camera, topic=topic)) == name
