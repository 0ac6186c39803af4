from __future__ import annotations

import pytest
import torch

from pizero_ros.model.attention import positions, visible
from pizero_ros.model.flow_time import embed_time, euler_grid
from pizero_ros.model.pi0 import Conditioning, Pi0

CLOSE = 1e-5

pytestmark = pytest.mark.usefixtures('no_gradients')


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope='module')
def loud(policy: Pi0) -> Pi0:
    """A policy whose actions depend strongly on everything: the random one has a small head."""
    model = Pi0.random(policy.architecture, 0)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(0.0, scale, generator=generator)
    return model


def test_joint_pass_equals_cached_pass(loud: Pi0, seen: Conditioning, noise: torch.Tensor) -> None:
    t = torch.rand(2, 10, generator=torch.Generator().manual_seed(5))
    masked = seen._replace(
        camera_mask=torch.tensor([[True, True, False], [True, False, True]]),
        token_mask=torch.tensor([[True] * 5 + [False] * 3, [True] * 8]),
    )
    for given in (seen, masked):
        joint = loud.velocity_joint(given, noise, t)
        cached = loud.denoise(loud.observe(given), noise, t)
        assert joint.abs().max() > 0.5
        torch.testing.assert_close(cached, joint, rtol=0, atol=CLOSE)


@pytest.mark.parametrize('absent', [0, 1, 2])
def test_a_dropped_camera_equals_a_masked_one(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor, absent: int
) -> None:
    present = [slot for slot in range(3) if slot != absent]
    cameras = torch.ones(2, 3, dtype=torch.bool)
    cameras[:, absent] = False
    masked = loud.sample(seen._replace(camera_mask=cameras), noise)
    dropped = loud.sample(seen._replace(images=seen.images[:, present]), noise)
    torch.testing.assert_close(dropped, masked, rtol=0, atol=CLOSE)
    assert (loud.sample(seen, noise) - masked).abs().max() > 0.01


def test_junk_pixels_of_a_masked_camera_change_nothing(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    cameras = torch.tensor([[True, False, True]] * 2)
    junk = seen.images.clone()
    junk[:, 1] = 1.0
    a = loud.sample(seen._replace(camera_mask=cameras), noise)
    b = loud.sample(seen._replace(images=junk, camera_mask=cameras), noise)
    assert torch.equal(a, b)


def test_a_trimmed_prompt_equals_a_padded_one(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    words = torch.tensor([[True] * 5 + [False] * 3] * 2)
    padded = loud.sample(seen._replace(token_mask=words), noise)
    trimmed = loud.sample(seen._replace(tokens=seen.tokens[:, :5]), noise)
    torch.testing.assert_close(trimmed, padded, rtol=0, atol=CLOSE)


def test_samples_of_a_batch_with_different_masks_equal_each_alone(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    cameras = torch.tensor([[True, True, False], [False, True, True]])
    words = torch.tensor([[True] * 3 + [False] * 5, [True] * 7 + [False]])
    together = loud.sample(seen._replace(camera_mask=cameras, token_mask=words), noise)
    for i in range(2):
        alone = Conditioning(
            images=seen.images[i : i + 1, cameras[i]],
            tokens=seen.tokens[i : i + 1, words[i]],
            state=seen.state[i : i + 1],
        )
        expected = loud.sample(alone, noise[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], expected, rtol=0, atol=CLOSE)


def test_swapped_cameras_are_not_the_same_observation(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    swapped = seen._replace(images=seen.images[:, [1, 0, 2]])
    assert (loud.sample(seen, noise) - loud.sample(swapped, noise)).abs().max() > 0.01


def test_each_action_may_have_its_own_flow_time(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    cache = loud.observe(seen)
    t = torch.full((2, 10), 0.5)
    even = loud.denoise(cache, noise, t)
    t[:, 0] = 0.1
    assert (loud.denoise(cache, noise, t)[:, 0] - even[:, 0]).abs().max() > 0.01


def test_prefix_sees_prefix_state_sees_both_actions_see_all() -> None:
    groups = torch.tensor([0, 0, 0, 1, 2, 2])
    valid = torch.tensor([[True, False, True, True, True, True]])
    rows = ['101000', '000000', '101000', '101100', '101111', '101111']
    expected = torch.tensor([[c == '1' for c in row] for row in rows])
    assert torch.equal(visible(groups, valid)[0], expected)
    assert positions(valid).tolist() == [[0, 0, 1, 2, 3, 4]]


def test_euler_grid_is_exact() -> None:
    assert list(euler_grid(10)) == [k / 10 for k in range(10, 0, -1)]
    with pytest.raises(ValueError, match='0 Euler steps'):
        list(euler_grid(0))


def test_time_embedding_keeps_the_phase_of_the_shortest_period() -> None:
    t = torch.tensor([[0.7, 0.999]])
    period = 0.004 * 1000.0 ** torch.linspace(0, 1, 512, dtype=torch.float64)
    angle = 2 * torch.pi * t.double()[..., None] / period
    expected = torch.cat((angle.sin(), angle.cos()), dim=-1)
    found = embed_time(t, 1024, 0.004, 4.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_loss_is_the_squared_error_of_the_velocity(
    loud: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    actions = torch.randn(2, 10, 18, generator=torch.Generator().manual_seed(6))
    t = torch.tensor([0.25, 0.75])
    x_t = t[:, None, None] * noise + (1 - t[:, None, None]) * actions
    velocity = loud.velocity_joint(seen, x_t, t[:, None].expand(2, 10))
    losses = loud.losses(seen, actions, noise, t)
    torch.testing.assert_close(losses, (noise - actions - velocity) ** 2)
    torch.testing.assert_close(loud.loss(seen, actions, noise, t), losses.mean())


def test_loss_reaches_every_weight_but_those_the_actions_never_see(
    policy: Pi0, seen: Conditioning, noise: torch.Tensor
) -> None:
    with torch.enable_grad():
        policy.loss(seen, noise * 0.5, noise, torch.tensor([0.3, 0.6])).backward()
    last = 'paligemma.model.language_model.layers.2.'
    idle = {name for name, p in policy.named_parameters() if p.grad is None}
    policy.zero_grad()
    assert idle == {
        f'paligemma_with_expert.{last}{part}.weight'
        for part in (
            'self_attn.o_proj',
            'mlp.gate_proj',
            'mlp.up_proj',
            'mlp.down_proj',
            'post_attention_layernorm',
        )
    } | {'paligemma_with_expert.paligemma.model.language_model.norm.weight'}


def test_random_weights_depend_on_the_seed_alone(policy: Pi0) -> None:
    again = Pi0.random(policy.architecture, seed=3).state_dict()
    other = Pi0.random(policy.architecture, seed=4).state_dict()
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, again[name]), name
    name = 'paligemma_with_expert.gemma_expert.model.layers.0.mlp.up_proj.weight'
    assert not torch.equal(again[name], other[name])


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_a_random_policy_stays_near_its_noise_and_still_sees(
    policy: Pi0, seen: Conditioning, noise: torch.Tensor, seed: int
) -> None:
    model = Pi0.random(policy.architecture, seed)
    actions = model.sample(seen, noise)
    assert 0.01 < (actions - noise).abs().max() < 1.0
    elsewhere = seen._replace(images=-seen.images)
    assert (actions - model.sample(elsewhere, noise)).abs().max() > 1e-3
