from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pizero_ros.errors import ObservationError
from pizero_ros.processing import resample
from pizero_ros.processing.resize import ResizeWithPad

PICTURES = (
    'pattern_480x640',
    'pattern_720x1280',
    'tall_640x480',
    'small_100x60',
    'odd_333x517',
)
SQUARE = (224, 224)


def levels(image):
    """Model image back to grey levels, [H, W, 3]."""
    return (image.transpose(1, 2, 0) + 1) * 127.5


def openpi_resize(rgb, size):
    """openpi_client/image_tools.py, with Pillow: the oracle."""
    height, width = size
    ratio = max(rgb.shape[1] / width, rgb.shape[0] / height)
    inner = int(rgb.shape[1] / ratio), int(rgb.shape[0] / ratio)
    square = Image.new('RGB', (width, height), 0)
    resized = Image.fromarray(rgb).resize(inner, Image.Resampling.BILINEAR)
    square.paste(resized, (int((width - inner[0]) / 2), int((height - inner[1]) / 2)))
    return np.asarray(square)


def old_lerobot_resize(rgb, size):
    """lerobot 0.3.3, modeling_pi0.py: resize_with_pad with 0, then to [-1, 1]."""
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    image = torch.from_numpy(rgb.transpose(2, 0, 1) / np.float32(255))[None]
    ratio = max(rgb.shape[1] / size[1], rgb.shape[0] / size[0])
    inner = int(rgb.shape[0] / ratio), int(rgb.shape[1] / ratio)
    resized = functional.interpolate(image, size=inner, mode='bilinear', align_corners=False)
    pad = (size[1] - inner[1], 0, size[0] - inner[0], 0)
    return (functional.pad(resized, pad, value=0)[0] * 2 - 1).numpy()


