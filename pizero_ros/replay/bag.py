"""A rosbag2 recording as a stream of serialized messages in time order, and their decoding."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore

from pizero_ros.errors import BagError, PizeroError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from rosbags.interfaces import Connection, ConnectionExtRosbag2

_LATCHED = QosDurability.TRANSIENT_LOCAL

_FILES = ('.mcap', '.db3')
_INDEX = 'metadata.yaml'

_BYTE_ORDERS = {b'\0\0': 'be', b'\0\1': 'le'}
"""Representation identifiers of plain CDR, which is what middlewares write."""


class RawMessage(NamedTuple):
    """One recorded message; ``raw`` is its CDR bytes as stored, trailing bytes included."""

    topic: str
    msgtype: str
    time_ns: int
    raw: bytes


@dataclass(frozen=True)
class Topic:
    """What a bag says about one of its topics; ``latched`` means recorded as transient local."""

    name: str
    msgtype: str
    count: int
    latched: bool


def bags_in(path: Path) -> list[Path]:
    """Return the recordings that a path stands for: itself, or those in it at any depth.

    Args:
        path: A rosbag2 folder, an ``.mcap`` or ``.db3`` file, or a folder with some of these.

    Returns:
        Their paths, sorted; none if there is none.
    """
    if path.is_file() or (path / _INDEX).is_file():
        return [path]
    if not path.is_dir():
        return []
    inside = [each for each in sorted(path.iterdir()) if each.is_dir() or each.suffix in _FILES]
    return [bag for each in inside for bag in bags_in(each)]


def open_bag(path: str | Path) -> Bag:
    """Open a recording: a rosbag2 folder, or a single ``.mcap`` or ``.db3`` file.

    Args:
        path: Folder or file.

    Returns:
        The opened bag; close it, or use it as a context manager.

    Raises:
        BagError: If it is absent, cannot be read, or holds no message.
    """
    return Bag(Path(path))


class Bag:
    """An opened recording, sqlite3 or MCAP, read as raw bytes; decoded one by one on demand."""

    def __init__(self, path: Path) -> None:
        """Open the recording at ``path``; see ``open_bag``."""
        self.path = path
        if not path.exists():
            raise BagError.at(
                path, '', found='nothing', expected='a rosbag2 folder or an .mcap or .db3 file'
            )
        # The storage libraries under rosbags (apsw, struct, zstd, YAML) each raise errors of their
        # own on a damaged file, with no common base; whatever they are, the bag is at fault.
        try:
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        except Exception as error:
            raise _damaged(path, error) from error
        self.topics: Mapping[str, Topic] = _topics(path, self._reader.connections)
        if not self._reader.message_count:
            self.close()
            raise BagError.at(
                path, '', found='no messages', expected='a recording with at least one message'
            )
        self.start_ns = int(self._reader.start_time)
        self.end_ns = int(self._reader.end_time) - 1

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; closing twice is allowed."""
        if self._reader.stack:
            self._reader.close()

    def decode(self, message: RawMessage) -> Any:
        """Return a message with the fields of its type; arrays are NumPy's.

        Bytes behind the message are ignored, as they are by middlewares: some recorders pad.

        Args:
            message: One of ``messages()``.

        Raises:
            BagError: If its type is unknown or its bytes are no message of that type.
        """
        store = self._reader.typestore
        order = _BYTE_ORDERS.get(message.raw[:2])
        try:
            definition = store.get_msgdef(message.msgtype)
            if order is None:
                msg = f'encapsulation {message.raw[:2].hex()}'
                raise ValueError(msg)
            read = getattr(definition, f'deserialize_cdr_{order}')
            return read(memoryview(message.raw)[4:], 0, definition.cls, store)[0]
        # Generated code of rosbags fails in as many ways as bytes can be wrong.
        except Exception as error:
            raise BagError.at(
                self.path,
                message.topic,
                found=f'{len(message.raw)} bytes at {message.time_ns} ns: {error}',
                expected=f'a {message.msgtype}',
                remedy='The message is damaged, or was recorded with another definition.',
            ) from error

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Read the messages in the order of their recorded times.

        Args:
            topics: Read these topics only; ``None`` reads all.
            start_ns: Leave out what was recorded before, and do not count; ``None`` reads all.

        Yields:
            Each message; a message is never dropped or decoded.

        Raises:
            BagError: If a topic is not in the bag, the file is damaged, or fewer messages come
                out of it than its index promises.
        """
        wanted = set(self.topics) if topics is None else set(topics)
        for name in sorted(wanted - set(self.topics)):
            raise BagError.at(
                self.path, name, found='no such topic', expected=f'one of {sorted(self.topics)}'
            )
        connections = [c for c in self._reader.connections if c.topic in wanted]
        if not connections:
            return
        seen: Counter[str] = Counter()
        stream = self._reader.messages(connections, start=start_ns)
        while True:
            try:
                connection, time_ns, raw = next(stream)
            except StopIteration:
                break
            except Exception as error:
                raise _damaged(self.path, error) from error
            seen[connection.topic] += 1
            yield RawMessage(connection.topic, connection.msgtype, int(time_ns), bytes(raw))
        for name in sorted(wanted if start_ns is None else ()):
            if seen[name] < self.topics[name].count:
                raise BagError.at(
                    self.path,
                    name,
                    found=f'{seen[name]} messages',
                    expected=f'{self.topics[name].count} as the index says',
                    remedy='The file was cut off; reindex the bag or record it again.',
                )


def _topics(path: Path, connections: list[Connection]) -> dict[str, Topic]:
    topics: dict[str, Topic] = {}
    for c in connections:
        qos = cast('ConnectionExtRosbag2', c.ext).offered_qos_profiles
        latched = any(profile.durability == _LATCHED for profile in qos)
        known = topics.get(c.topic)
        if known is not None and known.msgtype != c.msgtype:
            raise BagError.at(
                path,
                c.topic,
                found=f'{known.msgtype} and {c.msgtype}',
                expected='one message type per topic',
            )
        count = c.msgcount + (known.count if known else 0)
        topics[c.topic] = Topic(
            c.topic, c.msgtype, count, latched or (known.latched if known else False)
        )
    return topics


def _damaged(path: Path, error: Exception) -> PizeroError:
    return BagError.at(
        path,
        '',
        found=f'{type(error).__name__}: {error}',
        expected='a readable rosbag2 recording',
        remedy='Check that metadata.yaml and the storage file are complete.',
    )
