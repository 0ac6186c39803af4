from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import Synthetic

from pizero_ros.model.architecture import read_architecture
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.training.batch import Batch
from pizero_ros.training.flow import Draw, FlowMatching, draw_flow, flow_times

SHAPE = (12, 8, 6)
EMBEDDING = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'


def test_flow_times_follow_the_shifted_beta():
    times = flow_times(200_000, torch.Generator().manual_seed(0)).double()
    assert times.min() >= 0.001
    assert times.max() <= 1.0
    # Kolmogorov-Smirnov against the distribution function of Beta(1.5, 1) · 0.999 + 0.001; the
    # 99.9 % bound of the distance is 1.95 / sqrt(n).
    ordered = times.sort().values
    exact = ((ordered - 0.001) / 0.999).clamp(0, 1).pow(1.5)
    found = torch.arange(1, len(ordered) + 1) / len(ordered)
    assert (found - exact).abs().max() < 1.95 / len(ordered) ** 0.5
    assert times.mean().item() == pytest.approx(0.6 * 0.999 + 0.001, abs=2e-3)


def test_the_beta_is_that_of_torch():
    drawn = torch.distributions.Beta(1.5, 1.0).sample((200_000,)) * 0.999 + 0.001
    times = flow_times(200_000, torch.Generator().manual_seed(1))
    quantiles = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(
        times.quantile(quantiles), drawn.quantile(quantiles), rtol=0, atol=8e-3
    )


def test_a_draw_is_a_function_of_its_seed_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first = draw_flow((1, 0, 7), SHAPE, slice(0, 12), max_delay=3)
    again = draw_flow((1, 0, 7), SHAPE, slice(0, 12), max_delay=3)
    other = draw_flow((1, 0, 8), SHAPE, slice(0, 12), max_delay=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.t, other.t)


def test_parts_of_two_processes_are_the_whole_of_one():
    whole = draw_flow((1, 0, 7), SHAPE, slice(0, 12), max_delay=3)
    halves = [draw_flow((1, 0, 7), SHAPE, part, max_delay=3) for part in (slice(6), slice(6, 12))]
    for i, expected in enumerate(whole):
        assert torch.equal(torch.cat([half[i] for half in halves]), expected)


def test_plain_flow_matching_has_one_time_per_sample_and_learns_every_action():
    draw = draw_flow((0,), SHAPE, slice(0, 12))
    assert draw.learn.all()
    assert (draw.t == draw.t[:, :1]).all()
    assert len(draw.t[:, 0].unique()) == 12


def test_training_time_rtc_gives_prefixes_of_every_length_clean():
    shape = (4_000, 8, 2)
    draw = draw_flow((0,), shape, slice(0, 4_000), max_delay=3)
    plain = draw_flow((0,), shape, slice(0, 4_000))
    delays = (~draw.learn).sum(dim=1)
    assert torch.equal(draw.learn, torch.arange(8)[None] >= delays[:, None])
    # Uniform over 0, 1, 2, 3: each 1000 times, with a standard deviation of 27.
    assert all(abs(int((delays == d).sum()) - 1_000) < 110 for d in range(4))
    assert (draw.t[~draw.learn] == 0).all()
    # All else is what it is without: a run with the option differs by the option alone.
    assert torch.equal(draw.t[draw.learn], plain.t[draw.learn])
    assert torch.equal(draw.noise, plain.noise)


@pytest.mark.parametrize('masked', [True, False])
def test_several_draws_of_a_sample_are_the_sample_several_times(policy, masked):
    """Noise, times and clean prefixes are each draw's own; only what is seen is shared."""
    batch = Synthetic(policy.architecture, 4).batch(0, 0, 1)
    if not masked:
        seen = batch.seen._replace(camera_mask=None, token_mask=None)
        batch = batch._replace(seen=seen)
    draw = draw_flow((5,), (4, 8, 6), slice(0, 4), max_delay=5, draws=3)
    assert draw.noise.shape == (12, 8, 6)
    assert len(draw.t.amax(dim=1).unique()) == 12
    assert len((~draw.learn).sum(dim=1).unique()) > 2
    times = torch.arange(4).repeat_interleave(3)
    rows = [each if each is None else each[times] for each in batch.seen]
    often = Batch(Conditioning(*rows), batch.actions[times], batch.valid[times])
    found = {}
    for name, each in (('shared', batch), ('repeated', often)):
        policy.zero_grad()
        terms = FlowMatching(policy, learn_repeated=False)(each, draw)
        (terms.sums.sum() / terms.counts.sum()).backward()
        gradients = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
        found[name] = terms, {n: gradient.clone() for n, gradient in gradients.items()}
    (shared, gradients), (repeated, wanted) = found['shared'], found['repeated']
    torch.testing.assert_close(shared.sums, repeated.sums.view(4, 3).sum(1), rtol=1e-5, atol=1e-5)
    assert torch.equal(shared.counts, repeated.counts.view(4, 3).sum(1))
    assert gradients.keys() <= wanted.keys()
    for name, gradient in wanted.items():
        mine = gradients.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(mine, gradient, rtol=0, atol=1e-5)


