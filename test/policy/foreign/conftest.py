"""Chunk policies of real networks, exported with torch once per session."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.observation import Frame, Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.embodiment.schema import Embodiment

NOW_NS = 1_763_000_000_000_000_000
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Of ImageNet."""

ACT: dict[str, Any] = {
    'schema': 1,
    'kind': 'onnx_chunk',
    'name': 'act_like',
    'embodiment': 'sim_single_arm',
    'source': 'test/policy/foreign/conftest.py',
    'graph': 'act.onnx',
    'files': {},
    'rate_hz': 50,
    'horizon': 30,
    'first_step': 2,
    'observation_steps': 1,
    'images': [
        {
            'slot': 'base_0_rgb',
            'input': 'top',
            'size': [36, 44],
            'resize': 'stretch',
            'layout': 'nchw',
            'channels': 'rgb',
            'mean': MEAN,
            'std': STD,
        },
        {
            'slot': 'left_wrist_0_rgb',
            'input': 'wrist',
            'size': [56, 56],
            'resize': 'lerobot',
            'layout': 'nhwc',
            'channels': 'bgr',
            'range': [-1, 2],
        },
    ],
    'state': {
        'input': 'state',
        'indices': [6, 0, 1, 2, 3, 4, 5],
        'maps': [{'index': 0, 'kind': 'linear', 'scale': 25.0, 'offset': 0.1}],
        'normalization': 'zscore',
        'eps': 1e-8,
        'mean': [0.5, 0.0, -0.4, 0.9, 0.1, 0.6, 0.0],
        'std': [0.3, 0.2, 0.4, 0.3, 0.5, 0.2, 0.1],
    },
    'output': {
        'name': 'actions',
        # No permutation that is its own inverse: gathering would look like placing.
        'indices': [2, 0, 1, 3, 4, 5, 6],
        'relative': [True, False, True, False, False, True, True],
        'maps': [{'index': 6, 'kind': 'linear', 'scale': 50.0, 'offset': -0.2}],
        'normalization': 'min_max',
        'eps': 0,
        'min': [-0.3, -1.0, -0.2, -1.5, -1.0, -0.4, -0.5],
        'max': [0.4, 1.5, 0.3, 1.0, 2.0, 0.5, 0.6],
    },
}

DIFFUSION: dict[str, Any] = {
    **{key: ACT[key] for key in ('schema', 'kind', 'embodiment', 'source', 'observation_steps')},
    'name': 'diffusion_like',
    'graph': 'diffusion.onnx',
    'files': {},
    'rate_hz': 10,
    'horizon': 16,
    'first_step': 0,
    'images': [
        {
            'slot': 'right_wrist_0_rgb',
            'input': 'image',
            'size': [48, 64],
            'resize': 'none',
            'layout': 'nchw',
            'channels': 'rgb',
            'range': [0, 255],
        }
    ],
    'state': {
        'input': 'state',
        'indices': [0, 1, 2],
        'normalization': 'quantile',
        'eps': 1e-6,
        'q01': [-1.0, -1.0, -0.5],
        'q99': [1.0, 1.5, 2.0],
    },
    'noise': {'input': 'noise', 'shape': [16, 7]},
    'output': {
        'name': 'trajectory',
        'indices': [0, 1, 2, 3, 4, 5, 6],
        'relative': [False] * 7,
        'normalization': 'identity',
    },
}


def write_manifest(folder: Path, document: dict[str, Any], *, digests: bool = True) -> Path:
    """Write ``policy.yaml``; with ``digests`` list every other file in the folder as it is."""
    document = copy.deepcopy(document)
    if digests:
        document['files'] = {
            each.name: hashlib.sha256(each.read_bytes()).hexdigest()
            for each in sorted(folder.iterdir())
            if each.name != 'policy.yaml'
        }
    (folder / 'policy.yaml').write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@pytest.fixture(scope='session')
