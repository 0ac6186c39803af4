"""Finds and reads the topics of a recording that say what the demonstrator commanded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.validation import Rejection, command_from_message
from pizero_ros.errors import BagError
from pizero_ros.replay.actions import RecordedActions, Track
from pizero_ros.replay.recording import decoded
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.replay.bag import Bag
    from pizero_ros.replay.recording import Sensed

AUTO = 'auto'
STATE = 'state'
"""Words for ``find_actions`` that are no topics."""

_JOINT_STATE = 'sensor_msgs/msg/JointState'
_COMMANDS = {
    'joint_trajectory': 'trajectory_msgs/msg/JointTrajectory',
    'twist': 'geometry_msgs/msg/Twist',
    'twist_stamped': 'geometry_msgs/msg/TwistStamped',
    'float64_multi_array': 'std_msgs/msg/Float64MultiArray',
}
"""``message`` of an action group → type under which its commands are recorded. Goals of grippers
that are actions are not in a bag."""


def find_actions(bag: Bag, embodiment: Embodiment, choice: str = AUTO) -> RecordedActions:
    """Read the recorded actions of a robot.

    Args:
        bag: The recording.
        embodiment: The robot.
        choice: ``auto``: for each action group the topic of its controller, or else the one
            JointState topic, no sensor's, that names all its joints; ``state``: the joints
            themselves, as they were measured; or topics, separated by commas.

    Raises:
        BagError: If a group's actions are not found, or are ambiguous.
    """
    first = {name: column for column, name in enumerate(_names(embodiment))}
    if choice == STATE:
        tracks = _of_joints(bag, first, [source.topic for source in embodiment.state])
        _complete(bag, embodiment, tracks, choice)
    elif choice == AUTO:
        tracks = _searched(bag, embodiment, first)
    else:
        tracks = _named(bag, embodiment, first, [each.strip() for each in choice.split(',')])
    missing = sorted(set(first.values()) - {c for track in tracks for c in track.columns})
    words = ', '.join(dict.fromkeys(track.topic for track in tracks))
    if choice == STATE:
        words = f'the measured state ({words})'
    if missing:
        names = _names(embodiment)
        words += f'; not recorded: {", ".join(names[column] for column in missing)}'
    return RecordedActions(embodiment, tracks, words)


def _names(embodiment: Embodiment) -> list[str]:
    return [joint.name for joint in embodiment.action_joints]


def _searched(bag: Bag, embodiment: Embodiment, first: Mapping[str, int]) -> list[Track]:
    """Look for the topics of every group."""
    sensors = {source.topic for source in embodiment.state}
    candidates = {
        topic.name: _first_names(bag, topic.name)
        for topic in bag.topics.values()
        if topic.msgtype == _JOINT_STATE and topic.count and topic.name not in sensors
    }
    tracks: list[Track] = []
    shared: dict[str, list[str]] = {}
    for group in embodiment.actions:
        known = bag.topics.get(group.topic)
        if known is not None and known.count and known.msgtype == _COMMANDS.get(group.message):
            tracks.append(_of_controller(bag, embodiment, group, first))
            continue
        joints = [joint.name for joint in group.joints]
        fitting = [topic for topic, names in candidates.items() if names >= set(joints)]
        if len(fitting) != 1:
            raise _not_found(bag, group, fitting)
        shared.setdefault(fitting[0], []).extend(joints)
    for topic, joints in shared.items():
        tracks += _of_joints(bag, {name: first[name] for name in joints}, [topic])
    return tracks


def _named(
    bag: Bag, embodiment: Embodiment, first: Mapping[str, int], topics: Sequence[str]
) -> list[Track]:
    """Read the topics that somebody has named."""
    groups = {group.topic: group for group in embodiment.actions}
    tracks: list[Track] = []
    for name in topics:
        known = bag.topics.get(name)
        if known is None or not known.count:
            raise BagError.at(
                bag.path,
                name,
                found='no such topic' if known is None else 'no message on it',
                expected='recorded actions',
                remedy=suggestion(name, list(bag.topics)) or f'There are {", ".join(bag.topics)}.',
            )
        group = groups.get(name)
        if group is not None and known.msgtype == _COMMANDS.get(group.message):
            tracks.append(_of_controller(bag, embodiment, group, first))
            continue
        if known.msgtype != _JOINT_STATE:
            raise BagError.at(
                bag.path,
                name,
                found=known.msgtype,
                expected=f'{_JOINT_STATE}, or the topic and type of an action group',
            )
        found = _of_joints(bag, first, [name])
        if not found:
            raise BagError.at(
                bag.path,
                name,
                found=f'joints {", ".join(sorted(_first_names(bag, name)))}',
                expected=f'some of {", ".join(first)}',
            )
        tracks += found
    taken = [column for track in tracks for column in track.columns]
    twice = sorted({column for column in taken if taken.count(column) > 1})
    if twice:
        raise BagError.at(
            bag.path,
            ', '.join(topics),
            found=f'{", ".join(_names(embodiment)[column] for column in twice)} twice',
            expected='each joint on one topic',
        )
    return tracks


def _complete(bag: Bag, embodiment: Embodiment, tracks: Sequence[Track], choice: str) -> None:
    taken = {column for track in tracks for column in track.columns}
    names = _names(embodiment)
    missing = [name for column, name in enumerate(names) if column not in taken]
    if missing:
        raise BagError.at(
            bag.path,
            f'--actions {choice}',
            found=f'nothing of {", ".join(missing)}',
            expected='every action joint',
            remedy='Name the topics of the commands with --actions TOPIC,….',
        )


def _not_found(bag: Bag, group: ActionGroup, fitting: Sequence[str]) -> Exception:
    joints = ', '.join(joint.name for joint in group.joints)
    if fitting:
        return BagError.at(
            bag.path,
            f'actions of {group.name}',
            found=f'{len(fitting)} topics that name {joints}: {", ".join(fitting)}',
            expected='one',
            remedy='Choose with --actions TOPIC.',
        )
    there = ', '.join(f'{topic.name} ({topic.msgtype})' for topic in bag.topics.values())
    return BagError.at(
        bag.path,
        f'actions of {group.name}',
        found=f'neither {group.topic} ({_COMMANDS.get(group.message, group.message)}) nor a '
        f'JointState topic with {joints}',
        expected='what the demonstrator commanded',
        remedy=f'Give --actions TOPIC, or --actions state to compare with the motion itself. '
        f'In the bag: {there}.',
    )


def _first_names(bag: Bag, topic: str) -> frozenset[str]:
    """Return the joints of the first message of a topic."""
    for sensed in decoded(bag, [topic]):
        return frozenset(sensed.message.name)
    return frozenset()


def _of_joints(bag: Bag, first: Mapping[str, int], topics: Sequence[str]) -> list[Track]:
    """Read positions from JointState topics; messages may carry different joints."""
    rows: dict[tuple[str, tuple[str, ...]], list[tuple[int, int, list[float]]]] = {}
    joint_states = [t for t in topics if bag.topics[t].msgtype == _JOINT_STATE]
    for topic, message, header_ns, time_ns in decoded(bag, joint_states):
        names = tuple(name for name in message.name if name in first)
        if not names:
            continue
        if len(message.position) != len(message.name):
            raise BagError.at(
                bag.path,
                topic,
                found=f'{len(message.name)} names and {len(message.position)} positions',
                expected='a position for each name',
            )
        places = [index for index, name in enumerate(message.name) if name in first]
        values = [float(message.position[index]) for index in places]
        rows.setdefault((topic, names), []).append((header_ns or time_ns, time_ns, values))
    return [
        _track(topic, tuple(first[name] for name in names), found, held=False)
        for (topic, names), found in rows.items()
    ]


def _track(
    topic: str,
    columns: tuple[int, ...],
    rows: list[tuple[int, int, list[float]]],
    *,
    held: bool,
) -> Track:
    """Put commands into the order of their stamps; of equal stamps the last one counts."""
    ordered = {stamp: (received, values) for stamp, received, values in rows}
    stamps = sorted(ordered)
    return Track(
        topic,
        columns,
        np.array(stamps, np.int64),
        np.array([ordered[stamp][0] for stamp in stamps], np.int64),
        np.array([ordered[stamp][1] for stamp in stamps], np.float64),
        held,
    )


def _of_controller(
    bag: Bag, embodiment: Embodiment, group: ActionGroup, first: Mapping[str, int]
) -> Track:
    """Read the commands that a controller was sent."""
    columns = tuple(first[joint.name] for joint in group.joints)
    if group.output == 'joint_trajectory':
        rows = _followed(bag, embodiment, group)
        return _track(group.topic, columns, rows, held=False)
    read = _READERS[group.message]
    rows = [
        (sensed.header_ns or sensed.time_ns, sensed.time_ns, read(sensed, group, bag))
        for sensed in decoded(bag, [group.topic])
    ]
    return _track(group.topic, columns, rows, held=True)


def _followed(
    bag: Bag, embodiment: Embodiment, group: ActionGroup
) -> list[tuple[int, int, list[float]]]:
    """Let the model of the controller follow recorded trajectories, sampled at the action rate."""
    names = tuple(joint.name for joint in group.joints)
    period_ns = round(1e9 / embodiment.rate_hz)
    model: JointTrajectoryController | None = None
    rows: list[tuple[int, int, list[float]]] = []
    due_ns = 0

    def sample(until_ns: int) -> None:
        nonlocal due_ns
        while model is not None and due_ns <= until_ns:
            rows.append((due_ns, due_ns, model.sample(due_ns)[0].tolist()))
            due_ns += period_ns

    for sensed in decoded(bag, [group.topic]):
        command = command_from_message(sensed.message, group.name)
        if isinstance(command, Rejection):
            raise BagError.at(
                bag.path, group.topic, found=command.text, expected='a trajectory of positions'
            )
        if set(command.joint_names) != set(names):
            raise BagError.at(
                bag.path,
                group.topic,
                found=f'joints {", ".join(command.joint_names)}',
                expected=', '.join(names),
            )
        if model is None:
            order = [command.joint_names.index(name) for name in names]
            model = JointTrajectoryController(names, command.positions[0, order])
            due_ns = sensed.time_ns
        sample(sensed.time_ns)
        model.accept(command, sensed.time_ns)  # What it refuses, the robot did not do either.
        model.sample(sensed.time_ns)
    sample(bag.end_ns)
    return rows


def _twist(sensed: Sensed, group: ActionGroup, _bag: Bag) -> list[float]:
    twist = getattr(sensed.message, 'twist', sensed.message)
    values = []
    for joint in group.joints:
        part, axis = joint.name.split('.')
        values.append(float(getattr(getattr(twist, part), axis)))
    return values


def _array(sensed: Sensed, group: ActionGroup, bag: Bag) -> list[float]:
    values = [float(value) for value in sensed.message.data]
    if len(values) != len(group.joints):
        raise BagError.at(
            bag.path,
            group.topic,
            found=f'{len(values)} values',
            expected=f'{len(group.joints)}, one for each joint of {group.name}',
        )
    return values


def _last_point(sensed: Sensed, group: ActionGroup, bag: Bag) -> list[float]:
    """Return the goal of a gripper: the last point of its trajectory."""
    names, points = list(sensed.message.joint_names), sensed.message.points
    try:
        return [float(points[-1].positions[names.index(joint.name)]) for joint in group.joints]
    except (IndexError, ValueError):
        raise BagError.at(
            bag.path,
            group.topic,
            found=f'{len(points)} points of {", ".join(names)}',
            expected=f'a point of {", ".join(joint.name for joint in group.joints)}',
        ) from None


_READERS: Mapping[str, Callable[[Any, ActionGroup, Bag], list[float]]] = {
    'joint_trajectory': _last_point,
    'twist': _twist,
    'twist_stamped': _twist,
    'float64_multi_array': _array,
}
