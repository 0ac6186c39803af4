"""Robots for hostile chunks: every kind of output, limits and clock there may be."""

from __future__ import annotations

from robot_parts import group, joint, robot

from pizero_ros.embodiment.schema import (
    Camera,
    SpeedScaling,
    StateJoint,
    StateSource,
    Workspace,
)

ODOMETRY = '/odom'
JOINTS = '/joint_states'


def _arm(name='arm', *, first=0, joints=2, velocities=False, **changes):
    members = [joint(f'{name}_{i}', first + i, **changes) for i in range(joints)]
    return group(name, members, 'joint_trajectory', velocities=velocities)


def _base(first=0, **changes):
    axis = {'position': None, 'max_step': 1.0}
    joints = [
        joint('linear.x', first, velocity=0.8, acceleration=2.0, **axis),
        joint('linear.y', first + 1, velocity=0.6, acceleration=3.0, sign=-1, scale=0.5, **axis),
        joint('angular.z', first + 2, velocity=1.0, acceleration=4.0, **axis),
    ]
    return group('base', joints, 'twist', **changes)


def _gripper(name='gripper', first=0, deadband=0.1, position=(0.0, 1.0), joints=1):
    members = [joint(f'{name}_{i}', first + i, position=position) for i in range(joints)]
    return group(name, members, 'gripper', deadband=deadband)


def _odometry():
    forward = StateJoint('linear.x', 14, 'velocity', 1.0, 0.0, 1, None)
    return StateSource(ODOMETRY, 'odometry', 'header', 0.1, 50.0, (forward,))


def _speed(*, required):
    return SpeedScaling('/speed', 'float64', 'fraction', required, 0.5)


def _mobile(**changes):
    return robot(
        _arm('left', acceleration=8.0),
        _arm('right', first=2, velocities=True),
        _base(4),
        _gripper(first=7),
        **changes,
    )


def _sensed():
    """A robot whose joints and cameras are read: 3 joints, a finger in other units, a base."""
    state = [
        StateSource(
            JOINTS,
            'joint_state',
            'header',
            0.1,
            100.0,
            (
                *(
                    StateJoint(f'arm_{i}', i, 'position', 1.0, 0.0, 1, (-3.2, 3.2))
                    for i in range(3)
                ),
                StateJoint('finger', 3, 'position', 71.9, -3.1, -1, None),
            ),
        ),
        _odometry(),
    ]
    cameras = [
        Camera('base', '/base', 'raw', True, 90, 'horizontal', 'header', 0.2, 30.0),
        Camera('wrist', '/wrist/compressed', 'compressed', False, 0, 'none', 'header', 0.2, 30.0),
    ]
    return robot(_arm(joints=3, acceleration=10.0), state=state, cameras=cameras)


ARMS = {
    'plain': lambda: robot(_arm()),
    'accelerating': lambda: robot(_arm(velocity=1.0, acceleration=8.0)),
    'cubic': lambda: robot(_arm(velocities=True)),
    'cubic_accelerating': lambda: robot(
        _arm(velocities=True, velocity=1.0, acceleration=8.0, position=(-0.3, 0.3))
    ),
    'narrow': lambda: robot(
        _arm(position=(-0.01, 0.015), acceleration=20.0, scale=0.01, sign=-1, offset=0.3),
        published_steps=10,
        executed_steps=5,
    ),
    'slow_rate': lambda: robot(
        _arm(acceleration=1.0, max_step=0.1),
        rate_hz=5.0,
        horizon=10,
        published_steps=6,
        executed_steps=4,
        lead_steps=1,
    ),
    'leaping': lambda: robot(
        _arm(max_step=0.1),
        rate_hz=5.0,
        published_steps=8,
        executed_steps=2,
    ),
    'no_lead': lambda: robot(
        _arm(acceleration=30.0),
        rate_hz=30.0,
        published_steps=3,
        executed_steps=1,
        lead_steps=0,
    ),
    'wide': lambda: robot(
        _arm(position=(-1e4, 1e4), velocity=50.0, acceleration=500.0, max_step=100.0),
        rate_hz=200.0,
        lead_steps=5,
        published_steps=8,
        executed_steps=8,
    ),
    'two_arms': lambda: robot(
        _arm('left', joints=3, acceleration=5.0), _arm('right', first=3, joints=1, velocities=True)
    ),
}
BASES = {
    'holonomic': lambda: robot(_base(), rate_hz=50.0),
    'differential': lambda: robot(
        group(
            'base',
            [
                joint('linear.x', 0, position=None, velocity=1.0, acceleration=None),
                joint('angular.z', 1, position=None, velocity=2.0, acceleration=3.0),
            ],
            'twist',
        ),
        rate_hz=20.0,
        published_steps=10,
        executed_steps=5,
    ),
    'fenced': lambda: robot(
        _base(workspace=Workspace(ODOMETRY, (-0.06, 0.1), (-0.05, 0.04))), state=[_odometry()]
    ),
}
GRIPPERS = {
    'one': lambda: robot(_gripper()),
    'eager': lambda: robot(_gripper(deadband=0.0, position=(0.6, 1.6)), lead_steps=0),
    'two': lambda: robot(
        _gripper('left', joints=2, deadband=0.02), _gripper('right', 2), rate_hz=20.0
    ),
}
WHOLE = {
    'mobile': _mobile,
    'scaled': lambda: _mobile(speed_scaling=_speed(required=False)),
    'scaled_required': lambda: _mobile(speed_scaling=_speed(required=True), lead_steps=3),
}
SENSED = {'sensed': _sensed}
