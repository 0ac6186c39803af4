"""Which topics of a recording are played, as what type, and how reliably."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError
from pizero_ros.replay.playback import LATCHED_DEPTH
from pizero_ros.replay.recording import Recording
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pizero_ros.replay.bag import Bag, Topic


@dataclass(frozen=True)
class Topics:
    """What is played.

    Attributes:
        played: All topics.
        sensors: Those that the policy must have subscribed to.
    """

    played: tuple[str, ...]
    sensors: tuple[str, ...]


def choose(
    bag: Bag, names: Sequence[str], *, embodiment: str = '', instruction_topic: str = ''
) -> Topics:
    """Choose the topics of a playback.

    Without names and without a robot that is all of them. For a robot it is what its policy
    hears, and what is named besides: commands of a recording must not reach controllers.

    Args:
        bag: The recording.
        names: Topics that were asked for.
        embodiment: Name or file of a robot; empty for none.
        instruction_topic: Played for a robot if it was recorded.

    Raises:
        BagError: A topic was not recorded, or is of another type than the robot's.
        EmbodimentError: There is no such robot.
    """
    sensors = _sensors(Recording(bag, load_embodiment(embodiment))) if embodiment else []
    played = [*names, *sensors]
    if embodiment and instruction_topic in bag.topics:
        played.append(instruction_topic)
    for name in played:
        if name not in bag.topics:
            raise BagError.at(
                bag.path,
                name,
                found='no such topic',
                expected=f'one of {sorted(bag.topics)}',
                remedy=suggestion(name, sorted(bag.topics)),
            )
    return Topics(tuple(dict.fromkeys(played)) or tuple(bag.topics), tuple(sensors))


def message_class(bag: Path, topic: Topic) -> Any:
    """Return the message class of a recorded topic.

    Args:
        bag: The recording, for the error.
        topic: What is to be published.

    Raises:
        BagError: If this machine has no such type.
    """
    package, _, name = topic.msgtype.rpartition('/')
    try:
        return getattr(importlib.import_module(package.replace('/', '.')), name)
    except (ImportError, AttributeError, ValueError):
        raise BagError.at(
            bag,
            topic.name,
            found=f'message type {topic.msgtype}',
            expected='a type whose ROS package is installed and sourced',
            remedy='Install its package, or leave the topic out with the parameter topics.',
        ) from None


def stays_valid(topic: Topic) -> bool:
    """Tell whether a topic is latched; instructions are, whatever the recorder made of them."""
    return topic.latched or topic.msgtype == 'std_msgs/msg/String'


def publisher_qos(topic: Topic) -> QoSProfile:
    """Return how a topic is published: reliably, and so that a late node gets what stays valid."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        history=HistoryPolicy.KEEP_LAST,
        depth=LATCHED_DEPTH,
        durability=DurabilityPolicy.TRANSIENT_LOCAL
        if stays_valid(topic)
        else DurabilityPolicy.VOLATILE,
    )


def _sensors(recording: Recording) -> list[str]:
    """Return what the policy of a robot subscribes to, but for optional topics that are absent."""
    embodiment = recording.embodiment
    topics = [camera.topic for camera in embodiment.cameras]
    topics += [source.topic for source in embodiment.state]
    if (speed := embodiment.speed_scaling) is not None and speed.topic in recording.bag.topics:
        topics.append(speed.topic)
    return [topic for topic in topics if topic not in recording.absent]
