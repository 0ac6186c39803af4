"""Every mistake in an embodiment file: the file, line, key, found and expected of its error."""

from __future__ import annotations

import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EmbodimentError

GOOD = """\
schema: 1
name: two_joints
description: for tests
rate_hz: 20
horizon: 50
executed_steps: 16
cameras:
  - {slot: base_0_rgb, topic: /base/image_raw, rate_hz: 30}
  - {slot: wrist_0_rgb, topic: /wrist/image_raw/compressed, transport: compressed, rate_hz: 30}
state:
  - topic: /joint_states
    interface: joint_state
    rate_hz: 100
    joints:
      - {name: a, index: 0, range: [-3, 3]}
      - {name: b, index: 1}
      - {name: finger, index: 2}
  - topic: /odom
    interface: odometry
    rate_hz: 50
    joints:
      - {name: linear.x, index: 14}
actions:
  - group: arm
    output: joint_trajectory
    topic: /arm/joint_trajectory
    joints:
      - {name: a, index: 0, position: [-1, 1], velocity: 2, acceleration: 8, max_step: 0.2}
      - {name: b, index: 1, position: [-1, 1], velocity: 2, max_step: 0.2}
  - group: gripper
    output: gripper
    topic: /gripper/commands
    message: float64_multi_array
    deadband: 0.001
    joints:
      - {name: finger, index: 2, position: [0, 0.04], velocity: 0.1, max_step: 0.04}
  - group: base
    output: twist
    topic: /cmd_vel
    message: twist
    joints:
      - {name: linear.x, index: 14, velocity: 0.5, max_step: 0.5}
neutral:
  a: 0.0
  b: 0.5
  finger: 0.02
"""

CAMERA = '  - {slot: base_0_rgb, topic: /base/image_raw, rate_hz: 30}'
WRIST = 'slot: wrist_0_rgb, topic: /wrist/image_raw/compressed, transport: compressed'
STATE_A = '{name: a, index: 0, range: [-3, 3]}'
STATE_B = '{name: b, index: 1}'
ACTION_A = 'position: [-1, 1], velocity: 2, acceleration: 8, max_step: 0.2'
ACTION_B = '{name: b, index: 1, position: [-1, 1], velocity: 2, max_step: 0.2}'
FINGER = '{name: finger, index: 2, position: [0, 0.04], velocity: 0.1, max_step: 0.04}'
AXIS = '{name: linear.x, index: 14, velocity: 0.5, max_step: 0.5}'

