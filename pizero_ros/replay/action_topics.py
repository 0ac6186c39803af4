"""Finds the topics of a recording that say what the demonstrator commanded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import BagError
from pizero_ros.replay.action_tracks import COMMANDS, JOINT_STATE, of_controller, of_joints
from pizero_ros.replay.actions import RecordedActions
from pizero_ros.replay.recording import decoded
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.replay.actions import Track
    from pizero_ros.replay.bag import Bag

AUTO = 'auto'
STATE = 'state'
"""Words for ``find_actions`` that are no topics."""

RELATIVE = 'these look like steps, not positions: compare with --actions state'
"""What is said of recorded actions that are nearer to the joints' steps than to the joints."""


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
        tracks = of_joints(bag, first, [source.topic for source in embodiment.state])
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
    found = RecordedActions(embodiment, tracks, words)
    if choice != STATE and _look_relative(bag, embodiment, found):
        found.words += f'; {RELATIVE}'
    return found


def _look_relative(bag: Bag, embodiment: Embodiment, found: RecordedActions) -> bool:
    """Tell whether commands are nearer to the steps that the joints make than to the joints.

    Some data sets record how far to go. Such numbers are no positions, and nothing in a
    JointState says so.
    """
    first = {name: column for column, name in enumerate(_names(embodiment))}
    arms = found.columns.where(kind='joint_trajectory')
    tracks = of_joints(bag, first, [source.topic for source in embodiment.state])
    known = {column for track in tracks for column in track.columns}
    if not tracks or not known.issuperset(arms):
        return False
    state = RecordedActions(embodiment, tracks, '')
    moments = found.moments()
    period_ns = round(1e9 / embodiment.rate_hz)
    told, here = found.at(moments)[:, arms], state.at(moments)[:, arms]
    step = state.at(moments + period_ns)[:, arms] - here
    spans = found.columns.spans[arms]
    from_here = np.nanmean(np.abs(told - here) / spans) if len(moments) > 1 else 0.0
    from_step = np.nanmean(np.abs(told - step) / spans) if len(moments) > 1 else 0.0
    return bool(from_step < 0.5 * from_here)


def _names(embodiment: Embodiment) -> list[str]:
    return [joint.name for joint in embodiment.action_joints]


def _searched(bag: Bag, embodiment: Embodiment, first: Mapping[str, int]) -> list[Track]:
    """Look for the topics of every group."""
    sensors = {source.topic for source in embodiment.state}
    candidates = {
        topic.name: _first_names(bag, topic.name)
        for topic in bag.topics.values()
        if topic.msgtype == JOINT_STATE and topic.count and topic.name not in sensors
    }
    tracks: list[Track] = []
    shared: dict[str, list[str]] = {}
    for group in embodiment.actions:
        known = bag.topics.get(group.topic)
        if known is not None and known.count and known.msgtype == COMMANDS.get(group.message):
            tracks.append(of_controller(bag, embodiment, group, first))
            continue
        joints = [joint.name for joint in group.joints]
        fitting = [topic for topic, names in candidates.items() if names >= set(joints)]
        if len(fitting) != 1:
            raise _not_found(bag, group, fitting)
        shared.setdefault(fitting[0], []).extend(joints)
    for topic, joints in shared.items():
        tracks += of_joints(bag, {name: first[name] for name in joints}, [topic])
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
        if group is not None and known.msgtype == COMMANDS.get(group.message):
            tracks.append(of_controller(bag, embodiment, group, first))
            continue
        if known.msgtype != JOINT_STATE:
            raise BagError.at(
                bag.path,
                name,
                found=known.msgtype,
                expected=f'{JOINT_STATE}, or the topic and type of an action group',
            )
        found = of_joints(bag, first, [name])
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
        found=f'neither {group.topic} ({COMMANDS.get(group.message, group.message)}) nor a '
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
