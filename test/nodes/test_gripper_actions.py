"""Gripper goals as actions: sent on change, never waited for, and their fate is told."""

from __future__ import annotations

import itertools
import sys
import threading
from types import SimpleNamespace

import pytest
from pizero_ros.msg import PolicyStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EnvironmentFault
from pizero_ros.nodes.control_messages import require_control_msgs

TOPIC = '/gripper_controller/gripper_cmd'
ABSENT = (
    'actions[1].message: found ',
    'expected the type control_msgs/action/GripperCommand on this machine',
    '-control-msgs and source ROS again',
)


def as_action(message='gripper_command', deadband=1.0, **keys):
    """A change of an embodiment: its gripper takes an action."""

    def change(content):
        group = content['actions'][1]
        group |= {'message': message, 'topic': TOPIC, 'deadband': deadband} | keys

    return change


@pytest.fixture
def without_control_msgs(monkeypatch):
    for name in ('control_msgs', 'control_msgs.action', 'control_msgs.msg'):
        monkeypatch.setitem(sys.modules, name, None)


def test_robot_without_such_a_gripper_needs_no_control_msgs(without_control_msgs):
    require_control_msgs(load_embodiment('sim_single_arm'))
    require_control_msgs(load_embodiment('ur5e'))


def test_absent_control_msgs_is_named_with_the_package_to_install(
    without_control_msgs, embodiment_file, tmp_path
):
    path = embodiment_file(tmp_path, change=as_action())
    with pytest.raises(EnvironmentFault) as raised:
        require_control_msgs(load_embodiment(path))
    assert all(text in str(raised.value) for text in (str(path), *ABSENT))


def test_absent_control_msgs_is_named_for_the_state_of_a_controller(
    without_control_msgs, embodiment_file, tmp_path
):
    def change(content):
        content['speed_scaling'] = {
            'topic': '/arm/controller_state',
            'message': 'controller_state',
        }

    path = embodiment_file(tmp_path, change=change)
    with pytest.raises(
        EnvironmentFault, match=r'speed_scaling\.message: .*control_msgs/msg/Joint'
    ):
        require_control_msgs(load_embodiment(path))


def test_configure_fails_and_says_why_where_control_msgs_is_absent(
    without_control_msgs, robot, embodiment_file, tiny_bundle, tmp_path
):
    path = embodiment_file(tmp_path, change=as_action())
    robot.run_policy(embodiment=str(path), bundle=str(tiny_bundle), prompt='wave')
    assert not robot.configure()
    robot.until(lambda: robot.logged(*ABSENT))


# With control_msgs


@pytest.fixture
def control_msgs():
    reason = 'control_msgs is not installed, and there is no wheel of it'
    return pytest.importorskip('control_msgs.action', reason=reason)


@pytest.fixture
def gripper(robot, control_msgs):
    """Give a starter of a gripper's action server; what it does with goals may be changed."""
    servers = []

    def serve(kind='GripperCommand'):
        state = SimpleNamespace(goals=[], accepts=True, ends='succeed', never=Future())
        state.changed = threading.Event()

        def judge(goal):
            state.goals.append(goal.command)
            return GoalResponse.ACCEPT if state.accepts else GoalResponse.REJECT

        async def execute(handle):
            if state.ends == 'never':
                await state.never
            getattr(handle, 'abort' if state.ends == 'abort' else 'succeed')()
            return getattr(control_msgs, kind).Result()

        server = ActionServer(
            robot.node,
            getattr(control_msgs, kind),
            TOPIC,
            execute,
            goal_callback=judge,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        servers.append((server, state))
        return state

    yield serve
    for server, state in servers:
        state.never.set_result(None)
        server.destroy()


def moves_on(robot):
    moved = len(robot.motions())
    robot.until(lambda: len(robot.motions()) >= moved + 2)
    assert robot.status.state == PolicyStatus.STATE_RUNNING


def test_gripper_command_is_told_once_while_it_does_not_change(robot, gripper, start):
    state = gripper()
    start(change=as_action(max_effort=20.0))
    robot.until(lambda: len(robot.motions()) >= 4)
    (goal,) = state.goals
    neutral = robot.embodiment.neutral['gripper_joint']
    assert goal.position == pytest.approx(neutral, abs=1.0)
    assert goal.position != 0.0
    assert goal.max_effort == 20.0
    assert list(robot.status.intervention_names) == []


def test_goals_that_change_are_sent_though_the_first_never_ends(robot, gripper, start):
    state = gripper()
    state.ends = 'never'
    start(change=as_action(deadband=0.004))
    robot.until(lambda: len(state.goals) >= 3)
    moves_on(robot)
    positions = [goal.position for goal in state.goals]
    assert min(abs(b - a) for a, b in itertools.pairwise(positions)) > 0.004
    assert {goal.max_effort for goal in state.goals} == {0.0}


@pytest.mark.parametrize(('effort', 'sent'), [({'max_effort': 5.0}, [5.0]), ({}, [])])
def test_parallel_gripper_command_names_its_joints(robot, gripper, start, effort, sent):
    state = gripper('ParallelGripperCommand')
    start(change=as_action('parallel_gripper_command', **effort))
    (goal,) = robot.until(lambda: state.goals)
    assert goal.name == ['gripper_joint']
    assert len(goal.position) == 1
    assert list(goal.velocity) == []
    assert list(goal.effort) == sent


def test_rejected_goal_is_counted_and_the_arm_goes_on(robot, gripper, start):
    state = gripper()
    state.accepts = False
    start(change=as_action())
    robot.until(lambda: robot.status and robot.counted('gripper.goal_rejected'))
    moves_on(robot)
    # It is not tried again until the policy wants something else.
    assert len(state.goals) == 1
    assert robot.counted('gripper.goal_rejected') == 1
    robot.until(lambda: robot.logged('gripper.goal_rejected', f'{TOPIC}: the server has rejected'))
    values = {pair.key: pair.value for pair in robot.diagnosis('policy').values}
    assert values['intervention gripper.goal_rejected'] == '1'


def test_aborted_goal_is_counted_and_the_arm_goes_on(robot, gripper, start):
    gripper().ends = 'abort'
    start(change=as_action())
    robot.until(lambda: robot.status and robot.counted('gripper.goal_aborted') == 1)
    moves_on(robot)


def test_goal_reaches_a_server_that_comes_later_and_its_absence_is_named_once(
    robot, gripper, start
):
    start(change=as_action())
    robot.until(lambda: robot.status and robot.counted('gripper.no_server'))
    robot.until(lambda: robot.logged(f'{TOPIC}: no action server of this name and type'))
    moves_on(robot)
    state = gripper()
    robot.until(lambda: state.goals)
    moves_on(robot)
    assert robot.counted('gripper.no_server') == 1
    assert len(state.goals) == 1


def test_factor_of_a_controllers_state_is_heeded(robot, control_msgs, start):
    from control_msgs.msg import JointTrajectoryControllerState

    topic = '/arm_controller/controller_state'
    publisher = robot.node.create_publisher(JointTrajectoryControllerState, topic, 10)
    state = JointTrajectoryControllerState(speed_scaling_factor=0.0)
    robot._every(0.02, lambda: publisher.publish(state))

    def change(content):
        content['speed_scaling'] = {'topic': topic, 'message': 'controller_state'}

    start(change=change)
    robot.wait_for_state(PolicyStatus.STATE_HOLDING, f'{topic}: the controllers stand still')
    assert robot.motions() == []
    state.speed_scaling_factor = 1.0
    robot.until(lambda: len(robot.motions()) >= 2)
