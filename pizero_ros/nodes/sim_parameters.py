"""Parameters of the simulated robot, with their descriptions and bounds."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from pizero_ros.nodes.sim_faults import NONE

NO_SCENE = -1
"""Value of ``scene_seed`` for the scene that is in the model."""


def _about(text: str, **bounds: Any) -> ParameterDescriptor:
    return ParameterDescriptor(description=text, read_only=True, **bounds)


def _rate(text: str) -> ParameterDescriptor:
    bounds = FloatingPointRange(from_value=0.1, to_value=1000.0, step=0.0)
    return _about(text, floating_point_range=[bounds])


def _pixels(text: str) -> ParameterDescriptor:
    return _about(text, integer_range=[IntegerRange(from_value=16, to_value=4096, step=1)])


PARAMETERS: tuple[tuple[str, Any, ParameterDescriptor], ...] = (
    ('embodiment', 'sim_single_arm', _about('name or file of the embodiment')),
    ('mjcf', '', _about('MuJoCo model; by default the one that ships with the embodiment')),
    ('width', 224, _pixels('width of the pictures, px')),
    ('height', 224, _pixels('height of the pictures, px')),
    ('camera_rate_hz', 30.0, _rate('pictures per second of each camera')),
    ('joint_state_rate_hz', 100.0, _rate('joint states per second')),
    (
        'replacement',
        'discard',
        _about(
            'how a new trajectory replaces the old one: discard (Humble to Kilted) or blend',
            additional_constraints='discard or blend',
        ),
    ),
    (
        'interpolate_from_desired_state',
        True,
        _about('start new trajectories at the commanded state instead of the measured one'),
    ),
    (
        'faults',
        NONE,
        ParameterDescriptor(
            description='faults such as black:/wrist_camera/image_raw; may be set at any time',
            additional_constraints="kind:target, kind:target=amount; [''] or ~/clear_faults: none",
        ),
    ),
    ('seed', 0, _about('seed of dropped messages and noise')),
    (
        'scene_seed',
        NO_SCENE,
        ParameterDescriptor(
            description='scene that ~/reset sets, and that the robot starts in; -1: as it is in '
            'the model, with the robot in its neutral pose'
        ),
    ),
    (
        'scene_start',
        'table',
        ParameterDescriptor(
            description='where the robot begins in that scene',
            additional_constraints='table, or floor for a robot that drives',
        ),
    ),
    ('scene_rate_hz', 25.0, _rate('truths per second on ~/scene')),
    ('publish_clock', False, _about('publish simulated time on /clock and stamp with it')),
    (
        'speed',
        1.0,
        _about(
            'simulated seconds per second at most; all rates count in simulated time',
            additional_constraints='other than 1 only with publish_clock',
            floating_point_range=[FloatingPointRange(from_value=0.05, to_value=20.0, step=0.0)],
        ),
    ),
    (
        'paced',
        False,
        _about(
            'let time wait for every picture and joint state, and for who publishes on ~/pace '
            'which time it has seen: a busy machine is slow then, and leaves nothing out',
            additional_constraints='only with publish_clock',
        ),
    ),
    ('stats_file', '', _about('JSON of the counters, written at shutdown')),
)
