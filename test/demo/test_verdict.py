"""What fails a demo, and what is only noted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pizero_ros.demo.results import JointResult, ProcessResult, RobotResult, TopicResult
from pizero_ros.demo.verdict import failures, warnings


def with_arm(result: RobotResult, **changes: Any) -> RobotResult:
    arm, *others = result.groups
    return replace(result, groups=(replace(arm, **changes), *others))


def test_good_run_has_neither_failures_nor_warnings(good: RobotResult) -> None:
    assert failures(good) == ()
    assert warnings(good) == ()


def test_run_without_an_accepted_trajectory_fails(good: RobotResult) -> None:
    spoiled = with_arm(good, accepted=0, rejected=21, rejections={'ends_in_the_past': 21})
    assert failures(spoiled) == ('arm: no accepted trajectory of 21',)
    assert any('ends_in_the_past 21' in text for text in warnings(spoiled))


def test_accepted_holds_are_no_accepted_trajectories(good: RobotResult) -> None:
    spoiled = with_arm(good, sent=30, accepted=30, holds=30, points=())
    assert failures(spoiled) == ('arm: no trajectory from a chunk',)


def test_chunk_of_another_length_fails(good: RobotResult) -> None:
    assert failures(replace(good, chunk_horizon=16)) == ('no chunk of 16 steps, 50 expected',)


def test_run_without_chunks_fails(good: RobotResult) -> None:
    found = failures(replace(good, chunk_horizon=None, chunks=0, chunks_sent=0))
    assert found == ('no chunk at all, 50 expected',)


def test_dry_run_fails(good: RobotResult) -> None:
    assert failures(replace(good, chunks_sent=0)) == ('none of 20 chunks was sent',)


def test_simulated_robot_that_did_not_move_fails(good: RobotResult) -> None:
    still = (JointResult('joint_1', 'arm', 'rad', 0.001, 0.0, 0.0),)
    (text,) = failures(replace(good, joints=still))
    assert text.startswith('nothing moved')


def test_recorded_robot_need_not_move(good: RobotResult) -> None:
    still = (JointResult('joint_1', 'arm', 'rad', 0.0, 0.0, None),)
    assert failures(replace(good, joints=still, mode='recorded')) == ()


def test_turning_base_does_not_count_as_a_moving_joint(good: RobotResult) -> None:
    base = (JointResult('angular.z', 'base', 'rad/s', 0.9, 0.9, None),)
    assert failures(replace(good, joints=base))


@pytest.mark.parametrize(
    ('process', 'expected'),
    [
        (ProcessResult('policy_node', 1, 'SIGINT'), 'policy_node ended with exit code 1'),
        (ProcessResult('sim_robot', -11, ''), 'sim_robot ended with signal 11'),
        (
            ProcessResult('policy_node', 0, 'SIGTERM'),
            'policy_node did not end on SIGINT, SIGTERM was needed',
        ),
    ],
)
def test_process_that_does_not_end_well_fails(
    good: RobotResult, process: ProcessResult, expected: str
) -> None:
    assert failures(replace(good, processes=(process,))) == (expected,)


def test_run_that_never_started_says_only_why(good: RobotResult) -> None:
    spoiled = replace(
        good, error='no trajectory within 60 s of the start', startup_s=None, chunk_horizon=None
    )
    assert failures(spoiled) == ('no trajectory within 60 s of the start',)


def test_bag_message_that_was_not_received_fails(good: RobotResult) -> None:
    topics = (TopicResult('/a', 10, 10, 10), TopicResult('/b', 10, 10, 9))
    found = failures(replace(good, mode='recorded', bag_topics=topics))
    assert found == ('/b: 10 messages in the bag, 10 sent, 9 received',)


def test_lost_frames_and_black_cameras_are_named_and_do_not_fail(good: RobotResult) -> None:
    first, second, joints = good.streams
    streams = (replace(first, received=297), replace(second, faults={'black': 7}), joints)
    spoiled = replace(good, streams=streams)
    assert failures(spoiled) == ()
    assert warnings(spoiled) == (
        '/a/image: 3 of 300 messages lost',
        '/b/image: black in 7 status messages',
    )


def test_slow_simulation_is_noted(good: RobotResult) -> None:
    (text,) = warnings(replace(good, simulator={'sim_wall_ratio': 0.8}))
    assert '0.80 times real time' in text
