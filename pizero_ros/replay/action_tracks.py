"""Reads the commands of one topic of a recording, whatever type it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.validation import Rejection, command_from_message
from pizero_ros.errors import BagError
from pizero_ros.replay.actions import Track
from pizero_ros.replay.recording import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.replay.bag import Bag
    from pizero_ros.replay.recording import Sensed

JOINT_STATE = 'sensor_msgs/msg/JointState'
COMMANDS = {
    'joint_trajectory': 'trajectory_msgs/msg/JointTrajectory',
    'twist': 'geometry_msgs/msg/Twist',
    'twist_stamped': 'geometry_msgs/msg/TwistStamped',
    'float64_multi_array': 'std_msgs/msg/Float64MultiArray',
}
"""``message`` of an action group → type under which its commands are recorded. Goals of grippers
that are actions are not in a bag."""


def of_joints(bag: Bag, first: Mapping[str, int], topics: Sequence[str]) -> list[Track]:
    """Read positions from JointState topics; messages may carry different joints, in any order.

    Joints of a topic that are always given together make one track; others have their own.

    Args:
        bag: The recording.
        first: Joint name → column; other joints are left out.
        topics: Those of another type are passed over.

    Raises:
        BagError: If a message has names without positions.
    """
    series: dict[tuple[str, str], dict[int, tuple[int, float]]] = {}
    joint_states = [t for t in topics if bag.topics[t].msgtype == JOINT_STATE]
    for topic, message, header_ns, time_ns in decoded(bag, joint_states):
        if not any(name in first for name in message.name):
            continue
        if len(message.position) != len(message.name):
            raise BagError.at(
                bag.path,
                topic,
                found=f'{len(message.name)} names and {len(message.position)} positions',
                expected='a position for each name',
            )
        for name, position in zip(message.name, message.position, strict=True):
            if name in first:
                one = series.setdefault((topic, name), {})
                one[header_ns or time_ns] = (time_ns, float(position))
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (topic, name), found in series.items():
        together.setdefault((topic, tuple(sorted(found))), []).append(name)
    return [
        _joined(
            topic,
            stamps,
            {first[name]: series[topic, name] for name in sorted(names, key=first.__getitem__)},
        )
        for (topic, stamps), names in together.items()
    ]


def _joined(
    topic: str, stamps: tuple[int, ...], series: Mapping[int, Mapping[int, tuple[int, float]]]
) -> Track:
    """Make one track of columns that were given at the same times, in whatever messages."""
    found = [[each[stamp] for each in series.values()] for stamp in stamps]
    return Track(
        topic,
        tuple(series),
        np.array(stamps, np.int64),
        np.array([max(received for received, _ in row) for row in found], np.int64),
        np.array([[value for _, value in row] for row in found], np.float64),
        held=False,
    )


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


def of_controller(
    bag: Bag, embodiment: Embodiment, group: ActionGroup, first: Mapping[str, int]
) -> Track:
    """Read the commands that a group's controller was sent, on the group's own topic.

    Args:
        bag: The recording.
        embodiment: The robot.
        group: Its action group.
        first: Joint name → column.

    Raises:
        BagError: If a message is not what the group's controller takes.
    """
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
