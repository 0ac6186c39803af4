"""What the demonstrator commanded, from whatever topic says it."""

import numpy as np
import pytest
import yaml
from bags import (
    EMBODIMENT,
    JOINTS,
    PERIOD_NS,
    RATE_HZ,
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
    np.testing.assert_array_equal(found.before(int(moments(5)[0])), commanded(4))
    assert np.isnan(found.before(int(moments(0)[0]))).all()


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


def told(names_at, values_at=commanded, steps=range(STEPS)):
    """The demonstration, with other action messages: step → the joints that each names."""
    types = Types()
    yield from demonstration(STEPS, types, skip=('/demo/action',))
    for step in steps:
        stamp = START_NS + step * PERIOD_NS
        values = dict(zip(JOINTS, values_at(step), strict=True))
        for names in names_at(step):
            message = types.joints(stamp, names, [values[name] for name in names])
            yield '/demo/action', 'sensor_msgs/msg/JointState', stamp, message


def every(found, step=0.25):
    return found.at(moments(*np.arange(-1, STEPS + 1, step)))


def test_order_of_names_may_change_from_message_to_message(tmp_path, robot):
    plain = actions(tmp_path, robot, demonstration(STEPS))
    (tmp_path / 'again').mkdir()
    turned = actions(
        tmp_path / 'again',
        robot,
        told(lambda step: [JOINTS[::-1] if step % 3 == 1 or step == STEPS - 1 else JOINTS]),
    )
    assert len(turned.tracks) == len(plain.tracks) == 1
    assert turned.tracks[0].columns == (0, 1, 2)
    np.testing.assert_array_equal(every(turned), every(plain))
    np.testing.assert_array_equal(turned.moments(), plain.moments())


def test_joints_of_one_stamp_may_come_in_two_messages(tmp_path, robot):
    found = actions(tmp_path, robot, told(lambda _: [JOINTS[2:], JOINTS[:2]]))
    assert [track.columns for track in found.tracks] == [(0, 1, 2)]
    np.testing.assert_array_equal(found.at(moments(3, STEPS - 1))[0], commanded(3))


@pytest.mark.parametrize('odd', [0, 1])
def test_joint_that_only_every_second_message_names_has_its_own_series(tmp_path, robot, odd):
    found = actions(
        tmp_path, robot, told(lambda step: [JOINTS if step % 2 == odd else JOINTS[:2]])
    )
    assert sorted(track.columns for track in found.tracks) == [(0, 1), (2,)]
    assert found.gaps == 0
    values = found.at(moments(*range(STEPS)))
    np.testing.assert_array_equal(values[:, :2], [commanded(n)[:2] for n in range(STEPS)])
    np.testing.assert_array_equal(
        values[odd::2, 2], [commanded(n)[2] for n in range(STEPS)][odd::2]
    )
    between = 0.5 * (commanded(4 + odd)[2] + commanded(6 + odd)[2])
    np.testing.assert_allclose(values[5 + odd, 2], between, atol=1e-12)


def test_state_is_taken_from_the_topics_of_the_robots_file(tmp_path, robot):
    """Another topic that names the joint too says nothing."""

    def doubled():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS, types):
            at = measured((time_ns - START_NS) // PERIOD_NS)
            if topic == '/arm/joint_states':
                message = types.joints(time_ns, JOINTS, [*at[:2], 0.033])
            elif topic == '/finger/joint_states':
                message = types.joints(time_ns, JOINTS, [0.7, 0.7, at[2]])
            yield topic, msgtype, time_ns, message

    found = actions(tmp_path, robot, doubled(), 'state')
    np.testing.assert_array_equal(found.at(moments(9))[0], measured(9))


def test_measured_joint_that_is_on_two_topics_is_an_error(tmp_path):
    """The robot's file does not say which one counts: it measures something else there."""
    content = yaml.safe_load(EMBODIMENT)
    content['state'][1]['joints'][0]['name'] = 'knuckle'
    robot = load_embodiment(write_embodiment(tmp_path, state=content['state']))

    def doubled():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS, types):
            if topic.endswith('/joint_states'):
                at = measured((time_ns - START_NS) // PERIOD_NS)
                message = types.joints(time_ns, JOINTS, at)
            yield topic, msgtype, time_ns, message

    with pytest.raises(BagError, match=r'finger twice, expected each joint on one topic'):
        actions(tmp_path, robot, doubled(), 'state')


def at_rate(hz, values_at, skip=range(0)):
    """The demonstration with actions at a rate of their own; ``values_at`` takes seconds."""
    types = Types()
    yield from demonstration(STEPS, types, skip=('/demo/action',))
    for number in range(round(STEPS / RATE_HZ * hz)):
        if number in skip:
            continue
        stamp = START_NS + round(number * 1e9 / hz)
        message = types.joints(stamp, JOINTS, values_at(number / hz))
        yield '/demo/action', 'sensor_msgs/msg/JointState', stamp, message


SLOPE = np.array([0.3, -0.2, 0.01])


def ramp(seconds):
    return 0.1 + SLOPE * seconds


@pytest.mark.parametrize('hz', [10, 20, 100])
def test_recorded_steps_in_a_time_are_those_of_the_recording(tmp_path, robot, hz):
    found = actions(tmp_path, robot, at_rate(hz, ramp))
    assert found.steps_in(0.5) == hz // 2
    assert found.steps_in(0.001) == 1


def test_steps_of_goals_that_are_sent_on_change_are_those_of_the_robot(tmp_path, robot):
    assert actions(tmp_path, robot, commands(Types())).steps_in(0.5) == 10


GAP = range(8, 18)  # Between step 7 and step 18.


def gapped(tmp_path, robot, gap=GAP):
    return actions(tmp_path, robot, at_rate(RATE_HZ, ramp, gap))


def test_motion_in_a_gap_is_unknown_and_that_is_said(tmp_path, robot):
    found = gapped(tmp_path, robot)
    assert found.gaps == 1
    assert found.words == '/demo/action; 1 gap longer than 0.15 s is left out'
    assert np.isnan(found.at(moments(7.2, 8, 12, 17, 17.8))).all()
    # A moment within a tenth of a step of a sample is at it, and not on the way to the next.
    beside = found.at(moments(6.5, 7, 7.05, 17.95, 18, 18.5))
    steps = np.array([6.5, 7, 7, 18, 18, 18.5])
    np.testing.assert_allclose(beside, [ramp(step / RATE_HZ) for step in steps], atol=1e-12)


def test_motion_in_a_gap_stays_as_it_was_for_a_chunk(tmp_path, robot):
    found = gapped(tmp_path, robot)
    held = found.at(moments(8, 12, 17.5, 18.5), extended=True)
    np.testing.assert_allclose(held[:3], [ramp(7 / RATE_HZ)] * 3, atol=1e-12)
    np.testing.assert_allclose(held[3], ramp(18.5 / RATE_HZ), atol=1e-12)


def test_two_lost_messages_are_no_gap(tmp_path, robot):
    found = gapped(tmp_path, robot, range(8, 10))
    assert (found.gaps, found.words) == (0, '/demo/action')
    np.testing.assert_allclose(found.at(moments(8.5))[0], ramp(8.5 / RATE_HZ), atol=1e-12)


def test_slow_recording_is_no_row_of_gaps(tmp_path, robot):
    found = actions(tmp_path, robot, at_rate(2, ramp))
    assert found.gaps == 0
    np.testing.assert_allclose(found.at(moments(13))[0], ramp(13 / RATE_HZ), atol=1e-12)


def twist(types, ahead):
    """A speed straight ahead."""
    known = types.store.types
    vector = known['geometry_msgs/msg/Vector3']
    return known['geometry_msgs/msg/Twist'](vector(ahead, 0.0, 0.0), vector(0.0, 0.0, 0.0))


def test_base_that_gets_no_commands_stands(tmp_path):
    content = yaml.safe_load(EMBODIMENT)
    axis = {'name': 'linear.x', 'index': 3, 'velocity': 0.5, 'acceleration': 1.0, 'max_step': 0.5}
    base = {'group': 'base', 'output': 'twist', 'topic': '/cmd_vel', 'message': 'twist'}
    content['actions'].append(base | {'joints': [axis]})
    robot = load_embodiment(write_embodiment(tmp_path, actions=content['actions']))

    def driving():
        types = Types()
        yield from demonstration(STEPS, types)
        for step in (5, 10, 15, 40):
            stamp = START_NS + step * PERIOD_NS
            yield '/cmd_vel', 'geometry_msgs/msg/Twist', stamp, twist(types, 0.3)

    found = actions(tmp_path, robot, driving())
    steps = [4, 5, 14, 15, 24, 25, 26, 39, 40, 50, 51, 100]
    speeds = [np.nan, 0.3, 0.3, 0.3, 0.3, 0.3, 0.0, 0.0, 0.3, 0.3, 0.0, 0.0]
    for extended in (False, True):
        values = found.at(moments(*steps), extended=extended)[:, 3]
        np.testing.assert_array_equal(values, speeds)
    assert [found.before(int(moments(step)[0]))[3] for step in (20, 30)] == [0.3, 0.0]
    assert found.gaps == 0


@pytest.mark.filterwarnings('error')
def test_actions_on_another_clock_are_not_taken_for_steps(tmp_path, robot):
    def elsewhere():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS, types):
            if topic == '/demo/action':
                early = types.joints(time_ns - START_NS + 1, message.name, message.position)
                yield topic, msgtype, time_ns, early
            else:
                yield topic, msgtype, time_ns, message

    assert actions(tmp_path, robot, elsewhere()).words == '/demo/action'
