"""What the VLM says after the prompt: order, masks, and that it is one plain pass."""

from __future__ import annotations

import pytest
import torch

from pizero_ros.model.answers import answer_logits, likeliest_answer
from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes
from pizero_ros.model.attention import attend, rotary_frequencies, rotations
from pizero_ros.model.pi0 import Conditioning, Pi0

SIZES = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=16, depth=1, mlp=24, heads=2),
    vlm=GemmaSizes(width=16, depth=3, mlp=24, heads=2, kv_heads=1, head_dim=8),
    expert=GemmaSizes(width=12, depth=3, mlp=24, heads=2, kv_heads=1, head_dim=8),
    vocabulary=40,
    max_tokens=6,
    state_dim=6,
    action_dim=6,
    horizon=8,
)
ANSWER = torch.tensor([[31, 32, 33, 34], [35, 36, 37, 38]])


@pytest.fixture(scope='module')
def policy() -> Pi0:
    return Pi0.random(SIZES, seed=2)


@pytest.fixture(scope='module')
def seen() -> Conditioning:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 2, 3, 28, 28, generator=generator) * 2 - 1
    tokens = torch.randint(1, 30, (2, 6), generator=generator)
    return Conditioning(images, tokens, torch.zeros(2, 6))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_logits_are_those_of_one_pass_over_everything(policy, seen):
    prefix = policy.embed_prefix(seen.images, seen.tokens)
    length, total = prefix.shape[1], prefix.shape[1] + 4
    x = torch.cat((prefix, policy.vlm.embed(ANSWER)), dim=1)
    number = torch.arange(total)
    allowed = (number[None, :] < length) | (number[None, :] <= number[:, None])
    rotation = rotations(number[None], rotary_frequencies(8))
    for block in policy.vlm.blocks:
        normed = block.normed(x)
        key, value = block.key_value(normed, rotation)
        query = block.query(normed, rotation)
        x = block.finish(x, attend(query, key, value, allowed.expand(2, -1, -1)))
    logits = policy.vlm.norm(x) @ policy.vlm.embed_tokens.weight.T
    found = answer_logits(policy, seen, ANSWER)
    close(found, logits[:, length - 1 : -1])
    assert found.std() > 0.1


@torch.no_grad()
def test_a_masked_camera_is_a_camera_left_out(policy, seen):
    masked = seen._replace(camera_mask=torch.tensor([[True, False]] * 2))
    without = seen._replace(images=seen.images[:, :1])
    close(answer_logits(policy, masked, ANSWER), answer_logits(policy, without, ANSWER))
    first = seen._replace(camera_mask=torch.tensor([[False, True]] * 2))
    without = seen._replace(images=seen.images[:, 1:])
    close(answer_logits(policy, first, ANSWER), answer_logits(policy, without, ANSWER))
    other = seen.images.clone()
    other[:, 1] = 0.5
    close(
        answer_logits(policy, masked._replace(images=other), ANSWER),
        answer_logits(policy, masked, ANSWER),
    )


@torch.no_grad()
def test_pads_of_the_prompt_are_as_if_left_out(policy, seen):
    words = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    found = answer_logits(policy, seen._replace(token_mask=words), ANSWER)
    short = seen._replace(tokens=seen.tokens[:, :4])
    close(found[0], answer_logits(policy, short, ANSWER)[0])
    close(found[1], answer_logits(policy, seen, ANSWER)[1])


@torch.no_grad()
def test_tokens_of_an_answer_that_are_masked_are_as_if_left_out(policy, seen):
    valid = torch.tensor([[True, True, True, True], [False, False, True, True]])
    found = answer_logits(policy, seen, ANSWER, valid)
    close(found[0], answer_logits(policy, seen, ANSWER)[0])
    close(found[1, 2:], answer_logits(policy, seen, ANSWER[:, 2:])[1])
    middle = torch.tensor([[True, False, True, True]] * 2)
    kept = answer_logits(policy, seen, ANSWER, middle)[:, [0, 2, 3]]
    close(kept, answer_logits(policy, seen, ANSWER[:, [0, 2, 3]]))


@torch.no_grad()
def test_a_token_is_read_before_it_is_said(policy, seen):
    found = answer_logits(policy, seen, ANSWER)
    for place in range(4):
        other = ANSWER.clone()
        other[:, place:] = 7
        logits = answer_logits(policy, seen, other)
        close(logits[:, : place + 1], found[:, : place + 1])
        if place < 3:
            assert not torch.allclose(logits[:, place + 1], found[:, place + 1], atol=1e-3)


@torch.no_grad()
def test_the_likeliest_answer_is_the_likeliest_after_itself(policy, seen):
    valid = torch.tensor([[True, True, True, True], [True, False, True, True]])
    words = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    asked = seen._replace(token_mask=words)
    said = likeliest_answer(policy, asked, valid, slice(31, 40))
    assert said.min() >= 31
    logits = answer_logits(policy, asked, said, valid)
    expected = logits[..., 31:].argmax(-1) + 31
    assert torch.equal(said[valid], expected[valid])