# identifier: (text to replace, replacement, line, key, found, expected)
MISTAKES = {
    'other_schema': ('schema: 1', 'schema: 2', 1, 'schema', '2', '1'),
    'no_schema': ('schema: 1\n', '', 1, 'schema', 'nothing', 'an integer'),
    'text_for_a_number': (
        'rate_hz: 20', 'rate_hz: fast', 4, 'rate_hz', "'fast'", 'a number above 0',
    ),
    'quoted_number': ('rate_hz: 20', "rate_hz: '20'", 4, 'rate_hz', "'20'", 'a number above 0'),
    'rate_of_zero': ('rate_hz: 20', 'rate_hz: 0', 4, 'rate_hz', '0', 'a number above 0'),
    'infinite_rate': ('rate_hz: 20', 'rate_hz: .inf', 4, 'rate_hz', '.inf', 'a number above 0'),
    'octal_number': (
        'horizon: 50', 'horizon: 050', 5, 'horizon', '050', 'an integer of at least 1',
    ),
    'no_value': ('horizon: 50', 'horizon:', 5, 'horizon', 'nothing', 'an integer of at least 1'),
    'horizon_of_zero': (
        'horizon: 50', 'horizon: 0', 5, 'horizon', '0', 'an integer of at least 1',
    ),
    'no_executed_steps': (
        'executed_steps: 16\n', '', 1, 'executed_steps', 'nothing', 'an integer of at least 1',
    ),
    'no_steps_executed': (
        'executed_steps: 16', 'executed_steps: 0', 6, 'executed_steps', '0',
        'an integer of at least 1',
    ),
    'more_executed_than_the_horizon': (
        'executed_steps: 16', 'executed_steps: 51', 6, 'executed_steps', '51',
        'at most 50, the steps that are published',
    ),
    'more_executed_than_published': (
        'executed_steps: 16', 'executed_steps: 16\npublished_steps: 10', 6, 'executed_steps',
        '16', 'at most 10, the steps that are published',
    ),
    'more_published_than_the_horizon': (
        'executed_steps: 16', 'published_steps: 60\nexecuted_steps: 16', 6, 'published_steps',
        '60', 'at most the horizon, 50',
    ),
    'negative_lead': (
        'executed_steps: 16', 'executed_steps: 16\nlead_steps: -1', 7, 'lead_steps', '-1',
        'an integer of at least 0',
    ),
    'lead_beyond_the_published': (
        'executed_steps: 16', 'executed_steps: 16\nlead_steps: 50', 7, 'lead_steps', '50',
        'less than 50, the steps that are published',
    ),
    'bad_name': ('name: two_joints', 'name: two joints', 2, 'name', "'two joints'", 'a name of'),
    'name_that_is_a_number': ('name: two_joints', 'name: 2', 2, 'name', '2', 'a name of'),
    'unknown_key': (
        'executed_steps: 16', 'executed_step: 16', 6, 'executed_step', 'an unknown key', 'one of',
    ),
    'unknown_joint_key': (
        STATE_B, '{name: b, index: 1, offest: 2}', 16, 'state[0].joints[1].offest',
        'an unknown key', 'one of name, index, field, scale, offset, sign, range',
    ),
    'duplicate_key': (
        'horizon: 50', 'horizon: 50\nhorizon: 40', 6, 'horizon',
        'the key twice (first on line 5)', 'each key once',
    ),
    'no_cameras': (
        f'cameras:\n{CAMERA}\n  - {{{WRIST}, rate_hz: 30}}\n', 'cameras: []\n', 7, 'cameras',
        '[]', 'a list of at least one mapping',
    ),
    'cameras_as_a_mapping': (
        CAMERA, '  slot: base_0_rgb\nx_cameras:', 7, 'cameras', 'a mapping',
        'a list of at least one mapping',
    ),
    'camera_as_text': (CAMERA, '  - /base', 8, 'cameras[0]', "'/base'", 'a mapping'),
    'no_slot': ('slot: base_0_rgb, ', '', 8, 'cameras[0].slot', 'nothing', 'a name of'),
    'no_camera_rate': (
        'image_raw, rate_hz: 30', 'image_raw', 8, 'cameras[0].rate_hz', 'nothing',
        'a number above 0',
    ),
    'slot_twice': (
        'wrist_0_rgb', 'base_0_rgb', 9, 'cameras[1].slot',
        "'base_0_rgb' again (first on line 8, cameras[0].slot)", 'a slot of its own',
    ),
    'camera_topic_twice': (
        WRIST, 'slot: wrist_0_rgb, topic: /base/image_raw', 9, 'cameras[1].topic',
        "'/base/image_raw' again (first on line 8, cameras[0].topic)", 'a topic of its own',
    ),
    'bad_topic': (
        'topic: /base/image_raw', 'topic: /base//image_raw', 8, 'cameras[0].topic',
        "'/base//image_raw'", 'a ROS topic name',
    ),
    'topic_with_a_space': (
        'topic: /odom', 'topic: /odom twist', 18, 'state[1].topic', "'/odom twist'",
        'a ROS topic name',
    ),
    'unknown_transport': (
        'transport: compressed', 'transport: theora', 9, 'cameras[1].transport', "'theora'",
        'one of raw, compressed',
    ),
    'compressed_topic_with_raw_transport': (
        ', transport: compressed', '', 9, 'cameras[1].topic',
        "'/wrist/image_raw/compressed' with transport raw", '/compressed at the end exactly if',
    ),
    'raw_topic_with_compressed_transport': (
        'image_raw/compressed', 'image_raw', 9, 'cameras[1].topic',
        "'/wrist/image_raw' with transport compressed", '/compressed at the end exactly if',
    ),
    'bad_rotation': (
        CAMERA, CAMERA.replace('}', ', rotation_deg: 45}'), 8, 'cameras[0].rotation_deg', '45',
        'one of 0, 90, 180, 270',
    ),
    'bad_flip': (
        CAMERA, CAMERA.replace('}', ', flip: both}'), 8, 'cameras[0].flip', "'both'",
        'one of none, horizontal, vertical',
    ),
    'bad_stamp': (
        CAMERA, CAMERA.replace('}', ', stamp: now}'), 8, 'cameras[0].stamp', "'now'",
        'one of header, receive',
    ),
    'yes_for_true': (
        CAMERA, CAMERA.replace('}', ', required: yes}'), 8, 'cameras[0].required', 'yes',
        'true or false',
    ),
    'age_of_zero': (
        CAMERA, CAMERA.replace('}', ', max_age_s: 0}'), 8, 'cameras[0].max_age_s', '0',
        'a number above 0',
    ),
    'age_shorter_than_a_period': (
        CAMERA, CAMERA.replace('30}', '4}'), 8, 'cameras[0].max_age_s', '0.2',
        'more than one period at 4 Hz, 0.25',
    ),
    'negative_skew': (
        'horizon: 50', 'horizon: 50\nstaleness: {max_skew_s: -1}', 6, 'staleness.max_skew_s',
        '-1', 'a number above 0',
    ),
    'unknown_staleness_key': (
        'horizon: 50', 'horizon: 50\nstaleness: {max_age_s: 1}', 6, 'staleness.max_age_s',
        'an unknown key', 'one of image_max_age_s, state_max_age_s, max_skew_s',
    ),
    'unknown_interface': (
        'interface: odometry', 'interface: odom', 19, 'state[1].interface', "'odom'",
        'one of joint_state, odometry',
    ),
    'state_topic_twice': (
        'topic: /odom', 'topic: /joint_states', 18, 'state[1].topic',
        "'/joint_states' again (first on line 11, state[0].topic)", 'a topic of its own',
    ),
    'action_on_an_input_topic': (
        'topic: /cmd_vel', 'topic: /odom', 39, 'actions[2].topic',
        "'/odom' again (first on line 18, state[1].topic)", 'a topic of its own',
    ),
    'state_joint_twice': (
        STATE_B, '{name: a, index: 1}', 16, 'state[0].joints[1].name',
        "'a' again (first on line 15, state[0].joints[0].name)", 'a name of its own',
    ),
    'two_state_joints_on_one_index': (
        '{name: finger, index: 2}', '{name: finger, index: 1}', 17, 'state[0].joints[2].index',
        '1 again (first on line 16, state[0].joints[1].index)', 'an index of its own',
    ),
    'nineteenth_state_value': (
        STATE_B, '{name: b, index: 18}', 16, 'state[0].joints[1].index', '18',
        'an index from 0 to 17 (vector_dim is 18)',
    ),
    'negative_index': (
        STATE_B, '{name: b, index: -1}', 16, 'state[0].joints[1].index', '-1',
        'an index from 0 to 17',
    ),
    'fractional_index': (
        STATE_B, '{name: b, index: 1.0}', 16, 'state[0].joints[1].index', '1.0',
        'an index from 0 to 17',
    ),
    'bad_field': (
        STATE_B, '{name: b, index: 1, field: torque}', 16, 'state[0].joints[1].field',
        "'torque'", 'one of position, velocity, effort',
    ),
    'scale_of_zero': (
        STATE_B, '{name: b, index: 1, scale: 0.0}', 16, 'state[0].joints[1].scale', '0.0',
        'a number other than 0',
    ),
    'offset_not_a_number': (
        STATE_B, '{name: b, index: 1, offset: .nan}', 16, 'state[0].joints[1].offset', '.nan',
        'a number',
    ),
    'sign_of_two': (
        STATE_B, '{name: b, index: 1, sign: 2}', 16, 'state[0].joints[1].sign', '2',
        'one of 1, -1',
    ),
    'range_upside_down': (
        'range: [-3, 3]', 'range: [3, -3]', 15, 'state[0].joints[0].range', '[3, -3]',
        'two numbers [lower, upper] with lower below upper',
    ),
    'odometry_without_axis': (
        '{name: linear.x, index: 14}', '{name: wheel, index: 14}', 22,
        'state[1].joints[0].name', "'wheel'", 'one of linear.x, linear.y, linear.z, angular.x',
    ),
    'odometry_position': (
        '{name: linear.x, index: 14}', '{name: linear.x, index: 14, field: position}', 22,
        'state[1].joints[0].field', "'position'", 'one of velocity',
    ),
    'unknown_output': (
        'output: joint_trajectory', 'output: trajectory', 25, 'actions[0].output',
        "'trajectory'", 'one of joint_trajectory, twist, gripper',
    ),
    'group_twice': (
        'group: gripper', 'group: arm', 30, 'actions[1].group',
        "'arm' again (first on line 24, actions[0].group)", 'a group name of its own',
    ),
    'group_topic_twice': (
        'topic: /cmd_vel', 'topic: /gripper/commands', 39, 'actions[2].topic',
        "'/gripper/commands' again (first on line 32, actions[1].topic)", 'a topic of its own',
    ),
    'no_message_of_a_base': (
        '    message: twist\n', '', 37, 'actions[2].message', 'nothing',
        'one of twist, twist_stamped',
    ),
    'wrong_message_of_a_gripper': (
        'message: float64_multi_array', 'message: twist', 33, 'actions[1].message', "'twist'",
        'one of joint_trajectory, float64_multi_array, gripper_command, parallel_gripper_command',
    ),
    'effort_of_a_gripper_on_a_topic': (
        '    deadband: 0.001\n', '    deadband: 0.001\n    max_effort: 5\n', 35,
        'actions[1].max_effort', 'an unknown key', 'one of output, message, group, topic',
    ),
    'effort_of_zero': (
        '    message: float64_multi_array\n',
        '    message: gripper_command\n    max_effort: 0\n', 34, 'actions[1].max_effort', '0',
        'a number above 0',
    ),
    'gripper_command_of_two_joints': (
        f'    message: float64_multi_array\n    deadband: 0.001\n    joints:\n      - {FINGER}\n',
        '    message: gripper_command\n    deadband: 0.001\n    joints:\n'
        f'      - {FINGER}\n      - {FINGER.replace("finger, index: 2", "thumb, index: 3")}\n', 35,
        'actions[1].joints', '2 joints with message gripper_command', 'one joint',
    ),
    'speed_without_unit': (
        'cameras:', 'speed_scaling: {topic: /speed, message: float64}\ncameras:', 7,
        'speed_scaling.unit', 'nothing', 'one of fraction, percent',
    ),
    'unit_of_a_controller_state': (
        'cameras:',
        'speed_scaling: {topic: /speed, message: controller_state, unit: percent}\ncameras:', 7,
        'speed_scaling.unit', 'an unknown key', 'one of message, topic, required, max_age_s',
    ),
    'wrong_message_of_the_speed': (
        'cameras:', 'speed_scaling: {topic: /speed, message: float32}\ncameras:', 7,
        'speed_scaling.message', "'float32'", 'one of float64, controller_state',
    ),
    'speed_without_topic': (
        'cameras:', 'speed_scaling: {message: controller_state}\ncameras:', 7,
        'speed_scaling.topic', 'nothing', 'a ROS topic name',
    ),
    'speed_on_a_topic_of_the_state': (
        'cameras:', 'speed_scaling: {topic: /odom, message: controller_state}\ncameras:', 7,
        'speed_scaling.topic', "'/odom' again (first on line 19, state[1].topic)",
        'a topic of its own',
    ),
    'speed_that_is_always_stale': (
        'cameras:',
        'speed_scaling: {topic: /s, message: controller_state, max_age_s: 0}\ncameras:', 7,
        'speed_scaling.max_age_s', '0', 'a number above 0',
    ),
    'no_deadband': (
        '    deadband: 0.001\n', '', 30, 'actions[1].deadband', 'nothing',
        'a number of at least 0',
    ),
    'deadband_of_an_arm': (
        'topic: /arm/joint_trajectory', 'topic: /arm/joint_trajectory\n    deadband: 0.1', 27,
        'actions[0].deadband', 'an unknown key', 'one of output, message, group, topic',
    ),
    'no_limits_of_an_arm': (
        ACTION_A, 'velocity: 2, max_step: 0.2', 28, 'actions[0].joints[0].position', 'nothing',
        'two numbers [lower, upper] with lower below upper',
    ),
    'no_limits_of_a_gripper': (
        'position: [0, 0.04], ', '', 36, 'actions[1].joints[0].position', 'nothing',
        'two numbers [lower, upper] with lower below upper',
    ),
    'limits_of_one_number': (
        ACTION_A, ACTION_A.replace('[-1, 1]', '1'), 28, 'actions[0].joints[0].position', '1',
        'two numbers [lower, upper] with lower below upper',
    ),
    'limits_upside_down': (
        ACTION_A, ACTION_A.replace('[-1, 1]', '[1, -1]'), 28, 'actions[0].joints[0].position',
        '[1, -1]', 'two numbers [lower, upper] with lower below upper',
    ),
    'limits_of_a_twist': (
        AXIS, AXIS.replace('}', ', position: [-1, 1]}'), 42, 'actions[2].joints[0].position',
        'an unknown key', 'one of name, index, scale, offset, sign, velocity, acceleration',
    ),
    'negative_velocity': (
        ACTION_A, ACTION_A.replace('velocity: 2', 'velocity: -2'), 28,
        'actions[0].joints[0].velocity', '-2', 'a number above 0',
    ),
    'acceleration_of_zero': (
        ACTION_A, ACTION_A.replace('8', '0'), 28, 'actions[0].joints[0].acceleration', '0',
        'a number above 0',
    ),
    'step_of_zero': (
        ACTION_A, ACTION_A.replace('0.2', '0'), 28, 'actions[0].joints[0].max_step', '0',
        'a number above 0',
    ),
    'no_step': (
        ', max_step: 0.5', '', 42, 'actions[2].joints[0].max_step', 'nothing',
        'a number above 0',
    ),
    'twist_without_axis': (
        AXIS, AXIS.replace('linear.x', 'x'), 42, 'actions[2].joints[0].name', "'x'",
        'one of linear.x, linear.y, linear.z',
    ),
    'workspace_of_no_odometry': (
        '    message: twist\n',
        '    message: twist\n    workspace: {topic: /joint_states, x: [-1, 1], y: [-1, 1]}\n', 41,
        'actions[2].workspace.topic', "'/joint_states'",
        'an odometry topic of the state: /odom',
    ),
    'workspace_without_width': (
        '    message: twist\n', '    message: twist\n    workspace: {topic: /odom, x: [-1, 1]}\n',
        41, 'actions[2].workspace.y', 'nothing', 'two numbers [lower, upper]',
    ),
    'workspace_inside_out': (
        '    message: twist\n',
        '    message: twist\n    workspace: {topic: /odom, x: [1, -1], y: [-1, 1]}\n', 41,
        'actions[2].workspace.x', '[1, -1]', 'two numbers [lower, upper] with lower below upper',
    ),
    'workspace_of_an_arm': (
        'topic: /arm/joint_trajectory',
        'topic: /arm/joint_trajectory\n    workspace: {topic: /odom, x: [-1, 1], y: [-1, 1]}', 27,
        'actions[0].workspace', 'an unknown key', 'one of output, message, group, topic',
    ),
    'twist_axis_twice': (
        AXIS, f'{AXIS}\n      - {AXIS.replace("14", "15")}', 43, 'actions[2].joints[1].name',
        "'linear.x' again (first on line 42, actions[2].joints[0].name)", 'a name of its own',
    ),
    'joint_in_two_groups': (
        FINGER, FINGER.replace('finger', 'b'), 36, 'actions[1].joints[0].name',
        "'b' again (first on line 29, actions[0].joints[1].name)", 'a name of its own',
    ),
    'two_action_joints_on_one_index': (
        FINGER, FINGER.replace('index: 2', 'index: 1'), 36, 'actions[1].joints[0].index',
        '1 again (first on line 29, actions[0].joints[1].index)', 'an index of its own',
    ),
    'nineteenth_action_value': (
        FINGER, FINGER.replace('index: 2', 'index: 18'), 36, 'actions[1].joints[0].index', '18',
        'an index from 0 to 17 (vector_dim is 18)',
    ),
    'no_neutral': (
        'neutral:\n  a: 0.0\n  b: 0.5\n  finger: 0.02\n', '', 1, 'neutral', 'nothing',
        'a mapping',
    ),
    'joint_without_neutral': (
        '  b: 0.5\n', '', 43, 'neutral.b', 'nothing', 'its neutral position within [-1, 1]',
    ),
    'neutral_of_an_unknown_joint': (
        '  b: 0.5\n', '  b: 0.5\n  fingre: 0\n', 46, 'neutral.fingre',
        'a joint that no action controls in position', 'one of a, b, finger',
    ),
    'neutral_of_a_twist': (
        '  b: 0.5\n', '  b: 0.5\n  linear.x: 0\n', 46, 'neutral.linear.x',
        'a joint that no action controls in position', 'one of a, b, finger',
    ),
    'neutral_outside_the_limits': (
        '  b: 0.5\n', '  b: 1.5\n', 45, 'neutral.b', '1.5', 'a position within [-1, 1]',
    ),
    'action_scaled_unlike_the_state': (
        STATE_B, '{name: b, index: 1, scale: 2}', 29, 'actions[0].joints[1].scale', '1',
        '2, as in state[0].joints[1] (line 16)',
    ),
    'action_shifted_unlike_the_state': (
        ACTION_B, ACTION_B.replace('index: 1', 'index: 1, offset: 0.5'), 29,
        'actions[0].joints[1].offset', '0.5', '0, as in state[0].joints[1] (line 16)',
    ),
    'action_mirrored_unlike_the_state': (
        AXIS, AXIS.replace('14', '14, sign: -1'), 42, 'actions[2].joints[0].sign', '-1',
        '1, as in state[1].joints[0] (line 22)',
    ),
    'state_is_the_velocity': (
        STATE_B, '{name: b, index: 1, field: velocity}', 29, 'actions[0].joints[1].index',
        "1, which is the velocity of 'b' in state[0].joints[1] (line 16)",
        "the index of the position of 'b' in the state",
    ),
    'joints_swapped_between_state_and_actions': (
        f'{STATE_A}\n      - {STATE_B}',
        f'{STATE_A.replace("index: 0", "index: 1")}\n      - {STATE_B.replace("1", "0")}', 28,
        'actions[0].joints[0].index',
        "0, which is the position of 'b' in state[0].joints[1] (line 16)",
        "the index of the position of 'a' in the state",
    ),
    'arm_joint_without_state': (
        f'      - {STATE_B}\n', '', 28, 'actions[0].joints[1].index',
        '1, which no joint of the state has',
        "an index at which the state has the position of 'b'",
    ),
}  # fmt: skip


