"""The policy node over real DDS: sensors in, timed commands out, and it stops when told to."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pizero_ros.msg import PolicyStatus

from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.seam import SeamFade
from pizero_ros.control.validation import command_from_message
from pizero_ros.observation.intake import stamp_ns

STEP_NS = 20_000_000
LEAD_STEPS = 2
ARM = [f'joint_{k}' for k in range(1, 7)]


def chunk_actions(chunk):
    return np.asarray(chunk.actions).reshape(chunk.horizon, chunk.width)


def chunk_of(trajectory, chunks):
    """Newest chunk observed before a trajectory that was sent."""
    stamp = stamp_ns(trajectory.header.stamp)
    return max(
        (c for c in chunks if c.sent and stamp_ns(c.header.stamp) <= stamp),
        key=lambda c: stamp_ns(c.header.stamp),
    )


def followed(robot, received, start_ns, end_ns):
    """Positions [N, J] that a controller commands from ``start_ns`` to ``end_ns``."""
    names = received[0].message.joint_names
    neutral = np.array([robot.embodiment.neutral[name] for name in names])
    controller = JointTrajectoryController(names, neutral)
    waiting, path = list(received), []
    for now_ns in range(received[0].at_ns, end_ns, 1_000_000):
        while waiting and waiting[0].at_ns <= now_ns:
            controller.accept(command_from_message(waiting.pop(0).message), now_ns)
        positions, _ = controller.sample(now_ns)
        if now_ns >= start_ns:
            path.append(positions)
    return np.array(path)


def test_trajectories_are_the_chunks_waypoints_on_the_chunks_clock(moving):
    robot = moving
    robot.until(lambda: len(robot.motions()) >= 4)
    received = [r for r in robot.of('arm') if len(r.message.points) > 1]
    robot.until(
        lambda: (
            stamp_ns(robot.chunks[-1].header.stamp) > stamp_ns(received[-1].message.header.stamp)
        )
    )
    previous = 0
    for at_ns, message in received:
        stamp = stamp_ns(message.header.stamp)
        assert previous < stamp <= at_ns < stamp + 1_000_000_000
        previous = stamp
        assert message.joint_names == ARM
        command = command_from_message(message)
        times = command.time_from_start_ns
        assert (np.diff(times) > 0).all()
        assert times[0] >= STEP_NS

        chunk = chunk_of(message, robot.chunks)
        assert (chunk.horizon, chunk.rate_hz, chunk.embodiment) == (50, 50.0, 'sim_single_arm')
        due = stamp + times - stamp_ns(chunk.start)
        assert (due % STEP_NS == 0).all()
        steps = due // STEP_NS
        assert steps.tolist() == list(range(steps[0], 50))
        columns = [chunk.joint_indices[chunk.joint_names.index(name)] for name in ARM]
        # Before the lead is over the old trajectory counts, then the difference is faded out.
        own = times >= times[times >= LEAD_STEPS * STEP_NS][0] + SeamFade().steps * STEP_NS
        asked = chunk_actions(chunk)[steps][:, columns]
        np.testing.assert_array_equal(command.positions[own], asked[own])
    # From rest a chunk starts when it has arrived, in motion when it was observed.
    first = chunk_of(robot.motions()[0], robot.chunks)
    lead_ns = LEAD_STEPS * STEP_NS
    assert stamp_ns(first.start) == stamp_ns(robot.motions()[0].header.stamp) + lead_ns
    assert any(c.sent and c.start == c.header.stamp for c in robot.chunks)
    assert robot.status.embodiment == 'sim_single_arm'


def test_every_trajectory_is_accepted_by_controllers_of_both_rules(moving):
    robot = moving
    robot.until(lambda: len(robot.motions()) >= 3)
    neutral = np.array([robot.embodiment.neutral[name] for name in ARM])
    for replacement in ('discard', 'blend'):
        controller = JointTrajectoryController(ARM, neutral, replacement=replacement)
        for at_ns, message in robot.of('arm'):
            assert controller.accept(command_from_message(message), at_ns) is None
            controller.sample(at_ns)
        assert controller.accepted >= 3
        assert not controller.rejected


def test_chunks_tell_joints_prompt_ages_and_sequence(moving):
    robot = moving
    robot.until(lambda: len(robot.chunks) >= 3)
    assert [chunk.sequence for chunk in robot.chunks[:3]] == [0, 1, 2]
    chunk = robot.chunks[-1]
    assert chunk.group_names == ['arm', 'gripper']
    assert list(chunk.group_sizes) == [6, 1]
    assert chunk.joint_names == [*ARM, 'gripper_joint']
    assert list(chunk.joint_indices) == list(range(7))
    assert chunk.width == 7
    assert chunk.prompt == 'wave'
    assert 0 <= chunk.newest_age_s <= chunk.oldest_age_s < 0.6
    assert chunk.inference_s > 0
    assert chunk_actions(chunk).all()


def test_base_is_streamed_on_the_chunks_clock_and_zeroed_on_deactivate(start):
    robot = start('sim_mobile')
    robot.until(lambda: len(robot.motions('left_arm')) >= 3)
    twists = robot.of('base')
    robot.until(lambda: len(twists) >= 60)
    streamed = [t.message for t in twists[:60]]
    stamps = np.array([stamp_ns(t.header.stamp) for t in streamed])
    assert np.median(np.diff(stamps)) == pytest.approx(STEP_NS, rel=0.1)
    first = min(stamp_ns(t.header.stamp) for t in robot.motions('left_arm'))
    sent = [c for c in robot.chunks if c.sent]
    matched = 0
    for message, stamp in zip(streamed, stamps, strict=True):
        assert message.header.frame_id == 'base_link'
        assert stamp >= first
        due = [(c, (int(stamp) - stamp_ns(c.start)) // STEP_NS) for c in sent]
        rows = [chunk_actions(c)[k, 14:17] for c, k in due if 0 <= k < 50]
        asked = any(np.array_equal(_axes(message), row) for row in rows)
        matched += asked
        # Zero only where a busy machine made the robot hold.
        assert asked or not any(_axes(message))
    assert matched > 30

    assert robot.deactivate()
    robot.until(lambda: not any(_axes(twists[-1].message)))
    for group in ('left_arm', 'right_arm', 'torso'):
        robot.until(lambda group=group: len(robot.of(group)[-1].message.points) == 1)


def _axes(message):
    return [message.twist.linear.x, message.twist.linear.y, message.twist.angular.z]


def test_gripper_goals_are_sent_only_on_change(start):
    def wide(content):
        content['actions'][1]['deadband'] = 0.004

    robot = start(change=wide)
    robot.until(lambda: len(robot.of('gripper')) >= 3)
    goals = [r.message.data[0] for r in robot.of('gripper')]
    assert (np.abs(np.diff(goals)) > 0.004).all()


def test_gripper_that_does_not_change_is_told_once(start):
    def never(content):
        content['actions'][1]['deadband'] = 1.0

    robot = start(change=never)
    robot.until(lambda: len(robot.motions()) >= 4)
    assert len(robot.of('gripper')) == 1


def test_enable_off_holds_and_then_sends_nothing_while_chunks_go_on(moving):
    robot = moving
    robot.until(lambda: len(robot.motions()) >= 2)
    response = robot.enable(False)
    assert (response.success, response.message) == (True, 'dry run: nothing is sent')
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    robot.wait_for_state(PolicyStatus.STATE_DRY_RUN)
    told, chunks = robot.commands(), len(robot.chunks)
    robot.until(lambda: len(robot.chunks) >= chunks + 3)
    assert robot.commands() == told
    assert not any(chunk.sent for chunk in robot.chunks[chunks + 1 :])
    sent = robot.wait_for_state(PolicyStatus.STATE_DRY_RUN).chunks_sent

    assert robot.enable(True).message == 'commands are sent'
    moved = len(robot.motions())
    robot.until(lambda: len(robot.motions()) >= moved + 2)
    status = robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    robot.until(lambda: robot.status.chunks_sent > sent)
    assert status.chunks_received > status.chunks_sent
    assert robot.chunks[-1].sent


def test_dry_run_from_the_start_sends_nothing_at_all(start):
    robot = start(dry_run=True)
    robot.until(lambda: len(robot.chunks) >= 3)
    status = robot.until(lambda: robot.status.chunks_received >= 3 and robot.status)
    assert (status.state, status.chunks_sent) == (PolicyStatus.STATE_DRY_RUN, 0)
    assert status.chunks_discarded == 0
    assert robot.deactivate()
    assert robot.commands() == 0


def test_deactivate_holds_every_arm_where_it_is_being_sent(start):
    robot = start('sim_dual_arm')
    robot.until(lambda: all(len(robot.motions(f'{side}_arm')) >= 2 for side in ('left', 'right')))
    asked_ns = time.time_ns()
    assert robot.deactivate()
    done_ns = time.time_ns()
    robot.wait_for_state(PolicyStatus.STATE_INACTIVE)
    for side in ('left', 'right'):
        messages = robot.of(f'{side}_arm')
        robot.until(lambda messages=messages: len(messages[-1].message.points) == 1)
        hold = messages[-1].message
        assert hold.joint_names == [f'{side}_joint_{k}' for k in range(1, 7)]
        assert stamp_ns(hold.header.stamp) == 0
        path = followed(robot, messages[:-1], asked_ns, done_ns)
        distance = np.abs(path - np.asarray(hold.points[0].positions)).max(axis=1)
        assert distance.min() < 0.01
        assert len(messages) >= 3
    told = robot.commands()
    assert robot.activate()
    robot.until(lambda: robot.commands() > told + 1)
    assert robot.chunks[-1].sequence <= 1


def test_status_and_diagnostics_count_streams_and_time_phases(start):
    robot = start(active=False)
    robot.until(lambda: robot.status and min(robot.status.stream_received) > 0)
    assert robot.activate()
    robot.until(lambda: robot.status.chunks_sent >= 3)
    status = robot.status
    assert status.state == PolicyStatus.STATE_RUNNING
    assert (status.reason, status.prompt, status.scheduling) == ('', 'wave', 'async')
    assert status.provider == 'cpu'
    assert status.stream_topics == [
        '/base_camera/image_raw', '/wrist_camera/image_raw', '/side_camera/image_raw',
        '/joint_states',
    ]  # fmt: skip
    assert list(status.stream_faults) == [''] * 4
    # Of what a busy machine delays; it cannot send faster than asked.
    share = np.asarray(status.stream_rate_hz) / [30, 30, 30, 100]
    assert ((share > 0.3) & (share < 1.1)).all()
    assert (np.asarray(status.stream_age_s) >= 0).all()
    assert list(status.intervention_names) == []
    phases = dict(zip(status.latency_phases, status.latency_p50_ms, strict=True))
    assert list(phases) == [
        'ros', 'resize', 'preprocess', 'observe', 'denoise', 'postprocess', 'publish',
        'stamp_to_command', 'overhead', 'ros_only',
    ]  # fmt: skip
    # Not resized after the newest stamp, if that is the joints'.
    assert 0 <= phases.pop('resize') < phases['ros']
    assert min(phases.values()) > 0
    whole = phases.pop('stamp_to_command')
    assert phases.pop('ros_only') < phases.pop('overhead') < whole
    assert max(phases.values()) < whole
    ordered = (status.latency_p50_ms, status.latency_p95_ms, status.latency_p99_ms)
    assert (np.diff(np.array(ordered), axis=0) >= 0).all()

    policy = robot.until(lambda: robot.diagnosis('policy'))
    assert (policy.level, policy.message) == (b'\0', 'running')
    values = {pair.key: pair.value for pair in policy.values}
    assert values['embodiment'] == 'sim_single_arm'
    assert values['provider'].startswith('cpu (onnxruntime ')
    assert 'denoise p50 / p95 / p99 [ms]' in values
    for topic in status.stream_topics:
        stream = robot.diagnosis(topic)
        # A busy machine may delay the test's own publishers.
        assert stream.message == 'healthy' or stream.message.endswith('messages missing')


def test_state_changes_are_told_at_once_and_not_with_every_refusal(start):
    robot = start(active=False)
    inactive = robot.wait_for_state(PolicyStatus.STATE_INACTIVE)
    assert inactive.reason == ''
    assert robot.activate()
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    robot.muted.add('/joint_states')
    robot.wait_for_state(PolicyStatus.STATE_HOLDING, '/joint_states')
    before = len(robot.received['/policy_node/status'])
    refused = robot.status.observations_refused
    robot.until(lambda: robot.status.observations_refused >= refused + 15)
    assert len(robot.received['/policy_node/status']) - before <= 3


def test_transition_that_does_not_exist_is_refused_in_motion(moving):
    robot = moving
    assert not robot.activate()
    assert not robot.configure()
    moved = len(robot.motions())
    robot.until(lambda: len(robot.motions()) > moved)
