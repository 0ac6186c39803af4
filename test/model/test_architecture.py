from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from pizero_ros.errors import ArchitectureError
from pizero_ros.model.architecture import (
    Architecture,
    GemmaSizes,
    VisionSizes,
    architecture_path,
    read_architecture,
)
from pizero_ros.model.pi0 import Pi0

CONFIG = Path(__file__).resolve().parents[2] / 'config/architectures'


def written(tmp_path: Path, change: dict[str, object], drop: str = '') -> Path:
    """Write tiny.yaml with changed dotted keys."""
    data = yaml.safe_load((CONFIG / 'tiny.yaml').read_text())
    for key, value in change.items():
        *parents, last = key.split('.')
        part = data
        for parent in parents:
            part = part[parent]
        part[last] = value
    if drop:
        del data[drop]
    path = tmp_path / 'changed.yaml'
    path.write_text(yaml.safe_dump(data))
    return path


def on_meta(name: str) -> Pi0:
    with torch.device('meta'):
        return Pi0(read_architecture(CONFIG / f'{name}.yaml'))


@pytest.mark.parametrize(
    ('name', 'millions', 'tolerance'),
    [
        ('demo', 1.0, 0.1),
        ('tiny', 2.1, 0.2),
        ('pi0_small', 50.0, 1.0),
        ('pi0', 3238.048528, 1e-9),
    ],
)
def test_shipped_architectures_have_the_size_they_promise(
    name: str, millions: float, tolerance: float
) -> None:
    count = sum(parameter.numel() for parameter in on_meta(name).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=tolerance)


@pytest.mark.parametrize('name', ['demo', 'tiny', 'pi0_small', 'pi0'])
def test_shipped_architectures_are_found_by_name_and_keep_the_horizon(name: str) -> None:
    path = architecture_path(name)
    assert path.name == f'{name}.yaml'
    sizes = read_architecture(path)
    assert sizes.horizon == 50
    assert (sizes.min_period, sizes.max_period) == (0.004, 4.0)
    assert sizes.state_dim == sizes.action_dim == (32 if name == 'pi0' else 18)


def test_names_and_shapes_of_the_full_model_are_those_of_the_checkpoints(numerics: Path) -> None:
    published = json.loads((numerics / 'full_size_keys.json').read_text())['pi0']
    used = {name: shape for name, shape in published.items() if 'lm_head' not in name}
    assert len(published) - len(used) == 2
    ours = {name: list(tensor.shape) for name, tensor in on_meta('pi0').state_dict().items()}
    assert ours == used


@pytest.mark.parametrize('name', ['demo', 'tiny'])
def test_sizes_survive_being_written_into_a_manifest(tmp_path: Path, name: str) -> None:
    sizes = read_architecture(CONFIG / f'{name}.yaml')
    path = tmp_path / 'again.yaml'
    path.write_text(yaml.safe_dump(sizes.as_mapping()))
    assert read_architecture(path) == sizes


def test_size_json_of_a_reference_model_is_read(numerics: Path) -> None:
    assert read_architecture(numerics / 'lerobot_pi0_small/size.json') == Architecture(
        vision=VisionSizes(image_size=56, patch=14, width=72, depth=2, mlp=100, heads=4),
        vlm=GemmaSizes(width=64, depth=3, mlp=160, heads=8, kv_heads=1, head_dim=16),
        expert=GemmaSizes(width=48, depth=3, mlp=96, heads=8, kv_heads=1, head_dim=16),
        vocabulary=320,
        max_tokens=12,
        state_dim=18,
        action_dim=18,
        horizon=10,
    )


