"""Formats that are not read are refused by name, before anything of them is trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip('torch')

import torch
from safetensors.torch import save_file

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.checkpoints.detect import detect
from pizero_ros.checkpoints.match import match_tensors
from pizero_ros.checkpoints.names import canonical_names, is_pi05
from pizero_ros.checkpoints.sizes import StatedSizes, complete_sizes, infer_sizes
from pizero_ros.checkpoints.tensors import TensorInfo
from pizero_ros.cli.main import main
from pizero_ros.errors import CheckpointError
from pizero_ros.model.architecture import architecture_path, read_architecture

OPENPI_CONFIG = {
    'action_dim': 32,
    'action_horizon': 50,
    'paligemma_variant': 'gemma_2b',
    'action_expert_variant': 'gemma_300m',
    'precision': 'float32',
}
EMBEDDING = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'


@pytest.fixture(scope='module')
def full_size(numerics) -> dict[str, dict[str, TensorInfo]]:
    """Names and shapes of the published models, by name of the model."""
    listings = json.loads((numerics / 'full_size_keys.json').read_text())
    return {
        model: {name: TensorInfo('F32', tuple(shape)) for name, shape in listing.items()}
        for model, listing in listings.items()
    }


FOLDERS = {
    'orbax': (['params/_METADATA', '_CHECKPOINT_METADATA'], r'found an orbax checkpoint of JAX'),
    'inside orbax': (['_METADATA', 'manifest.ocdbt', 'd/x'], r'convert_jax_model_to_pytorch\.py'),
    'pickle': (['config.json', 'pytorch_model.bin'], r'a pickle, pytorch_model\.bin, .*runs code'),
    'torch pickle': (['model.pt', 'config.json'], r'found a pickle, model\.pt'),
    'run': (
        ['pretrained_model/model.safetensors', 'training_state/x'],
        r'Name .*pretrained_model',
    ),
    'adapter': (['adapter_model.safetensors', 'adapter_config.json'], r'merge_and_unload'),
    'shards': (['model.safetensors.index.json', 'model-00001-of-00002.safetensors'], r'one file'),
    'empty': ([], r'found an empty folder, expected model\.safetensors'),
    'other': (['notes.txt'], r'found notes\.txt, expected model\.safetensors'),
}


@pytest.mark.parametrize('kind', FOLDERS)
def test_folder_that_is_no_checkpoint_of_ours_is_named(tmp_path, kind):
    files, message = FOLDERS[kind]
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{}')
    with pytest.raises(CheckpointError, match=message):
        detect(tmp_path)


def test_files_and_absent_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match='found nothing, expected a checkpoint folder'):
        detect(tmp_path / 'absent')
    (tmp_path / 'model.pt').write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'found \.pt file.* is a pickle, which runs code'):
        detect(tmp_path / 'model.pt')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'type': 'pi05'}, r'type: found pi05, expected pi0\. π0\.5 is not supported yet'),
        ({'type': 'smolvla'}, r"type: found 'smolvla', expected 'pi0'"),
        ({'architectures': ['X']}, r"found the keys architectures, expected openpi's"),
        ({}, r'found the keys of no known writer'),
        ('[]', r'a mapping at the top level'),
        ('{"type": "pi0"', r'expected one YAML document'),
    ],
)
def test_configurations_of_others_are_named(tmp_path, config, message):
    save_file({'x': torch.zeros(1)}, tmp_path / 'model.safetensors')
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(CheckpointError, match=message):
        detect(tmp_path)


@pytest.mark.parametrize('prefix', ['', 'model.'])
def test_pi05_is_refused_by_name_whatever_the_configuration_says(tmp_path, full_size, prefix):
    names = {prefix + name: torch.zeros(1) for name in full_size['pi05']}
    assert is_pi05(names)
    assert not is_pi05(full_size['pi0'])
    save_file(names, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(OPENPI_CONFIG))
    with pytest.raises(CheckpointError, match=r'found π0\.5 .*π0\.5 is not supported yet'):
        detect(tmp_path)


def test_refusal_reaches_the_command_line(tmp_path, capsys):
    (tmp_path / 'params').mkdir()
    words = ['export', '--checkpoint', str(tmp_path), '--model-only']
    assert main([*words, '--out', str(tmp_path / 'out')]) == 1
    assert 'orbax' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_published_names_and_shapes_are_accepted_without_an_architecture(full_size):
    listing = dict(full_size['pi0'])
    assert len(listing) == 778
    del listing[EMBEDDING]
    published = read_architecture(architecture_path('pi0'))
    shapes = {name: info.shape for name, info in listing.items()}
    stated = StatedSizes('config.json', max_tokens=48, action_dim=32, horizon=50)
    sizes = complete_sizes(shapes, stated, None, 'model.safetensors')
    assert sizes == published
    match = match_tensors(listing, 'openpi', sizes, {})
    assert match.faults == ()
    assert len(match.sources) == 776
    assert match.sources[EMBEDDING].endswith('paligemma.lm_head.weight')
    assert list(match.ignored) == ['paligemma_with_expert.gemma_expert.lm_head.weight']


def test_published_names_with_the_prefix_are_lerobots(full_size):
    listing = {f'model.{name}': info for name, info in full_size['pi0'].items()}
    match = match_tensors(listing, 'lerobot-0.6', read_architecture(architecture_path('pi0')), {})
    assert match.faults == ()
    assert len(match.ignored) == 2
    assert match.copies is not None


def test_sizes_show_in_a_damaged_file_too(full_size):
    shapes = {name: info.shape for name, info in full_size['pi0'].items()}
    whole = infer_sizes(shapes)
    assert (whole['rows.query'], whole['rows.key'], whole['vision.depth']) == (2048, 256, 27)
    for name in list(shapes)[100:140]:
        shapes[name] = shapes[name][::-1]
    for name in list(shapes)[300:305]:
        del shapes[name]
    assert infer_sizes(shapes) == whole


def test_old_names_under_a_new_configuration_are_told_apart(lerobot_03, lerobot_04, tmp_path):
    folder = Path(shutil.copytree(lerobot_04, tmp_path / 'ckpt'))
    shutil.copy(lerobot_03 / 'model.safetensors', folder)

    sizes = read_architecture(Path(__file__).parents[1] / 'data/lerobot_e2e/architecture.yaml')
    with pytest.raises(CheckpointError, match=r'names of lerobot up to 0\.3\.3 under'):
        open_checkpoint(folder, sizes)


def test_prefixed_names_under_openpis_configuration_are_told_apart(tmp_path):
    save_file({'model.state_proj.weight': torch.zeros(1)}, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r"found nothing, expected lerobot's"):
        detect(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(OPENPI_CONFIG))
    with pytest.raises(CheckpointError, match=r"a configuration of openpi, expected lerobot's"):
        detect(tmp_path)


def test_old_names_become_new_ones(lerobot_03):
    listing = detect(lerobot_03).tensors.listing
    names = canonical_names(listing, 'lerobot-0.3')
    unplaced = [name for name, new in names.items() if new is None]
    assert len(unplaced) == 6
    assert all('normalize_' in name for name in unplaced)
    old = 'model.paligemma_with_expert.paligemma.language_model.model.norm.weight'
    assert names[old] == 'paligemma_with_expert.paligemma.model.language_model.norm.weight'
