"""What the demonstrator commanded, from whatever topic says it."""

import numpy as np
import pytest
from bags import (
    JOINTS,
    PERIOD_NS,
    START_NS,
    Types,
    commanded,
    demonstration,
    measured,
    write,
    write_embodiment,
)

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError
from pizero_ros.replay.action_topics import RELATIVE, find_actions
from pizero_ros.replay.bag import open_bag

STEPS = 30
CONTROLLER = 'trajectory_msgs/msg/JointTrajectory'


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(write_embodiment(tmp_path))


def actions(tmp_path, robot, messages, choice='auto'):
    path = write(tmp_path / 'bag', messages)
    with open_bag(path) as bag:
        return find_actions(bag, robot, choice)


def moments(*steps):
    return START_NS + np.round(np.array(steps) * PERIOD_NS).astype(np.int64)


def test_joint_state_topic_that_names_all_joints_is_found(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS))
    assert found.words == '/demo/action'
    np.testing.assert_array_equal(found.at(moments(0, 7)), [commanded(0), commanded(7)])
    np.testing.assert_array_equal(found.moments(), moments(*range(STEPS)))


def test_between_two_actions_lies_a_straight_line(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS))
    middle = 0.25 * commanded(3) + 0.75 * commanded(4)
    np.testing.assert_allclose(found.at(moments(3.75))[0], middle, atol=1e-9)


def test_nothing_is_known_outside_the_recording(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS))
    outside = found.at(moments(-1, STEPS, STEPS + 50))
    assert np.isnan(outside).all()
    held = found.at(moments(STEPS + 50), extended=True)[0]
    np.testing.assert_array_equal(held, commanded(STEPS - 1))
    # Stamps are rounded: what misses an end by less than a tenth of a step is at it.
    rounded = found.at(np.array([START_NS - 100, START_NS + (STEPS - 1) * PERIOD_NS + 100]))
    np.testing.assert_array_equal(rounded, [commanded(0), commanded(STEPS - 1)])


def test_what_is_given_at_a_moment_is_not_before_it(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS))
    np.testing.assert_array_equal(
        found.before(int(moments(5)[0]), 2), [commanded(3), commanded(4)]
    )
    first = found.before(int(moments(1)[0]), 2)
    assert np.isnan(first[0]).all()
    np.testing.assert_array_equal(first[1], commanded(0))


def test_state_as_action_is_the_motion_itself(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS), 'state')
    assert found.words == 'the measured state (/arm/joint_states, /finger/joint_states)'
    np.testing.assert_array_equal(found.at(moments(9))[0], measured(9))


def test_two_candidates_are_an_error_that_names_both(tmp_path, robot):
    def doubled():
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            yield topic, msgtype, time_ns, message
            if topic == '/demo/action':
                yield '/leader/joint_states', msgtype, time_ns, message

    with pytest.raises(BagError, match=r'2 topics .*: /demo/action, /leader/joint_states'):
        actions(tmp_path, robot, doubled())
    (tmp_path / 'again').mkdir()
    found = actions(tmp_path / 'again', robot, doubled(), '/leader/joint_states')
    assert found.words == '/leader/joint_states'


def test_no_actions_is_an_error_with_the_ways_out(tmp_path, robot):
    with pytest.raises(BagError, match='--actions TOPIC, or --actions state'):
        actions(tmp_path, robot, demonstration(STEPS, skip=('/demo/action',)))


def test_mistyped_topic_is_an_error_with_a_suggestion(tmp_path, robot):
    with pytest.raises(BagError, match="Did you mean '/demo/action'"):
        actions(tmp_path, robot, demonstration(STEPS), '/demo/actions')


def test_topic_of_another_type_is_an_error(tmp_path, robot):
    with pytest.raises(BagError, match='found sensor_msgs/msg/Image'):
        actions(tmp_path, robot, demonstration(STEPS), '/front/image_raw')