@pytest.mark.parametrize(
    ('change', 'key', 'expected'),
    [
        ({'vison': 3}, 'vison', 'Did you mean'),
        ({'schema': 2}, 'schema', 'one of 1'),
        ({'vlm.depth': '4'}, 'vlm.depth', 'an integer of at least 1'),
        ({'vlm.depth': 0}, 'vlm.depth', 'an integer of at least 1'),
        ({'vision.depth': 0}, 'vision.depth', 'an integer of at least 1'),
        ({'horizon': True}, 'horizon', 'an integer of at least 1'),
        ({'horizon': 50.0}, 'horizon', 'an integer of at least 1'),
        ({'min_period': -1}, 'min_period', 'a number above 0'),
        ({'vision': 224}, 'vision', 'a mapping'),
        ({'expert.depth': 5}, 'expert.depth', '4 as in vlm.depth'),
        ({'expert.heads': 4}, 'expert.heads', '8 as in vlm.heads'),
        ({'expert.kv_heads': 2}, 'expert.kv_heads', '1 as in vlm.kv_heads'),
        ({'expert.head_dim': 16}, 'expert.head_dim', '32 as in vlm.head_dim'),
        ({'vision.width': 130}, 'vision.width', 'a multiple of the number of heads, 4'),
        ({'vision.image_size': 100}, 'vision.image_size', 'a multiple of the patch, 14'),
        ({'expert.width': 97}, 'expert.width', 'an even number'),
        ({'vlm.kv_heads': 3, 'expert.kv_heads': 3}, 'vlm.heads', 'a multiple of vlm.kv_heads'),
        ({'max_period': 0.001}, 'max_period', 'more than min_period'),
        (
            {'vision.stem': {'channels': [8, 8], 'keypoints': 4}},
            'vision.patch',
            'expected one of image_size, width',
        ),
    ],
)
def test_a_mistake_names_file_key_and_what_was_expected(
    tmp_path: Path, change: dict[str, object], key: str, expected: str
) -> None:
    path = written(tmp_path, change)
    with pytest.raises(ArchitectureError) as caught:
        read_architecture(path)
    for part in (str(path), f'{key}: found', expected):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ('stem', 'key', 'expected'),
    [
        ({'channels': [8], 'keypoints': 4}, 'channels', '2 or more integers of at least 1'),
        ({'channels': [8, 0], 'keypoints': 4}, 'channels', '2 or more integers of at least 1'),
        ({'channels': [8, 8], 'keypoints': 0}, 'keypoints', 'an integer of at least 1'),
        ({'channels': [8, 8]}, 'keypoints', 'an integer of at least 1'),
    ],
)
def test_a_mistake_in_a_stem_is_named(
    tmp_path: Path, stem: dict[str, object], key: str, expected: str
) -> None:
    data = yaml.safe_load((CONFIG / 'demo.yaml').read_text())
    data['vision']['stem'] = stem
    path = tmp_path / 'changed.yaml'
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ArchitectureError) as caught:
        read_architecture(path)
    for part in (str(path), f'vision.stem.{key}: found', expected):
        assert part in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match='vocabulary: found nothing'):
        read_architecture(written(tmp_path, {}, drop='vocabulary'))


def test_mistakes_in_size_json_are_named_by_its_own_keys(tmp_path: Path) -> None:
    data = {
        'vlm': [64, 3, 160, 8, 1, 16],
        'exp': [48, 2, 96, 8, 1, 16],
        'vocab': 320,
        'img': 56,
        'vit': {
            'hidden_size': 72,
            'num_hidden_layers': 2,
            'num_attention_heads': 4,
            'intermediate_size': 100,
        },
        'chunk': 10,
        'sdim': 18,
        'adim': 18,
        'ntok': 12,
    }
    path = tmp_path / 'size.json'
    path.write_text(json.dumps(data))
    with pytest.raises(ArchitectureError, match='exp: found depth 2, expected 3 as in vlm'):
        read_architecture(path)
    path.write_text(json.dumps({**data, 'order_of_gemma_tuple': 'depth,width'}))
    with pytest.raises(ArchitectureError, match='order_of_gemma_tuple'):
        read_architecture(path)
    path.write_text(json.dumps({**data, 'exp': [48, 3, 96]}))
    with pytest.raises(ArchitectureError, match='exp: found'):
        read_architecture(path)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ArchitectureError, match='pi0, pi0_small, tiny'):
        architecture_path('pi1')
