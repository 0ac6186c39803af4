"""Reference data of openpi's transforms, and specifications to build pipelines from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pizero_ros.processing.spec import ModelSpec, PromptSpec, RobotSemantics, Statistics

TRANSFORMS = (
    Path(__file__).resolve().parents[2] / '../shared/data/numerics/openpi_transforms'
).resolve()


@pytest.fixture(scope='session')
def openpi():
    """Inputs and outputs of openpi's own transforms."""
    path = TRANSFORMS / 'io.npz'
    if not path.exists():
        pytest.skip('shared/data/numerics/openpi_transforms is not here')
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(scope='session')
def openpi_statistics():
    """Return name -> Statistics, as openpi wrote them."""
    path = TRANSFORMS / 'assets/trossen/norm_stats.json'
    if not path.exists():
        pytest.skip('shared/data/numerics/openpi_transforms is not here')
    stats = json.loads(path.read_text())['norm_stats']
    return {
        name: Statistics(*(np.array(values[key]) for key in ('mean', 'std', 'q01', 'q99')))
        for name, values in stats.items()
    }


@pytest.fixture
def model():
    """Build a model specification; keywords replace its values."""

    def build(**changes) -> ModelSpec:
        values = {
            'slots': ('base', 'left_wrist', 'right_wrist'),
            'image_size': (28, 28),
            'resize': 'antialias',
            'prompt': PromptSpec('bytes', 48, True, True, {}),
            'state_dim': 32,
            'action_dim': 32,
            'horizon': 50,
            'steps': 10,
            'vocabulary': 300,
        }
        return ModelSpec(**{**values, **changes})

    return build


@pytest.fixture
def robot():
    """Build a robot's semantics, 14 values by default; keywords replace its values."""

    def build(**changes) -> RobotSemantics:
        nothing = Statistics(None, None, None, None)
        values = {
            'embodiment': 'test',
            'rate_hz': 50.0,
            'horizon': 50,
            'normalization': 'identity',
            'eps': 1e-6,
            'state': nothing,
            'action': nothing,
            'relative': np.zeros(14, bool),
            'signs': None,
            'state_grippers': (),
            'action_grippers': (),
        }
        return RobotSemantics(**{**values, **changes})

    return build
