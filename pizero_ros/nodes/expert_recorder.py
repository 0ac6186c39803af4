"""Records demonstrations, one rosbag2 folder each, with subscriptions that stay."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)
from rosbags.typesys import Stores, get_typestore

from pizero_ros.errors import BagError
from pizero_ros.nodes.definitions import register
from pizero_ros.nodes.record_node import recorded_qos
from pizero_ros.nodes.replay_topics import message_class
from pizero_ros.replay.bag import Topic
from pizero_ros.replay.recording import INSTRUCTION

if TYPE_CHECKING:
    from rclpy.node import Node

    from pizero_ros.embodiment.schema import Embodiment

ACTIONS = '/expert_node/actions'
"""Topic of the clean actions of a demonstration."""

_STRING = 'std_msgs/msg/String'
_JOINT_STATE = 'sensor_msgs/msg/JointState'
_DEPTH = 1000
_BEFORE_NS = 300_000_000
"""How long before the first action what the sensors reported is kept: an observation needs it."""


class _Stream(NamedTuple):
    """One recorded topic."""

    topic: str
    msgtype: str
    qos: QoSProfile


class DemonstrationRecorder:
    """Writes what a robot senses and its expert does, with the instruction.

    The time of a message in the recording is its header stamp: an expert and a simulation that
    run faster than real time would otherwise leave their own delays in it. Bags are MCAP,
    compressed by chunks (zstd), which every reader of MCAP understands.
    """

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe; nothing is written before ``begin``.

        Args:
            node: Owner of the subscriptions.
            embodiment: The robot.
        """
        sensed = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        kinds = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
        states = {'joint_state': _JOINT_STATE, 'odometry': 'nav_msgs/msg/Odometry'}
        self._streams = [
            *(_Stream(c.topic, kinds[c.transport], sensed) for c in embodiment.cameras),
            *(
                _Stream(s.topic, states[s.interface], QoSProfile(depth=_DEPTH))
                for s in embodiment.state
            ),
            _Stream(ACTIONS, _JOINT_STATE, QoSProfile(depth=_DEPTH)),
        ]
        self._instructions = _Stream(
            INSTRUCTION, _STRING, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        self._types = get_typestore(Stores.EMPTY)
        self._writer: Writer | None = None
        self._connections: dict[str, Any] = {}
        self._folder: Path | None = None
        self._since_ns = 0
        self._last_action_ns = 0
        self._early: list[tuple[str, int, bytes]] = []
        self.counts: Counter[str] = Counter()
        self.first_action_ns: int | None = None
        self.instruction: str | None = None
        self._instruction_raw = b''
        for stream in self._streams:
            self._subscribe(node, stream)
        self._subscribe(node, self._instructions)

    def forget_instruction(self) -> None:
        """Wait for a new one: ``instruction`` is ``None`` until it has come."""
        self.instruction = None

    def begin(self, folder: Path, since_ns: int) -> None:
        """Record from now on.

        Args:
            folder: To be created.
            since_ns: What was stamped before that belongs to another episode.

        Raises:
            BagError: If the folder exists or cannot be created.
        """
        self.counts.clear()
        self.first_action_ns = None
        self._since_ns = since_ns
        self._early.clear()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            writer.open()
        except (OSError, WriterError) as error:
            raise BagError.at(
                folder, '', found=str(error), expected='a folder that is to be created'
            ) from None
        self._connections = {
            stream.topic: writer.add_connection(
                stream.topic,
                stream.msgtype,
                typestore=self._types,
                offered_qos_profiles=[recorded_qos(stream.qos)],
            )
            for stream in (*self._streams, self._instructions)
        }
        self._folder, self._writer = folder, writer

    def end(self, *, keep: bool) -> int:
        """Complete the recording, or remove it; return its size in bytes.

        Raises:
            BagError: If it cannot be written.
        """
        writer, folder = self._writer, self._folder
        self._writer = self._folder = None
        self._early.clear()
        if writer is None or folder is None:
            return 0
        try:
            writer.close()
            if not keep:
                shutil.rmtree(folder)
                return 0
            return sum(path.stat().st_size for path in folder.iterdir())
        except OSError as error:
            raise BagError.at(
                folder, '', found=error.strerror, expected='room for a recording'
            ) from None

    def _subscribe(self, node: Node, stream: _Stream) -> None:
        topic = Topic(stream.topic, stream.msgtype, 0, latched=False)
        register(self._types, stream.msgtype)
        take = self._take_instruction if stream is self._instructions else self._take
        node.create_subscription(
            message_class(Path('demonstration'), topic),
            stream.topic,
            lambda raw: take(stream.topic, raw),
            stream.qos,
            raw=True,
        )

    def _take_instruction(self, _: str, raw: bytes) -> None:
        # A CDR string: encapsulation, length with the final zero, bytes.
        length = int.from_bytes(raw[4:8], 'little')
        self.instruction = raw[8 : 8 + length - 1].decode()
        self._instruction_raw = raw
        if self._writer is None:
            return
        if self.first_action_ns is None:
            self._start_when_told()
        else:
            # Without a stamp of its own: it is about what comes after the last action.
            self._write(INSTRUCTION, self._last_action_ns + 1, raw)

    def _take(self, topic: str, raw: bytes) -> None:
        if self._writer is None:
            return
        # Every type here begins with a header, whose stamp follows the encapsulation.
        time_ns = int.from_bytes(raw[4:8], 'little') * 1_000_000_000
        time_ns += int.from_bytes(raw[8:12], 'little')
        if time_ns < self._since_ns:
            return
        if self.first_action_ns is None:
            self._early.append((topic, time_ns, raw))
            self._start_when_told()
            return
        if topic == ACTIONS:
            self._last_action_ns = time_ns
        self._write(topic, time_ns, raw)

    def _start_when_told(self) -> None:
        """Write the instruction, and what was sensed shortly before the first action.

        Topics overtake each other: actions may be here before the instruction is.
        """
        acted = [time_ns for topic, time_ns, _ in self._early if topic == ACTIONS]
        if not acted or self.instruction is None:
            return
        self.first_action_ns, self._last_action_ns = min(acted), max(acted)
        first_ns = max(self.first_action_ns - _BEFORE_NS, self._since_ns)
        self._write(INSTRUCTION, first_ns, self._instruction_raw)
        for topic, early_ns, raw in self._early:
            if early_ns >= first_ns:
                self._write(topic, early_ns, raw)
        self._early.clear()

    def _write(self, topic: str, time_ns: int, raw: bytes) -> None:
        assert self._writer is not None
        try:
            self._writer.write(self._connections[topic], time_ns, raw)
        except OSError as error:
            raise BagError.at(
                self._folder, topic, found=error.strerror, expected='room for a recording'
            ) from None
        self.counts[topic] += 1
