"""Stage by stage against lerobot's and openpi's own outputs on the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pizero_ros.model.architecture import read_architecture
from pizero_ros.model.pi0 import Conditioning, Pi0

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDING = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'


def load(folder: Path) -> Pi0:
    """Load a reference checkpoint whose layout is known to be right."""
    weights = {
        name.removeprefix('model.'): tensor
        for name, tensor in load_file(folder / 'model.safetensors').items()
    }
    weights.pop('paligemma_with_expert.gemma_expert.lm_head.weight')
    head = weights.pop('paligemma_with_expert.paligemma.lm_head.weight')
    weights.setdefault(EMBEDDING, head)
    model = Pi0(read_architecture(folder / 'size.json'))
    model.load_state_dict(weights, strict=True)
    return model.eval()


def outputs_of(folder: Path) -> dict[str, torch.Tensor]:
    with np.load(folder / 'outputs.npz') as data:
        return {name: torch.from_numpy(data[name]) for name in data}


@pytest.fixture(scope='module', params=['lerobot_pi0_small', 'openpi_pi0_small'])
def upstream(request, numerics: Path) -> tuple[Pi0, dict[str, torch.Tensor]]:
    folder = numerics / request.param
    return load(folder), outputs_of(folder)


@pytest.fixture(scope='module')
def lerobot(numerics: Path) -> tuple[Pi0, dict[str, torch.Tensor]]:
    folder = numerics / 'lerobot_pi0_small'
    return load(folder), outputs_of(folder)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@torch.no_grad()
def test_prefix_embeddings(upstream, reference_seen: Conditioning) -> None:
    model, outputs = upstream
    found = model.embed_prefix(reference_seen.images, reference_seen.tokens)
    close(found, outputs['prefix_embs'], 5e-5)


@torch.no_grad()
def test_keys_and_values_of_the_prefix(lerobot, reference_seen: Conditioning) -> None:
    model, outputs = lerobot
    cache = model.observe(reference_seen)
    for i, (key, value) in enumerate(zip(cache.keys, cache.values, strict=True)):
        close(key[:, :, :-1], outputs[f'kv_k.{i}'], 5e-5)
        close(value[:, :, :-1], outputs[f'kv_v.{i}'], 5e-5)


@torch.no_grad()
@pytest.mark.parametrize('time', ['1.0', '0.9', '0.35', '0.001'])
def test_suffix_embeddings_and_velocity(
    lerobot, reference_seen: Conditioning, reference_inputs, time: str
) -> None:
    model, outputs = lerobot
    noise = reference_inputs['noise']
    t = torch.full(noise.shape[:2], float(time))
    suffix = (model.embed_state(reference_seen.state), model.embed_actions(noise, t))
    close(torch.cat(suffix, dim=1), outputs[f'suffix_embs_t{time}'], 1e-5)
    close(model.denoise(model.observe(reference_seen), noise, t), outputs[f'v_t{time}'], 5e-5)
    close(model.velocity_joint(reference_seen, noise, t), outputs[f'v_t{time}'], 5e-5)


@torch.no_grad()
@pytest.mark.parametrize(('steps', 'tolerance'), [(1, 5e-5), (4, 5e-5), (10, 3e-4)])
def test_sampled_actions(
    upstream, reference_seen: Conditioning, reference_inputs, steps: int, tolerance: float
) -> None:
    model, outputs = upstream
    found = model.sample(reference_seen, reference_inputs['noise'], steps)
    close(found, outputs[f'actions_n{steps}'], tolerance)


@torch.no_grad()
def test_training_loss(upstream, reference_seen: Conditioning, reference_inputs) -> None:
    model, outputs = upstream
    inputs = reference_inputs
    found = model.losses(reference_seen, inputs['actions'], inputs['noise'], inputs['time'])
    expected = outputs['train_loss_elementwise']
    # Single values reach 36, where 1e-5 is two units in the last place.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    close(found.mean(), expected.mean(), 1e-5)
