from __future__ import annotations

from array import array

import numpy as np
import pytest

from pizero_ros.observation.joints import JointStream

MS = 1_000_000
NOW = 1000 * MS


def send(stream, names, positions, stamp_ms=1000, velocities=(), efforts=()):
    fields = {'position': positions, 'velocity': velocities, 'effort': efforts}
    stamp = stream.clock.stamp(stamp_ms * MS, stamp_ms * MS)
    stream.merge(stream.layout(names), fields, stamp, stamp_ms * MS)


@pytest.fixture
def stream(joint, source):
    """Three joints, indices out of order."""
    joints = [joint('a', 2), joint('b', 0), joint('c', 5)]
    return JointStream(source(joints), [frozenset('abc')])


def kinds(reading):
    return [reason.kind for reason in reading.reasons]


def test_joints_are_found_by_name_in_any_order(stream):
    send(stream, ['x', 'c', 'b', 'a'], [9.0, 3.0, 2.0, 1.0])
    reading = stream.read(NOW)
    assert reading.reasons == ()
    assert reading.values.tolist() == [1.0, 2.0, 3.0]
    assert stream.indices.tolist() == [2, 0, 5]


@pytest.mark.parametrize('container', [list, tuple, np.array, lambda x: array('d', x)])
def test_arrays_of_rclpy_and_rosbags_are_read(stream, container):
    send(stream, list('abc'), container([1.0, 2.0, 3.0]), velocities=container([]))
    assert stream.read(NOW).values.tolist() == [1.0, 2.0, 3.0]


def test_scale_sign_and_offset_are_applied(joint, source):
    degrees = joint('a', 0, scale=np.pi / 180, sign=-1, offset=0.5)
    stream = JointStream(source([degrees]), [])
    send(stream, ['a'], [90.0])
    assert stream.read(NOW).values[0] == pytest.approx(0.5 - np.pi / 2)


def test_partial_messages_are_merged_and_the_oldest_joint_gives_the_age(stream):
    send(stream, ['a', 'b'], [1.0, 2.0], 990)
    send(stream, ['c'], [3.0], 850)
    reading = stream.read(NOW)
    assert reading.reasons == ()
    assert reading.values.tolist() == [1.0, 2.0, 3.0]
    assert (reading.oldest_ns, reading.newest_ns) == (850 * MS, 990 * MS)
    send(stream, ['a', 'b'], [1.5, 2.5], 1100)
    stale = stream.read(1100 * MS).reasons
    assert [reason.kind for reason in stale] == ['stale']
    assert stale[0].detail == '0.250 s old, limit 0.2 s, joint c'


def test_publishers_on_one_topic_keep_their_own_order(stream):
    send(stream, ['a', 'b'], [1.0, 2.0], 1000)
    send(stream, ['c'], [3.0], 990)
    send(stream, ['c'], [4.0], 995)
    assert stream.clock.counters.out_of_order == 0
    send(stream, ['a', 'b'], [7.0, 7.0], 980)
    assert stream.clock.counters.out_of_order == 1
    assert stream.read(NOW).values.tolist() == [1.0, 2.0, 4.0]


def test_of_two_reports_of_one_joint_the_newer_counts(stream):
    send(stream, list('abc'), [1.0, 2.0, 3.0], 1000)
    send(stream, ['c', 'x'], [9.0, 9.0], 990)
    assert stream.read(NOW).values.tolist() == [1.0, 2.0, 3.0]
    send(stream, ['c', 'x'], [5.0, 9.0], 1000)
    assert stream.read(NOW).values.tolist() == [1.0, 2.0, 5.0]


def test_a_joint_that_nobody_names_is_missing_with_the_names_that_are_there(stream):
    send(stream, ['b', 'a', 'gripper'], [2.0, 1.0, 0.0])
    reading = stream.read(NOW)
    assert kinds(reading) == ['joint']
    assert str(reading.reasons[0]) == '/joint_states: joint c is not in a, b, gripper'


def test_another_robots_joints_are_named(stream):
    send(stream, ['x', 'y'], [1.0, 2.0])
    reading = stream.read(NOW)
    assert kinds(reading) == ['joint']
    assert reading.reasons[0].detail == 'no joint of this robot, only x, y'


def test_silence_is_missing(stream):
    assert kinds(stream.read(NOW)) == ['missing']


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_value_that_is_not_finite_is_named(stream, value):
    send(stream, list('abc'), [1.0, value, 3.0])
    reading = stream.read(NOW)
    assert kinds(reading)[0] == 'nonfinite'
    assert reading.reasons[0].detail == f'joint b is {value}'
    assert stream.positions(NOW) == {'a': 1.0, 'c': 3.0}


def test_a_nan_beside_the_needed_joints_does_not_matter(stream):
    send(stream, ['a', 'b', 'c', 'unused'], [1.0, 2.0, 3.0, float('nan')])
    assert stream.read(NOW).reasons == ()


def test_an_impossible_value_is_named_with_its_range(joint, source):
    ticks = joint('a', 0, scale=2 * np.pi / 4096, range=(0.0, 4095.0))
    stream = JointStream(source([ticks]), [])
    send(stream, ['a'], [4095.0])
    assert stream.read(NOW).reasons == ()
    send(stream, ['a'], [70000.0], 1010)
    reading = stream.read(1010 * MS)
    assert kinds(reading) == ['range']
    assert reading.reasons[0].detail == 'joint a is 70000, range 0 to 4095'