def test_joint_on_two_topics_is_an_error(tmp_path, robot):
    with pytest.raises(BagError, match='finger twice'):
        actions(tmp_path, robot, demonstration(STEPS), '/demo/action,/finger/joint_states')


def test_named_topic_may_leave_joints_out_and_that_is_said(tmp_path, robot):
    found = actions(tmp_path, robot, demonstration(STEPS), '/arm/joint_states')
    assert found.words == '/arm/joint_states; not recorded: finger'
    values = found.at(moments(4))[0]
    np.testing.assert_array_equal(values[:2], measured(4)[:2])
    assert np.isnan(values[2])


def commands(types, *, point_tfs_ns=(PERIOD_NS,)):
    """Commands as controllers get them: arm trajectories each step, gripper goals on change."""
    told = None
    for topic, msgtype, time_ns, message in demonstration(STEPS, types, skip=('/demo/action',)):
        yield topic, msgtype, time_ns, message
        if topic != '/arm/joint_states':
            continue
        step = (time_ns - START_NS) // PERIOD_NS
        points = [commanded(step + n)[:2] for n in range(len(point_tfs_ns))]
        yield (
            '/arm_controller/joint_trajectory',
            CONTROLLER,
            time_ns,
            types.trajectory(0, ('elbow', 'shoulder'), [p[::-1] for p in points], point_tfs_ns),
        )
        if commanded(step)[2] != told:
            told = commanded(step)[2]
            goal = types.values([told])
            yield '/gripper_controller/commands', 'std_msgs/msg/Float64MultiArray', time_ns, goal


def test_commands_of_the_controllers_are_followed_as_the_controllers_would(tmp_path, robot):
    found = actions(tmp_path, robot, commands(Types()))
    assert found.words == '/arm_controller/joint_trajectory, /gripper_controller/commands'
    # Each point is due one period after it was sent.
    np.testing.assert_allclose(found.at(moments(6))[0][:2], commanded(5)[:2], atol=1e-9)


def test_goals_hold_until_the_next_one(tmp_path, robot):
    found = actions(tmp_path, robot, commands(Types()))
    changes = [s for s in range(1, STEPS) if commanded(s)[2] != commanded(s - 1)[2]]
    assert changes == [18]
    values = found.at(moments(0, 17.5, 18, 18.5, STEPS - 1))[:, 2]
    np.testing.assert_array_equal(values, [0.04, 0.04, 0.01, 0.01, 0.01])


def test_gripper_array_of_another_length_is_an_error(tmp_path, robot):
    def wrong():
        types = Types()
        for topic, msgtype, time_ns, message in commands(types):
            if 'gripper' in topic:
                yield topic, msgtype, time_ns, types.values([0.1, 0.2])
            else:
                yield topic, msgtype, time_ns, message

    with pytest.raises(BagError, match=r'found 2 values, expected 1, one for each joint'):
        actions(tmp_path, robot, wrong())


def test_order_of_joints_is_that_of_the_embodiment(tmp_path, robot):
    def reordered():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if topic == '/demo/action':
                step = (time_ns - START_NS) // PERIOD_NS
                names = (*JOINTS[::-1], 'unknown')
                values = (*commanded(step)[::-1], 9.9)
                yield topic, msgtype, time_ns, types.joints(time_ns, names, values)
            else:
                yield topic, msgtype, time_ns, message

    found = actions(tmp_path, robot, reordered())
    np.testing.assert_array_equal(found.at(moments(3))[0], commanded(3))


def test_actions_that_are_steps_are_pointed_out(tmp_path, robot):
    def stepping():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if topic == '/demo/action':
                step = (time_ns - START_NS) // PERIOD_NS
                moved = measured(step + 1) - measured(step)
                yield topic, msgtype, time_ns, types.joints(time_ns, JOINTS, moved)
            else:
                yield topic, msgtype, time_ns, message

    assert actions(tmp_path, robot, stepping()).words == f'/demo/action; {RELATIVE}'