def test_parts_of_two_processes_are_the_whole_of_one_with_several_draws_too():
    whole = draw_flow((1, 0, 7), SHAPE, slice(0, 12), max_delay=3, draws=2)
    parts = (slice(6), slice(6, 12))
    halves = [draw_flow((1, 0, 7), SHAPE, part, max_delay=3, draws=2) for part in parts]
    for i, expected in enumerate(whole):
        assert torch.equal(torch.cat([half[i] for half in halves]), expected)


@torch.no_grad()
def test_actions_given_clean_reach_the_policy_clean_and_are_no_part_of_the_loss(policy):
    batch = Synthetic(policy.architecture, 4).batch(0, 0, 1)
    draw = draw_flow((5,), (4, 8, 6), slice(0, 4), max_delay=7)
    assert not draw.learn.all()
    flow = FlowMatching(policy, learn_repeated=True)
    terms = flow(batch, draw)
    clean = ~draw.learn[..., None]
    # Noise at clean actions is multiplied by t = 0, and their velocity is not asked for.
    other = draw._replace(noise=torch.where(clean, draw.noise + 9.0, draw.noise))
    torch.testing.assert_close(flow(batch, other).sums, terms.sums, rtol=1e-6, atol=1e-6)
    assert torch.equal(terms.counts, draw.learn.sum(dim=1) * 6.0)
    # And they do inform the rest: other clean actions, another loss.
    moved = batch._replace(actions=torch.where(clean, batch.actions + 1.0, batch.actions))
    assert not torch.allclose(flow(moved, draw).sums, terms.sums, rtol=1e-3)


@torch.no_grad()
def test_repeated_actions_count_as_in_openpi_or_not_at_all(policy):
    batch = Synthetic(policy.architecture, 4).batch(0, 0, 1)
    draw = draw_flow((5,), (4, 8, 6), slice(0, 4))
    counted = FlowMatching(policy, learn_repeated=True)(batch, draw)
    left_out = FlowMatching(policy, learn_repeated=False)(batch, draw)
    losses = policy.losses(batch.seen, batch.actions, draw.noise, draw.t)
    torch.testing.assert_close(counted.sums.sum() / counted.counts.sum(), losses.mean())
    expected = losses[batch.valid].mean()
    torch.testing.assert_close(left_out.sums.sum() / left_out.counts.sum(), expected)


@torch.no_grad()
@pytest.mark.parametrize('upstream', ['lerobot_pi0_small', 'openpi_pi0_small'])
def test_loss_is_that_of_upstream(numerics, upstream):
    folder = numerics / upstream
    weights = {
        k.removeprefix('model.'): v for k, v in load_file(folder / 'model.safetensors').items()
    }
    weights.pop('paligemma_with_expert.gemma_expert.lm_head.weight')
    weights.setdefault(EMBEDDING, weights.pop('paligemma_with_expert.paligemma.lm_head.weight'))
    policy = Pi0(read_architecture(folder / 'size.json'))
    policy.load_state_dict(weights, strict=True)
    with np.load(numerics / 'lerobot_pi0_small/inputs.npz') as data:
        inputs = {name: torch.from_numpy(data[name]) for name in data}
    with np.load(folder / 'outputs.npz') as data:
        expected = torch.from_numpy(data['train_loss_elementwise'])
    seen = Conditioning(
        torch.stack([inputs[f'images.{i}'] for i in range(3)], dim=1),
        inputs['lang_tokens'],
        inputs['state'],
        torch.stack([inputs[f'img_masks.{i}'] for i in range(3)], dim=1),
        inputs['lang_masks'],
    )
    shape = inputs['actions'].shape
    everything = torch.ones(shape[:2], dtype=torch.bool)
    batch = Batch(seen, inputs['actions'], everything)
    draw = Draw(inputs['noise'], inputs['time'][:, None].expand(shape[:2]), everything)
    terms = FlowMatching(policy, learn_repeated=True)(batch, draw)
    torch.testing.assert_close(terms.sums, expected.sum(dim=(1, 2)), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(terms.sums.sum() / terms.counts.sum(), expected.mean())
