"""Input topics: publishers, types, QoS, rates, ages, contents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.doctor.facts import Endpoint, Looks, PolicyFacts
from pizero_ros.doctor.judge_inputs import judge_inputs
from pizero_ros.observation.refusal import Reason
from pizero_ros.observation.streams import Counters, StreamStatus

JOINTS = '/joint_states'
WRIST = '/wrist_camera/image_raw'
IMAGE = 'sensor_msgs/msg/Image'


def _optional(embodiment):
    cameras = tuple(replace(c, required=c.topic != WRIST) for c in embodiment.cameras)
    return replace(embodiment, cameras=cameras)


def _status(fault='', **counters):
    return StreamStatus(WRIST, True, 0.0, 0.2, 30.0, 30.0, fault, Counters(**counters))


def _seen(facts, *reasons, count=40):
    looks = Looks(40, 40 - count, dict.fromkeys(reasons, count))
    return replace(facts, looks=looks)


def test_robot_in_order_has_nothing_but_right_findings(arm, facts, wrong):
    findings = judge_inputs(arm, facts)
    assert wrong(findings) == []
    rates = {each.subject: each.found for each in findings if each.check == 'rate'}
    assert rates == {
        '/base_camera/image_raw': '30.0 Hz',
        WRIST: '30.0 Hz',
        '/side_camera/image_raw': '30.0 Hz',
        JOINTS: '100.0 Hz',
    }


def test_absent_camera_is_an_error_that_names_topics_of_its_type(arm, spoil_input, wrong):
    facts = spoil_input(WRIST, publishers=(), elsewhere=('/wrist/image_raw', '/depth'))
    (finding,) = wrong(judge_inputs(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'publisher')
    assert '/wrist/image_raw, /depth' in finding.remedy
    assert "Did you mean '/wrist/image_raw'?" in finding.remedy
    assert arm.source in finding.remedy


def test_absent_optional_camera_is_a_warning(arm, facts, wrong):
    optional = _optional(arm)
    inputs = tuple(
        replace(each, stream=next(c for c in optional.cameras if c.topic == WRIST), publishers=())
        if each.stream.topic == WRIST
        else each
        for each in facts.inputs
    )
    (finding,) = wrong(judge_inputs(optional, replace(facts, inputs=inputs)))
    assert finding.severity == 'warning'


def test_wrong_type_is_named_with_the_right_one(arm, spoil_input, wrong):
    publisher = Endpoint('/driver', 'sensor_msgs/msg/CompressedImage')
    (finding,) = wrong(judge_inputs(arm, spoil_input(WRIST, publishers=(publisher,))))
    assert (finding.severity, finding.check) == ('error', 'type')
    assert finding.found == '/driver publishes sensor_msgs/msg/CompressedImage'
    assert finding.expected == IMAGE


def test_silent_publisher_is_an_error(arm, spoil_input, wrong):
    (finding,) = wrong(judge_inputs(arm, spoil_input(JOINTS, timing=None)))
    assert (finding.severity, finding.check) == ('error', 'messages')
    assert finding.found == 'none in 5.0 s'
    assert 'ros2 topic hz /joint_states' in finding.remedy


def test_topic_that_the_policy_node_does_not_take_is_an_error(arm, spoil_input, wrong):
    facts = replace(spoil_input(WRIST, taken=False), policy=PolicyFacts('/policy_node'))
    (finding,) = wrong(judge_inputs(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'subscription')
    assert wrong(judge_inputs(arm, spoil_input(WRIST, taken=True))) == []


def test_two_publishers_of_a_camera_are_a_warning_and_of_joints_are_not(arm, facts, wrong):
    twice = tuple(
        replace(each, publishers=each.publishers * 2)
        for each in facts.inputs
        if each.stream.topic in (JOINTS, WRIST)
    )
    (finding,) = wrong(judge_inputs(arm, replace(facts, inputs=twice)))
    assert (finding.severity, finding.subject, finding.check) == ('warning', WRIST, 'publisher')


def test_qos_that_does_not_fit_is_told_of_either_side(arm, spoil_input, wrong):
    ours = Endpoint('/driver', IMAGE, mismatch='Publisher deadline is longer')
    (finding,) = wrong(judge_inputs(arm, spoil_input(WRIST, publishers=(ours,))))
    assert (finding.severity, finding.check) == ('error', 'qos')
    recorder = Endpoint('/recorder', IMAGE, 'Best effort publisher and reliable subscription')
    (finding,) = wrong(judge_inputs(arm, spoil_input(WRIST, deaf=(recorder,))))
    assert (finding.severity, finding.check) == ('warning', 'qos')
    assert finding.found.startswith('/recorder gets nothing: Best effort')


@pytest.mark.parametrize(
    ('rate_hz', 'right'), [(24.1, True), (37.4, True), (23, False), (60, False)]
)
def test_rate_may_differ_by_a_fifth(arm, spoil_input, wrong, rate_hz, right):
    findings = wrong(judge_inputs(arm, spoil_input(WRIST, rate_hz=float(rate_hz))))
    assert [each.check for each in findings] == ([] if right else ['rate'])


def test_missing_messages_are_counted_from_one_percent(arm, spoil_input, wrong):
    few = spoil_input(WRIST, status=_status(received=198, missing=2))
    assert wrong(judge_inputs(arm, few)) == []
    many = spoil_input(WRIST, status=_status(received=97, missing=3))
    (finding,) = wrong(judge_inputs(arm, many))
    assert (finding.severity, finding.check) == ('warning', 'missing')
    assert finding.found.startswith('3 of 100 messages')


def test_zero_stamps_are_an_error_with_two_ways_out(arm, spoil_input, wrong):
    facts = spoil_input(JOINTS, unstamped=150, age_s=None)
    (finding,) = wrong(judge_inputs(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'stamp')
    assert "'stamp: receive'" in finding.remedy


def test_future_stamps_are_an_error(arm, spoil_input, wrong):
    facts = spoil_input(WRIST, age_s=(-0.35, -0.31, -0.3))
    (finding,) = wrong(judge_inputs(arm, facts))
    assert (finding.severity, finding.check) == ('error', 'age')
    assert finding.found == 'stamped up to 0.350 s in the future'
    assert 'chrony' in finding.remedy


def test_stamps_of_another_clock_point_to_use_sim_time(arm, spoil_input, wrong):
    facts = spoil_input(JOINTS, age_s=(1.7e9, 1.7e9, 1.7e9), stale_share=1.0)
    (finding,) = wrong(judge_inputs(arm, facts))
    assert finding.severity == 'error'
    assert 'in the past: another clock' in finding.found
    assert 'use_sim_time' in finding.remedy


def test_stale_now_and_then_is_a_warning_and_often_an_error(arm, spoil_input, wrong):
    (finding,) = wrong(judge_inputs(arm, spoil_input(JOINTS, stale_share=0.02)))
    assert (finding.severity, finding.check) == ('warning', 'age')
    assert 'too old for 2.0% of the time' in finding.found
    (finding,) = wrong(judge_inputs(arm, spoil_input(JOINTS, stale_share=0.5)))
    assert finding.severity == 'error'


def test_mistyped_joint_is_an_error_with_a_suggestion(arm, spoil_input, wrong):
    names = ('joint_1', 'joint_2', 'joint3', 'joint_4', 'joint_5', 'joint_6', 'gripper_joint')
    reason = Reason('joint', JOINTS, f'joint joint_3 is not in {", ".join(names)}')
    joint, fit = wrong(judge_inputs(arm, _seen(spoil_input(JOINTS, names=names), reason)))
    assert (joint.severity, joint.check) == ('error', 'joint')
    assert joint.found.endswith('(40 of 40 looks)')
    assert "Did you mean 'joint3'?" in joint.remedy
    assert fit.found == 'the policy could have used 0 of 40 looks'


@pytest.mark.parametrize(
    ('kind', 'detail', 'remedy'),
    [
        ('range', 'joint joint_1 is 180, range -3.2 to 3.2', 'wrong unit'),
        ('nonfinite', 'joint joint_1 is nan', 'ros2 topic echo /joint_states'),
        ('unread', 'joints joint_1 to joint_6 are all exactly -1: they were not read', 'cable'),
        ('field', 'joint joint_1 is asked for its velocity', '`field`'),
    ],
)
def test_impossible_joint_values_are_errors(arm, facts, wrong, kind, detail, remedy):
    every = judge_inputs(arm, _seen(facts, Reason(kind, JOINTS, detail)))
    findings = wrong(every)
    assert (findings[0].severity, findings[0].check) == ('error', kind)
    assert remedy in findings[0].remedy
    assert not any(each.check == 'joints' for each in every)


@pytest.mark.parametrize(
    ('kind', 'remedy'),
    [('black', 'lens cap'), ('frozen', 'restart'), ('undecodable', 'rgb8, bgr8 or mono8')],
)
def test_pictures_of_nothing_are_errors(arm, facts, wrong, kind, remedy):
    findings = wrong(judge_inputs(arm, _seen(facts, Reason(kind, WRIST, 'the picture'))))
    assert (findings[0].severity, findings[0].check) == ('error', kind)
    assert remedy in findings[0].remedy


def test_hiccup_of_one_look_is_a_warning(arm, facts, wrong):
    reason = Reason('skew', WRIST, '0.140 s behind /joint_states, limit 0.1 s')
    skew, fit = wrong(judge_inputs(arm, _seen(facts, reason, count=2)))
    assert (skew.severity, skew.check, fit.severity) == ('warning', 'skew', 'warning')


def test_unusable_joints_are_not_called_right(arm, facts):
    reason = Reason('missing', JOINTS, 'no message yet')
    findings = judge_inputs(arm, _seen(facts, reason))
    assert not [each for each in findings if each.check == 'joints']
