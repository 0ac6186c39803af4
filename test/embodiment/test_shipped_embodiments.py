"""The embodiments that ship with the package, against their documented sizes and recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.resources import embodiment_names

ROOT = Path(__file__).resolve().parents[2]
BAGS = ROOT / '../shared/data/bags'
BRIDGE = ROOT / 'test/data/embodiments/bridge_widowx.yaml'

# name: (action values, action width, rate in Hz, executed steps, cameras)
SHIPPED = {
    'aloha': (14, 14, 50, 25, 3),
    'franka': (8, 8, 20, 16, 2),
    'mobile_aloha': (18, 18, 50, 25, 3),
    'sim_dual_arm': (14, 14, 50, 25, 3),
    'sim_mobile': (18, 18, 50, 25, 3),
    'sim_single_arm': (7, 7, 50, 25, 3),
    'unitree_g1': (14, 14, 30, 25, 1),
    'ur5e': (7, 7, 20, 16, 2),
}
SIM_LIMITS = (2.6, 1.9, 2.6, 2.6, 1.9, 2.9)


def test_every_shipped_name_is_documented():
    assert embodiment_names() == sorted(SHIPPED)


@pytest.mark.parametrize('name', embodiment_names())
def test_shipped_embodiment_has_the_documented_sizes(name):
    robot = load_embodiment(name)
    values, width, rate_hz, executed, cameras = SHIPPED[name]
    assert robot.name == name
    assert Path(robot.source).stem == name
    assert (len(robot.action_joints), robot.action_width) == (values, width)
    assert (len(robot.state_joints), robot.state_width) == (values, width)
    assert (robot.rate_hz, robot.horizon, robot.executed_steps) == (rate_hz, 50, executed)
    # At least 40 ms, and a joint may move at full speed until the first waypoint.
    lead_steps = 1 if rate_hz == 20 else 2
    assert (robot.published_steps, robot.lead_steps, robot.vector_dim) == (50, lead_steps, 18)
    assert len(robot.cameras) == cameras
    assert robot.cameras[0].slot == 'base_0_rgb'


@pytest.mark.parametrize('name', embodiment_names())
def test_neutral_lies_inside_the_range_that_the_sensor_reports(name):
    robot = load_embodiment(name)
    measured = {joint.name: joint for joint in robot.state_joints}
    shared = [joint for joint in robot.neutral if joint in measured]
    assert len(shared) >= len(robot.neutral) - 2
    for joint in shared:
        lower, upper = measured[joint].range
        assert lower < robot.neutral[joint] < upper


@pytest.mark.parametrize('name', embodiment_names())
def test_action_limits_lie_inside_the_range_that_the_sensor_reports(name):
    robot = load_embodiment(name)
    measured = {joint.name: joint for joint in robot.state_joints}
    for joint in robot.action_joints:
        if joint.name in measured and joint.position is not None:
            lower, upper = measured[joint.name].range
            assert lower < joint.position[0]
            assert joint.position[1] < upper


@pytest.mark.parametrize(
    ('name', 'prefixes'),
    [
        ('sim_single_arm', ['']),
        ('sim_dual_arm', ['left_', 'right_']),
        ('sim_mobile', ['left_', 'right_']),
    ],
)
def test_simulated_arms_have_the_joints_of_their_model(name, prefixes):
    robot = load_embodiment(name)
    joints = {joint.name: joint for joint in robot.action_joints}
    for arm, prefix in enumerate(prefixes):
        for i, limit in enumerate(SIM_LIMITS):
            joint = joints[f'{prefix}joint_{i + 1}']
            assert joint.index == 7 * arm + i
            assert joint.position == (-limit, limit)
            assert (joint.velocity, joint.acceleration, joint.max_step) == (2.0, 10.0, 0.25)
        gripper = joints[f'{prefix}gripper_joint']
        assert (gripper.index, gripper.position) == (7 * arm + 6, (0.0, 0.04))
        pose = [robot.neutral[f'{prefix}joint_{i + 1}'] for i in range(6)]
        assert pose == [0, -0.4, 0.9, 0, 0.6, 0]


def test_simulated_mobile_robot_fills_the_18_values():
    robot = load_embodiment('sim_mobile')
    assert sorted(joint.index for joint in robot.action_joints) == list(range(18))
    base = next(group for group in robot.actions if group.name == 'base')
    assert (base.output, base.message, base.frame_id) == ('twist', 'twist_stamped', 'base_link')
    assert [(joint.name, joint.index, joint.velocity) for joint in base.joints] == [
        ('linear.x', 14, 0.5),
        ('linear.y', 15, 0.5),
        ('angular.z', 16, 1.0),
    ]
    odometry = next(source for source in robot.state if source.interface == 'odometry')
    assert {joint.field for joint in odometry.joints} == {'velocity'}


def test_aloha_gripper_is_0_closed_and_1_open_in_state_and_action():
    robot = load_embodiment('aloha')
    finger = next(joint for joint in robot.state_joints if joint.index == 6)
    motor = next(joint for joint in robot.action_joints if joint.index == 6)
    for raw, value in ((0.0440, 0.0), (0.0579, 1.0)):
        assert finger.sign * finger.scale * raw + finger.offset == pytest.approx(value, abs=1e-5)
    for value, raw in ((0.0, 0.6197), (1.0, 1.6214)):
        assert (value - motor.offset) / (motor.sign * motor.scale) == pytest.approx(raw, abs=1e-5)


def joint_rows(bag: Path, topic: str) -> tuple[list[str], np.ndarray]:
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        messages = [
            reader.deserialize(raw, connection.msgtype)
            for connection, _, raw in reader.messages(connections)
        ]
    assert len({tuple(message.name) for message in messages}) == 1
    return list(messages[0].name), np.array([message.position for message in messages])


def bag_folder(name: str) -> Path:
    folder = BAGS / name
    if not folder.is_dir():
        pytest.skip(f'the recording {name} is not on this machine')
    return folder


@pytest.mark.parametrize('topic', ['/joint_states', '/demo/action'])
def test_g1_recording_lies_inside_limits_and_speeds(topic):
    names, rows = joint_rows(bag_folder('unitree_g1_ep010'), topic)
    robot = load_embodiment('unitree_g1')
    assert len(names) == 26
    assert rows.shape[0] == 290
    columns = [names.index(joint.name) for joint in robot.action_joints]
    limits = np.array([joint.position for joint in robot.action_joints])
    ranges = np.array([joint.range for joint in robot.state_joints])
    arms = rows[:, columns]
    assert (arms >= limits[:, 0]).all()
    assert (arms <= limits[:, 1]).all()
    assert (arms > ranges[:, 0]).all()
    assert (arms < ranges[:, 1]).all()
    speed = np.abs(np.diff(arms, axis=0)).max(axis=0) * robot.rate_hz
    assert (speed < [joint.velocity for joint in robot.action_joints]).all()


def test_g1_neutral_is_one_step_from_the_recording():
    names, rows = joint_rows(bag_folder('unitree_g1_ep010'), '/joint_states')
    robot = load_embodiment('unitree_g1')
    for joint in robot.action_joints:
        column = rows[:, names.index(joint.name)]
        assert np.abs(column - robot.neutral[joint.name]).max() < 0.4


def test_bridge_recording_has_every_stream_of_its_embodiment():
    bag = bag_folder('bridge_widowx_ep004')
    robot = load_embodiment(BRIDGE)
    names, rows = joint_rows(bag, '/joint_states')
    assert names == [joint.name for joint in robot.state_joints]
    ranges = np.array([joint.range for joint in robot.state_joints])
    assert (rows > ranges[:, 0]).all()
    assert (rows < ranges[:, 1]).all()
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        topics = {connection.topic for connection in reader.connections}
    assert {camera.topic for camera in robot.cameras} <= topics
    assert robot.rate_hz == 5
