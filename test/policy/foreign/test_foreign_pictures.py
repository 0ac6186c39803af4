from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pizero_ros.errors import ObservationError
from pizero_ros.observation.observation import Frame
from pizero_ros.policy.foreign.manifest import ImageInput
from pizero_ros.policy.foreign.pictures import Picture

SIZES = [(48, 64), (480, 640), (17, 90), (30, 20)]


def picture(resize, size, **changes):
    given = {
        'slot': 'base_0_rgb', 'input': 'image', 'size': size, 'resize': resize, 'layout': 'nchw',
        'channels': 'rgb', 'gain': (255.0,) * 3, 'offset': (0.0,) * 3,
    }  # fmt: skip
    return Picture(ImageInput(**(given | changes)))


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize('size', SIZES)
def test_stretch_is_interpolate_without_antialiasing(size):
    torch = pytest.importorskip('torch', reason='the reference is computed with PyTorch')
    rgb = noise(*size)
    tensor = torch.tensor(rgb).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, (40, 32), mode='bilinear')[0].numpy()
    result = picture('stretch', (40, 32))(Frame.of(rgb))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize('size', SIZES)
def test_stretch_antialias_is_pillow_to_one_grey_level(size):
    rgb = noise(*size)
    resized = Image.fromarray(rgb).resize((32, 40), Image.Resampling.BILINEAR)
    result = picture('stretch_antialias', (40, 32))(Frame.of(rgb))
    expected = np.asarray(resized, np.float32).transpose(2, 0, 1)
    assert np.abs(result - expected).max() < 1.001


def test_picture_of_the_right_size_is_taken_as_it_is_and_any_other_is_refused():
    rgb = noise(48, 64)
    take = picture('none', (48, 64))
    np.testing.assert_allclose(take(Frame.of(rgb)), rgb.transpose(2, 0, 1), rtol=0, atol=1e-4)
    with pytest.raises(ObservationError, match=r'found 48x64, expected 64x48, .* unresized'):
        take(Frame.of(noise(64, 48)))


def test_channels_are_reordered_before_they_are_scaled_and_axes_after():
    rgb = noise(4, 5)
    take = picture(
        'none', (4, 5), layout='nhwc', channels='bgr',
        gain=(1.0, 2.0, 4.0), offset=(0.0, 10.0, 20.0),
    )  # fmt: skip
    expected = rgb[..., ::-1] / 255 * [1, 2, 4] + [0, 10, 20]
    np.testing.assert_allclose(take(Frame.of(rgb)), expected, rtol=0, atol=1e-5)


def test_two_policies_with_the_same_rule_resize_a_frame_once():
    calls = []

    def decode():
        calls.append(1)
        return noise(48, 64)

    frame = Frame(0, 0, decode)
    first = picture('lerobot', (56, 56))(frame)
    second = picture('lerobot', (56, 56), gain=(1.0,) * 3)(frame)
    np.testing.assert_allclose(first / 255, second, rtol=0, atol=1e-6)
    assert calls == [1]
