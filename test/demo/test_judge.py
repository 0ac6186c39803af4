"""Commands of a recorded robot are judged by the controllers' rules."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pizero_ros.demo.judge import Judge
from pizero_ros.embodiment.load import load_embodiment

ARM = load_embodiment('sim_single_arm')
NAMES = [joint.name for joint in ARM.actions[0].joints]
SECOND = 1_000_000_000


def message(stamp_s: int, target: float) -> SimpleNamespace:
    def point(seconds: int) -> SimpleNamespace:
        return SimpleNamespace(
            positions=[target] * len(NAMES),
            velocities=[],
            accelerations=[],
            effort=[],
            time_from_start=SimpleNamespace(sec=seconds, nanosec=0),
        )

    stamp = SimpleNamespace(sec=stamp_s, nanosec=0)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp), joint_names=NAMES, points=[point(1), point(2)]
    )


def test_trajectory_is_followed_from_the_measured_joints() -> None:
    judge = Judge(ARM)
    judge.trajectory('arm', message(10, 1.0), 10 * SECOND, np.zeros(len(NAMES)))
    judge.desired(10 * SECOND)
    names, positions = judge.desired(10 * SECOND + SECOND // 2)
    assert names == NAMES
    assert positions == pytest.approx([0.5] * len(NAMES))
    assert judge.counts()['arm'] == {'accepted': 1, 'rejected': 0, 'rejections': {}}


def test_late_trajectory_is_rejected_by_name() -> None:
    judge = Judge(ARM)
    judge.trajectory('arm', message(10, 1.0), 13 * SECOND, np.full(len(NAMES), np.nan))
    assert judge.counts()['arm']['rejections'] == {'ends_in_the_past': 1}
    assert judge.desired(14 * SECOND) == ([], [])


def test_array_command_must_fit_its_group() -> None:
    judge = Judge(ARM)
    judge.values('gripper', [0.02])
    judge.values('gripper', [0.02, 0.02])
    judge.values('gripper', [float('nan')])
    assert judge.counts()['gripper'] == {
        'accepted': 1,
        'rejected': 2,
        'rejections': {'length_mismatch': 1, 'not_finite': 1},
    }
