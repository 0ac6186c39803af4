"""Robots and chunks that the tests of the control layer share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Embodiment
from pizero_ros.policy.chunk import ActionChunk


def joint(name, index, **changes):
    values = {
        'scale': 1.0,
        'offset': 0.0,
        'sign': 1,
        'position': (-3.0, 3.0),
        'velocity': 2.0,
        'acceleration': None,
        'max_step': 0.5,
    }
    return ActionJoint(name=name, index=index, **{**values, **changes})


def group(name, joints, output='joint_trajectory', **changes):
    message = {
        'joint_trajectory': 'joint_trajectory',
        'twist': 'twist_stamped',
        'gripper': 'joint_trajectory',
    }[output]
    values = {'velocities': False, 'deadband': 0.0, 'frame_id': '', 'topic': f'/{name}'}
    return ActionGroup(
        name=name, output=output, message=message, joints=tuple(joints), **{**values, **changes}
    )


def robot(*groups, **changes):
    values = {
        'rate_hz': 50.0,
        'horizon': 50,
        'executed_steps': 25,
        'published_steps': 50,
        'lead_steps': 2,
    }
    return Embodiment(
        name='test',
        description='',
        source='test.yaml',
        vector_dim=18,
        cameras=(),
        state=(),
        actions=tuple(groups),
        max_skew_s=0.1,
        neutral={},
        **{**values, **changes},
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
