"""What tests of several layers share: MuJoCo's OpenGL, and bundles exported once per session."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pizero_ros.sim.opengl import gl_backend

# MuJoCo chooses when it is imported, which any test module may be the first to do.
if backend := gl_backend(os.environ):
    os.environ['MUJOCO_GL'] = backend

SIM_ROBOTS = ('sim_single_arm', 'sim_dual_arm', 'sim_mobile')
TINY_SEED = 0

MINI = """\
schema: 1
vision: {image_size: 28, patch: 14, width: 16, depth: 1, mlp: 24, heads: 2}
vlm: {width: 16, depth: 2, mlp: 24, heads: 2, kv_heads: 1, head_dim: 8}
expert: {width: 12, depth: 2, mlp: 24, heads: 2, kv_heads: 1, head_dim: 8}
vocabulary: 300
max_tokens: 32
state_dim: 18
action_dim: 18
horizon: 50
min_period: 0.004
max_period: 4.0
"""


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped ``tiny`` architecture with random weights, for the three simulated robots.

    Read-only: ``tiny_copy`` is for tests that alter it.
    """
    pytest.importorskip('torch', reason='exporting a bundle needs PyTorch (extra `train`)')
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.export.bundle import slots_of, write_bundle
    from pizero_ros.export.random_bundle import random_model_spec, random_semantics
    from pizero_ros.model.architecture import architecture_path, read_architecture
    from pizero_ros.model.pi0 import Pi0

    architecture = read_architecture(architecture_path('tiny'))
    robots = [load_embodiment(name) for name in SIM_ROBOTS]
    out = tmp_path_factory.mktemp('bundles') / 'tiny'
    write_bundle(
        Pi0.random(architecture, TINY_SEED),
        random_model_spec(architecture, slots_of(robots), prompts=['stack the blocks']),
        out,
        semantics={robot.name: random_semantics(robot, architecture) for robot in robots},
        kind='random',
        source='tiny',
        seed=TINY_SEED,
    )
    return out


@pytest.fixture
def tiny_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Give a copy of ``tiny_bundle`` that the test may alter."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / 'bundle'))


@pytest.fixture(scope='session')
def mini_architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an architecture file small enough to be exported in a test."""
    path = tmp_path_factory.mktemp('architectures') / 'mini.yaml'
    path.write_text(MINI)
    return path
