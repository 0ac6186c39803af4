"""Messages and robots to observe."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pizero_ros.embodiment.schema import (
    ActionGroup,
    ActionJoint,
    Camera,
    Embodiment,
    StateJoint,
    StateSource,
)


def build_camera(slot='base', **changes):
    values = {
        'slot': slot,
        'topic': f'/{slot}',
        'transport': 'raw',
        'required': True,
        'rotation_deg': 0,
        'flip': 'none',
        'stamp': 'header',
        'max_age_s': 0.2,
        'rate_hz': 30.0,
    }
    return Camera(**{**values, **changes})


def build_joint(name, index, **changes):
    values = {
        'name': name,
        'index': index,
        'field': 'position',
        'scale': 1.0,
        'offset': 0.0,
        'sign': 1,
        'range': None,
    }
    return StateJoint(**{**values, **changes})


def build_source(joints, topic='/joint_states', **changes):
    values = {
        'topic': topic,
        'interface': 'joint_state',
        'stamp': 'header',
        'max_age_s': 0.2,
        'rate_hz': 100.0,
        'joints': tuple(joints),
    }
    return StateSource(**{**values, **changes})


def build_group(name, joints):
    return ActionGroup(
        name=name,
        output='joint_trajectory',
        topic=f'/{name}/joint_trajectory',
        message='joint_trajectory',
        frame_id='',
        joints=tuple(
            ActionJoint(joint, i, 1.0, 0.0, 1, (-3, 3), 1.0, None, 0.1)
            for i, joint in enumerate(joints)
        ),
        velocities=False,
        deadband=0.0,
    )


@pytest.fixture
def camera():
    """Build a camera; keywords replace its values."""
    return build_camera


@pytest.fixture
def joint():
    """Build a state joint; keywords replace its values."""
    return build_joint


@pytest.fixture
def source():
    """Build a state source; keywords replace its values."""
    return build_source


@pytest.fixture
def group():
    """Build an arm of the given joints."""
    return build_group


@pytest.fixture
def robot():
    """Build a robot: one camera, joints a, b, c at indices 0, 1, 2, unless told otherwise."""

    def build(cameras=None, state=None, actions=None, max_skew_s=0.1):
        abc = [build_joint(name, i) for i, name in enumerate('abc')]
        return Embodiment(
            name='test',
            description='',
            source='test.yaml',
            rate_hz=50.0,
            horizon=50,
            executed_steps=25,
            published_steps=50,
            lead_steps=2,
            vector_dim=18,
            cameras=tuple([build_camera()] if cameras is None else cameras),
            state=tuple([build_source(abc)] if state is None else state),
            actions=tuple([build_group('arm', 'abc')] if actions is None else actions),
            max_skew_s=max_skew_s,
            neutral={},
        )

    return build


@pytest.fixture
def picture():
    """Build a noisy picture, uint8 [H, W, 3], as a camera sees one."""

    def build(seed=0, height=48, width=64):
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)

    return build


@pytest.fixture
def raw():
    """Wrap an array [H, W, C] as an image message, rows padded by ``padding`` bytes."""

    def build(array, encoding='rgb8', padding=0, container=bytes):
        array = array.reshape(array.shape[0], -1)
        rows = np.pad(array, ((0, 0), (0, padding)), constant_values=173)
        data = rows.tobytes()
        return SimpleNamespace(
            height=array.shape[0],
            width=array.shape[1] // {'mono8': 1, 'rgba8': 4, 'bgra8': 4}.get(encoding, 3),
            encoding=encoding,
            step=rows.shape[1],
            data=container(data),
        )

    return build


@pytest.fixture
def compressed():
    """Wrap an RGB array as a compressed image message."""

    def build(rgb, codec='png', message_format=None):
        file = cv2.imencode(f'.{codec}', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
        return SimpleNamespace(format=message_format or codec, data=file.tobytes())

    return build
