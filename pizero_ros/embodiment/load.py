"""Reads an embodiment file: finds it by name or path and turns its keys into the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pizero_ros.embodiment.checks import check_embodiment
from pizero_ros.embodiment.schema import (
    GRIPPER_ACTIONS,
    SCHEMA,
    TWIST_AXES,
    VECTOR_DIM,
    ActionGroup,
    ActionJoint,
    Camera,
    Embodiment,
    Flip,
    GripperMessage,
    GroupMessage,
    JointUnit,
    OutputKind,
    SpeedMessage,
    SpeedScaling,
    SpeedUnit,
    StampSource,
    StateField,
    StateInterface,
    StateJoint,
    StateSource,
    Transport,
    TwistMessage,
    Workspace,
)
from pizero_ros.errors import EmbodimentError
from pizero_ros.resources import config_dir, embodiment_names
from pizero_ros.strict_yaml import read_yaml, suggestion

if TYPE_CHECKING:
    from pizero_ros.strict_yaml import Fields

LEAD_STEPS = 2
IMAGE_MAX_AGE_S = 0.2
STATE_MAX_AGE_S = 0.1
MAX_SKEW_S = 0.1
SPEED_MAX_AGE_S = 0.5
TWIST_FRAME = 'base_link'

_MESSAGES: dict[OutputKind, tuple[GroupMessage, ...]] = {
    'joint_trajectory': ('joint_trajectory',),
    'twist': get_args(TwistMessage),
    'gripper': get_args(GripperMessage),
}

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_NAME_EXPECTED = 'a name of letters, digits and underscores that starts with a letter'
_TOPIC = re.compile(r'(~?/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')
_TOPIC_EXPECTED = 'a ROS topic name such as /joint_states'


def load_embodiment(name_or_path: str | Path) -> Embodiment:
    """Read and validate one embodiment.

    Args:
        name_or_path: Name of a shipped embodiment, or the path of a file: a ``Path``, or text
            with a slash or the ending ``.yaml`` or ``.yml``.

    Returns:
        The embodiment; everything in it has been checked.

    Raises:
        EmbodimentError: That lists every mistake with file, line, key, found and expected.
    """
    path = _find(name_or_path)
    fields = read_yaml(path, EmbodimentError)
    document = fields.document
    schema = fields.integer('schema')
    if fields.has('schema') and schema != SCHEMA:
        fields.report(
            'schema',
            found=schema,
            expected=f'{SCHEMA}',
            remedy='This version of pizero_ros reads no other embodiment schema.',
        )
        document.check()
    embodiment = _embodiment(fields, str(path))
    document.finish()
    check_embodiment(embodiment, document)
    document.check()
    return embodiment


def _find(name_or_path: str | Path) -> Path:
    """Return the file of an embodiment."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or '/' in text or text.endswith(('.yaml', '.yml')):
        return Path(name_or_path)
    names = embodiment_names()
    if text not in names:
        folder = config_dir() / 'embodiments'
        raise EmbodimentError.at(
            folder,
            '',
            found=f'no embodiment named {text!r}',
            expected=f'one of {", ".join(names)}, or the path of a file',
            remedy=suggestion(text, names),
        )
    return config_dir() / 'embodiments' / f'{text}.yaml'


def _embodiment(fields: Fields, source: str) -> Embodiment:
    """Read the whole file; what spans several keys is left to ``check_embodiment``."""
    vector_dim = fields.integer('vector_dim', VECTOR_DIM, minimum=1)
    horizon = fields.integer('horizon', minimum=1)
    staleness = fields.mapping('staleness', required=False)
    image_age_s = staleness.number('image_max_age_s', IMAGE_MAX_AGE_S, above=0)
    state_age_s = staleness.number('state_max_age_s', STATE_MAX_AGE_S, above=0)
    neutral = fields.mapping('neutral')
    return Embodiment(
        name=fields.text('name', pattern=_NAME, expected=_NAME_EXPECTED),
        description=fields.text('description', ''),
        source=source,
        rate_hz=fields.number('rate_hz', above=0),
        horizon=horizon,
        executed_steps=fields.integer('executed_steps', minimum=1),
        published_steps=fields.integer('published_steps', horizon, minimum=1),
        lead_steps=fields.integer('lead_steps', LEAD_STEPS, minimum=0),
        vector_dim=vector_dim,
        cameras=tuple(_camera(camera, image_age_s) for camera in fields.mappings('cameras')),
        state=tuple(
            _state_source(state, state_age_s, vector_dim) for state in fields.mappings('state')
        ),
        actions=tuple(_action_group(group, vector_dim) for group in fields.mappings('actions')),
        max_skew_s=staleness.number('max_skew_s', MAX_SKEW_S, above=0),
        neutral={joint: neutral.number(joint) for joint in neutral.keys()},  # noqa: SIM118
        speed_scaling=_speed_scaling(fields),
    )


