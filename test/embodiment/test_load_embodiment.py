"""What an embodiment file becomes, and where it is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.embodiment.schema import Camera, SpeedScaling, StateJoint
from pizero_ros.errors import EmbodimentError
from pizero_ros.resources import config_dir

SMALLEST = """\
schema: 1
name: small
rate_hz: 20
horizon: 50
executed_steps: 16
cameras:
  - {slot: base_0_rgb, topic: /camera/image_raw, rate_hz: 30}
state:
  - topic: /joint_states
    interface: joint_state
    rate_hz: 100
    joints:
      - {name: a, index: 0}
actions:
  - group: arm
    output: joint_trajectory
    topic: /arm_controller/joint_trajectory
    joints:
      - {name: a, index: 0, position: [-1, 1], velocity: 2, max_step: 0.2}
neutral: {a: 0.5}
"""


@pytest.fixture
def smallest(tmp_path):
    path = tmp_path / 'small.yaml'
    path.write_text(SMALLEST, encoding='utf-8')
    return path


def test_defaults_are_those_documented(smallest):
    robot = load_embodiment(smallest)
    assert robot.cameras == (
        Camera(
            slot='base_0_rgb',
            topic='/camera/image_raw',
            transport='raw',
            required=True,
            rotation_deg=0,
            flip='none',
            stamp='header',
            max_age_s=0.2,
            rate_hz=30.0,
        ),
    )
    assert robot.state[0].joints == (StateJoint('a', 0, 'position', 1.0, 0.0, 1, None),)
    assert (robot.state[0].max_age_s, robot.state[0].stamp, robot.max_skew_s) == (
        0.1,
        'header',
        0.1,
    )
    assert (robot.vector_dim, robot.published_steps, robot.lead_steps) == (18, 50, 2)
    group = robot.actions[0]
    assert (group.message, group.velocities, group.deadband) == ('joint_trajectory', False, 0.0)
    assert group.frame_id == ''
    joint = group.joints[0]
    assert (joint.scale, joint.offset, joint.sign, joint.acceleration) == (1.0, 0.0, 1, None)
    assert robot.neutral == {'a': 0.5}
    assert robot.source == str(smallest)


def test_staleness_is_inherited_and_overridden_per_stream(smallest):
    smallest.write_text(
        SMALLEST.replace('rate_hz: 30}', 'rate_hz: 30, max_age_s: 0.7}').replace(
            'horizon:',
            'staleness: {image_max_age_s: 0.3, state_max_age_s: 0.4, max_skew_s: 0.5}\nhorizon:',
        ),
        encoding='utf-8',
    )
    robot = load_embodiment(smallest)
    assert robot.cameras[0].max_age_s == 0.7
    assert robot.state[0].max_age_s == 0.4
    assert robot.max_skew_s == 0.5


def test_speed_of_the_controllers_is_required_unless_told_otherwise(smallest):
    speed = 'speed_scaling: {topic: /speed, message: float64, unit: percent}\nhorizon:'
    smallest.write_text(SMALLEST.replace('horizon:', speed), encoding='utf-8')
    source = load_embodiment(smallest).speed_scaling
    assert source == SpeedScaling('/speed', 'float64', 'percent', required=True, max_age_s=0.5)
    speed = (
        'speed_scaling: {topic: /arm/controller_state, message: controller_state, '
        'required: false, max_age_s: 0.2}\nhorizon:'
    )
    smallest.write_text(SMALLEST.replace('horizon:', speed), encoding='utf-8')
    assert load_embodiment(smallest).speed_scaling == SpeedScaling(
        '/arm/controller_state', 'controller_state', 'fraction', required=False, max_age_s=0.2
    )


def test_robot_without_speed_scaling_runs_at_full_speed(smallest):
    assert load_embodiment(smallest).speed_scaling is None


def test_same_file_by_name_by_path_and_by_text(monkeypatch):
    path = config_dir() / 'embodiments' / 'ur5e.yaml'
    by_name = load_embodiment('ur5e')
    assert by_name == load_embodiment(path)
    assert by_name == load_embodiment(str(path))
    monkeypatch.chdir(path.parent)
    assert load_embodiment('ur5e.yaml').name == 'ur5e'
    assert load_embodiment(Path('ur5e.yaml')).rate_hz == 20


def test_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(EmbodimentError) as caught:
        load_embodiment('ur5')
    message = str(caught.value)
    assert "found no embodiment named 'ur5'" in message
    assert 'aloha, franka, mobile_aloha' in message
    assert "Did you mean 'ur5e'?" in message


def test_missing_file_is_named(tmp_path):
    with pytest.raises(EmbodimentError, match=r'nowhere\.yaml: found No such file'):
        load_embodiment(tmp_path / 'nowhere.yaml')


def test_values_survive_another_yaml_writer(smallest):
    robot = load_embodiment('sim_mobile')
    data = yaml.safe_load(Path(robot.source).read_text(encoding='utf-8'))
    smallest.write_text(yaml.safe_dump(data, sort_keys=True), encoding='utf-8')
    again = load_embodiment(smallest)
    assert (again.cameras, again.state, again.actions) == (
        robot.cameras,
        robot.state,
        robot.actions,
    )
    assert again.neutral == robot.neutral


def test_example_of_the_documentation_loads(tmp_path):
    page = Path(__file__).resolve().parents[2] / 'docs' / 'embodiments.md'
    example = page.read_text(encoding='utf-8').split('```yaml\n')[1].split('```')[0]
    path = tmp_path / 'my_arm.yaml'
    path.write_text(example, encoding='utf-8')
    robot = load_embodiment(path)
    assert (robot.name, robot.action_width, len(robot.action_joints)) == ('my_arm', 15, 4)


def test_unit_of_a_joint_is_radians_unless_the_file_says_otherwise():
    joints = {joint.name: joint.unit for joint in load_embodiment('sim_mobile').action_joints}
    assert joints['torso_joint'] == 'm'
    assert joints['left_gripper_joint'] == 'm'
    assert joints['linear.x'] == 'm/s'
    assert joints['angular.z'] == 'rad/s'
    assert {unit for name, unit in joints.items() if name not in _NOT_ANGULAR} == {'rad'}


_NOT_ANGULAR = (
    'torso_joint',
    'left_gripper_joint',
    'right_gripper_joint',
    'linear.x',
    'linear.y',
    'angular.z',
)
