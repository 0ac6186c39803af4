"""Judges controllers: does a chunk that is published reach a controller that can stream it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding
from pizero_ros.doctor.judge_parameters import judge_parameters
from pizero_ros.embodiment.schema import GRIPPER_ACTIONS
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, GroupFacts, Listener
    from pizero_ros.embodiment.schema import Embodiment


def judge_controllers(embodiment: Embodiment, facts: Facts) -> list[Finding]:
    """Return the findings on every action group, in the order of the embodiment file."""
    findings = [finding for each in facts.groups for finding in _group(embodiment, each, facts)]
    if facts.types_problem:
        findings.append(
            Finding(
                'error',
                'controller',
                'control_msgs',
                'types',
                facts.types_problem,
                'every type that the embodiment names',
                'Install it: `sudo apt install ros-$ROS_DISTRO-control-msgs`.',
            )
        )
    if facts.manager_problem:
        findings.append(
            Finding(
                'unknown',
                'controller',
                'controller_manager',
                'state',
                facts.manager_problem,
                'every controller active',
                'Install it: `sudo apt install ros-$ROS_DISTRO-controller-manager-msgs`.',
            )
        )
    return findings


def _group(embodiment: Embodiment, each: GroupFacts, facts: Facts) -> Iterator[Finding]:
    yield from _sources(each, facts)
    right = [x for x in each.listeners if x.endpoint.type == each.type]
    controllers = [x for x in right if _is_controller(each, x)]
    if not right:
        yield _nobody(embodiment, each)
        return
    names = ', '.join(_name(x) for x in controllers or right)
    if not controllers:
        yield Finding(
            'unknown',
            'controller',
            each.group.topic,
            'controller',
            f'{names} subscribes, without parameters of a ros2_control controller',
            'a controller, not just a recorder',
            f'See who listens: `ros2 topic info -v {each.group.topic}`.',
        )
    elif len(controllers) > 1:
        yield Finding(
            'error',
            'controller',
            each.group.topic,
            'controller',
            f'{len(controllers)} controllers listen: {names}',
            'one',
            'Give each a name, and so a topic, of its own.',
        )
    else:
        yield Finding(
            'ok',
            'controller',
            each.group.topic,
            'controller',
            f'{names} {"serves it" if each.group.message in GRIPPER_ACTIONS else "listens"}',
        )
    for listener in controllers or right:
        if listener.endpoint.mismatch:
            yield _mismatch(each.group.topic, listener)
    for listener in controllers:
        yield from _controller(each, listener)
    yield from _workspace(each)


def _nobody(embodiment: Embodiment, each: GroupFacts) -> Finding:
    topic, action = each.group.topic, each.group.message in GRIPPER_ACTIONS
    if each.listeners:
        types = ' and '.join(sorted({x.endpoint.type for x in each.listeners}))
        names = ', '.join(_name(x) for x in each.listeners)
        return Finding(
            'error',
            'controller',
            topic,
            'type',
            f'{names} {"serves" if action else "subscribes to"} {types}',
            each.type,
            f'Set `message` of {each.group.name} in {embodiment.source}, or the controller.',
        )
    remedy = 'Start its controller: `ros2 control list_controllers` shows what is loaded.'
    if each.elsewhere:
        remedy = (
            f'Start its controller, or name another {"action" if action else "topic"} in '
            f'{embodiment.source}: '
            f'{", ".join(each.elsewhere)}. {suggestion(topic, each.elsewhere)}'
        ).strip()
    return Finding(
        'error',
        'controller',
        topic,
        'controller',
        'nobody serves the action' if action else 'nobody subscribes',
        f'a controller that takes {each.type}',
        remedy,
    )


def _sources(each: GroupFacts, facts: Facts) -> Iterator[Finding]:
    """Two sources of commands fight over the robot."""
    topic = each.group.topic
    if each.group.message in GRIPPER_ACTIONS:
        return
    names = ', '.join(sorted({p.node or 'a nameless node' for p in each.publishers}))
    if not each.publishers:
        yield Finding('ok', 'controller', topic, 'source', 'no other source of commands')
        return
    commanding = facts.policy is not None and facts.policy.state in ('running', 'holding')
    speaks = each.commands > 0 and not commanding
    count = f', {each.commands} messages in {facts.listened_s:.1f} s' if speaks else ''
    yield Finding(
        'error' if speaks else 'warning',
        'controller',
        topic,
        'source',
        f'{names} publishes commands too{count}',
        'one source of commands at a time',
        f'Stop {names} before the policy is activated.',
    )


def _mismatch(topic: str, listener: Listener) -> Finding:
    return Finding(
        'error',
        'controller',
        topic,
        'qos',
        f'{_name(listener)} gets nothing: {listener.endpoint.mismatch}',
        'a subscription that fits a reliable, volatile publisher',
        f'Let {_name(listener)} subscribe with the system default QoS.',
    )


def _controller(each: GroupFacts, listener: Listener) -> Iterator[Finding]:
    name, topic = _name(listener), each.group.topic
    if listener.state and listener.state != 'active':
        yield Finding(
            'error',
            'controller',
            topic,
            'state',
            f'{name} is {listener.state}: it ignores what it is sent',
            'active',
            f'Activate it: `ros2 control set_controller_state {name.rpartition("/")[2]} active`.',
        )
    elif listener.state:
        yield Finding('ok', 'controller', topic, 'state', listener.state)
    parameters = listener.parameters
    if parameters is None:
        yield Finding(
            'unknown',
            'controller',
            topic,
            'parameters',
            f'{name} does not answer on its parameter services',
            'its joints, and whether it starts new trajectories at the desired state',
            f'Ask by hand: `ros2 param dump {name}`.',
        )
        return
    yield from judge_parameters(each.group, name, parameters)


def _workspace(each: GroupFacts) -> Iterator[Finding]:
    area, at = each.group.workspace, each.base_at
    if area is None or at is None:
        return
    inside = area.x[0] <= at[0] <= area.x[1] and area.y[0] <= at[1] <= area.y[1]
    bounds = f'x {area.x[0]:g} to {area.x[1]:g}, y {area.y[0]:g} to {area.y[1]:g}'
    yield Finding(
        'ok' if inside else 'warning',
        'controller',
        each.group.topic,
        'workspace',
        f'the base is at x {at[0]:.2f}, y {at[1]:.2f}',
        '' if inside else f'{bounds} by {area.topic}: it will only turn',
        '' if inside else 'Drive it inside, or reset the odometry where the area was measured.',
    )


def _is_controller(each: GroupFacts, listener: Listener) -> bool:
    """Tell a controller from a recorder: by its name, or by what it can be told."""
    own_topic = each.group.topic.rpartition('/')[0] == listener.endpoint.node
    return own_topic or bool(listener.state) or bool(listener.parameters)


def _name(listener: Listener) -> str:
    return listener.endpoint.node or 'a nameless node'
