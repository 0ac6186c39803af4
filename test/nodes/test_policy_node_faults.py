"""Sensors that fail: the robot holds, says why, and moves again when they are mended."""

from __future__ import annotations

import pytest
from pizero_ros.msg import PolicyStatus

BASE, WRIST, SIDE = (f'/{name}_camera/image_raw' for name in ('base', 'wrist', 'side'))
JOINTS = '/joint_states'
HOLDING, RUNNING = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_RUNNING


def assert_holds(robot, topic, *fragments):
    """Assert a hold, its reason in status and diagnostics, silence, and recovery."""
    robot.wait_for_state(HOLDING, topic, *fragments)
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    assert robot.is_silent()
    policy = robot.until(lambda: _at_level(robot.diagnosis('policy'), b'\1'))
    assert topic in policy.message
    stream = robot.until(lambda: _at_level(robot.diagnosis(topic), b'\2'))
    robot.heal()
    moved = len(robot.motions())
    robot.until(lambda: len(robot.motions()) > moved)
    robot.wait_for_state(RUNNING)
    return stream


def _at_level(status, level):
    return status if status is not None and status.level == level else None


def test_nan_joint(moving):
    moving.positions['joint_3'] = float('nan')
    stream = assert_holds(moving, JOINTS, 'joint joint_3 is nan')
    assert stream.message == 'nonfinite'
    assert moving.counted('observation.nonfinite') >= 5


def test_joint_out_of_its_range(moving):
    moving.positions['joint_2'] = 57.3
    stream = assert_holds(moving, JOINTS, 'joint joint_2 is 57.3', '-3.2 to 3.2')
    assert stream.message == 'range'


def test_servos_that_were_not_read(moving):
    moving.positions |= dict.fromkeys([j.name for j in moving.embodiment.state_joints], -1.0)
    assert_holds(moving, JOINTS)


def test_joint_that_left_the_messages(moving):
    moving.absent.add('joint_4')
    assert_holds(moving, JOINTS, 'joint joint_4')


@pytest.mark.parametrize('encoding', ['16UC1', '8UC3', 'purple'])
def test_impossible_encoding(moving, encoding):
    moving.encodings[WRIST] = encoding
    stream = assert_holds(moving, WRIST, 'encoding', repr(encoding), 'rgb8')
    assert stream.message == 'undecodable'


def test_encoding_that_contradicts_the_size(moving):
    moving.encodings[WRIST] = 'rgba8'
    assert_holds(moving, WRIST, 'step: found 192', 'at least 256')


def test_black_camera(moving):
    moving.black.add(BASE)
    stream = assert_holds(moving, BASE, 'the picture is black')
    values = {pair.key: pair.value for pair in stream.values}
    assert int(values['black']) >= 1


def test_joint_stream_that_ends_in_motion_is_held_when_it_is_stale(moving):
    limit_s = moving.embodiment.state[0].max_age_s
    seen = len(moving.of('arm'))
    moving.muted.add(JOINTS)
    hold = moving.until(
        lambda: next((r for r in moving.of('arm')[seen:] if len(r.message.points) == 1), None)
    )
    blind_s = (hold.at_ns - moving.stamped_ns[JOINTS]) * 1e-9
    assert limit_s <= blind_s < limit_s + 0.3
    stream = assert_holds(moving, JOINTS, 'old, limit 0.6 s')
    assert stream.message.startswith('stale')
    assert moving.counted('observation.stale') >= 5


def test_required_camera_that_ends_in_motion(moving):
    moving.muted.add(WRIST)
    assert_holds(moving, WRIST, 'old, limit 0.6 s')


def test_camera_that_loses_its_stamps(moving):
    moving.unstamped.add(BASE)
    stream = assert_holds(moving, BASE, 'old')
    values = {pair.key: pair.value for pair in stream.values}
    assert int(values['unstamped']) > 0


def test_optional_camera_may_end(moving):
    moving.muted.add(SIDE)
    moving.until(lambda: moving.diagnosis(SIDE).message.startswith('stale'))
    assert moving.diagnosis(SIDE).level == b'\1'
    moved = len(moving.motions())
    moving.until(lambda: len(moving.motions()) >= moved + 2)
    moving.wait_for_state(RUNNING)


def test_error_inside_inference_holds_until_activated_anew(moving, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError('out of memory')

    monkeypatch.setattr(moving.policy._predictor.policy, 'infer', broken)
    status = moving.wait_for_state(PolicyStatus.STATE_FAULT)
    assert status.reason == 'RuntimeError: out of memory'
    moving.until(lambda: len(moving.of('arm')[-1].message.points) == 1)
    policy = moving.until(lambda: _at_level(moving.diagnosis('policy'), b'\2'))
    assert policy.message == 'fault: RuntimeError: out of memory'
    assert moving.logged('holding until re-activated')
    told = moving.commands()
    monkeypatch.undo()
    assert moving.deactivate()
    assert moving.activate()
    moving.wait_for_state(RUNNING)
    assert moving.commands() > told
