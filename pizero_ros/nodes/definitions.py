"""Definitions of message types as they are installed on this machine, for recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg

from pizero_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rosbags.typesys.store import Typestore


def register(store: Typestore, msgtype: str) -> None:
    """Add a type and all types in it to a store.

    What is installed decides, not what some distribution had: it is what the bytes on the wire
    are made by.

    Args:
        store: Takes the types that it lacks.
        msgtype: As ``std_msgs/msg/String``.

    Raises:
        BagError: The definition of a type is not installed.
    """
    found: dict[str, Any] = {}
    pending = [msgtype]
    while pending:
        name = pending.pop()
        if name in store.fielddefs or name in found:
            continue
        types = get_types_from_msg(_path(name).read_text(encoding='utf-8'), name)
        found |= types
        pending += [
            inner for _, fields in types.values() for _, f in fields for inner in _named(f)
        ]
    store.register(found)


def _path(msgtype: str) -> Path:
    package, _, rest = msgtype.partition('/')
    try:
        share = Path(get_package_share_directory(package))
    except (PackageNotFoundError, ValueError):
        # Wheels of ROS 2 lie in the environment of the interpreter, which is no ament prefix.
        share = Path(sys.prefix, 'share', package)
    path = share / f'{rest}.msg'
    if not path.is_file():
        raise BagError.at(
            msgtype,
            '',
            found='no such type on this machine',
            expected='the definition of what is to be recorded',
            remedy='Install and source the ROS package that it comes from.',
        )
    return path


def _named(field: Any) -> Iterator[str]:
    """Yield the types that a field is made of, but for numbers and text."""
    kind, content = field
    if kind == Nodetype.NAME:
        yield content
    elif kind != Nodetype.BASE:
        yield from _named(content[0])
