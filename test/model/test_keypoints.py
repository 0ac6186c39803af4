"""The stem that says where things are, with weights that are set by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pizero_ros.model.architecture import StemSizes
from pizero_ros.model.keypoints import KeypointEmbeddings

SIDE = 64
WIDTH = 20


@pytest.fixture
def stem() -> KeypointEmbeddings:
    """A stem whose only keypoint is drawn to red, and whose token is its place."""
    stem = KeypointEmbeddings(SIDE, StemSizes((4, 4), 1), WIDTH)
    with torch.no_grad():
        for parameter in stem.parameters():
            parameter.zero_()
        for norm in stem.norms:
            norm.weight.fill_(1.0)
        first, second = stem.convolutions
        first.weight[0, 0, 1, 1] = 1.0  # red less green and blue, where it is positive
        first.weight[0, 1, 1, 1] = first.weight[0, 2, 1, 1] = -0.5
        second.weight[0, 0] = 1.0
        stem.heat.weight[0, 0] = 30.0
        stem.place.weight.copy_(torch.eye(WIDTH, StemSizes.place))
        stem.appearance.weight[-1, 0] = 1.0
    return stem


def scene(colour: tuple[float, float, float], x: int, y: int, side: int = 8) -> torch.Tensor:
    """A square on grey, its centre at (x, y) px from the upper left corner."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    half = side // 2
    image[0, :, y - half : y + half, x - half : x + half] = torch.tensor(colour)[:, None, None]
    return image


@pytest.mark.parametrize(('x', 'y'), [(12, 20), (32, 32), (52, 40)])
@torch.no_grad()
def test_a_keypoint_is_where_its_colour_is(stem: KeypointEmbeddings, x: int, y: int) -> None:
    token = stem(scene((1.0, -1.0, -1.0), x, y))[0, 0]
    across, down = token[1], token[1 + 9]
    # Within two pixels, of which the picture is two wide.
    assert float(across) == pytest.approx(2 * x / SIDE - 1, abs=2 * 2 / SIDE)
    assert float(down) == pytest.approx(2 * y / SIDE - 1, abs=2 * 2 / SIDE)
    for octave in range(StemSizes.octaves):
        wave = float(across) * math.pi * 2**octave
        expected = [math.sin(wave), math.cos(wave)]
        assert token[2 + 2 * octave : 4 + 2 * octave].tolist() == pytest.approx(expected, abs=1e-5)
    assert float(token[-1]) > 1.0  # what is there: red


@torch.no_grad()
def test_a_keypoint_that_finds_nothing_is_unsure(stem: KeypointEmbeddings) -> None:
    found = stem(scene((1.0, -1.0, -1.0), 20, 20))[0, 0]
    nothing = stem(torch.zeros(1, 3, SIDE, SIDE))[0, 0]
    assert float(nothing[0]) == pytest.approx(-math.log((SIDE // 4) ** 2), abs=1e-4)
    assert float(found[0]) > float(nothing[0]) + 2.0
    assert nothing[[1, 10]].tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert float(nothing[-1]) == 0.0


def test_what_is_learnt_from_actions_reaches_every_weight() -> None:
    stem = KeypointEmbeddings(30, StemSizes((3, 5, 4), 6), 16)
    generator = torch.Generator().manual_seed(0)
    tokens = stem(torch.rand(2, 3, 30, 30, generator=generator))
    assert tokens.shape == (2, 6, 16)
    (tokens * torch.randn(tokens.shape, generator=generator)).sum().backward()
    for name, parameter in stem.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name == 'heat.bias', name
