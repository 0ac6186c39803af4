"""Parameters of the policy node: declared once, with descriptors, and validated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor

from pizero_ros.errors import EmbodimentError

if TYPE_CHECKING:
    from rclpy.node import Node

    from pizero_ros.embodiment.schema import Embodiment

SCHEDULING_MODES = ('open_loop', 'async')
PROVIDERS = ('auto', 'cpu', 'cuda', 'tensorrt')
NOISE_KINDS = ('auto', 'gaussian', 'continuous')


@dataclass(frozen=True)
class PolicyParameters:
    """Values of the policy node's parameters, read at configure.

    ``0`` for ``executed_steps``, ``published_steps`` and ``sampling_steps`` and ``-1`` for
    ``lead_steps`` mean the value of the embodiment or the bundle.
    """

    embodiment: str
    bundle: str
    prompt: str
    scheduling: str
    provider: str
    threads: int
    executed_steps: int
    published_steps: int
    lead_steps: int
    sampling_steps: int
    noise: str
    noise_seed: int
    dry_run: bool


def _text(description: str, choices: tuple[str, ...] = ()) -> ParameterDescriptor:
    constraint = f'one of {", ".join(choices)}' if choices else ''
    return ParameterDescriptor(
        description=description, additional_constraints=constraint, read_only=False
    )


def _count(description: str, lowest: int, highest: int) -> ParameterDescriptor:
    bounds = IntegerRange(from_value=lowest, to_value=highest, step=1)
    return ParameterDescriptor(description=description, integer_range=[bounds])


DECLARATIONS: tuple[tuple[str, Any, ParameterDescriptor], ...] = (
    ('embodiment', '', _text('name or file of the embodiment; required')),
    ('bundle', '', _text('folder of the policy bundle; required')),
    ('prompt', '', _text('instruction until one arrives on ~/prompt')),
    ('scheduling', 'async', _text('when to infer and what to replace', SCHEDULING_MODES)),
    ('provider', 'auto', _text('ONNX Runtime execution provider', PROVIDERS)),
    ('threads', 0, _count('threads of one inference; 0: chosen for the machine', 0, 1024)),
    ('executed_steps', 0, _count('steps per inference; 0: the embodiment says', 0, 10_000)),
    (
        'published_steps',
        0,
        _count('longest blind motion in steps; 0: the embodiment says', 0, 10_000),
    ),
    (
        'lead_steps',
        -1,
        _count('steps from now to the first waypoint; -1: the embodiment', -1, 1000),
    ),
    ('sampling_steps', 0, _count('Euler steps; 0: the bundle says', 0, 1000)),
    ('noise', 'auto', _text('initial noise; auto: continuous if untrained', NOISE_KINDS)),
    ('noise_seed', 0, _count('seed of the noise: the same seed repeats a run', 0, 2**31 - 1)),
    ('dry_run', False, ParameterDescriptor(description='start with ~/enable off')),
    ('autostart', False, ParameterDescriptor(description='configure and activate at once')),
)


NAMES = frozenset(name for name, _, _ in DECLARATIONS)


def declare(node: Node) -> None:
    """Declare every parameter on ``node``."""
    for name, default, descriptor in DECLARATIONS:
        node.declare_parameter(name, default, descriptor)


def read(node: Node) -> PolicyParameters:
    """Read and check the parameters.

    Raises:
        EmbodimentError: If a required one is empty or a choice is unknown.
    """
    fields = PolicyParameters.__dataclass_fields__
    values = {name: node.get_parameter(name).value for name in fields}
    where = f'parameters of {node.get_fully_qualified_name()}'
    for name in ('embodiment', 'bundle'):
        if not values[name]:
            raise EmbodimentError.at(
                where,
                name,
                found='nothing',
                expected='a value',
                remedy=f'Start the node with -p {name}:=… or the launch argument {name}:=….',
            )
    for name, choices in (
        ('scheduling', SCHEDULING_MODES),
        ('provider', PROVIDERS),
        ('noise', NOISE_KINDS),
    ):
        if values[name] not in choices:
            raise EmbodimentError.at(
                where, name, found=repr(values[name]), expected=f'one of {", ".join(choices)}'
            )
    return PolicyParameters(**values)


def override(embodiment: Embodiment, chosen: PolicyParameters) -> Embodiment:
    """Return the embodiment with the step counts that parameters replace.

    Raises:
        EmbodimentError: If a count does not fit the horizon.
    """
    executed = chosen.executed_steps or embodiment.executed_steps
    published = chosen.published_steps or embodiment.published_steps
    lead = embodiment.lead_steps if chosen.lead_steps < 0 else chosen.lead_steps
    if not executed <= published <= embodiment.horizon:
        raise EmbodimentError.at(
            'parameters',
            'executed_steps, published_steps',
            found=f'{executed}, {published}',
            expected=f'executed <= published <= horizon ({embodiment.horizon})',
        )
    if lead >= published:
        raise EmbodimentError.at(
            'parameters',
            'lead_steps',
            found=str(lead),
            expected=f'less than {published}, the steps that are published',
        )
    return replace(embodiment, executed_steps=executed, published_steps=published, lead_steps=lead)
