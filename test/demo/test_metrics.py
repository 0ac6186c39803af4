"""Figures from constructed recordings whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.demo.metrics import Window, group_results, joint_results, stream_results
from pizero_ros.demo.recording import Recording, SentTrajectory, Series, Status, StreamCount
from pizero_ros.embodiment.load import load_embodiment

ARM = load_embodiment('sim_single_arm')
NAMES = tuple(joint.name for joint in ARM.actions[0].joints)
SECOND = 1_000_000_000
CAMERA = ARM.cameras[0].topic


def trajectory(stamp_ns: int, first: float, slope: float, points: int = 46) -> SentTrajectory:
    times_ns = np.arange(1, points + 1) * SECOND // 50
    column = first + slope * (times_ns - times_ns[0]) * 1e-9
    positions = np.repeat(column[:, None], len(NAMES), axis=1)
    command = TrajectoryCommand('arm', stamp_ns, NAMES, positions, None, times_ns)
    return SentTrajectory('arm', stamp_ns, command, '')


def status(stamp_ns: int, received: int, missing: int, newest_ns: int | None) -> Status:
    age_s = -1.0 if newest_ns is None else (stamp_ns - newest_ns) * 1e-9
    streams = {
        topic: StreamCount(received, missing, 30.0, age_s, '')
        for topic in [*(c.topic for c in ARM.cameras), *(s.topic for s in ARM.state)]
    }
    return Status(stamp_ns, 1, '', 'cpu', 'async', '', {}, {}, streams, {})


def test_seam_is_the_largest_distance_of_two_plans_while_both_last() -> None:
    recording = Recording()
    recording.trajectories = [
        trajectory(10 * SECOND, first=0.0, slope=0.5),
        # Half a second on, the old plan is at 0.25 rad, and 0.4 s later, at its end, at 0.45.
        trajectory(10 * SECOND + SECOND // 2, first=0.28, slope=0.6),
    ]
    recording.sent['arm'] = 2
    arm, gripper = group_results(recording, ARM, {'arm': {'accepted': 2, 'rejected': 0}})
    assert arm.seam == pytest.approx(0.52 - 0.45, abs=1e-9)
    assert arm.points == (46, 46)
    assert (arm.sent, arm.accepted, gripper.accepted) == (2, 2, 0)


def test_hold_is_counted_apart_and_makes_no_seam() -> None:
    recording = Recording()
    recording.trajectories = [trajectory(SECOND, 0.0, 0.1), trajectory(2 * SECOND, 0.9, 0.0, 1)]
    arm, _ = group_results(recording, ARM, {})
    assert (arm.holds, arm.points, arm.seam) == (1, (46,), None)


def test_motion_and_tracking_are_those_of_the_window() -> None:
    recording = Recording()
    for k in range(200):
        angle = 0.01 * k
        recording.positions.add(k * SECOND // 100, NAMES, [angle] * len(NAMES))
        recording.desired.add(k * SECOND // 100, NAMES, [angle + 0.02] * len(NAMES))
        recording.velocities.add(k * SECOND // 100, NAMES, [-1.0] * len(NAMES))
    joints = joint_results(recording, ARM, Window(SECOND // 2, SECOND))
    assert joints[0].motion == pytest.approx(0.5)
    assert joints[0].rms_error == pytest.approx(0.02)
    assert joints[0].max_speed == 1.0
    assert (joints[0].unit, joints[-1].name, joints[-1].unit) == ('rad', 'gripper_joint', 'm')
    assert joints[-1].motion == 0.0


def test_frames_are_counted_between_the_stamps_of_two_statuses() -> None:
    stamps = [k * SECOND // 30 for k in range(100)]
    statuses = [
        status(SECOND, 0, 0, None),
        # Ten frames came before discovery ended; the eleventh was the newest here.
        status(2 * SECOND, 4, 0, stamps[10]),
        status(4 * SECOND, 92, 0, stamps[99]),
    ]
    camera = stream_results(ARM, statuses, {}, stamps={CAMERA: stamps})[0]
    assert (camera.sent, camera.received, camera.lost) == (89, 88, 1)
    assert camera.counted_by == 'stamps'


def test_without_the_senders_stamps_gaps_are_counted() -> None:
    statuses = [status(2 * SECOND, 4, 0, SECOND), status(4 * SECOND, 92, 3, 3 * SECOND)]
    camera = stream_results(ARM, statuses, {}, stamps={})[0]
    assert (camera.sent, camera.received, camera.counted_by) == (95, 92, 'gaps')


def test_bag_totals_are_held_against_everything_received() -> None:
    camera = stream_results(ARM, [status(SECOND, 290, 0, 1)], {}, totals={CAMERA: 290})[0]
    assert (camera.sent, camera.received, camera.counted_by) == (290, 290, 'total')


def test_camera_that_never_came_has_nothing_received() -> None:
    camera = stream_results(ARM, [status(SECOND, 0, 0, None)], {}, totals={CAMERA: 290})[0]
    assert (camera.sent, camera.received) == (290, 0)


def test_series_keeps_names_apart_and_fills_nothing_in() -> None:
    series = Series()
    series.add(2, ('b', 'a'), [2.0, 1.0])
    series.add(1, ('a',), [5.0])
    series.add(3, ('a', 'b'), [])
    stamps, values = series.of('a')
    assert (stamps.tolist(), values.tolist()) == ([1, 2], [5.0, 1.0])
    assert np.isnan(series.latest(['c'])).all()
    assert series.latest(['a', 'b']).tolist() == [5.0, 2.0]
