"""Robots and chunks that the tests of the control layer share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from robot_parts import group, joint, robot

from pizero_ros.policy.chunk import ActionChunk

pytest.register_assert_rewrite(
    'hostile_arms', 'hostile_streams', 'hostile_calls', 'hostile_run', 'hostile_sensors'
)


@pytest.fixture
def make():
    """Builders of joints, groups, robots and chunks."""

    class Make:
        joint = staticmethod(joint)
        group = staticmethod(group)
        robot = staticmethod(robot)

        @staticmethod
        def chunk(actions, observed_ns=0, rate_hz=50.0, epoch=0, **changes):
            actions = np.asarray(actions, np.float64)
            model = actions.astype(np.float32)
            chunk = ActionChunk(observed_ns, rate_hz, actions, model, epoch=epoch)
            return replace(chunk, **changes)

        @staticmethod
        def arm(joints=2, **changes):
            return group('arm', [joint(f'arm_{i}', i) for i in range(joints)], **changes)

        @staticmethod
        def mobile():
            """Two arms of 2, a base of 2 axes, a gripper: 7 values."""
            return robot(
                group('left', [joint('l0', 0), joint('l1', 1)]),
                group('right', [joint('r0', 2), joint('r1', 3)], velocities=True),
                group(
                    'base',
                    [
                        joint('linear.x', 4, position=None, velocity=1.0, acceleration=5.0),
                        joint('angular.z', 5, position=None, velocity=1.0),
                    ],
                    output='twist',
                ),
                group(
                    'gripper', [joint('g', 6, position=(0.0, 1.0))], output='gripper', deadband=0.1
                ),
            )

    return Make
