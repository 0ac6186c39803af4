"""Batches that are a function of step and sample: actions that follow from state and prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pizero_ros.model.architecture import Architecture, GemmaSizes, StemSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning
from pizero_ros.training.batch import Batch
from pizero_ros.training.config import (
    DataConfig,
    GroundingConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from pizero_ros.training.heat_maps import Objects
from pizero_ros.training.locations import Locations
from pizero_ros.training.questions import Questions

SMALL = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=16, depth=1, mlp=24, heads=2),
    vlm=GemmaSizes(width=16, depth=2, mlp=24, heads=2, kv_heads=1, head_dim=8),
    expert=GemmaSizes(width=16, depth=2, mlp=24, heads=2, kv_heads=1, head_dim=8),
    vocabulary=32,
    max_tokens=6,
    state_dim=6,
    action_dim=6,
    horizon=8,
)

WITH_STEM = replace(
    SMALL, vision=replace(SMALL.vision, patch=0, stem=StemSizes(channels=(8, 8), keypoints=4))
)


def config_of(**changes: Any) -> TrainingConfig:
    """A run that takes a second: openpi's rules with a learning rate for a small model."""
    config = TrainingConfig(
        objective='flow',
        data=DataConfig((), 0.43, 0.0, 'absolute', 'zscore', None, None),
        grounding=None,
        model=ModelConfig('small', 'random', None, (), None),
        optimizer=OptimizerConfig(3e-3, 5, 3e-4, 300, 1e-10, (0.9, 0.95), 1e-8, 1.0),
        out=Path('unused'),
        steps=10,
        batch=12,
        draws=1,
        seed=0,
        precision='float32',
        ema=0.9,
        rtc_max_delay=0,
        learn_repeated=True,
        validate_every=5,
        validate_batches=2,
        save_every=5,
        keep=2,
        threads=1,
    )
    return replace(config, **changes)


def config_in_part() -> ModelConfig:
    """Frozen weights, low-rank updates and weights that learn, all in one."""
    lora = LoraConfig(rank=2, alpha=4.0, targets=('*.gemma_expert.*.q_proj.weight',))
    return ModelConfig('small', 'random', None, ('*.vision_tower.*',), lora)


class Synthetic:
    """A task that can be learned: ramps whose slope is the state, turned by the prompt."""

    def __init__(self, architecture: Architecture, size: int, seed: int = 0) -> None:
        self._sizes = architecture
        self._size = size
        self._seed = seed

    def batch(self, step: int, rank: int, world: int) -> Batch:
        sizes = self._sizes
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        side, count = sizes.vision.image_size, self._size
        state = torch.randn(count, sizes.state_dim, generator=generator)
        tokens = torch.randint(1, sizes.vocabulary, (count, sizes.max_tokens), generator=generator)
        images = torch.rand(count, 2, 3, side, side, generator=generator) * 2 - 1
        ahead = torch.linspace(0, 1, sizes.horizon)[None, :, None]
        sign = 1.0 - 2.0 * (tokens[:, :1] % 2).float()
        actions = ahead * (state * sign)[:, None, : sizes.action_dim]
        valid = torch.arange(sizes.horizon)[None] < torch.randint(
            1, sizes.horizon + 1, (count, 1), generator=generator
        )
        share = count // world
        part = slice(rank * share, (rank + 1) * share)
        camera_mask = torch.ones(count, 2, dtype=torch.bool)
        camera_mask[::3, 1] = False
        seen = Conditioning(
            images[part], tokens[part], state[part], camera_mask[part], (tokens > 0)[part]
        )
        names = [f'synthetic {step}.{i}' for i in range(count)]
        return Batch(seen, actions[part], valid[part], names[part])


BINS = 8
SCENES = GroundingConfig((), scenes=1, held_out=0, seed=0, picture=28, bins=BINS)


class SyntheticQuestions:
    """Where is the bright spot? Of two cameras either one may be absent, or see nothing."""

    def __init__(self, architecture: Architecture, size: int, seed: int = 0) -> None:
        self._sizes = architecture
        self._size = size
        self._seed = seed

    def batch(self, step: int, rank: int, world: int) -> Questions:
        sizes, count, side = self._sizes, self._size, self._sizes.vision.image_size
        rng = np.random.default_rng([self._seed, step])
        locations = Locations(sizes.vocabulary, BINS)
        images = np.full((count, 2, 3, side, side), -1, np.float32)
        answer = np.zeros((count, 2, 2), np.int64)
        places = np.zeros((count, 2, 1, 2), np.float32)
        shown = np.zeros((count, 2, 1), np.bool_)
        for row in range(count):
            pixel = rng.integers(2, side - 2, (2, 2))
            visible = (rng.random(2) < 0.7).astype(np.float32)
            answer[row] = locations.tokens(pixel.astype(np.float32), visible, side)
            places[row, :, 0] = (pixel + 0.5) / side
            shown[row, :, 0] = visible > 0
            for camera in np.flatnonzero(visible):
                u, v = pixel[camera]
                images[row, camera, :, v - 2 : v + 3, u - 2 : u + 3] = 1
        cameras = torch.ones(count, 2, dtype=torch.bool)
        cameras[::3, 1] = False
        told = cameras.repeat_interleave(2, dim=1)
        share = count // world
        part = slice(rank * share, (rank + 1) * share)
        tokens = torch.full((share, sizes.max_tokens), 3)
        seen = Conditioning(
            torch.from_numpy(images)[part],
            tokens,
            torch.zeros(share, sizes.state_dim),
            cameras[part],
            torch.arange(sizes.max_tokens).expand(share, -1) < 4,
        )
        answers = torch.from_numpy(answer.reshape(count, 4))
        names = [f'question {step}.{i}' for i in range(count)]
        objects = Objects(torch.from_numpy(places), torch.from_numpy(shown), cameras[..., None])
        objects = Objects(*(each[part] for each in objects))
        return Questions(seen, answers[part], told[part], objects, names[part])
