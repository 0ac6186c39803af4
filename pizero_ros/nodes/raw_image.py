"""Raw images as they come over the wire, read in place."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from pizero_ros.observation.intake import stamp_ns

_BYTE_ORDERS = {b'\0\0': '>', b'\0\1': '<'}
"""Representation identifiers of plain CDR, which all middlewares send: big and little endian."""

_ENCAPSULATION = 4
"""Bytes in front of the message; alignment counts from behind them."""


class RawImage(NamedTuple):
    """A sensor_msgs/Image without a copy of its pixels.

    Attributes:
        stamp_ns: Header stamp.
        height: Rows.
        width: Columns.
        encoding: As ``rgb8``.
        is_bigendian: Byte order of values of more than a byte.
        step: Bytes of a row.
        data: The pixels, bytes of the message.
    """

    stamp_ns: int
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def raw_image(serialized: bytes) -> RawImage:
    """Read a serialised sensor_msgs/Image.

    rclpy's own conversion copies the pixels three times, under the interpreter's lock: with three
    cameras that is most of what their subscriptions cost.

    Args:
        serialized: What a subscription with ``raw=True`` delivers.

    Returns:
        The image; its ``data`` keeps ``serialized`` alive. A message that cannot be read becomes
        an image without pixels, which nobody can decode: raising here would end the node.
    """
    try:
        image = _in_place(serialized)
    except (struct.error, UnicodeDecodeError):
        image = None
    return _converted(serialized) if image is None else image


def _in_place(serialized: bytes) -> RawImage | None:
    """Return the image if it is plain CDR and complete."""
    order = _BYTE_ORDERS.get(serialized[:2])
    if order is None:
        return None
    sec, nanosec, length = struct.unpack_from(f'{order}iII', serialized, _ENCAPSULATION)
    at = _aligned(_ENCAPSULATION + 12 + length)
    height, width, length = struct.unpack_from(f'{order}III', serialized, at)
    at += 12
    encoding = serialized[at : at + length - 1].decode('ascii')
    at += length
    (big_endian,) = struct.unpack_from('B', serialized, at)
    at = _aligned(at + 1)
    step, length = struct.unpack_from(f'{order}II', serialized, at)
    at += 8
    if at + length > len(serialized):
        return None
    data = memoryview(serialized)[at : at + length]
    stamp = sec * 1_000_000_000 + nanosec
    return RawImage(stamp, height, width, encoding, big_endian, step, data)


def _aligned(at: int) -> int:
    return at + (_ENCAPSULATION - at) % 4


def _converted(serialized: bytes) -> RawImage:
    try:
        message = deserialize_message(serialized, Image)
    except rclpy_implementation.RMWError:
        return RawImage(0, 0, 0, '', 0, 0, memoryview(b''))
    return RawImage(
        stamp_ns(message.header.stamp),
        message.height,
        message.width,
        message.encoding,
        message.is_bigendian,
        message.step,
        memoryview(message.data),
    )
