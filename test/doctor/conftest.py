"""Facts of a robot in perfect order, which tests spoil one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pizero_ros.doctor.facts import (
    ClockFacts,
    Endpoint,
    Facts,
    GroupFacts,
    InputFacts,
    Listener,
    Looks,
    Picture,
    Timing,
    TransportFacts,
)
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.embodiment.schema import Camera, Embodiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.doctor.finding import Finding

MB = 1_000_000
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
ARM = [f'joint_{k}' for k in range(1, 7)]
STOCK = {
    'joints': ARM,
    'allow_partial_joints_goal': False,
    'interpolate_from_desired_state': True,
    'allow_nonzero_velocity_at_trajectory_end': False,
    'interpolation_method': 'splines',
}
"""Parameters of a Jazzy joint_trajectory_controller that is set up for chunks."""

GRIPPER = {'joints': ['gripper_joint'], 'interface_name': 'position'}


@pytest.fixture(scope='session')
def arm() -> Embodiment:
    """Give the embodiment that all facts are about."""
    return load_embodiment('sim_single_arm')


def healthy(embodiment: Embodiment) -> Facts:
    inputs = []
    for stream in (*embodiment.cameras, *embodiment.state):
        camera = isinstance(stream, Camera)
        kind = f'sensor_msgs/msg/{"Image" if camera else "JointState"}'
        inputs.append(
            InputFacts(
                stream,
                kind,
                (Endpoint('/driver', kind, segment_bytes=64 * MB, local=True),),
                timing=Timing(150, 0, stream.rate_hz, (0.002, 0.004, 0.008), 0.0, 0.04),
                picture=Picture('rgb8', 640, 480, 921_600) if camera else None,
                names=() if camera else tuple(joint.name for joint in stream.joints),
            )
        )
    groups = []
    for group in embodiment.actions:
        kind = (
            TRAJECTORY if group.message == 'joint_trajectory' else 'std_msgs/msg/Float64MultiArray'
        )
        node = group.topic.rpartition('/')[0]
        parameters = STOCK if group.name == 'arm' else GRIPPER
        groups.append(GroupFacts(group, kind, (Listener(Endpoint(node, kind), parameters),)))
    return Facts(
        listened_s=5.0,
        domain=0,
        inputs=tuple(inputs),
        looks=Looks(40, 40),
        groups=tuple(groups),
        policy=None,
        clock=ClockFacts(),
        transport=TransportFacts('rmw_cyclonedds_cpp', rmem_max_bytes=16 * MB),
    )


def with_input(facts: Facts, topic: str, **changes: Any) -> Facts:
    """Change one input; changes of ``Timing`` go by their own names."""
    inputs = []
    for each in facts.inputs:
        if each.stream.topic == topic:
            timing = {k: v for k, v in changes.items() if k in Timing.__dataclass_fields__}
            rest = {k: v for k, v in changes.items() if k not in timing}
            if timing:
                rest['timing'] = replace(each.timing, **timing)
            each = replace(each, **rest)
        inputs.append(each)
    return replace(facts, inputs=tuple(inputs))


def with_group(facts: Facts, name: str, **changes: Any) -> Facts:
    """Change one action group; ``parameters`` and ``state`` are those of its listener."""
    groups = []
    for each in facts.groups:
        if each.group.name == name:
            own = {k: v for k, v in changes.items() if k in ('parameters', 'state')}
            rest = {k: v for k, v in changes.items() if k not in own}
            if own:
                rest['listeners'] = (replace(each.listeners[0], **own),)
            each = replace(each, **rest)
        groups.append(each)
    return replace(facts, groups=tuple(groups))


@pytest.fixture(name='healthy')
def healthy_fixture() -> Callable[[Embodiment], Facts]:
    """Give the function that makes facts of a robot in perfect order."""
    return healthy


@pytest.fixture
def change_group() -> Callable[..., Facts]:
    """Give a function that changes one action group of any facts."""
    return with_group


@pytest.fixture
def stock() -> dict[str, object]:
    """Give the parameters of a controller that is set up for chunks."""
    return dict(STOCK)


@pytest.fixture
def facts(arm: Embodiment) -> Facts:
    """Give the facts of a robot in perfect order."""
    return healthy(arm)


@pytest.fixture
def spoil_input(facts: Facts) -> Callable[..., Facts]:
    """Give a function that changes one input of the healthy robot."""
    return lambda topic, **changes: with_input(facts, topic, **changes)


@pytest.fixture
def spoil_group(facts: Facts) -> Callable[..., Facts]:
    """Give a function that changes one action group of the healthy robot."""
    return lambda name, **changes: with_group(facts, name, **changes)


@pytest.fixture
def wrong() -> Callable[[list[Finding]], list[Finding]]:
    """Give a filter: what is not right, as one finding if it is one."""
    return lambda findings: [each for each in findings if each.severity != 'ok']
