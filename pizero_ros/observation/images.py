"""Image messages to RGB arrays, the same for live messages and for bags."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pizero_ros.errors import ObservationError

try:
    import cv_bridge
except ImportError:
    # Not on the package index. It only adds the encodings that our own lines do not read.
    cv_bridge = None

Rgb = npt.NDArray[np.uint8]

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
"""Encodings read without cv_bridge -> bytes per pixel."""

BRIDGED = (
    'bayer_rggb8',
    'bayer_bggr8',
    'bayer_gbrg8',
    'bayer_grbg8',
    'yuv422',
    'yuv422_yuy2',
    'uyvy',
    'yuyv',
)
"""8-bit colour encodings left to cv_bridge, where it is installed."""

TO_RGB = {
    'bgr8': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'mono8': cv2.COLOR_GRAY2RGB,
}

ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
FLIPS = {'horizontal': 1, 'vertical': 0}

TRAILER = 512
"""Bytes before the trailing zeros in which a whole file has its end marker; some cameras append a
few bytes of their own."""


class ImageMessage(Protocol):
    """What is read of a sensor_msgs/Image, from rclpy or from rosbags."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any


class CompressedMessage(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any


def decode_image(message: ImageMessage, topic: str = 'image') -> Rgb:
    """Return a raw image as uint8 [H, W, 3] RGB.

    Args:
        message: The message; ``rgb8`` becomes a view of its data, row padding included.
        topic: Where it came from, for messages.

    Raises:
        ObservationError: If the encoding is unknown or ambiguous, or the sizes contradict.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    encoding = message.encoding
    channels = CHANNELS.get(encoding)
    if height <= 0 or width <= 0:
        raise ObservationError.at(
            topic, 'size', found=f'{width}x{height}', expected='at least one pixel'
        )
    if channels is None:
        if encoding in BRIDGED and cv_bridge is not None:
            return _bridge(message, topic)
        raise _unreadable(topic, encoding)
    if step < width * channels:
        raise ObservationError.at(
            topic,
            'step',
            found=step,
            expected=f'at least {width * channels}, for {width} pixels of {encoding}',
        )
    data = _bytes(message.data, topic)
    if len(data) != step * height:
        raise ObservationError.at(
            topic,
            'data',
            found=f'{len(data)} bytes',
            expected=f'{step * height}, for {height} rows of {step}',
        )
    pixels: Rgb = np.ndarray((height, width, channels), np.uint8, data, 0, (step, channels, 1))
    conversion = TO_RGB.get(encoding)
    return pixels if conversion is None else _convert(pixels, conversion)


def decode_compressed(message: CompressedMessage, topic: str = 'image') -> Rgb:
    """Return a JPEG or PNG image as uint8 [H, W, 3] RGB.

    Args:
        message: The message; its format may be ``jpeg``, ``png``, empty, or image_transport's
            long form, as ``rgb8; jpeg compressed bgr8``.
        topic: Where it came from, for messages.

    Raises:
        ObservationError: If the format is another one, or the data are damaged or incomplete.
    """
    # Either "codec" or image_transport's "pixels; codec compressed pixels".
    pixels, long_form, codec = message.format.partition(';')
    codec = codec if long_form else pixels
    named = codec.split()[:1]
    if named not in ([], ['jpeg'], ['jpg'], ['png']) or any(
        deep in pixels for deep in ('16', '32F', '64F')
    ):
        raise _unreadable(topic, message.format)
    data = _bytes(message.data, topic)
    _check_whole(data, topic)
    # Rotation belongs to the embodiment, so an orientation tag must not turn the picture too.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(data, flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ObservationError.at(
            topic,
            'data',
            found=f'{len(data)} bytes that do not decode',
            expected='a whole JPEG or PNG image',
        )
    # image_transport: "compressed rgb8" says that the channels were stored the other way round.
    swapped = 'compressed rgb' in codec
    return np.asarray(bgr, np.uint8) if swapped else _convert(bgr, cv2.COLOR_BGR2RGB)


def orient(rgb: Rgb, rotation_deg: int, flip: str) -> Rgb:
    """Rotate clockwise by ``rotation_deg`` (0, 90, 180, 270), then flip; C-contiguous."""
    if rotation_deg:
        rgb = np.asarray(cv2.rotate(rgb, ROTATIONS[rotation_deg]), np.uint8)
    if flip != 'none':
        rgb = np.asarray(cv2.flip(rgb, FLIPS[flip]), np.uint8)
    return np.ascontiguousarray(rgb)


def _convert(pixels: Rgb, conversion: int) -> Rgb:
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def _bytes(data: object, topic: str) -> npt.NDArray[np.uint8]:
    """View bytes, array.array or an array as uint8 [N]."""
    try:
        return np.frombuffer(data, np.uint8)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, BufferError):
        size = len(data) if hasattr(data, '__len__') else 'no'
        raise ObservationError.at(
            topic,
            'data',
            found=f'{type(data).__name__} with {size} items',
            expected='bytes of an image',
        ) from None


def _check_whole(data: npt.NDArray[np.uint8], topic: str) -> None:
    """Refuse a file that breaks off: OpenCV fills the rest of a cut JPEG with grey."""
    head, tail = data[:8].tobytes(), data[-TRAILER:].tobytes()
    if not tail.strip(b'\0'):
        tail = data.tobytes().rstrip(b'\0')[-TRAILER:]
    if head.startswith(b'\xff\xd8\xff'):
        whole = b'\xff\xd9' in tail
    elif head == b'\x89PNG\r\n\x1a\n':
        whole = b'IEND' in tail
    else:
        raise ObservationError.at(
            topic,
            'data',
            found=f'{len(data)} bytes that begin {head.hex(" ") or "with nothing"}',
            expected='a JPEG or PNG file',
        )
    if not whole:
        raise ObservationError.at(
            topic,
            'data',
            found=f'an image cut off after {len(data)} bytes',
            expected='its end marker',
        )


def _bridge(message: ImageMessage, topic: str) -> Rgb:
    try:
        return np.asarray(cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8'), np.uint8)
    except cv_bridge.CvBridgeError as error:
        raise ObservationError.at(
            topic, 'data', found=str(error), expected=f'an image of {message.encoding}'
        ) from None


def _unreadable(topic: str, encoding: str) -> Exception:
    readable = ', '.join([*CHANNELS, *(BRIDGED if cv_bridge is not None else ())])
    remedy = ''
    if encoding in BRIDGED:
        remedy = 'Install cv_bridge to read it.'
    elif encoding.startswith('8U'):
        remedy = (
            'It does not say which channel is red: let the driver name it rgb8, bgr8 or mono8.'
        )
    return ObservationError.at(
        topic,
        'encoding',
        found=repr(encoding),
        expected=f'one of {readable}, or compressed jpeg or png',
        remedy=remedy,
    )
