"""The rules of an embodiment that span several of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from pizero_ros.embodiment.schema import (
        ActionJoint,
        Camera,
        Embodiment,
        StateJoint,
        StateSource,
    )
    from pizero_ros.yaml_document import Document


def check_embodiment(embodiment: Embodiment, document: Document) -> None:
    """Report to ``document`` every broken rule of an embodiment whose keys are each right."""
    _check_steps(embodiment, document)
    _check_streams(embodiment, document)
    _check_unique(embodiment, document)
    _check_neutral(embodiment, document)
    _check_mirrored(embodiment, document)
    _check_held(embodiment, document)
    _check_gripper_actions(embodiment, document)
    _check_workspaces(embodiment, document)


def _check_steps(embodiment: Embodiment, document: Document) -> None:
    horizon, published = embodiment.horizon, embodiment.published_steps
    if published > horizon:
        document.report(
            'published_steps', found=published, expected=f'at most the horizon, {horizon}'
        )
    if embodiment.executed_steps > min(published, horizon):
        document.report(
            'executed_steps',
            found=embodiment.executed_steps,
            expected=f'at most {min(published, horizon)}, the steps that are published',
        )
    if embodiment.lead_steps >= published:
        document.report(
            'lead_steps',
            found=embodiment.lead_steps,
            expected=f'less than {published}, the steps that are published',
        )


def _check_streams(embodiment: Embodiment, document: Document) -> None:
    for i, camera in enumerate(embodiment.cameras):
        compressed = camera.topic.endswith('/compressed')
        if compressed != (camera.transport == 'compressed'):
            document.report(
                f'cameras[{i}].topic',
                found=f'{camera.topic!r} with transport {camera.transport}',
                expected='/compressed at the end exactly if the transport is compressed',
            )
    streams: list[tuple[str, Camera | StateSource]] = [
        *((f'cameras[{i}]', camera) for i, camera in enumerate(embodiment.cameras)),
        *((f'state[{i}]', source) for i, source in enumerate(embodiment.state)),
    ]
    for path, stream in streams:
        # Between two messages the age grows by one period: a limit below that holds the robot
        # once in every period of a stream that is in perfect order.
        if stream.max_age_s <= 1 / stream.rate_hz:
            document.report(
                f'{path}.max_age_s',
                found=f'{stream.max_age_s:g}',
                expected=f'more than one period at {stream.rate_hz:g} Hz, {1 / stream.rate_hz:g}',
                remedy='Set max_age_s of the stream, or the limits under staleness.',
            )


def _check_unique(embodiment: Embodiment, document: Document) -> None:
    cameras, state, actions = embodiment.cameras, embodiment.state, embodiment.actions
    inputs = [
        *((f'cameras[{i}].topic', camera.topic) for i, camera in enumerate(cameras)),
        *((f'state[{i}].topic', source.topic) for i, source in enumerate(state)),
    ]
    if embodiment.speed_scaling is not None:
        inputs.append(('speed_scaling.topic', embodiment.speed_scaling.topic))
    outputs = [(f'actions[{i}].topic', group.topic) for i, group in enumerate(actions)]
    state_joints, action_joints = list(_state_joints(embodiment)), list(_action_joints(embodiment))
    once = (
        ('a slot', ((f'cameras[{i}].slot', camera.slot) for i, camera in enumerate(cameras))),
        ('a topic', (*inputs, *outputs)),
        ('a group name', ((f'actions[{i}].group', group.name) for i, group in enumerate(actions))),
        ('a name', ((f'{path}.name', (j.name, j.field)) for path, j in state_joints)),
        ('an index', ((f'{path}.index', j.index) for path, j in state_joints)),
        ('a name', ((f'{path}.name', j.name) for path, j in action_joints)),
        ('an index', ((f'{path}.index', j.index) for path, j in action_joints)),
    )
    for what, entries in once:
        _check_once(document, what, entries)


def _check_once(document: Document, what: str, entries: Iterable[tuple[str, Hashable]]) -> None:
    """Report each value that an earlier entry has too."""
    first: dict[Hashable, str] = {}
    for path, value in entries:
        if value in first:
            shown = value[0] if isinstance(value, tuple) else value
            document.report(
                path,
                found=f'{shown!r} again (first on line {document.line_of(first[value])}, '
                f'{first[value]})',
                expected=f'{what} of its own',
            )
        else:
            first[value] = path


def _check_neutral(embodiment: Embodiment, document: Document) -> None:
    limits = {
        joint.name: joint.position
        for joint in embodiment.action_joints
        if joint.position is not None
    }
    for name, limit in limits.items():
        if name not in embodiment.neutral:
            document.report(
                f'neutral.{name}',
                found='nothing',
                expected=f'its neutral position within [{limit[0]:g}, {limit[1]:g}]',
            )
    for name, value in embodiment.neutral.items():
        if name not in limits:
            document.report(
                f'neutral.{name}',
                found='a joint that no action controls in position',
                expected=f'one of {", ".join(limits)}',
                remedy=suggestion(name, list(limits)),
            )
        elif not limits[name][0] <= value <= limits[name][1]:
            document.report(
                f'neutral.{name}',
                found=f'{value:g}',
                expected=f'a position within [{limits[name][0]:g}, {limits[name][1]:g}]',
            )


def _check_mirrored(embodiment: Embodiment, document: Document) -> None:
    """Relative actions are added to the state at their index: both must mean the same."""
    at_index = {joint.index: (path, joint) for path, joint in _state_joints(embodiment)}
    measured = {joint.name for joint in embodiment.state_joints}
    for path, action in _action_joints(embodiment):
        if action.index not in at_index or action.name not in measured:
            continue
        state_path, state = at_index[action.index]
        where = f'{state_path} (line {document.line_of(state_path)})'
        field = 'position' if action.position is not None else 'velocity'
        if (state.name, state.field) != (action.name, field):
            document.report(
                f'{path}.index',
                found=f'{action.index}, which is the {state.field} of {state.name!r} in {where}',
                expected=f'the index of the {field} of {action.name!r} in the state',
                remedy='A relative action would be added to the wrong value of the state.',
            )
            continue
        for key in ('scale', 'offset', 'sign'):
            ours, theirs = getattr(action, key), getattr(state, key)
            if ours != theirs:
                document.report(
                    f'{path}.{key}',
                    found=f'{ours:g}',
                    expected=f'{theirs:g}, as in {where}',
                    remedy='State and action of one joint at one index must have the same unit.',
                )


def _check_held(embodiment: Embodiment, document: Document) -> None:
    """A hold commands the measured position: what follows a trajectory must be measured."""
    measured = {joint.index for joint in embodiment.state_joints}
    for i, group in enumerate(embodiment.actions):
        for j, joint in enumerate(group.joints):
            if group.output == 'joint_trajectory' and joint.index not in measured:
                document.report(
                    f'actions[{i}].joints[{j}].index',
                    found=f'{joint.index}, which no joint of the state has',
                    expected=f'an index at which the state has the position of {joint.name!r}',
                    remedy='Without it the joint cannot be held where it is.',
                )


def _check_workspaces(embodiment: Embodiment, document: Document) -> None:
    odometry = [s.topic for s in embodiment.state if s.interface == 'odometry']
    known = ', '.join(odometry) or 'there is none'
    for i, group in enumerate(embodiment.actions):
        if group.workspace is not None and group.workspace.topic not in odometry:
            document.report(
                f'actions[{i}].workspace.topic',
                found=f'{group.workspace.topic!r}',
                expected=f'an odometry topic of the state: {known}',
                remedy='The base must be located to be kept inside.',
            )


def _check_gripper_actions(embodiment: Embodiment, document: Document) -> None:
    for i, group in enumerate(embodiment.actions):
        if group.message == 'gripper_command' and len(group.joints) > 1:
            document.report(
                f'actions[{i}].joints',
                found=f'{len(group.joints)} joints with message gripper_command',
                expected='one joint, because such a goal is one position',
                remedy='Use parallel_gripper_command, or a group for each joint.',
            )


def _state_joints(embodiment: Embodiment) -> Iterator[tuple[str, StateJoint]]:
    for i, source in enumerate(embodiment.state):
        for j, joint in enumerate(source.joints):
            yield f'state[{i}].joints[{j}]', joint


def _action_joints(embodiment: Embodiment) -> Iterator[tuple[str, ActionJoint]]:
    for i, group in enumerate(embodiment.actions):
        for j, joint in enumerate(group.joints):
            yield f'actions[{i}].joints[{j}]', joint
