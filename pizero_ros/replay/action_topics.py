"""Finds the topics of a recording that say what the demonstrator commanded."""

from __future__ import annotations

from itertools import islice
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

NAMING_MESSAGES = 50
"""Messages after which a topic has named all of its joints."""


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
        tracks = _measured(bag, embodiment, first)
        _complete(bag, embodiment, tracks, choice)
    elif choice == AUTO:
        tracks = _searched(bag, embodiment, first)
    else:
        tracks = _named(bag, embodiment, first, [each.strip() for each in choice.split(',')])
    _each_once(bag, embodiment, tracks)
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
    tracks = _measured(bag, embodiment, first)
    known = {column for track in tracks for column in track.columns}
    if not tracks or not known.issuperset(arms):
        return False
    state = RecordedActions(embodiment, tracks, '')
    moments = found.moments()
    period_ns = round(1e9 / embodiment.rate_hz)
    told, here = found.at(moments)[:, arms], state.at(moments)[:, arms]
    step = state.at(moments + period_ns)[:, arms] - here
    spans = found.columns.spans[arms]
    # Headers on different clocks have no moment in common, and a single one tells nothing.
    common = np.isfinite(told) & np.isfinite(here) & np.isfinite(step)
    if not common.any():
        return False
    from_here = np.mean((np.abs(told - here) / spans)[common])
    from_step = np.mean((np.abs(told - step) / spans)[common])
    return bool(from_step < 0.5 * from_here)


def _measured(bag: Bag, embodiment: Embodiment, first: Mapping[str, int]) -> list[Track]:
    """Read where the joints were, each from the topic from which the robot's file takes it."""
    owners = {joint.name: source.topic for source in embodiment.state for joint in source.joints}
    tracks: list[Track] = []
    for topic in dict.fromkeys(source.topic for source in embodiment.state):
        wanted = {name: n for name, n in first.items() if owners.get(name, topic) == topic}
        tracks += of_joints(bag, wanted, [topic])
    return tracks


def _names(embodiment: Embodiment) -> list[str]:
    return [joint.name for joint in embodiment.action_joints]


def _searched(bag: Bag, embodiment: Embodiment, first: Mapping[str, int]) -> list[Track]:
    """Look for the topics of every group."""
    sensors = {source.topic for source in embodiment.state}
    candidates = {
        topic.name: _names_on(bag, topic.name)
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
                found=f'joints {", ".join(sorted(_names_on(bag, name)))}',
                expected=f'some of {", ".join(first)}',
            )
        tracks += found
    return tracks


def _each_once(bag: Bag, embodiment: Embodiment, tracks: Sequence[Track]) -> None:
    """Refuse joints that two topics command: nothing says which one counts."""
    topics: dict[int, list[str]] = {}
    for track in tracks:
        for column in track.columns:
            topics.setdefault(column, []).append(track.topic)
    twice = sorted(column for column, found in topics.items() if len(found) > 1)
    if twice:
        raise BagError.at(
            bag.path,
            ', '.join(dict.fromkeys(topic for column in twice for topic in topics[column])),
            found=f'{", ".join(_names(embodiment)[column] for column in twice)} twice',
            expected='each joint on one topic',
            remedy='Choose with --actions TOPIC,….',
        )


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


def _names_on(bag: Bag, topic: str) -> frozenset[str]:
    """Return the joints of the first messages of a topic: not every one names all of them."""
    messages = islice(decoded(bag, [topic]), NAMING_MESSAGES)
    return frozenset(name for sensed in messages for name in sensed.message.name)
