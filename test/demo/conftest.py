"""Results as a good run gives them, for tests that spoil one thing at a time."""

from __future__ import annotations

import pytest

from pizero_ros.demo.results import (
    GroupResult,
    JointResult,
    ProcessResult,
    RobotResult,
    StreamResult,
)


@pytest.fixture
def good() -> RobotResult:
    return RobotResult(
        embodiment='sim_single_arm',
        description='one arm',
        mode='simulated',
        chunk_horizon=50,
        chunks=20,
        chunks_sent=20,
        groups=(
            GroupResult(
                group='arm',
                output='joint_trajectory',
                topic='/arm_controller/joint_trajectory',
                sent=21,
                accepted=21,
                rejected=0,
                rejections={},
                holds=1,
                points=(44, 46, 47),
                seam=0.01,
                seam_joint='joint_3',
            ),
            GroupResult('gripper', 'gripper', '/gripper', 5, 5, 0, {}),
        ),
        streams=(
            StreamResult(
                '/a/image', 'camera', 'base_0_rgb', True, 300, 300, 'stamps', 30.0, {}, {}
            ),
            StreamResult(
                '/b/image', 'camera', 'side_rgb', False, 299, 299, 'stamps', 30.0, {}, {}
            ),
            StreamResult('/joint_states', 'state', '', True, 1000, 1000, 'stamps', 100.0, {}, {}),
        ),
        joints=(JointResult('joint_1', 'arm', 'rad', 0.8, 1.1, 0.004),),
        latency_ms={
            phase: {'p50': 10.0, 'p95': 20.0}
            for phase in ('preprocess', 'observe', 'denoise', 'publish', 'stamp_to_command')
        },
        policy_state='running',
        processes=(
            ProcessResult('sim_robot', 0, 'SIGINT', 35.0),
            ProcessResult('policy_node', 0, 'SIGINT', 22.0),
        ),
        startup_s=1.2,
        measured_s=10.0,
        after_stop_speed=0.0,
    )
