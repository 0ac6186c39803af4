"""Controllers: who listens, their joints, and the parameters that chunk streaming needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.doctor.facts import Endpoint, Listener, PolicyFacts
from pizero_ros.doctor.judge_controllers import judge_controllers
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.embodiment.schema import Workspace

TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
TOPIC = '/arm_controller/joint_trajectory'
ARM = [f'joint_{k}' for k in range(1, 7)]
GRIPPER = {'joints': ['gripper_joint'], 'interface_name': 'position'}


def test_stock_controllers_set_up_for_chunks_are_right(arm, facts, wrong):
    findings = judge_controllers(arm, facts)
    assert wrong(findings) == []
    assert {each.check for each in findings} >= {'controller', 'source', 'joints', 'desired state'}


@pytest.mark.parametrize(
    ('parameters', 'named'),
    [
        ({'interpolate_from_desired_state': False}, 'interpolate_from_desired_state'),
        ({'open_loop_control': False}, 'open_loop_control'),
        (
            {'interpolate_from_desired_state': False, 'open_loop_control': False},
            'interpolate_from_desired_state',
        ),
        (
            {'interpolate_from_desired_state': False, 'allow_trajectory_replacement': False},
            'interpolate_from_desired_state',
        ),
    ],
    ids=['kilted', 'humble', 'jazzy', 'rolling'],
)
def test_starting_at_the_measured_state_is_an_error(arm, spoil_group, wrong, parameters, named):
    facts = spoil_group('arm', parameters={'joints': ARM, **parameters})
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'desired state')
    assert finding.expected == f'{named}: true'
    assert f'`{named}: true` under /arm_controller' in finding.remedy


@pytest.mark.parametrize(
    'parameters',
    [
        {'open_loop_control': True},
        {'interpolate_from_desired_state': False, 'open_loop_control': True},
        {'interpolate_from_desired_state': False, 'allow_trajectory_replacement': True},
    ],
    ids=['humble', 'jazzy', 'rolling'],
)
def test_every_way_to_start_at_the_desired_state_is_right(arm, spoil_group, wrong, parameters):
    facts = spoil_group('arm', parameters={'joints': ARM, **parameters})
    assert wrong(judge_controllers(arm, facts)) == []


def test_unanswered_parameter_services_are_unknown_not_right(arm, spoil_group, wrong):
    findings = judge_controllers(arm, spoil_group('arm', parameters=None))
    (finding,) = wrong(findings)
    assert (finding.severity, finding.check) == ('unknown', 'parameters')
    assert 'ros2 param dump /arm_controller' in finding.remedy
    own = [each.check for each in findings if each.subject == TOPIC and each.severity == 'ok']
    assert own == ['source', 'controller']


def test_controller_without_these_parameters_is_unknown(arm, spoil_group, wrong):
    findings = wrong(judge_controllers(arm, spoil_group('arm', parameters={})))
    assert [(each.severity, each.check) for each in findings] == [
        ('unknown', 'joints'),
        ('unknown', 'desired state'),
    ]


def test_joint_that_the_controller_lacks_is_an_error(arm, spoil_group, wrong, stock):
    theirs = [*ARM[:5], 'joint6']
    facts = spoil_group('arm', parameters=stock | {'joints': theirs})
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'joints')
    assert 'not joint_6: it refuses every command' in finding.found
    assert "Did you mean 'joint6'?" in finding.remedy


def test_partial_joints_need_permission(arm, spoil_group, wrong, stock):
    more = stock | {'joints': [*ARM, 'joint_7']}
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', parameters=more)))
    assert finding.severity == 'error'
    assert 'joint_7 is not commanded' in finding.found
    assert '`allow_partial_joints_goal: true`' in finding.remedy
    allowed = more | {'allow_partial_joints_goal': True}
    assert wrong(judge_controllers(arm, spoil_group('arm', parameters=allowed))) == []


def test_joints_of_a_trajectory_may_come_in_any_order(arm, spoil_group, wrong, stock):
    facts = spoil_group('arm', parameters=stock | {'joints': ARM[::-1]})
    assert wrong(judge_controllers(arm, facts)) == []


def test_values_without_names_need_the_controllers_order(arm, wrong, healthy, change_group):
    embodiment = load_embodiment('sim_single_arm')
    gripper = embodiment.actions[1]
    second = replace(gripper.joints[0], name='other_joint', index=7)
    two = replace(gripper, joints=(*gripper.joints, second))
    embodiment = replace(embodiment, actions=(embodiment.actions[0], two))
    turned = GRIPPER | {'joints': ['other_joint', 'gripper_joint']}
    facts = change_group(healthy(embodiment), 'gripper', parameters=turned)
    (finding,) = wrong(judge_controllers(embodiment, facts))
    assert (finding.severity, finding.check) == ('error', 'joints')
    assert finding.expected == 'gripper_joint, other_joint in this order'


def test_forwarding_to_another_interface_is_an_error(arm, spoil_group, wrong):
    facts = spoil_group('gripper', parameters=GRIPPER | {'interface_name': 'effort'})
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'interface_name')


def test_no_interpolation_is_an_error(arm, spoil_group, wrong, stock):
    facts = spoil_group('arm', parameters=stock | {'interpolation_method': 'none'})
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'interpolation_method')


def test_end_velocity_is_told_where_velocities_are_sent(arm, wrong, healthy):
    group = replace(arm.actions[0], velocities=True)
    embodiment = replace(arm, actions=(group, arm.actions[1]))
    findings = judge_controllers(embodiment, healthy(embodiment))
    assert wrong(findings) == []
    (finding,) = [each for each in findings if each.check == 'end velocity']
    assert finding.found == '/arm_controller takes only a zero velocity at the end; zero is sent'


def test_nobody_who_subscribes_is_an_error_with_a_suggestion(arm, spoil_group, wrong):
    facts = spoil_group('arm', listeners=(), elsewhere=('/arm/joint_trajectory',))
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'controller')
    assert "Did you mean '/arm/joint_trajectory'?" in finding.remedy


def test_subscription_of_another_type_is_an_error(arm, spoil_group, wrong, stock):
    other = Listener(Endpoint('/arm_controller', 'std_msgs/msg/String'), stock)
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', listeners=(other,))))
    assert (finding.severity, finding.check, finding.expected) == ('error', 'type', TRAJECTORY)


def test_recorder_alone_is_no_controller(arm, spoil_group, wrong):
    recorder = Listener(Endpoint('/rosbag2_recorder', TRAJECTORY), {})
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', listeners=(recorder,))))
    assert (finding.severity, finding.check) == ('unknown', 'controller')


def test_recorder_beside_a_controller_is_left_alone(arm, facts, spoil_group, wrong):
    recorder = Listener(Endpoint('/rosbag2_recorder', TRAJECTORY), {})
    both = (recorder, facts.groups[0].listeners[0])
    assert wrong(judge_controllers(arm, spoil_group('arm', listeners=both))) == []


def test_two_controllers_on_a_topic_are_an_error(arm, spoil_group, wrong, stock):
    two = tuple(Listener(Endpoint(f'/{name}', TRAJECTORY), stock) for name in ('a', 'b'))
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', listeners=two)))
    assert (finding.severity, finding.found) == ('error', '2 controllers listen: /a, /b')


def test_inactive_controller_is_an_error(arm, spoil_group, wrong):
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', state='inactive')))
    assert (finding.severity, finding.check) == ('error', 'state')
    assert 'ros2 control set_controller_state arm_controller active' in finding.remedy


def test_controller_manager_that_cannot_be_asked_is_unknown(arm, facts, wrong):
    mute = replace(facts, manager_problem='/controller_manager/list_controllers: no module')
    (finding,) = wrong(judge_controllers(arm, mute))
    assert (finding.severity, finding.subject) == ('unknown', 'controller_manager')


def test_subscription_that_gets_nothing_is_an_error(arm, spoil_group, wrong, stock):
    deaf = Endpoint('/arm_controller', TRAJECTORY, 'Volatile publisher and transient local')
    facts = spoil_group('arm', listeners=(Listener(deaf, stock),))
    (finding,) = wrong(judge_controllers(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'qos')


def test_second_source_of_commands(arm, spoil_group, wrong):
    slider = (Endpoint('/rqt_joint_trajectory_controller', TRAJECTORY),)
    (finding,) = wrong(judge_controllers(arm, spoil_group('arm', publishers=slider)))
    assert (finding.severity, finding.check) == ('warning', 'source')
    speaking = spoil_group('arm', publishers=slider, commands=50)
    (finding,) = wrong(judge_controllers(arm, speaking))
    assert finding.severity == 'error'
    assert '50 messages in 5.0 s' in finding.found
    moving = replace(speaking, policy=PolicyFacts('/policy_node', state='running'))
    (finding,) = wrong(judge_controllers(arm, moving))
    assert finding.severity == 'warning'


@pytest.mark.parametrize(
    ('parameters', 'consequence'),
    [
        ({'cmd_vel_timeout': 0.5}, ''),
        ({'cmd_vel_timeout': 0.0}, 'drives on when commands stop'),
        ({'reference_timeout': 0.0}, 'stops between commands'),
    ],
)
def test_time_out_of_a_base(wrong, parameters, consequence, healthy, change_group):
    embodiment = load_embodiment('sim_mobile')
    base = next(group for group in embodiment.actions if group.output == 'twist')
    embodiment = replace(embodiment, actions=(base,))
    facts = change_group(healthy(embodiment), base.name, parameters=parameters)
    findings = wrong(judge_controllers(embodiment, facts))
    assert [each.severity for each in findings] == (['warning'] if consequence else [])
    assert all(consequence in each.found for each in findings)


def test_base_outside_its_workspace_is_a_warning(wrong, healthy, change_group):
    embodiment = load_embodiment('sim_mobile')
    base = next(group for group in embodiment.actions if group.output == 'twist')
    area = Workspace('/base_controller/odom', (-1.0, 1.0), (0.0, 2.0))
    embodiment = replace(embodiment, actions=(replace(base, workspace=area),))
    facts = change_group(healthy(embodiment), base.name, parameters={}, base_at=(0.5, 0.5))
    assert wrong(judge_controllers(embodiment, facts)) == []
    outside = change_group(facts, base.name, base_at=(0.5, -0.25))
    (finding,) = wrong(judge_controllers(embodiment, outside))
    assert (finding.severity, finding.found) == ('warning', 'the base is at x 0.50, y -0.25')
    assert 'y 0 to 2' in finding.expected


def test_gripper_action_needs_a_server_of_its_type(arm, wrong, healthy, change_group):
    gripper = replace(
        arm.actions[1], message='gripper_command', topic='/gripper_controller/gripper_cmd'
    )
    embodiment = replace(arm, actions=(gripper,))
    action = 'control_msgs/action/GripperCommand'
    server = Listener(Endpoint('/gripper_controller', action), {'joint': 'gripper_joint'})
    facts = change_group(healthy(embodiment), 'gripper', type=action, listeners=(server,))
    findings = judge_controllers(embodiment, facts)
    assert wrong(findings) == []
    assert {each.check for each in findings} == {'controller', 'joints'}
    other = replace(server, parameters={'joint': 'finger_joint'})
    (finding,) = wrong(
        judge_controllers(embodiment, change_group(facts, 'gripper', listeners=(other,)))
    )
    assert (finding.severity, finding.check) == ('error', 'joints')
    nobody = change_group(facts, 'gripper', listeners=(), elsewhere=('/hand/gripper_cmd',))
    (finding,) = wrong(judge_controllers(embodiment, nobody))
    assert (finding.severity, finding.found) == ('error', 'nobody serves the action')
    assert '/hand/gripper_cmd' in finding.remedy


def test_types_that_this_machine_lacks_are_an_error(arm, facts, wrong):
    (finding,) = wrong(judge_controllers(arm, replace(facts, types_problem='no control_msgs')))
    assert (finding.severity, finding.subject) == ('error', 'control_msgs')
