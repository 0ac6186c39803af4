"""Parameters of the policy node: declared once, with descriptors, and validated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from pizero_ros.control.latch import LATCHABLE
from pizero_ros.control.modes import SCHEDULERS
from pizero_ros.control.seam import SeamFade
from pizero_ros.errors import EmbodimentError
from pizero_ros.policy.guidance import MAX_WEIGHT, METHODS, SCHEDULES, RealTimeChunking
from pizero_ros.policy.manifest import PARTS, REFERENCE
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rclpy.node import Node

    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.policy.guidance import Method, Schedule

SCHEDULING_MODES = tuple(SCHEDULERS)
PROVIDERS = ('auto', 'cpu', 'cuda', 'tensorrt')
VARIANTS = (REFERENCE, *PARTS)
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
    rtc_method: Method
    rtc_schedule: Schedule
    rtc_max_guidance_weight: float
    provider: str
    variant: str
    threads: int
    cpu_affinity: Sequence[int]
    realtime_priority: int
    executed_steps: int
    published_steps: int
    lead_steps: int
    seam_fade_steps: int
    sampling_steps: int
    noise: str
    noise_seed: int
    inference_timeout_s: float
    base_timeout_s: float
    limit_scale: float
    latch: Sequence[str]
    dry_run: bool
    replay: bool
    fault_injection: Sequence[str]

    @property
    def real_time_chunking(self) -> RealTimeChunking | None:
        """How chunks are held to the executing one, None unless the scheduling is ``rtc``."""
        if self.scheduling != 'rtc':
            return None
        return RealTimeChunking(self.rtc_method, self.rtc_schedule, self.rtc_max_guidance_weight)

    @property
    def rtc_prefix_is_trained(self) -> bool:
        """Whether chunks are made with a trained prefix."""
        return self.scheduling == 'rtc' and self.rtc_method == 'trained_prefix'


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
    (
        'rtc_method',
        'guided',
        _text(
            'how rtc continues the executing chunk; jacobian: if exported with --jacobian; '
            'trained_prefix: if trained so',
            METHODS,
        ),
    ),
    ('rtc_schedule', 'linear', _text('decay of guidance behind the committed steps', SCHEDULES)),
    (
        'rtc_max_guidance_weight',
        MAX_WEIGHT,
        ParameterDescriptor(
            description='bound of the guidance factor; not above the number of Euler steps',
            floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1000.0)],
        ),
    ),
    ('provider', 'auto', _text('ONNX Runtime execution provider', PROVIDERS)),
    (
        'variant',
        '',
        _text('graphs of the bundle; empty: those made for the provider', ('', *VARIANTS)),
    ),
    (
        'threads',
        0,
        _count('threads of one inference; 0: one per core, one fewer for a small policy', 0, 1024),
    ),
    (
        'cpu_affinity',
        [-1],
        ParameterDescriptor(description='CPUs of the inference; [-1]: those of the process'),
    ),
    (
        'realtime_priority',
        0,
        _count(
            'SCHED_FIFO priority of control and reception, so that inference does not delay them; '
            '0: the usual scheduling',
            0,
            99,
        ),
    ),
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
    (
        'seam_fade_steps',
        SeamFade().steps,
        _count('steps over which a new chunk takes over from the executing one; 0: off', 0, 1000),
    ),
    ('sampling_steps', 0, _count('Euler steps; 0: the bundle says', 0, 1000)),
    ('noise', 'auto', _text('initial noise; auto: continuous if untrained', NOISE_KINDS)),
    ('noise_seed', 0, _count('seed of the noise: the same seed repeats a run', 0, 2**31 - 1)),
    (
        'inference_timeout_s',
        10.0,
        ParameterDescriptor(
            description='the robot holds, and the chunk is discarded, after so long, s',
            floating_point_range=[FloatingPointRange(from_value=0.05, to_value=60.0)],
        ),
    ),
    (
        'base_timeout_s',
        0.0,
        ParameterDescriptor(
            description='the base stops when no chunk was accepted for so long, s; 0: at the end '
            'of the published steps',
            floating_point_range=[FloatingPointRange(from_value=0.0, to_value=60.0)],
        ),
    ),
    (
        'limit_scale',
        1.0,
        ParameterDescriptor(
            description='share of the velocity and acceleration limits that may be used',
            floating_point_range=[FloatingPointRange(from_value=0.001, to_value=1.0)],
        ),
    ),
    # An empty list has no type in rclpy, hence [''] for none.
    (
        'latch',
        [''],
        ParameterDescriptor(
            description='after these the robot stays still until ~/enable is called',
            additional_constraints=f'of {", ".join(LATCHABLE)}',
        ),
    ),
    ('dry_run', False, ParameterDescriptor(description='start with ~/enable off')),
    (
        'replay',
        False,
        ParameterDescriptor(
            description='joint states come from a recording: nobody watches whether arms follow'
        ),
    ),
    # An empty list has no type in rclpy, hence [''] for none.
    (
        'fault_injection',
        [''],
        ParameterDescriptor(
            description='for tests only: makes inference late or fail',
            additional_constraints='latency=s, latency_after=n, latency_count=n, raise_after=n',
            read_only=True,
        ),
    ),
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
        ('rtc_method', METHODS),
        ('rtc_schedule', SCHEDULES),
        ('provider', PROVIDERS),
        ('variant', ('', *VARIANTS)),
        ('noise', NOISE_KINDS),
    ):
        if values[name] not in choices:
            raise EmbodimentError.at(
                where, name, found=repr(values[name]), expected=f'one of {", ".join(choices)}'
            )
    cpus = tuple(values['cpu_affinity'])
    values['cpu_affinity'] = () if cpus == (-1,) else cpus
    values['latch'] = tuple(filter(None, values['latch']))
    unknown = [kind for kind in values['latch'] if kind not in LATCHABLE]
    if unknown:
        raise EmbodimentError.at(
            where,
            'latch',
            found=', '.join(map(repr, unknown)),
            expected=f'of {", ".join(LATCHABLE)}',
            remedy=suggestion(unknown[0], LATCHABLE),
        )
    return PolicyParameters(**values)


def override(embodiment: Embodiment, chosen: PolicyParameters) -> Embodiment:
    """Return the embodiment with the step counts and the share of limits that parameters set.

    Raises:
        EmbodimentError: If a count does not fit the horizon.
    """
    executed = chosen.executed_steps or embodiment.executed_steps
    published = chosen.published_steps or embodiment.published_steps
    lead = embodiment.lead_steps if chosen.lead_steps < 0 else chosen.lead_steps
    if not executed <= published <= embodiment.published_steps:
        raise EmbodimentError.at(
            'parameters',
            'executed_steps, published_steps',
            found=f'{executed}, {published}',
            expected=f'executed <= published <= {embodiment.published_steps} (the embodiment)',
        )
    if lead >= published:
        raise EmbodimentError.at(
            'parameters',
            'lead_steps',
            found=str(lead),
            expected=f'less than {published}, the steps that are published',
        )
    if chosen.scheduling == 'rtc' and executed + lead >= embodiment.horizon:
        raise EmbodimentError.at(
            'parameters',
            'executed_steps + lead_steps',
            found=f'{executed} + {lead}',
            expected=f'less than the horizon ({embodiment.horizon}) with scheduling rtc',
            remedy='Chunks agree on what is left after the executed steps: execute fewer.',
        )
    return replace(
        embodiment,
        executed_steps=executed,
        published_steps=published,
        lead_steps=lead,
        actions=tuple(_scaled(group, chosen.limit_scale) for group in embodiment.actions),
    )


def _scaled(group: ActionGroup, share: float) -> ActionGroup:
    """Return a group that may use a share of its limits.

    Not of ``max_step``: chunks keep the policy's pace, so the slower arm is the further behind.
    """
    joints = tuple(
        replace(
            joint,
            velocity=joint.velocity * share,
            acceleration=None if joint.acceleration is None else joint.acceleration * share,
        )
        for joint in group.joints
    )
    return replace(group, joints=joints)
