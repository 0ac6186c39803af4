"""Judges a controller's own parameters: what chunk streaming needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pizero_ros.doctor.finding import Severity
    from pizero_ros.embodiment.schema import ActionGroup

PARAMETERS = frozenset(
    {
        'joint',
        'joints',
        'allow_partial_joints_goal',
        'allow_nonzero_velocity_at_trajectory_end',
        'allow_trajectory_replacement',
        'interpolate_from_desired_state',
        'open_loop_control',
        'interpolation_method',
        'interface_name',
        'cmd_vel_timeout',
        'reference_timeout',
    }
)
"""Parameters of ros2_controllers that decide how commands are taken, Humble to Rolling."""

DESIRED = ('interpolate_from_desired_state', 'open_loop_control')
"""Newest name first; Jazzy has both and obeys either."""

PULSED_S = 0.05
"""A reference time-out below this ends between two commands of a 20 Hz policy."""


def judge_parameters(
    group: ActionGroup, name: str, parameters: Mapping[str, object]
) -> Iterator[Finding]:
    """Judge what a controller is set to.

    Args:
        group: Whose commands it takes.
        name: Full name of its node.
        parameters: Those of ``PARAMETERS`` that it has.
    """
    yield from _joints(group, name, parameters)
    if group.message == 'joint_trajectory':
        yield from _trajectories(group, name, parameters)
    elif group.output == 'twist':
        yield from _base(group.topic, name, parameters)
    elif parameters.get('interface_name', 'position') != 'position':
        yield Finding(
            'error',
            'controller',
            group.topic,
            'interface_name',
            f'{name} forwards to {parameters["interface_name"]}',
            'position',
            "Set it in the controllers' YAML, and restart the controller.",
        )


def _joints(group: ActionGroup, name: str, parameters: Mapping[str, object]) -> Iterator[Finding]:
    topic, ours = group.topic, [joint.name for joint in group.joints]
    if group.output == 'twist':
        return
    theirs = parameters.get('joints')
    if isinstance(parameters.get('joint'), str):
        theirs = [parameters['joint']]  # The gripper action controllers have one.
    if not isinstance(theirs, Sequence) or isinstance(theirs, str) or not theirs:
        yield Finding(
            'unknown',
            'controller',
            topic,
            'joints',
            f'{name} has no parameter `joints`',
            ', '.join(ours),
            f"Compare by hand with the joints of {name}'s own configuration.",
        )
        return
    unknown = [joint for joint in ours if joint not in theirs]
    absent = [joint for joint in theirs if joint not in ours]
    found = f'{name} moves {", ".join(map(str, theirs))}'
    by_place = group.message == 'float64_multi_array'
    if unknown:
        yield Finding(
            'error',
            'controller',
            topic,
            'joints',
            f'{found}; not {", ".join(unknown)}: it refuses every command',
            ', '.join(ours),
            f'Correct the joints of {group.name}. {suggestion(unknown[0], list(theirs))}'.strip(),
        )
    elif by_place and list(theirs) != ours:
        yield Finding(
            'error',
            'controller',
            topic,
            'joints',
            f'{found}; values go by place, not by name',
            ', '.join(ours) + ' in this order',
            f'List the joints of {group.name} as the controller does.',
        )
    elif absent and parameters.get('allow_partial_joints_goal') is not True:
        yield Finding(
            'error',
            'controller',
            topic,
            'joints',
            f'{found}; {", ".join(absent)} is not commanded: it refuses every command',
            'allow_partial_joints_goal: true, or the same joints on both sides',
            f"Set `allow_partial_joints_goal: true` under {name} in the controllers' YAML, and "
            'restart it.',
        )
    else:
        partly = f', and lets {", ".join(absent)} stay' if absent else ''
        yield Finding('ok', 'controller', topic, 'joints', found + partly)


def _trajectories(
    group: ActionGroup, name: str, parameters: Mapping[str, object]
) -> Iterator[Finding]:
    topic = group.topic
    # A gripper gets one point at a time, from rest: nothing is replaced in motion.
    if group.output == 'joint_trajectory':
        yield _desired(topic, name, parameters)
    end = parameters.get('allow_nonzero_velocity_at_trajectory_end')
    if group.velocities and end is not None:
        found = f'{name} takes {"any" if end else "only a zero"} velocity at the end; zero is sent'
        yield Finding('ok', 'controller', topic, 'end velocity', found)
    method = parameters.get('interpolation_method')
    if method not in (None, 'splines'):
        yield Finding(
            'error',
            'controller',
            topic,
            'interpolation_method',
            f'{name}: {method}: it jumps from waypoint to waypoint',
            'splines',
            f"Set `interpolation_method: splines` under {name} in the controllers' YAML, and "
            'restart it.',
        )


def _desired(topic: str, name: str, parameters: Mapping[str, object]) -> Finding:
    known = [key for key in DESIRED if key in parameters]
    chosen = [key for key in known if parameters[key] is True]
    if chosen:
        return Finding('ok', 'controller', topic, 'desired state', f'{name}: {chosen[0]}: true')
    if parameters.get('allow_trajectory_replacement') is True:
        found = f'{name}: allow_trajectory_replacement: true'
        return Finding('ok', 'controller', topic, 'desired state', found)
    if not known:
        return Finding(
            'unknown',
            'controller',
            topic,
            'desired state',
            f'{name} has no parameter {DESIRED[0]} (Humble: {DESIRED[1]})',
            'a controller that starts a new trajectory where it commands the robot to be',
            'Watch the command for steps at the seams of chunks: docs/control.md.',
        )
    return Finding(
        'error',
        'controller',
        topic,
        'desired state',
        f'{name}: {known[0]}: false: every new chunk begins at the measured state, which lags, '
        'and the command jumps back',
        f'{known[0]}: true',
        f"Set `{known[0]}: true` under {name} in the controllers' YAML, and restart it.",
    )


def _base(topic: str, name: str, parameters: Mapping[str, object]) -> Iterator[Finding]:
    for key in ('cmd_vel_timeout', 'reference_timeout'):
        value = parameters.get(key)
        if not isinstance(value, float | int):
            continue
        never = key == 'cmd_vel_timeout' and value <= 0
        severity: Severity = 'warning' if never or value < PULSED_S else 'ok'
        consequence = (
            ': the base drives on when commands stop'
            if never
            else ': the base stops between commands'
        )
        yield Finding(
            severity,
            'controller',
            topic,
            key,
            f'{name}: {value:g} s{consequence if severity == "warning" else ""}',
            '' if severity == 'ok' else '0.5 s or so',
            ''
            if severity == 'ok'
            else f"Set `{key}: 0.5` under {name} in the controllers' YAML, and restart it.",
        )
