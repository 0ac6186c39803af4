from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.observation.observation import Frame
from pizero_ros.observation.pictures import PictureWatch, is_black, noisier_than

S = 1_000_000_000


def look(watch, rgb, seconds, position=0.0):
    state = None if position is None else np.full(18, position)
    return watch.look(Frame.of(rgb, round(seconds * S)), state)


def test_black_is_seen_at_once_and_forgotten_at_once(picture):
    watch = PictureWatch()
    noise = np.random.default_rng(0).integers(0, 8, (48, 64, 3), np.uint8)
    assert look(watch, noise, 1.0) == 'black'
    assert look(watch, picture(), 1.1) == ''
    assert look(watch, np.zeros((48, 64, 3), np.uint8), 1.2) == 'black'


def test_one_lit_pixel_anywhere_is_not_black():
    rgb = np.zeros((48, 64, 3), np.uint8)
    assert is_black(rgb)
    rgb[37, 21, 1] = 8
    assert not is_black(rgb)


def test_frozen_is_a_picture_that_stays_while_the_robot_moves(picture):
    watch = PictureWatch()
    seen = [look(watch, picture(), t, position=t) for t in (0.0, 0.2, 0.4, 0.6, 0.8)]
    assert seen == ['', '', '', 'frozen', 'frozen']
    assert look(watch, picture(1), 1.0, position=1.0) == ''


def test_a_robot_that_stands_still_before_a_still_scene_is_no_fault(picture):
    watch = PictureWatch()
    assert {look(watch, picture(), t, position=0.3) for t in range(10)} == {''}


def test_frozen_stays_when_the_robot_comes_back(picture):
    watch = PictureWatch()
    seen = [look(watch, picture(), t, p) for t, p in [(0, 0.0), (1, 0.5), (2, 0.0), (3, 0.0)]]
    assert seen == ['', '', 'frozen', 'frozen']


def test_equal_pictures_must_last_and_be_several(picture):
    watch = PictureWatch()
    assert [look(watch, picture(), t, t) for t in (0.0, 3.0)] == ['', '']
    watch = PictureWatch()
    quick = [look(watch, picture(), t / 30, t / 10) for t in range(12)]
    assert quick == [''] * 12


def test_a_single_changed_pixel_is_a_live_camera(picture):
    watch = PictureWatch()
    rgb = picture()
    for t in range(6):
        rgb = rgb.copy()
        rgb[5, 7, 0] ^= 1
        assert look(watch, rgb, t, position=t) == ''


def test_without_a_state_nothing_is_called_frozen(picture):
    watch = PictureWatch()
    assert {look(watch, picture(), t, None) for t in range(5)} == {''}


def test_the_same_or_an_older_frame_changes_nothing(picture):
    watch = PictureWatch()
    black = np.zeros((48, 64, 3), np.uint8)
    assert look(watch, black, 5.0) == 'black'
    assert look(watch, picture(), 5.0) == 'black'
    assert look(watch, picture(), 4.5) == 'black'


@pytest.mark.parametrize('back', [1.5, 100.0])
def test_a_late_frame_of_before_a_clock_jump_does_not_close_the_eyes(picture, back):
    watch = PictureWatch()
    look(watch, picture(), 200.0)
    assert look(watch, np.zeros((48, 64, 3), np.uint8), 200.0 - back) == 'black'


def _scene(shift=0, height=240, width=320):
    """A gradient with a textured board before it, uint8 [H, W, 3], seen from ``shift`` pixels."""
    rows, columns = np.mgrid[0:height, 0:width]
    plain = 60.0 + 0.2 * rows + 0.3 * columns
    board = np.random.default_rng(7).normal(0, 12, (height, width // 3))
    plain[:, : width // 3] += board
    return np.repeat(np.roll(plain, shift, axis=1)[..., None], 3, axis=2)


def _seen(seed, sigma, shift=0):
    noise = np.random.default_rng(seed).normal(0, sigma, (240, 320, 3))
    return (_scene(shift) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('sigma', [0, 5, 15, 40])
def test_noise_is_measured_beside_a_scene_that_moves(sigma):
    # The board covers a third of the picture: what moves counts for little.
    pictures = _seen(0, sigma), _seen(1, sigma, shift=17)
    assert noisier_than(sigma - 2.5, *pictures)
    assert not noisier_than(sigma + 2.5, *pictures)


def test_pictures_of_other_sizes_have_no_noise_in_common():
    black, narrow_white = np.zeros((64, 64, 3), np.uint8), np.full((64, 32, 3), 255, np.uint8)
    assert not noisier_than(0.0, black, narrow_white)


def test_noise_is_a_fault_when_it_stays_and_none_when_it_has_gone():
    watch = PictureWatch()
    seen = [look(watch, _seen(k, 40), 0.2 * k, position=0.1 * k) for k in range(4)]
    assert seen == ['', '', 'noisy', 'noisy']
    assert look(watch, _seen(4, 40), 0.7) == 'noisy'
    assert look(watch, _seen(5, 3), 0.8) == 'noisy'
    assert look(watch, _seen(6, 3), 0.9) == ''


def test_a_camera_at_high_gain_is_in_order():
    watch = PictureWatch()
    assert {look(watch, _seen(k, 12, shift=9 * k), 0.1 * k) for k in range(20)} == {''}


def test_one_cut_to_another_picture_is_no_noise(picture):
    watch = PictureWatch()
    assert [look(watch, picture(k // 2), 0.1 * k) for k in range(6)] == [''] * 6


def test_pixels_that_were_read_ahead_change_no_verdict(picture):
    pictures = [picture(), picture(), picture(), picture(), picture(1), np.zeros_like(picture())]
    pictures += [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in (1, 2)]
    plain, ahead = PictureWatch(), PictureWatch()
    for n, rgb in enumerate(pictures):
        frame, state = Frame.of(rgb.copy(), (n + 1) * S // 4), np.full(18, float(n))
        ahead.prepare(frame)
        ahead.prepare(Frame.of(picture(9), frame.stamp_ns + 1))
        if n % 2:
            ahead.prepare(frame)
        assert ahead.look(frame, state) == plain.look(frame, state)
    assert plain.fault == 'noisy'
