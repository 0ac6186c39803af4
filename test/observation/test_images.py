from __future__ import annotations

from array import array
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pizero_ros.errors import ObservationError
from pizero_ros.observation.images import decode_compressed, decode_image, orient

CONTAINERS = {
    'bytes': bytes,
    'array': partial(array, 'B'),
    'ndarray': lambda data: np.frombuffer(data, np.uint8),
    'memoryview': memoryview,
}


def encode(rgb, encoding):
    """Store an RGB picture in one of the encodings."""
    alpha = np.full((*rgb.shape[:2], 1), 77, np.uint8)
    return {
        'rgb8': rgb,
        'bgr8': rgb[..., ::-1],
        'rgba8': np.concatenate([rgb, alpha], 2),
        'bgra8': np.concatenate([rgb[..., ::-1], alpha], 2),
    }[encoding]


@pytest.mark.parametrize('container', CONTAINERS)
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_every_colour_encoding_becomes_rgb(picture, raw, encoding, padding, container):
    rgb = picture()
    message = raw(encode(rgb, encoding), encoding, padding, CONTAINERS[container])
    decoded = decode_image(message)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, rgb)


@pytest.mark.parametrize('padding', [0, 3])
def test_grey_is_repeated_over_the_channels(picture, raw, padding):
    grey = picture()[..., :1]
    decoded = decode_image(raw(grey, 'mono8', padding))
    assert np.array_equal(decoded, np.repeat(grey, 3, 2))


@pytest.mark.parametrize('padding', [0, 3])
def test_rgb8_is_a_view_of_the_message(picture, raw, padding):
    message = raw(picture(), 'rgb8', padding, partial(array, 'B'))
    decoded = decode_image(message)
    assert np.shares_memory(decoded, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    'encoding', ['16UC1', '32FC1', 'rgb16', 'mono16', '8UC3', '8UC1', 'RGB8', 'jpeg', '', 'yuv422']
)
def test_other_encodings_are_refused_with_the_ones_that_are_read(picture, raw, encoding):
    message = raw(picture())
    message.encoding = encoding
    with pytest.raises(ObservationError) as error:
        decode_image(message, '/head/image_raw')
    assert str(error.value).startswith(f'/head/image_raw: encoding: found {encoding!r}')
    assert 'rgb8, bgr8, rgba8, bgra8, mono8' in str(error.value)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'height': 0}, 'size: found 64x0'),
        ({'width': 0}, 'size: found 0x48'),
        ({'step': 191}, 'step: found 191, expected at least 192'),
        ({'step': 193}, 'data: found 9216 bytes, expected 9264'),
        ({'height': 47}, 'data: found 9216 bytes, expected 9024'),
        ({'data': b''}, 'data: found 0 bytes'),
        ({'data': 'text'}, 'data: found str'),
        ({'data': [1, 2, 3]}, 'data: found list with 3 items'),
        ({'encoding': 'rgba8'}, 'step: found 192, expected at least 256'),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(picture, raw, changes, message):
    image = raw(picture())
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ObservationError, match=message):
        decode_image(image)


@pytest.mark.parametrize(
    ('codec', 'name'),
    [
        ('png', 'png'),
        ('png', 'rgb8; png compressed bgr8'),
        ('png', 'bgra8; png compressed bgr8'),
        ('png', ''),
        ('jpg', 'jpeg'),
        ('jpg', 'jpg'),
        ('jpg', 'rgb8; jpeg compressed bgr8'),
        ('jpg', 'yuv422; jpeg compressed bgr8'),
    ],
)
@pytest.mark.parametrize('container', CONTAINERS)
def test_compressed_images_become_rgb(compressed, codec, name, container):
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 200, 40
    message = compressed(rgb, codec)
    message.format = name
    message.data = CONTAINERS[container](message.data)
    decoded = decode_compressed(message)
    assert np.abs(decoded.astype(int) - rgb).max() <= (0 if codec == 'png' else 4)


def test_channels_that_image_transport_stored_swapped_are_swapped_back(picture):
    """Its rule: without 'compressed bgr8' the file holds RGB where a viewer expects BGR."""
    rgb = picture()
    file = cv2.imencode('.png', rgb)[1].tobytes()
    message = SimpleNamespace(format='rgb8; png compressed rgb8', data=file)
    assert np.array_equal(decode_compressed(message), rgb)


