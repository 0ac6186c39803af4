"""Sensor faults, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.sim.faults import Fault, SensorFaults, parse_fault

WRIST = '/wrist_camera/image_raw'
JOINTS = '/joint_states'


def _faults(*texts, name='sim_single_arm', seed=0):
    return SensorFaults(map(parse_fault, texts), load_embodiment(name), seed)


def _picture(value):
    return np.full((4, 6, 3), value, np.uint8)


def test_without_faults_everything_passes_unchanged():
    faults = _faults()
    picture, positions = _picture(9), np.arange(2.0)
    assert faults.sends(WRIST, 0)
    assert faults.picture(WRIST, picture) is picture
    assert faults.positions(JOINTS, ['joint_1', 'joint_2'], positions) is positions


def test_black_camera_is_black_and_the_others_are_not():
    faults = _faults(f'black:{WRIST}')
    assert faults.picture(WRIST, _picture(9)).max() == 0
    assert faults.picture('/base_camera/image_raw', _picture(9)).min() == 9
    assert faults.sends(WRIST, 0)


def test_frozen_camera_repeats_its_first_picture():
    faults = _faults(f'frozen:{WRIST}')
    assert [faults.picture(WRIST, _picture(k)).max() for k in (5, 6, 7)] == [5, 5, 5]


def test_dropped_fraction_is_met_and_repeatable():
    passed = [
        [faults.sends(WRIST, k) for k in range(2000)]
        for faults in (_faults(f'dropped:{WRIST}=0.3', seed=4) for _ in range(2))
    ]
    assert passed[0] == passed[1]
    assert np.mean(passed[0]) == pytest.approx(0.7, abs=0.03)


def test_slow_topic_keeps_its_rate():
    faults = _faults(f'slow:{WRIST}=5')
    sent = [k for k in range(300) if faults.sends(WRIST, round(k * 1e9 / 30))]
    assert len(sent) == 50
    assert np.diff(sent).tolist() == [6] * 49


def test_missing_topic_sends_nothing():
    faults = _faults('missing:/left/joint_states', name='sim_dual_arm')
    assert not faults.sends('/left/joint_states', 0)
    assert faults.sends('/right/joint_states', 0)


def test_joint_faults_replace_one_joint_or_all_of_a_topic():
    names, positions = ['joint_1', 'joint_2'], np.array([0.1, 0.2])
    reported = _faults('nan:joint_2').positions(JOINTS, names, positions)
    assert reported[0] == 0.1
    assert np.isnan(reported[1])
    assert _faults(f'minus_one:{JOINTS}').positions(JOINTS, names, positions).tolist() == [-1, -1]
    assert positions.tolist() == [0.1, 0.2]


def test_fault_is_read_from_text():
    assert parse_fault('slow:/joint_states=4.8') == Fault('slow', '/joint_states', 4.8)
    assert parse_fault('nan:joint_1') == Fault('nan', 'joint_1')


@pytest.mark.parametrize(
    'text',
    ['', 'purple:/x', 'black', 'black:', 'black:/x=1', 'slow:/x', 'slow:/x=fast', 'slow:/x=0',
     'dropped:/x=1.5', 'dropped:/x=nan'],
)  # fmt: skip
def test_text_that_is_no_fault_is_refused(text):
    with pytest.raises(PizeroError, match='fault'):
        parse_fault(text)


@pytest.mark.parametrize(
    'text', ['black:/joint_states', 'nan:elbow', 'missing:/nowhere', f'nan:{WRIST}']
)
def test_target_that_the_robot_lacks_is_refused(text):
    with pytest.raises(PizeroError, match='expected one of'):
        _faults(text)
