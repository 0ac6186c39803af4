"""Joints, groups and robots from what tests of the control layer say of them."""

from __future__ import annotations

from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Embodiment


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


def robot(*groups, state=(), cameras=(), **changes):
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
        cameras=tuple(cameras),
        state=tuple(state),
        actions=tuple(groups),
        max_skew_s=0.1,
        neutral={},
        **{**values, **changes},
    )
