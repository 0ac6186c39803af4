"""Why a robot does not move, or stops: nothing came, refused chunks, late chunks, the clock."""

from __future__ import annotations

import numpy as np

from pizero_ros.msg import PolicyStatus

BASE, WRIST = '/base_camera/image_raw', '/wrist_camera/image_raw'
HOLDING = PolicyStatus.STATE_HOLDING


def test_everything_that_never_came_is_named_at_once(start, robot):
    robot.muted.add(BASE)
    robot.unstamped.add(WRIST)
    robot.absent.add('joint_4')
    start()
    robot.wait_for_state(
        HOLDING,
        f'{BASE}: no message yet',
        f"{WRIST}: ",
        "without a header stamp; set 'stamp: receive'",
        'joint joint_4 is not in gripper_joint, joint_1, joint_2, joint_3, joint_5, joint_6',
    )
    assert robot.is_silent()
    assert robot.commands() == 0
    robot.heal()
    robot.until(robot.motions)


def test_chunk_that_starts_too_far_away_is_refused(start):
    def strict(content):
        for joint in content['actions'][0]['joints']:
            joint['max_step'] = 0.0001

    robot = start(change=strict)
    robot.wait_for_state(HOLDING, 'first waypoint', '0.0001 is allowed')
    robot.until(lambda: robot.counted('arm.max_step') >= 3)
    neutral = [robot.embodiment.neutral[f'joint_{k}'] for k in range(1, 7)]
    for _, message in robot.of('arm'):
        assert len(message.points) == 1
        np.testing.assert_array_equal(message.points[0].positions, neutral)
    assert robot.of('gripper') == []
    assert robot.status.chunks_sent == 0
    assert robot.status.chunks_discarded == robot.status.chunks_received
    assert not any(chunk.sent for chunk in robot.chunks)


def test_policy_too_slow_for_its_lead_says_so(start):
    robot = start(lead_steps=49)
    robot.wait_for_state(HOLDING, 'after its observation, all past')
    assert robot.motions() == []
    assert robot.status.chunks_discarded >= 1


def test_horizon_that_runs_out_is_held_and_counted(start):
    robot = start(executed_steps=50)
    robot.until(lambda: len(robot.motions()) >= 2)
    kinds = [len(r.message.points) > 1 for r in robot.of('arm')]
    assert kinds[:3] == [True, False, True]
    robot.until(lambda: robot.status.starvations >= 1)
    assert robot.counted('chunk.starved') == robot.status.starvations
    reasons = [r.message.reason for r in robot.received['/policy_node/status']]
    assert any('published horizon ran out' in reason for reason in reasons)


def test_clock_that_jumps_back_holds_where_the_robot_was_and_starts_anew(robot, start):
    start_ns = 1_700_000_000_000_000_000
    robot.set_time(start_ns)
    robot.run_clock(0.01)
    start(use_sim_time=True)
    robot.until(lambda: len(robot.motions()) >= 2)
    motion, epoch = robot.motions()[-1], robot.chunks[-1].epoch
    robot.until(lambda: robot.time_ns > start_ns + 1_500_000_000)
    seen = len(robot.of('arm'))
    robot.time_ns = start_ns - 100_000_000_000
    holds = robot.until(
        lambda: [r.message for r in robot.of('arm')[seen:] if len(r.message.points) == 1]
    )
    robot.until(lambda: robot.logged('clock jumped back'))
    newest = [m for m in robot.motions() if m.header.stamp.sec >= 1_700_000_000][-1]
    assert newest.header.stamp.sec >= motion.header.stamp.sec
    way = np.array([point.positions for point in newest.points])
    distance = np.abs(way - np.asarray(holds[0].points[0].positions)).max(axis=1)
    assert distance.min() < 0.02
    assert distance.argmin() > 2
    robot.until(lambda: robot.motions()[-1].header.stamp.sec < 1_700_000_000)
    robot.until(lambda: robot.chunks[-1].header.stamp.sec < 1_700_000_000)
    assert robot.chunks[-1].epoch > epoch