def test_a_limb_whose_servos_were_not_read_is_refused(joint, source):
    """An arm at -1 in every row, the other one fine: seen in a public recording."""
    names = [f'{side}{n}' for side in ('left', 'right') for n in range(6)]
    joints = [joint(name, i) for i, name in enumerate(names)]
    limbs = [frozenset(names), frozenset(names[:6]), frozenset(names[6:])]
    stream = JointStream(source(joints), limbs)
    send(stream, names, [0.1] * 6 + [-1.0] * 6)
    reading = stream.read(NOW)
    assert kinds(reading) == ['unread']
    assert 'right0 to right5' in reading.reasons[0].detail
    send(stream, names, [0.1] * 6 + [-1.0] * 5 + [-0.999], 1010)
    assert stream.read(1010 * MS).reasons == ()


def test_one_value_at_minus_one_is_a_position(joint, source):
    stream = JointStream(source([joint('a', 0)]), [frozenset('a')])
    send(stream, ['a'], [-1.0])
    assert stream.read(NOW).reasons == ()


def test_empty_velocities_matter_only_to_joints_that_need_them(joint, source):
    joints = [joint('a', 0), joint('a', 1, field='velocity')]
    stream = JointStream(source(joints), [])
    send(stream, ['a', 'b'], [1.0, 2.0])
    reading = stream.read(NOW)
    assert kinds(reading) == ['field']
    assert 'joint a is asked for its velocity' in reading.reasons[0].detail
    send(stream, ['a', 'b'], [1.0, 2.0], 1010, velocities=[0.3, 0.4])
    reading = stream.read(1010 * MS)
    assert reading.reasons == ()
    assert reading.values.tolist() == [1.0, 0.3]
    assert stream.positions(1010 * MS) == {'a': 1.0}


def test_a_field_that_becomes_empty_is_noticed(joint, source):
    stream = JointStream(source([joint('a', 0, field='effort')]), [])
    send(stream, ['a'], [], efforts=[2.0])
    assert stream.read(NOW).values.tolist() == [2.0]
    send(stream, ['a'], [1.0], 1010)
    assert kinds(stream.read(1010 * MS)) == ['field']


def test_arrays_of_unequal_length_are_refused_until_a_good_message_comes(stream):
    send(stream, list('abc'), [1.0, 2.0, 3.0], 980)
    send(stream, list('abc'), [1.0, 2.0], 990)
    reading = stream.read(NOW)
    assert kinds(reading) == ['malformed']
    assert reading.reasons[0].detail == '2 position values for 3 names'
    assert stream.clock.counters.malformed == 1
    send(stream, list('abc'), [1.0, 2.0, 3.0], 1000)
    assert stream.read(NOW).reasons == ()


def test_unequal_length_of_a_field_that_nobody_needs_is_tolerated(stream):
    send(stream, list('abc'), [1.0, 2.0, 3.0], velocities=[0.0])
    assert stream.read(NOW).reasons == ()


def test_a_joint_named_twice_in_one_message_is_ambiguous(stream):
    send(stream, ['a', 'b', 'c', 'a'], [1.0, 2.0, 3.0, 4.0])
    reading = stream.read(NOW)
    assert kinds(reading) == ['malformed']
    assert reading.reasons[0].detail == 'joint a is named twice'


def test_measured_positions_are_raw_and_fresh(joint, source):
    stream = JointStream(source([joint('a', 0, scale=2.0), joint('b', 1)]), [])
    send(stream, ['a'], [1.5], 1000)
    send(stream, ['b'], [2.5], 700)
    assert stream.positions(NOW) == {'a': 1.5}


def test_impossible_positions_are_not_measured(joint, source):
    """Pins that a robot never commanded was told to hold where a broken sensor said it was."""
    joints = [joint(name, i, range=(-2.0, 2.0)) for i, name in enumerate('abc')]
    stream = JointStream(source(joints), [frozenset('abc')])
    send(stream, ['a', 'b', 'c'], [0.1, 7.0, -1.0])
    assert stream.positions(NOW) == {'a': 0.1, 'c': -1.0}
    send(stream, ['a', 'b', 'c'], [-1.0, -1.0, -1.0], 1010)
    assert stream.positions(1010 * MS) == {}


def test_positions_of_the_future_are_not_measured(joint, source):
    stream = JointStream(source([joint('a', 0)]), [])
    send(stream, ['a'], [0.1], 1500)
    assert stream.positions(1000 * MS) == {}
    assert stream.positions(1400 * MS) == {'a': 0.1}


def test_a_number_too_large_for_its_map_is_not_finite(joint, source):
    """Pins an infinite state from a finite position."""
    stream = JointStream(source([joint('a', 0, scale=72.0)]), [])
    send(stream, ['a'], [1e308])
    assert kinds(stream.read(NOW)) == ['nonfinite']


def test_names_that_keep_changing_do_not_grow_the_memory(stream):
    for n in range(200):
        send(stream, ['a', 'b', 'c', f'x{n}'], [1.0, 2.0, 3.0, 0.0], 1000 + n)
    assert len(stream._layouts) <= 16
    assert stream.read(1199 * MS).reasons == ()


def test_odometry_axes_are_joints(joint, source):
    axes = [joint('linear.x', 14, field='velocity'), joint('angular.z', 15, field='velocity')]
    stream = JointStream(source(axes, interface='odometry'), [])
    send(stream, ['linear.x', 'linear.y', 'angular.z'], [0.5, 0.0, -0.2])
    reading = stream.read(NOW)
    assert reading.reasons == ()
    assert reading.values.tolist() == [0.5, -0.2]
    assert stream.positions(NOW) == {}
