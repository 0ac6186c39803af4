"""Serialised images, read in place, against rclpy's own deserialisation."""

import struct
from array import array

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2')

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from pizero_ros.errors import ObservationError
from pizero_ros.nodes.raw_image import RawImage, raw_image
from pizero_ros.observation.images import decode_image


def message(frame_id: str = 'camera', encoding: str = 'rgb8', width: int = 5) -> Image:
    generator = np.random.default_rng(len(frame_id))
    made = Image(height=3, width=width, encoding=encoding, step=3 * width + 1)
    made.header.frame_id = frame_id
    made.header.stamp.sec, made.header.stamp.nanosec = 1_700_000_000, 999_999_999
    made.data = array('B', generator.bytes(3 * made.step))
    return made


@pytest.mark.parametrize('length', range(9))
@pytest.mark.parametrize('encoding', ['rgb8', 'mono8', 'bgra8', 'bayer_rggb8', ''])
def test_every_alignment_of_the_strings_gives_the_fields_that_were_sent(
    length: int, encoding: str
) -> None:
    sent = message('c' * length, encoding)
    seen = raw_image(serialize_message(sent))
    assert seen[:-1] == (
        1_700_000_000_999_999_999,
        3,
        5,
        encoding,
        sent.is_bigendian,
        sent.step,
    )
    assert bytes(seen.data) == sent.data.tobytes()


def test_pixels_are_not_copied() -> None:
    serialized = serialize_message(message())
    pixels = decode_image(raw_image(serialized))
    whole = np.frombuffer(serialized, np.uint8)
    assert np.shares_memory(pixels, whole)
    assert np.array_equal(pixels, decode_image(message()))


def test_big_endian_messages_are_read() -> None:
    sent = message('abc')
    fields = struct.pack('>iII4sIII', 7, 8, 4, b'abc\0', sent.height, sent.width, 5)
    fields += b'rgb8\0' + bytes([1])
    fields += b'\0' * (-len(fields) % 4) + struct.pack('>II', sent.step, len(sent.data))
    seen = raw_image(b'\0\0\0\0' + fields + sent.data.tobytes())
    expected = RawImage(7_000_000_008, 3, 5, 'rgb8', 1, sent.step, memoryview(sent.data))
    assert seen == expected


@pytest.mark.parametrize('kept', [0, 3, 4, 15, 30, 45, 60, -1])
def test_a_message_that_breaks_off_cannot_be_decoded_and_raises_nothing_before(kept: int) -> None:
    broken = serialize_message(message())[:kept]
    with pytest.raises(ObservationError):
        decode_image(raw_image(broken))


def test_a_length_that_lies_cannot_be_decoded() -> None:
    serialized = bytearray(serialize_message(message()))
    size = 3 * message().step
    at = bytes(serialized).rindex(struct.pack('<I', size))
    serialized[at : at + 4] = struct.pack('<I', 0xFFFFFFF0)
    with pytest.raises(ObservationError):
        decode_image(raw_image(bytes(serialized)))
