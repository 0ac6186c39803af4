"""A synthetic source of batches, and policies that train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from synthetic import SMALL

from pizero_ros.model.pi0 import Pi0

NUMERICS = Path(__file__).resolve().parents[2] / '../shared/data/numerics'


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Models this small only lose by threads, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def policy() -> Pi0:
    return Pi0.random(SMALL, seed=3)


@pytest.fixture(scope='session')
def numerics() -> Path:
    if not NUMERICS.is_dir():
        pytest.skip(f'the reference numerics are not at {NUMERICS}')
    return NUMERICS