def act(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two cameras and a state to 30 actions: the folder, and the same network in torch."""
    torch = pytest.importorskip('torch', reason='exporting a network needs PyTorch')
    nn = torch.nn

    class ActLike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.top, self.wrist = nn.Conv2d(3, 8, 5, 3), nn.Conv2d(3, 8, 5, 3)
            self.state = nn.Linear(7, 8)
            self.head = nn.Linear(8, 30 * 7)

        def forward(self, top: Any, wrist: Any, state: Any) -> Any:
            seen = self.top(top).tanh().mean((2, 3))
            seen = seen + self.wrist(wrist.permute(0, 3, 1, 2)).tanh().mean((2, 3))
            return self.head((seen + self.state(state)).tanh()).view(1, 30, 7)

    torch.manual_seed(0)
    net = ActLike().eval()
    folder = tmp_path_factory.mktemp('chunk_policies') / 'act'
    examples = torch.zeros(1, 3, 36, 44), torch.zeros(1, 56, 56, 3), torch.zeros(1, 7)
    _export(net, examples, folder, ACT, ['top', 'wrist', 'state'], external_data=True)
    return SimpleNamespace(folder=folder, net=net)


@pytest.fixture(scope='session')
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A camera as bytes and a state, both with an axis of one step, and noise to 16 actions."""
    torch = pytest.importorskip('torch', reason='exporting a network needs PyTorch')
    nn = torch.nn

    class DiffusionLike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.state = nn.Conv2d(3, 7, 5, 4), nn.Linear(3, 7)
            self.mix = nn.Linear(7, 7)

        def forward(self, image: Any, state: Any, noise: Any) -> Any:
            seen = self.image(image[:, 0].float() / 255).mean((2, 3)) + self.state(state[:, 0])
            x = noise[0]
            for _ in range(5):
                x = x - 0.3 * self.mix(x + seen).tanh()
            return x

    torch.manual_seed(1)
    net = DiffusionLike().eval()
    folder = tmp_path_factory.mktemp('chunk_policies') / 'diffusion'
    examples = (
        torch.zeros(1, 1, 3, 48, 64, dtype=torch.uint8),
        torch.zeros(1, 1, 3),
        torch.zeros(1, 16, 7),
    )
    names = ['image', 'state', 'noise']
    _export(net, examples, folder, DIFFUSION, names, external_data=False)
    return SimpleNamespace(folder=folder, net=net)


def _export(
    net: Any,
    examples: tuple[Any, ...],
    folder: Path,
    document: dict[str, Any],
    names: list[str],
    *,
    external_data: bool,
) -> None:
    import torch

    folder.mkdir()
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter('ignore')
        torch.onnx.export(
            net,
            examples,
            folder / document['graph'],
            input_names=names,
            output_names=[document['output']['name']],
            dynamo=True,
            external_data=external_data,
            verbose=False,
        )
    write_manifest(folder, document)


@pytest.fixture
def describe() -> Callable[[Path, Callable[[dict[str, Any]], object]], Path]:
    """Write the diffusion-like policy's manifest, altered, beside whatever graph is there."""

    def write(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        document = copy.deepcopy(DIFFUSION)
        change(document)
        return write_manifest(folder, document)

    return write


@pytest.fixture
def act_copy(act: SimpleNamespace, tmp_path: Path) -> Path:
    """Give a copy of the ACT-like policy that the test may alter."""
    return Path(shutil.copytree(act.folder, tmp_path / 'act'))


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """Alter a manifest as a person would."""

    def alter(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
        document = yaml.safe_load((folder / 'policy.yaml').read_text())
        change(document)
        write_manifest(folder, document, digests=False)

    return alter


@pytest.fixture(scope='session')
def robot() -> Embodiment:
    """Seven joints, three cameras, 50 Hz."""
    return load_embodiment('sim_single_arm')


@pytest.fixture
def observe(robot: Embodiment) -> Callable[..., Observation]:
    """Give observations with coloured noise as pictures, 64x48, another one per camera."""

    def build(
        slots: list[str] | None = None, stamp_ns: int = NOW_NS, shift: float = 0.0
    ) -> Observation:
        state, mapped = np.zeros(robot.vector_dim), np.zeros(robot.vector_dim, bool)
        for joint in robot.state_joints:
            state[joint.index] = robot.neutral[joint.name] + 0.1 * joint.index + shift
            mapped[joint.index] = True
        given = [camera.slot for camera in robot.cameras] if slots is None else slots
        images = {slot: Frame.of(_picture(sum(slot.encode())), stamp_ns) for slot in given}
        return Observation(stamp_ns, stamp_ns, images, state, mapped, 'not looked at')

    return build


def _picture(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))
