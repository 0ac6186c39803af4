"""Small policies and the reference numerics that the model's tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning, Pi0

NUMERICS = Path(__file__).resolve().parents[2] / '../shared/data/numerics'

ARCHITECTURE = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=32, depth=2, mlp=48, heads=4),
    vlm=GemmaSizes(width=48, depth=3, mlp=96, heads=4, kv_heads=1, head_dim=16),
    expert=GemmaSizes(width=40, depth=3, mlp=64, heads=4, kv_heads=1, head_dim=16),
    vocabulary=64,
    max_tokens=8,
    state_dim=18,
    action_dim=18,
    horizon=10,
)


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Models this small only lose by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def policy() -> Pi0:
    return Pi0.random(ARCHITECTURE, seed=3)


@pytest.fixture
def seen() -> Conditioning:
    """Two samples, all cameras and tokens valid."""
    generator = torch.Generator().manual_seed(1)
    return Conditioning(
        images=torch.rand(2, 3, 3, 28, 28, generator=generator) * 2 - 1,
        tokens=torch.randint(0, 64, (2, 8), generator=generator),
        state=torch.randn(2, 18, generator=generator),
    )


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(2, 10, 18, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope='session')
def numerics() -> Path:
    """Folder of the reference numerics."""
    if not NUMERICS.is_dir():
        pytest.skip(f'the reference numerics are not at {NUMERICS}')
    return NUMERICS


@pytest.fixture(scope='session')
def reference_inputs(numerics: Path) -> dict[str, torch.Tensor]:
    with np.load(numerics / 'lerobot_pi0_small/inputs.npz') as data:
        return {name: torch.from_numpy(data[name]) for name in data}


@pytest.fixture(scope='session')
def reference_seen(reference_inputs: dict[str, torch.Tensor]) -> Conditioning:
    """Two samples that lack one camera each, with padded prompts."""
    inputs = reference_inputs
    return Conditioning(
        images=torch.stack([inputs[f'images.{i}'] for i in range(3)], dim=1),
        tokens=inputs['lang_tokens'],
        state=inputs['state'],
        camera_mask=torch.stack([inputs[f'img_masks.{i}'] for i in range(3)], dim=1),
        token_mask=inputs['lang_masks'],
    )
