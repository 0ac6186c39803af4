"""Faults of the simulated robot, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.sim.faults import Fault, RobotFaults, parse_fault

WRIST = '/wrist_camera/image_raw'
JOINTS = '/joint_states'


def _faults(*texts, name='sim_single_arm', seed=0):
    return RobotFaults(map(parse_fault, texts), load_embodiment(name), seed)


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


def test_noisy_camera_has_the_noise_that_was_asked_for():
    faults = _faults(f'noisy:{WRIST}=12')
    noisy = faults.picture(WRIST, np.full((200, 200, 3), 128, np.uint8))
    assert noisy.dtype == np.uint8
    assert noisy.mean() == pytest.approx(128.0, abs=0.2)
    assert noisy.std() == pytest.approx(12.0, abs=0.2)
    assert not np.array_equal(noisy, faults.picture(WRIST, np.full((200, 200, 3), 128, np.uint8)))
    dark = faults.picture(WRIST, np.zeros((50, 50, 3), np.uint8))
    assert dark.max() < 100


def test_stuck_joint_repeats_the_position_it_had():
    faults = _faults('stuck:joint_2')
    names = ['joint_1', 'joint_2']
    assert faults.positions(JOINTS, names, np.array([0.1, 0.2])).tolist() == [0.1, 0.2]
    assert faults.positions(JOINTS, names, np.array([0.3, 0.4])).tolist() == [0.3, 0.2]


def test_missing_joint_is_left_out_of_its_messages():
    faults = _faults('missing:joint_2')
    assert faults.present(['joint_1', 'joint_2', 'joint_3']) == [0, 2]
    assert faults.sends(JOINTS, 0)


def test_controllers_are_deaf_or_refuse():
    faults = _faults('deaf:left_arm', 'rejecting:right_arm', name='sim_dual_arm')
    assert [faults.hears(name) for name in ('left_arm', 'right_arm')] == [False, True]
    assert [faults.refuses(name) for name in ('left_arm', 'right_arm')] == [False, True]


def test_clock_is_off_while_the_fault_lasts():
    faults = _faults('clock_jump=-2.5')
    assert faults.clock_offset_ns == -2_500_000_000
    faults.replace([])
    assert faults.clock_offset_ns == 0


def test_fault_that_comes_back_remembers_nothing_and_one_that_stays_goes_on():
    faults = _faults(f'frozen:{WRIST}')
    assert faults.picture(WRIST, _picture(5)).max() == 5
    frozen, black = Fault('frozen', WRIST), Fault('black', '/base_camera/image_raw')
    faults.replace([frozen, black])
    assert faults.faults == (frozen, black)
    assert faults.picture(WRIST, _picture(6)).max() == 5
    faults.replace([black])
    assert faults.picture(WRIST, _picture(7)).max() == 7
    faults.replace([frozen])
    assert faults.picture(WRIST, _picture(8)).max() == 8


def test_wrong_target_changes_nothing():
    faults = _faults(f'black:{WRIST}')
    with pytest.raises(PizeroError, match='expected one of'):
        faults.replace([Fault('nan', 'joint_1'), Fault('deaf', 'tail')])
    assert faults.faults == (Fault('black', WRIST),)


def test_slow_topic_survives_a_clock_that_jumps_back():
    faults = _faults(f'slow:{WRIST}=5')
    assert faults.sends(WRIST, 10_000_000_000)
    assert not faults.sends(WRIST, 10_100_000_000)
    assert faults.sends(WRIST, 1_000_000_000)
    assert not faults.sends(WRIST, 1_100_000_000)
    assert faults.sends(WRIST, 1_200_000_000)


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('slow:/joint_states=4.8', Fault('slow', '/joint_states', 4.8)),
        ('nan:joint_1', Fault('nan', 'joint_1')),
        ('clock_jump=-2.5', Fault('clock_jump', '', -2.5)),
        ('deaf:arm', Fault('deaf', 'arm')),
    ],
)
def test_fault_is_read_from_text_and_written_back(text, fault):
    assert parse_fault(text) == fault
    assert str(fault) == text


@pytest.mark.parametrize(
    'text',
    ['', 'purple:/x', 'black', 'black:', 'black:/x=1', 'slow:/x', 'slow:/x=fast', 'slow:/x=0',
     'dropped:/x=1.5', 'dropped:/x=nan', 'noisy:/x=0', 'clock_jump', 'clock_jump=0',
     'clock_jump=inf', 'clock_jump:/x=1', 'deaf:arm=1'],
)  # fmt: skip
def test_text_that_is_no_fault_is_refused(text):
    with pytest.raises(PizeroError, match='fault'):
        parse_fault(text)


@pytest.mark.parametrize(
    'text',
    [
        'black:/joint_states',
        'nan:elbow',
        'missing:/nowhere',
        f'nan:{WRIST}',
        'deaf:arms',
        'missing:elbow',
        f'noisy:{JOINTS}=3',
    ],
)
def test_target_that_the_robot_lacks_is_refused(text):
    with pytest.raises(PizeroError, match='expected one of'):
        _faults(text)