def _camera(fields: Fields, max_age_s: float) -> Camera:
    return Camera(
        slot=fields.text('slot', pattern=_NAME, expected=_NAME_EXPECTED),
        topic=_topic(fields),
        transport=fields.choice('transport', get_args(Transport), 'raw'),
        required=fields.boolean('required', True),
        rotation_deg=fields.choice('rotation_deg', (0, 90, 180, 270), 0),
        flip=fields.choice('flip', get_args(Flip), 'none'),
        stamp=fields.choice('stamp', get_args(StampSource), 'header'),
        max_age_s=fields.number('max_age_s', max_age_s, above=0),
        rate_hz=fields.number('rate_hz', above=0),
    )


def _state_source(fields: Fields, max_age_s: float, vector_dim: int) -> StateSource:
    interface: StateInterface = fields.choice('interface', get_args(StateInterface))
    return StateSource(
        topic=_topic(fields),
        interface=interface,
        stamp=fields.choice('stamp', get_args(StampSource), 'header'),
        max_age_s=fields.number('max_age_s', max_age_s, above=0),
        rate_hz=fields.number('rate_hz', above=0),
        joints=tuple(
            _state_joint(joint, interface, vector_dim) for joint in fields.mappings('joints')
        ),
    )


def _state_joint(fields: Fields, interface: StateInterface, vector_dim: int) -> StateJoint:
    # An odometry message is read for its twist; the pose drifts and no policy is given it.
    of_twist = interface == 'odometry'
    kinds = ('velocity',) if of_twist else get_args(StateField)
    return StateJoint(
        name=_joint_name(fields, of_twist=of_twist),
        index=_index(fields, vector_dim),
        field=fields.choice('field', kinds, kinds[0]),
        scale=fields.number('scale', 1.0, nonzero=True),
        offset=fields.number('offset', 0.0),
        sign=fields.choice('sign', (1, -1), 1),
        range=fields.interval_or_none('range'),
    )


def _action_group(fields: Fields, vector_dim: int) -> ActionGroup:
    output: OutputKind = fields.choice('output', get_args(OutputKind))
    is_arm = output == 'joint_trajectory'
    message = fields.choice('message', _MESSAGES[output], _MESSAGES[output][0] if is_arm else None)
    return ActionGroup(
        name=fields.text('group', pattern=_NAME, expected=_NAME_EXPECTED),
        output=output,
        topic=_topic(fields),
        message=message,
        frame_id=fields.text('frame_id', TWIST_FRAME) if message == 'twist_stamped' else '',
        joints=tuple(
            _action_joint(joint, output, vector_dim) for joint in fields.mappings('joints')
        ),
        velocities=is_arm and fields.boolean('velocities', False),
        deadband=fields.number('deadband', minimum=0) if output == 'gripper' else 0.0,
        max_effort=(
            fields.number_or_none('max_effort', above=0) if message in GRIPPER_ACTIONS else None
        ),
        workspace=_workspace(fields) if output == 'twist' else None,
    )


def _speed_scaling(fields: Fields) -> SpeedScaling | None:
    if not fields.has('speed_scaling'):
        fields.skip('speed_scaling')
        return None
    source = fields.mapping('speed_scaling')
    message: SpeedMessage = source.choice('message', get_args(SpeedMessage))
    units: tuple[SpeedUnit, ...] = get_args(SpeedUnit)
    return SpeedScaling(
        topic=_topic(source),
        message=message,
        # Without a default: taken for a fraction, 50 % would be fifty times full speed.
        unit=source.choice('unit', units) if message == 'float64' else 'fraction',
        required=source.boolean('required', True),
        max_age_s=source.number('max_age_s', SPEED_MAX_AGE_S, above=0),
    )


def _workspace(fields: Fields) -> Workspace | None:
    if not fields.has('workspace'):
        return None
    area = fields.mapping('workspace')
    return Workspace(topic=_topic(area), x=area.interval('x'), y=area.interval('y'))


def _action_joint(fields: Fields, output: OutputKind, vector_dim: int) -> ActionJoint:
    of_twist = output == 'twist'
    name = _joint_name(fields, of_twist=of_twist)
    return ActionJoint(
        name=name,
        index=_index(fields, vector_dim),
        scale=fields.number('scale', 1.0, nonzero=True),
        offset=fields.number('offset', 0.0),
        sign=fields.choice('sign', (1, -1), 1),
        position=None if of_twist else fields.interval('position'),
        velocity=fields.number('velocity', above=0),
        acceleration=fields.number_or_none('acceleration', above=0),
        max_step=fields.number('max_step', above=0),
        unit=_twist_unit(name) if of_twist else fields.choice('unit', get_args(JointUnit), 'rad'),
    )


def _twist_unit(axis: str) -> str:
    return 'm/s' if axis.startswith('linear') else 'rad/s'


def _topic(fields: Fields) -> str:
    return fields.text('topic', pattern=_TOPIC, expected=_TOPIC_EXPECTED)


def _joint_name(fields: Fields, *, of_twist: bool) -> str:
    return fields.choice('name', TWIST_AXES) if of_twist else fields.text('name')


def _index(fields: Fields, vector_dim: int) -> int:
    # ``vector_dim`` is 0 after a mistake of its own; then the index has nothing to be held to.
    if vector_dim < 1:
        return fields.integer('index', minimum=0)
    expected = f'an index from 0 to {vector_dim - 1} (vector_dim is {vector_dim})'
    return fields.integer('index', minimum=0, maximum=vector_dim - 1, expected=expected)
