"""Why a robot does not move, or stops: nothing came, refused chunks, late chunks, the clock."""

from __future__ import annotations

import numpy as np
from pizero_ros.msg import PolicyStatus

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.intake import stamp_ns

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
        f'{WRIST}: ',
        "without a header stamp; set 'stamp: receive'",
        'joint joint_4 is not in gripper_joint, joint_1, joint_2, joint_3, joint_5, joint_6',
    )
    assert robot.is_silent()
    assert robot.commands() == 0
    robot.heal()
    robot.until(robot.motions)


def test_joint_that_the_robot_does_not_have_is_named(robot, start):
    def rename(content):
        for group in (content['state'][0], content['actions'][0]):
            group['joints'][2]['name'] = 'elbow'
        content['neutral']['elbow'] = content['neutral'].pop('joint_3')

    robot.wear(load_embodiment('sim_single_arm'))
    start(change=rename)
    robot.wait_for_state(HOLDING, 'joint elbow is not in gripper_joint, joint_1, joint_2, joint_3')
    assert robot.is_silent()
    assert robot.commands() == 0


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
    robot.wait_for_state(HOLDING, 'before the next chunk', 'after its observation, all past')
    assert robot.status.chunks_discarded >= 1
    # From rest a chunk is executed: the robot has waited for it.
    assert robot.motions()


def test_horizon_that_runs_out_is_held_and_counted(start):
    robot = start(executed_steps=50)
    robot.until(lambda: len(robot.motions()) >= 4)
    kinds = ''.join('-' if len(r.message.points) > 1 else '.' for r in robot.of('arm'))
    assert '-.-' in kinds
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
    # In the middle of a trajectory, so that its start and where it is are far apart.
    robot.until(
        lambda: (
            60_000_000 < robot.time_ns - stamp_ns(robot.motions()[-1].header.stamp) < 160_000_000
        )
    )
    epoch, seen, jump_ns = robot.chunks[-1].epoch, len(robot.of('arm')), robot.time_ns
    robot.time_ns = start_ns - 100_000_000_000
    (hold,) = robot.until(lambda: [r.message for r in robot.of('arm')[seen:]][:1])
    assert len(hold.points) == 1
    robot.until(lambda: robot.logged('clock jumped back'))
    motion = robot.motions()[-1]
    way = np.array([point.positions for point in motion.points])
    distance = np.abs(way - np.asarray(hold.points[0].positions)).max(axis=1)
    due = [stamp_ns(motion.header.stamp) + stamp_ns(p.time_from_start) for p in motion.points]
    assert abs(due[distance.argmin()] - jump_ns) < 100_000_000
    assert distance.min() < 0.02

    robot.until(lambda: stamp_ns(robot.motions()[-1].header.stamp) < start_ns)
    robot.until(lambda: any(c.sent and c.epoch > epoch for c in robot.chunks))