def test_grey_and_alpha_files_become_rgb(picture):
    grey = picture()[..., 0]
    message = SimpleNamespace(
        format='mono8; png compressed ', data=cv2.imencode('.png', grey)[1].tobytes()
    )
    assert np.array_equal(decode_compressed(message), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize(
    'name',
    [
        'compressedDepth',
        '16UC1; compressedDepth png',
        '32FC1; compressedDepth',
        '16UC1; png compressed ',
        'mono16; png compressed ',
        'h264',
        'theora',
        'webp',
    ],
)
def test_other_codecs_and_depth_are_refused(picture, compressed, name):
    message = compressed(picture(), 'png', name)
    with pytest.raises(ObservationError, match='expected one of'):
        decode_compressed(message, '/camera/compressed')


@pytest.mark.parametrize('codec', ['jpg', 'png'])
@pytest.mark.parametrize('kept', [0.1, 0.5, 0.99])
def test_a_file_that_breaks_off_is_refused_and_not_filled_with_grey(
    picture, compressed, codec, kept
):
    message = compressed(picture(), codec)
    message.data = message.data[: int(len(message.data) * kept)]
    with pytest.raises(ObservationError, match='/wrist: data: found an image cut off'):
        decode_compressed(message, '/wrist')


def test_padding_after_the_end_of_a_jpeg_is_accepted(picture, compressed):
    message = compressed(picture(), 'jpg')
    right = decode_compressed(message)
    message.data += bytes(4096)
    assert np.array_equal(decode_compressed(message), right)


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'hello, world', bytes(1000)])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(ObservationError, match='/wrist: data'):
        decode_compressed(SimpleNamespace(format='jpeg', data=data), '/wrist')


def test_a_damaged_png_is_refused(picture, compressed):
    message = compressed(picture(), 'png')
    damaged = bytearray(message.data)
    damaged[16:24] = bytes(8)
    message.data = bytes(damaged)
    with pytest.raises(ObservationError, match='do not decode'):
        decode_compressed(message)


@pytest.mark.parametrize(('rotation', 'turns'), [(0, 0), (90, -1), (180, 2), (270, 1)])
@pytest.mark.parametrize('flip', ['none', 'horizontal', 'vertical'])
def test_rotation_is_clockwise_and_comes_before_the_flip(picture, rotation, turns, flip):
    rgb = picture()
    expected = np.rot90(rgb, turns)
    if flip != 'none':
        expected = expected[:, ::-1] if flip == 'horizontal' else expected[::-1]
    turned = orient(rgb, rotation, flip)
    assert np.array_equal(turned, expected)
    assert turned.flags.c_contiguous


def test_a_padded_view_becomes_contiguous(picture, raw):
    view = decode_image(raw(picture(), 'rgb8', 5))
    assert not view.flags.c_contiguous
    assert orient(view, 0, 'none').flags.c_contiguous
    assert np.array_equal(orient(view, 0, 'none'), view)


def test_the_corner_goes_where_a_clock_hand_goes():
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[0, 0] = 255
    assert orient(rgb, 90, 'none').shape == (3, 2, 3)
    assert orient(rgb, 90, 'none')[0, 1, 0] == 255
    assert orient(rgb, 90, 'horizontal')[0, 0, 0] == 255


def test_live_messages_and_bag_messages_give_the_same_picture(picture):
    """One decoder for both: what is replayed is what the robot saw."""
    messages = pytest.importorskip('sensor_msgs.msg', reason='no ROS 2 messages here')
    from rosbags.typesys import Stores, get_typestore

    rgb = picture()
    live = messages.Image(
        height=48, width=64, encoding='bgr8', step=192, data=array('B', rgb[..., ::-1].tobytes())
    )
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), 'camera')
    data = np.ascontiguousarray(rgb[..., ::-1]).reshape(-1)
    stored = types['sensor_msgs/msg/Image'](header, 48, 64, 'bgr8', 0, 192, data)
    kind = 'sensor_msgs/msg/Image'
    bag = store.deserialize_cdr(store.serialize_cdr(stored, kind), kind)
    assert np.array_equal(decode_image(live), rgb)
    assert np.array_equal(decode_image(bag), rgb)
    file = array('B', cv2.imencode('.png', rgb[..., ::-1])[1].tobytes())
    assert np.array_equal(
        decode_compressed(messages.CompressedImage(format='png', data=file)), rgb
    )
