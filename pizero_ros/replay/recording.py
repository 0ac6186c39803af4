"""A recording as an embodiment sees it: the messages of its sensors and its instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.errors import BagError, PizeroError
from pizero_ros.observation.cameras import decode_picture
from pizero_ros.observation.intake import stamp_ns
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Camera, Embodiment
    from pizero_ros.replay.bag import Bag

INSTRUCTION = '/instruction'
"""Topic (std_msgs/String) on which recordings carry what the robot was told to do."""

_STRING = 'std_msgs/msg/String'
_PICTURES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
_STATES = {'joint_state': 'sensor_msgs/msg/JointState', 'odometry': 'nav_msgs/msg/Odometry'}


class Sensed(NamedTuple):
    """One decoded message.

    Attributes:
        topic: Where it was recorded.
        message: With the fields of its type.
        header_ns: Its header stamp, 0 if it has none.
        time_ns: When it was recorded: its arrival.
    """

    topic: str
    message: Any
    header_ns: int
    time_ns: int


class Recording:
    """The sensor messages of a bag that belong to a robot, in the order of their arrival."""

    def __init__(self, bag: Bag, embodiment: Embodiment) -> None:
        """Check that the bag can feed the robot.

        Args:
            bag: Opened; stays the caller's to close.
            embodiment: The robot.

        Raises:
            BagError: If a required topic is absent or empty, or a topic is of another type than
                the embodiment says.
        """
        self.bag = bag
        self.embodiment = embodiment
        self.absent: tuple[str, ...] = tuple(
            camera.topic
            for camera in embodiment.cameras
            if not camera.required and not self._recorded(camera.topic)
        )
        for camera in embodiment.cameras:
            if camera.topic not in self.absent:
                self._check(camera.topic, _PICTURES[camera.transport])
        for source in embodiment.state:
            self._check(source.topic, _STATES[source.interface])
        wanted = [camera.topic for camera in embodiment.cameras]
        wanted += [source.topic for source in embodiment.state]
        self._topics = [topic for topic in wanted if topic not in self.absent]
        self.instructed = self._recorded(INSTRUCTION)
        if self.instructed:
            self._check(INSTRUCTION, _STRING)
            self._topics.append(INSTRUCTION)

    def messages(self) -> Iterator[Sensed]:
        """Read the sensors' messages, and the instructions, decoded.

        Raises:
            BagError: If the bag is damaged.
        """
        yield from decoded(self.bag, self._topics)

    def _recorded(self, topic: str) -> bool:
        known = self.bag.topics.get(topic)
        return known is not None and known.count > 0

    def _check(self, topic: str, msgtype: str) -> None:
        known = self.bag.topics.get(topic)
        if known is None or not known.count:
            same = [t.name for t in self.bag.topics.values() if t.msgtype == msgtype and t.count]
            there = ', '.join(same) or 'none'
            raise BagError.at(
                self.bag.path,
                topic,
                found='no such topic' if known is None else 'no message on it',
                expected=f'{msgtype}, which {self.embodiment.source} asks for',
                remedy=f'Topics of this type in the bag: {there}. '
                f'{suggestion(topic, same or list(self.bag.topics))}'.strip(),
            )
        if known.msgtype != msgtype:
            raise BagError.at(
                self.bag.path,
                topic,
                found=known.msgtype,
                expected=f'{msgtype}, as {self.embodiment.source} says',
                remedy=_other_type(known.msgtype),
            )


def decoded(bag: Bag, topics: Sequence[str]) -> Iterator[Sensed]:
    """Read topics of a bag, decoded, in the order of their recorded times.

    Raises:
        BagError: If a topic is not there, or the bag is damaged.
    """
    for raw in bag.messages(topics):
        message = bag.decode(raw)
        header = getattr(message, 'header', None)
        header_ns = 0 if header is None else stamp_ns(header.stamp)
        yield Sensed(raw.topic, message, header_ns, raw.time_ns)


class RememberedPictures:
    """Decodes pictures, and remembers the newest of each camera.

    Several assemblers look at the same messages, each in its own time: what a policy and the
    baselines beside it see is decoded once.
    """

    KEPT = 2

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[str, list[tuple[object, npt.NDArray[np.uint8]]]] = {}

    def __call__(self, camera: Camera, message: object) -> npt.NDArray[np.uint8]:
        """Return the picture of a message, as ``decode_picture`` does."""
        known = self._known.setdefault(camera.topic, [])
        for each, picture in known:
            if each is message:
                return picture
        picture = decode_picture(camera, message)
        known.append((message, picture))
        del known[: -self.KEPT]
        return picture


def pictures(
    bag: Bag, embodiment: Embodiment, moments_ns: Sequence[int]
) -> dict[int, dict[str, npt.NDArray[np.uint8]]]:
    """Return what the cameras showed at some moments.

    Args:
        bag: The recording.
        embodiment: Whose cameras.
        moments_ns: Times of arrival, on the clock of the recording.

    Returns:
        Moment → slot → uint8 [H, W, 3] RGB of the newest picture that had arrived by then; a
        slot is absent if none had, or if it cannot be decoded.

    Raises:
        BagError: If the bag is damaged.
    """
    cameras = {c.topic: c for c in embodiment.cameras if c.topic in bag.topics}
    left = sorted(set(moments_ns))
    held: dict[str, Any] = {}
    shown: dict[int, dict[str, npt.NDArray[np.uint8]]] = {}
    for raw in bag.messages(list(cameras)):
        while left and raw.time_ns > left[0]:
            shown[left.pop(0)] = _show(bag, cameras, held)
        if not left:
            break
        held[raw.topic] = raw
    shown.update((moment, _show(bag, cameras, held)) for moment in left)
    return shown


def _show(
    bag: Bag, cameras: dict[str, Camera], held: dict[str, Any]
) -> dict[str, npt.NDArray[np.uint8]]:
    shown = {}
    for topic, raw in held.items():
        try:
            shown[cameras[topic].slot] = decode_picture(cameras[topic], bag.decode(raw))
        except PizeroError:
            continue  # The evaluation has counted it; a report goes on without it.
    return shown


def _other_type(msgtype: str) -> str:
    for transport, name in _PICTURES.items():
        if name == msgtype:
            return f'Set transport: {transport} for this camera.'
    for interface, name in _STATES.items():
        if name == msgtype:
            return f'Set interface: {interface} for this source.'
    return 'Name the topic that carries it.'