@pytest.mark.parametrize('shape', [(48, 64), (72, 128), (64, 48), (31, 57), (20, 20)])
def test_old_lerobot_pads_on_the_left_and_the_top(shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    size = (56, 56)
    image = ResizeWithPad(size, 'lerobot_left_top')(rgb)
    np.testing.assert_allclose(image, old_lerobot_resize(rgb, size), atol=1e-5)
    seen = ResizeWithPad(size, 'lerobot_left_top').inverse(image, *shape)
    assert max(seen.shape[:2]) == 56


@pytest.mark.parametrize('name', PICTURES)
def test_antialias_is_openpis_resize_to_one_level(openpi, name):
    image = ResizeWithPad(SQUARE, 'antialias')(openpi[f'img_{name}'])
    difference = np.abs(np.rint(levels(image)) - openpi[f'pil_{name}'])
    assert difference.max() <= 1
    assert difference.mean() < 0.1


@pytest.mark.parametrize('name', PICTURES)
def test_lerobot_rule_is_torchs_interpolate(openpi, name):
    image = ResizeWithPad(SQUARE, 'lerobot')(openpi[f'img_{name}'])
    # lerobot works in [0, 1]; the reference is in grey levels.
    assert np.abs(levels(image) - openpi[f'lerobot_{name}']).max() / 255 < 1e-6


def test_rules_differ_on_noise_as_upstream_differs():
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    one, other = (ResizeWithPad(SQUARE, rule)(rgb) for rule in ('antialias', 'lerobot'))
    # report.json of the reference data: 25.01 over the padded image.
    assert np.abs(levels(one) - levels(other)).mean() == pytest.approx(25.0, abs=0.2)


@pytest.mark.parametrize('seed', range(12))
def test_any_size_agrees_with_pillow_to_one_level(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 700, 2)
    size = tuple(int(n) for n in rng.integers(16, 300, 2))
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = ResizeWithPad(size, 'antialias')(rgb)
    difference = np.abs(np.rint(levels(image)) - openpi_resize(rgb, size))
    assert difference.max() <= 1
    assert difference.mean() < 0.25


@pytest.mark.parametrize('rule', ['antialias', 'lerobot'])
def test_result_is_channel_first_contiguous_and_padded_with_minus_one(rule):
    rgb = np.full((480, 640, 3), 255, np.uint8)
    image = ResizeWithPad(SQUARE, rule)(rgb)
    assert image.shape == (3, 224, 224)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    assert (image[:, :28] == -1).all()
    assert (image[:, 196:] == -1).all()
    assert np.allclose(image[:, 28:196], 1, atol=1e-6)


@pytest.mark.parametrize('rule', ['antialias', 'lerobot'])
def test_same_size_is_exact(rule):
    rgb = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    image = ResizeWithPad(SQUARE, rule)(rgb)
    expected = rgb.astype(np.float32).transpose(2, 0, 1) / 255 * 2 - 1
    assert np.abs(image - expected).max() < 2e-7


def test_padded_rows_and_odd_remainders_change_nothing():
    rng = np.random.default_rng(2)
    wide = rng.integers(0, 256, (333, 520, 3), np.uint8)
    view = wide[:, :517]
    resize = ResizeWithPad((97, 97), 'antialias')
    assert np.array_equal(resize(view), resize(np.ascontiguousarray(view)))


@pytest.mark.parametrize('rule', ['antialias', 'lerobot'])
@pytest.mark.parametrize(
    'sizes',
    [(480, 640, 168, 224), (720, 1280, 126, 224), (333, 517, 61, 97), (37, 91, 61, 150)],
)
def test_strips_of_a_picture_are_the_whole_bit_for_bit(sizes, rule, monkeypatch):
    height, width, out_height, out_width = sizes
    rng = np.random.default_rng(5)
    strips = resample.Resampler(*sizes, rule)
    monkeypatch.setattr(resample, 'BAND_VALUES', 1 << 40)
    whole = resample.Resampler(*sizes, rule)
    for _ in range(3):
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        images = np.zeros((2, 3, out_height, out_width), np.float32)
        for image, resampler in zip(images, (strips, whole), strict=True):
            resampler(rgb, image, whole_levels=False)
        assert np.array_equal(*images)


def test_an_image_in_memory_that_was_used_before_is_the_same_as_in_new_memory():
    rng = np.random.default_rng(6)
    memory = np.full((2, 3, *SQUARE), 7, np.float32)
    for shape in ((480, 640), (640, 480), (224, 224), (100, 60)):
        rgb = rng.integers(0, 256, (*shape, 3), np.uint8)
        for rule in ('antialias', 'lerobot', 'lerobot_left_top'):
            resize = ResizeWithPad(SQUARE, rule)
            assert np.shares_memory(resize(rgb, memory[1]), memory)
            assert np.array_equal(memory[1], resize(rgb))
            assert (memory[0] == 7).all()


def test_threads_share_one_resizer():
    rng = np.random.default_rng(3)
    resize = ResizeWithPad(SQUARE, 'antialias')
    pictures = [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(8)]
    expected = [resize(rgb) for rgb in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for image, right in zip(pool.map(resize, pictures), expected, strict=True):
                assert np.array_equal(image, right)


def test_inverse_shows_the_picture_without_padding(openpi):
    rgb = openpi['img_pattern_480x640']
    resize = ResizeWithPad(SQUARE, 'antialias')
    seen = resize.inverse(resize(rgb), 480, 640)
    assert seen.shape == (168, 224, 3)
    assert seen.dtype == np.uint8
    reference = openpi['pil_pattern_480x640'][28:196]
    assert np.abs(seen.astype(int) - reference).max() <= 1


@pytest.mark.parametrize(
    'rgb', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_not_rgb_is_refused(rgb):
    with pytest.raises(ObservationError, match=r'uint8 \[H, W, 3\]'):
        ResizeWithPad(SQUARE, 'antialias')(rgb)


def test_a_sliver_that_would_vanish_is_refused():
    with pytest.raises(ObservationError, match='found 1000x1'):
        ResizeWithPad(SQUARE, 'antialias')(np.zeros((1, 1000, 3), np.uint8))
