"""The record beside the policy's own buffers."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.doctor.watch import Record, WatchedAssembler
from pizero_ros.observation.refusal import Reason

MS = 1_000_000
START = 1_000_000 * MS


def test_steady_stream_has_its_rate_and_no_stale_time(arm):
    record = Record(arm.state[0])  # 100 Hz, at most 0.1 s old
    for k in range(101):
        record.add(START + k * 10 * MS - 2 * MS, START + k * 10 * MS)
    timing = record.timing(START + 1000 * MS)
    assert timing.received == 101
    assert timing.rate_hz == pytest.approx(100.0)
    assert timing.age_s == pytest.approx((0.002, 0.002, 0.002))
    assert timing.stale_share == 0.0
    assert timing.longest_gap_s == pytest.approx(0.01)


def test_gap_is_stale_from_the_age_limit_on(arm):
    record = Record(arm.state[0])
    for at_ms in (0, 10, 510, 520):
        record.add(START + at_ms * MS, START + at_ms * MS)
    # From 10 + 100 ms until 510 ms of 1000, and from 620 ms to the end.
    timing = record.timing(START + 1000 * MS)
    assert timing.stale_share == pytest.approx((400 + 380) / 1000)
    assert timing.longest_gap_s == pytest.approx(0.5)


def test_old_stamps_are_stale_all_the_time(arm):
    record = Record(arm.state[0])
    for k in range(10):
        record.add(START + k * 10 * MS - 300 * MS, START + k * 10 * MS)
    assert record.timing(START + 100 * MS).stale_share == pytest.approx(1.0)


def test_zero_stamps_are_counted_and_have_no_age(arm):
    record = Record(arm.state[0])
    for k in range(5):
        record.add(0, START + k * 10 * MS)
    timing = record.timing(START + 50 * MS)
    assert (timing.unstamped, timing.age_s) == (5, None)
    assert Record(arm.state[0]).timing(START) is None


class Picture:
    encoding, width, height, step = 'rgb8', 4, 4, 12

    def __init__(self, level):
        self.data = np.full(48, level, np.uint8).tobytes()


def test_looks_count_what_the_policy_would_refuse(arm):
    watched = WatchedAssembler(arm)
    names = [joint.name for joint in arm.state[0].joints]
    for k in range(4):
        now = START + k * 100 * MS
        for camera in arm.cameras:
            dark = camera.slot == 'base_0_rgb' and k >= 2
            watched.image(camera.topic, Picture(0 if dark else 100), now, now)
        positions = [0.0] * 6 + [0.02]
        if k == 3:
            positions[1], positions[2] = 5.0, -5.0
        watched.joint_state('/joint_states', names, positions, [], [], now, now)
        watched.look(now)
    looks = watched.looks()
    assert (looks.count, looks.fit) == (4, 2)
    assert looks.reasons == {
        Reason('black', '/base_camera/image_raw', 'the picture is black'): 2,
        Reason('range', '/joint_states', 'joint joint_2 is 5, range -3.2 to 3.2'): 1,
        Reason('range', '/joint_states', 'joint joint_3 is -5, range -3.2 to 3.2'): 1,
    }
    assert watched.complete
    assert list(watched.names['/joint_states']) == names
    assert watched.pictures['/wrist_camera/image_raw'].size_bytes == 48