def load_text(tmp_path, text):
    path = tmp_path / 'robot.yaml'
    path.write_text(text, encoding='utf-8')
    return load_embodiment(path)


def failure(tmp_path, text):
    with pytest.raises(EmbodimentError) as caught:
        load_text(tmp_path, text)
    return str(caught.value)


def test_the_file_without_mistakes_loads(tmp_path):
    robot = load_text(tmp_path, GOOD)
    assert (robot.action_width, robot.state_width) == (15, 15)


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_named_with_file_line_key_found_and_expected(tmp_path, mistake):
    before, after, line, key, found, expected = MISTAKES[mistake]
    assert GOOD.count(before) >= 1
    message = failure(tmp_path, GOOD.replace(before, after, 1))
    assert f'{tmp_path}/robot.yaml:{line}: {key}: found {found}, expected {expected}' in message


def test_unknown_key_suggests_the_nearest(tmp_path):
    message = failure(tmp_path, GOOD.replace('executed_steps', 'excuted_steps'))
    assert "Did you mean 'executed_steps'?" in message


def test_wider_robot_is_possible_with_a_wider_vector(tmp_path):
    text = GOOD.replace('index: 14', 'index: 18').replace('horizon', 'vector_dim: 32\nhorizon')
    robot = load_text(tmp_path, text)
    assert (robot.vector_dim, robot.action_width) == (32, 19)


def test_all_mistakes_are_listed_in_the_order_of_the_file(tmp_path):
    text = GOOD.replace('rate_hz: 20', 'rate_hz: 0').replace('deadband: 0.001', 'deadband: -1')
    message = failure(tmp_path, text.replace('finger: 0.02', 'finger: closed'))
    first, *rest = message.splitlines()
    assert first == f'3 mistakes in {tmp_path}/robot.yaml:'
    assert [line.split(': ')[1] for line in rest] == [
        'rate_hz',
        'actions[1].deadband',
        'neutral.finger',
    ]


def test_another_schema_is_reported_alone(tmp_path):
    message = failure(tmp_path, GOOD.replace('schema: 1', 'schema: 2').replace('name:', 'title:'))
    assert message.count('found') == 1
