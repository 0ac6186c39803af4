"""Arms that stay where they are: held for good on a robot, but not in a replay or a dry run."""

from __future__ import annotations

from pizero_ros.msg import PolicyStatus

HOLDING = PolicyStatus.STATE_HOLDING


def _slow(content):
    """Give joints a velocity limit, and so a distance within which they follow: 0.05 rad."""
    for joint in content['actions'][0]['joints']:
        joint['velocity'] = 0.5


def _chunks(robot, count):
    robot.until(lambda: len(robot.chunks) >= count)
    return robot.chunks


def test_arm_that_does_not_follow_is_held_until_enabled(robot, start):
    start(change=_slow)
    robot.wait_for_state(
        HOLDING, 'latched by following', 'arm does not follow: joint_', '~/enable'
    )
    assert robot.counted('observation.following') == 1
    assert len(robot.of('arm')[-1].message.points) == 1
    moved, chunks = len(robot.motions()), len(robot.chunks)
    assert moved >= 1
    assert robot.enable(True).success
    robot.until(lambda: len(robot.motions()) > moved and len(robot.chunks) > chunks)


def test_joint_states_of_a_recording_need_not_follow(start):
    robot = start(change=_slow, replay=True)
    assert all(chunk.sent for chunk in _chunks(robot, 15))
    assert robot.status.state == PolicyStatus.STATE_RUNNING
    assert robot.logged('nobody watches whether the arms follow')


def test_arm_that_was_told_nothing_need_not_follow(start):
    robot = start(change=_slow, dry_run=True)
    assert not any(chunk.sent for chunk in _chunks(robot, 15))
    assert robot.status.state == PolicyStatus.STATE_DRY_RUN
    assert 'latched' not in robot.status.reason
