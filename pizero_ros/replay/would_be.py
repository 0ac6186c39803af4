"""Writes what the robot would have been told beside what it was told: MCAP, standard types."""

from __future__ import annotations

import re
import shutil
import tempfile
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pizero_ros.replay.tracks import recorded_track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.columns import Columns
    from pizero_ros.replay.episode import Episode, Happening

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

ROOT = '/pizero/replay'
_TYPES = get_typestore(Stores.ROS2_JAZZY)
_WARN, _ERROR = 30, 40
"""Levels of ``rcl_interfaces/msg/Log``."""


class _Message(NamedTuple):
    time_ns: int
    topic: str
    content: Any


def write_commands(path: Path, episode: Episode, embodiment: Embodiment) -> None:
    """Write one MCAP file of the recorded actions and of what each seed of the policy made of it.

    All stamps are on the clock of the recording. A value that is not known is NaN, so that a
    joint keeps its place in every message. For each source of the policy, under
    ``/pizero/replay/<name>``: ``commanded`` (what the controllers would have followed), ``chunk``
    (every chunk that was accepted, whole, at the moment when it arrived, stamped with the time
    of its action 0) and ``events``. The axes of a base have topics of their own, one for each
    group. Without an evaluation as deployed there are only the chunks of the open-loop queries.

    Args:
        path: The file, ``.mcap``; an older one is replaced when the new one is complete.
        episode: What to write.
        embodiment: Its robot.
    """
    messages = sorted(_messages(episode, embodiment), key=itemgetter(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.writing-') as scratch:
        folder = Path(scratch) / path.stem
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections: dict[str, Any] = {}
            for time_ns, topic, content in messages:
                kind = content.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=_TYPES)
                writer.write(connections[topic], time_ns, _TYPES.serialize_cdr(content, kind))
        shutil.move(folder / f'{folder.name}.mcap', path)


def topic_names(sources: Iterable[str]) -> dict[str, str]:
    """Give each source a name that may be part of a topic (REP 144), different for each.

    Args:
        sources: Names of sources, such as ``act-v2#0``.

    Returns:
        Source → name, such as ``act_v2_0``.
    """
    names: dict[str, str] = {}
    for source in sources:
        plain = re.sub(r'[^A-Za-z0-9]+', '_', source).strip('_') or 'policy'
        plain = f'p{plain}' if plain[0].isdigit() else plain
        name, number = plain, 1
        while name in names.values() or name == 'recorded':
            number += 1
            name = f'{plain}_{number}'
        names[source] = name
    return names


class _Robot:
    """Which columns go into which message."""

    def __init__(self, columns: Columns, embodiment: Embodiment) -> None:
        self.columns = columns.columns
        self.joints = [n for n, each in enumerate(self.columns) if each.kind != 'twist']
        self.joint_names = [self.columns[n].name for n in self.joints]
        self.bases = {
            group: axes
            for group in columns.groups
            if (axes := columns.where(group=group, kind='twist'))
        }
        self.frames = {group.name: group.frame_id for group in embodiment.actions}

    def twist(self, group: str, values: Floats) -> Any:
        """Velocity of a base; ``values`` is float64 [J]."""
        parts = {'linear': dict.fromkeys('xyz', 0.0), 'angular': dict.fromkeys('xyz', 0.0)}
        for number in self.bases[group]:
            part, axis = self.columns[number].name.split('.')
            parts[part][axis] = float(values[number])
        vectors = {
            part: _make('geometry_msgs/msg/Vector3', **values) for part, values in parts.items()
        }
        return _make('geometry_msgs/msg/Twist', **vectors)


def _messages(episode: Episode, embodiment: Embodiment) -> Iterator[_Message]:
    robot = _Robot(episode.columns, embodiment)
    period_ns = round(1e9 / episode.rate_hz)
    yield from _stream(f'{ROOT}/recorded', *recorded_track(episode), robot)
    for source, name in topic_names(episode.policy_sources).items():
        place = f'{ROOT}/{name}'
        deployed = episode.deployed.get(source)
        if deployed is None:
            asked = episode.open_loop[source]
            times = zip(asked.asked_ns.tolist(), asked.observed_ns.tolist(), strict=True)
            for (asked_ns, start_ns), actions in zip(times, asked.predicted, strict=True):
                yield from _chunk(place, asked_ns, start_ns, actions, period_ns, robot)
            continue
        yield from _stream(f'{place}/commanded', deployed.time_ns, deployed.commanded, robot)
        for fate, actions in zip(deployed.chunks, deployed.actions, strict=True):
            if fate.start_ns >= 0:
                yield from _chunk(place, fate.arrived_ns, fate.start_ns, actions, period_ns, robot)
        yield from (_event(place, each) for each in deployed.happenings)


def _stream(topic: str, time_ns: Integers, values: Floats, robot: _Robot) -> Iterator[_Message]:
    """Values over time: joints in one message, the axes of each base in one of their own."""
    speeds = np.full_like(values, np.nan)
    if len(values) > 1:
        speeds[1:] = np.diff(values, axis=0) / (np.diff(time_ns)[:, None] * 1e-9)
    for row, at_ns in enumerate(time_ns.tolist()):
        if robot.joints:
            state = _make(
                'sensor_msgs/msg/JointState',
                header=_header(at_ns),
                name=robot.joint_names,
                position=values[row, robot.joints],
                velocity=speeds[row, robot.joints],
                effort=np.empty(0),
            )
            yield _Message(at_ns, topic, state)
        for group in robot.bases:
            content = _make(
                'geometry_msgs/msg/TwistStamped',
                header=_header(at_ns, robot.frames[group]),
                twist=robot.twist(group, values[row]),
            )
            yield _Message(at_ns, f'{topic}/{group}', content)


def _chunk(
    place: str, at_ns: int, start_ns: int, actions: Floats, period_ns: int, robot: _Robot
) -> Iterator[_Message]:
    """A whole chunk; ``actions`` is float64 [H, J], raw."""
    empty = np.empty(0)
    offsets = [_duration(step * period_ns) for step in range(len(actions))]
    if robot.joints:
        points = [
            _make(
                'trajectory_msgs/msg/JointTrajectoryPoint',
                positions=row[robot.joints],
                velocities=empty,
                accelerations=empty,
                effort=empty,
                time_from_start=offset,
            )
            for row, offset in zip(actions, offsets, strict=True)
        ]
        content = _make(
            'trajectory_msgs/msg/JointTrajectory',
            header=_header(start_ns),
            joint_names=robot.joint_names,
            points=points,
        )
        yield _Message(at_ns, f'{place}/chunk', content)
    for group in robot.bases:
        points = [
            _make(
                'trajectory_msgs/msg/MultiDOFJointTrajectoryPoint',
                transforms=[],
                velocities=[robot.twist(group, row)],
                accelerations=[],
                time_from_start=offset,
            )
            for row, offset in zip(actions, offsets, strict=True)
        ]
        content = _make(
            'trajectory_msgs/msg/MultiDOFJointTrajectory',
            header=_header(start_ns, robot.frames[group]),
            joint_names=[group],
            points=points,
        )
        yield _Message(at_ns, f'{place}/chunk/{group}', content)


def _event(place: str, happening: Happening) -> _Message:
    content = _make(
        'rcl_interfaces/msg/Log',
        stamp=_time(happening.at_ns),
        level=_ERROR if happening.group == 'controller' else _WARN,
        name=happening.group,
        msg=f'{happening.reason}: {happening.text}',
        file='',
        function=happening.reason,
        line=0,
    )
    return _Message(happening.at_ns, f'{place}/events', content)


def _header(stamp_ns: int, frame_id: str = '') -> Any:
    return _make('std_msgs/msg/Header', stamp=_time(stamp_ns), frame_id=frame_id)


def _time(at_ns: int) -> Any:
    sec, nanosec = divmod(at_ns, 10**9)
    return _make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)


def _duration(span_ns: int) -> Any:
    sec, nanosec = divmod(span_ns, 10**9)
    return _make('builtin_interfaces/msg/Duration', sec=sec, nanosec=nanosec)


def _make(kind: str, **fields: Any) -> Any:
    return _TYPES.types[kind](**fields)
