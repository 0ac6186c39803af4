"""Parameters of the planner node: declared once, with descriptors, and validated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from pizero_ros.errors import PlannerError
from pizero_ros.planner.chat import ChatSettings, ResponseFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rclpy.node import Node

Kind = Literal['script', 'human', 'vlm']
KINDS: tuple[Kind, ...] = get_args(Kind)
FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)

OURS = frozenset({'model', 'messages', 'response_format', 'stream', 'n'})
"""Fields of a request that ``vlm_options`` may not set: others are read from the answer."""


@dataclass(frozen=True)
class PlannerParameters:
    """Values of the planner node's parameters; ``chat`` is None without ``vlm_url``."""

    planner: Kind
    script: str
    instruction: str
    policy: str
    embodiment: str
    verdict_topic: str
    subtask_limit_s: float
    planning_limit_s: float
    look_period_s: float
    vlm_url: str
    vlm_key_variable: str
    vlm_image_side: int
    chat: ChatSettings | None


def _text(description: str, choices: tuple[str, ...] = ()) -> ParameterDescriptor:
    constraint = f'one of {", ".join(choices)}' if choices else ''
    return ParameterDescriptor(
        description=description, additional_constraints=constraint, read_only=True
    )


def _seconds(description: str, lowest: float, highest: float) -> ParameterDescriptor:
    bounds = FloatingPointRange(from_value=lowest, to_value=highest)
    return ParameterDescriptor(
        description=description, floating_point_range=[bounds], read_only=True
    )


def _count(description: str, lowest: int, highest: int) -> ParameterDescriptor:
    bounds = IntegerRange(from_value=lowest, to_value=highest, step=1)
    return ParameterDescriptor(description=description, integer_range=[bounds], read_only=True)


DECLARATIONS: tuple[tuple[str, Any, ParameterDescriptor], ...] = (
    ('planner', 'script', _text('who decides what comes next', KINDS)),
    (
        'script',
        '',
        _text(
            'name or YAML file with the prompts that the policy knows, and the tasks of script; '
            'required but for human'
        ),
    ),
    (
        'instruction',
        '',
        _text('long instruction, begun once the policy is active; others come on ~/instruction'),
    ),
    ('policy', 'policy_node', _text('name of the policy node that is told')),
    ('embodiment', '', _text('name or file of the robot whose cameras the model sees')),
    ('verdict_topic', '~/verdict', _text('std_msgs/String that says how a subtask ended')),
    (
        'subtask_limit_s',
        60.0,
        _seconds('limit of each subtask of human and vlm, s; a script has its own', 0.1, 3600.0),
    ),
    (
        'planning_limit_s',
        60.0,
        _seconds('the instruction fails if nobody says what comes first for so long', 0.1, 3600.0),
    ),
    ('look_period_s', 2.0, _seconds('pause between two questions to the model', 0.05, 600.0)),
    ('vlm_url', '', _text('address of the endpoint, as http://localhost:8000/v1')),
    ('vlm_model', '', _text('name of the model at the endpoint')),
    (
        'vlm_key_variable',
        '',
        _text('environment variable that holds the key; empty: no key is sent'),
    ),
    ('vlm_timeout_s', 10.0, _seconds('for one request', 0.05, 600.0)),
    ('vlm_patience_s', 20.0, _seconds('for one question with its retries', 0.05, 600.0)),
    ('vlm_attempts', 3, _count('requests for one question at most', 1, 100)),
    ('vlm_budget', 200, _count('requests for one instruction at most', 1, 1_000_000)),
    (
        'vlm_response_format',
        'json_schema',
        _text('how the endpoint is told the form of answers', FORMATS),
    ),
    (
        'vlm_options',
        '{"temperature": 0, "max_tokens": 300}',
        _text('JSON object of further fields of a request'),
    ),
    ('vlm_image_side', 512, _count('longer side of the pictures that are sent, px', 32, 4096)),
)


def declare(node: Node) -> None:
    """Declare every parameter on ``node``."""
    for name, default, descriptor in DECLARATIONS:
        node.declare_parameter(name, default, descriptor)


def read(node: Node) -> PlannerParameters:
    """Read and check the parameters.

    Raises:
        PlannerError: A required one is empty, a choice is unknown, or options are no options.
    """
    values = {name: node.get_parameter(name).value for name, _, _ in DECLARATIONS}
    where = f'parameters of {node.get_fully_qualified_name()}'
    for name, choices in (('planner', KINDS), ('vlm_response_format', FORMATS)):
        if values[name] not in choices:
            raise PlannerError.at(
                where, name, found=repr(values[name]), expected=f'one of {", ".join(choices)}'
            )
    required = ['policy', 'verdict_topic']
    if values['planner'] != 'human':
        required.append('script')
    if values['planner'] == 'vlm' or values['vlm_url']:
        required += ['vlm_url', 'vlm_model', 'embodiment']
    for name in required:
        if not values[name].strip():
            raise PlannerError.at(
                where,
                name,
                found='nothing',
                expected='a value',
                remedy=f'Start the node with -p {name}:=… or the launch argument {name}:=….',
            )
    if values['planner'] == 'human' and values['vlm_url']:
        raise PlannerError.at(
            where,
            'vlm_url',
            found=repr(values['vlm_url']),
            expected='none with planner human',
            remedy='Set planner to vlm, or to script with `until: planner`.',
        )
    return PlannerParameters(
        **{
            name: values[name] for name in PlannerParameters.__dataclass_fields__ if name != 'chat'
        },
        chat=_chat(values, where) if values['vlm_url'] else None,
    )


def _chat(values: Mapping[str, Any], where: str) -> ChatSettings:
    return ChatSettings(
        model=values['vlm_model'],
        timeout_s=values['vlm_timeout_s'],
        patience_s=values['vlm_patience_s'],
        attempts=values['vlm_attempts'],
        budget=values['vlm_budget'],
        response_format=values['vlm_response_format'],
        options=_options(values['vlm_options'], where),
    )


def _options(text: str, where: str) -> dict[str, Any]:
    expected = f'a JSON object without {", ".join(sorted(OURS))}'
    try:
        options = json.loads(text or '{}')
    except ValueError:
        options = None
    if not isinstance(options, dict) or OURS & options.keys():
        raise PlannerError.at(where, 'vlm_options', found=repr(text), expected=expected)
    return options
