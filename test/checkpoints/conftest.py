"""Checkpoints of every layout, made from the reference ones, and a robot that fits them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='importing checkpoints needs PyTorch (extra `train`)')

import torch
from safetensors.torch import load_file, save_file

from pizero_ros.checkpoints.choices import Choices, GripperChoice
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.model.architecture import Architecture, read_architecture

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment

NUMERICS = Path(__file__).resolve().parents[2] / '../shared/data/numerics'
END_TO_END = Path(__file__).resolve().parents[1] / 'data/lerobot_e2e'
EMBEDDING = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'
LM_HEAD = 'paligemma_with_expert.paligemma.lm_head.weight'
AS_IS = (GripperChoice(('state', 'action'), 'as-is'),)


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Models this small only lose by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def numerics() -> Path:
    """Folder of the reference numerics."""
    if not NUMERICS.is_dir():
        pytest.skip(f'the reference numerics are not at {NUMERICS}')
    return NUMERICS


@pytest.fixture(scope='session')
def small(numerics: Path) -> Architecture:
    """Sizes of the reference checkpoints."""
    return read_architecture(numerics / 'lerobot_pi0_small/size.json')


@pytest.fixture(scope='session')
def two_arms() -> Embodiment:
    """Fourteen joints, grippers at 6 and 13, ten actions."""
    return load_embodiment(END_TO_END / 'two_arms.yaml')


@pytest.fixture(scope='session')
def lerobot_06(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint as lerobot 0.6 wrote it, actions relative."""
    folder = Path(shutil.copytree(END_TO_END / 'relative', tmp_path_factory.mktemp('06') / 'ckpt'))
    shutil.copy(END_TO_END / 'model.safetensors', folder)
    return folder


@pytest.fixture(scope='session')
def lerobot_04(lerobot_06: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of lerobot 0.4: tied embedding left out, no relative actions, other steps."""
    folder = tmp_path_factory.mktemp('04') / 'ckpt'
    shutil.copytree(END_TO_END / 'absolute', folder)
    tensors = load_file(lerobot_06 / 'model.safetensors')
    del tensors[f'model.{EMBEDDING}']
    save_file(tensors, folder / 'model.safetensors')
    edit(folder / 'config.json', lambda config: [config.pop(key) for key in NEW_KEYS])
    for name in ('policy_preprocessor.json', 'policy_postprocessor.json'):
        edit(folder / name, _drop_relative)
    old = folder / 'policy_preprocessor_step_6_normalizer_processor.safetensors'
    old.rename(folder / 'policy_preprocessor_step_5_normalizer_processor.safetensors')
    return folder


NEW_KEYS = ('use_relative_actions', 'relative_exclude_joints', 'action_feature_names')
LEGACY_CONFIG = {
    'type': 'pi0',
    'n_obs_steps': 1,
    'normalization_mapping': {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'MEAN_STD'},
    'input_features': {
        'observation.images.base_0_rgb': {'type': 'VISUAL', 'shape': [3, 480, 640]},
        'observation.images.left_wrist_0_rgb': {'type': 'VISUAL', 'shape': [3, 480, 640]},
        'observation.images.right_wrist_0_rgb': {'type': 'VISUAL', 'shape': [3, 480, 640]},
        'observation.state': {'type': 'STATE', 'shape': [14]},
    },
    'output_features': {'action': {'type': 'ACTION', 'shape': [14]}},
    'device': 'cuda',
    'use_amp': False,
    'chunk_size': 10,
    'n_action_steps': 10,
    'max_state_dim': 18,
    'max_action_dim': 18,
    'resize_imgs_with_padding': [56, 56],
    'empty_cameras': 0,
    'adapt_to_pi_aloha': False,
    'use_delta_joint_actions_aloha': False,
    'tokenizer_max_length': 48,
    'proj_width': 48,
    'num_steps': 10,
    'use_cache': True,
    'attention_implementation': 'eager',
    'freeze_vision_encoder': True,
    'train_expert_only': False,
    'train_state_proj': True,
    'optimizer_lr': 2.5e-05,
    'optimizer_betas': [0.9, 0.95],
    'optimizer_eps': 1e-08,
    'optimizer_weight_decay': 1e-10,
    'scheduler_warmup_steps': 1000,
    'scheduler_decay_steps': 30000,
    'scheduler_decay_lr': 2.5e-06,
}
_LEGACY_NAMES = (
    ('.paligemma.lm_head.', '.paligemma.language_model.lm_head.'),
    ('.paligemma.model.language_model.', '.paligemma.language_model.model.'),
    ('.paligemma.model.vision_tower.', '.paligemma.vision_tower.'),
    ('.paligemma.model.multi_modal_projector.', '.paligemma.multi_modal_projector.'),
)


@pytest.fixture(scope='session')
def lerobot_03(lerobot_06: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of lerobot up to 0.3.3: older names, statistics inside the model file."""
    folder = tmp_path_factory.mktemp('03') / 'ckpt'
    folder.mkdir()
    tensors = {}
    for name, tensor in load_file(lerobot_06 / 'model.safetensors').items():
        if name == f'model.{EMBEDDING}':
            continue
        for new, old in _LEGACY_NAMES:
            name = name.replace(new, old)
        tensors[name] = tensor
    for prefix, feature in LEGACY_BUFFERS.items():
        for key, values in episode(feature).items():
            if key in ('mean', 'std'):
                tensors[f'{prefix}.{key}'] = torch.from_numpy(values).float()
    save_file(tensors, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps(LEGACY_CONFIG, indent=4))
    return folder


LEGACY_BUFFERS = {
    'normalize_inputs.buffer_observation_state': 'state',
    'normalize_targets.buffer_action': 'action',
    'unnormalize_outputs.buffer_action': 'action',
}


@pytest.fixture(scope='session')
def openpi(numerics: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint as openpi writes it, with statistics of relative actions."""
    folder = tmp_path_factory.mktemp('openpi') / 'ckpt'
    folder.mkdir()
    for name in ('config.json', 'model.safetensors'):
        shutil.copyfile(numerics / 'openpi_pi0_small' / name, folder / name)
    write_norm_stats(folder, 'two_arms')
    return folder


@pytest.fixture(scope='session')
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SentencePiece model with PaliGemma's special ids and a newline token."""
    sentencepiece = pytest.importorskip('sentencepiece')
    path = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.model'
    text = ['put the carrot on the plate', 'fold the towel', 'open the drawer', 'pick up a cup']
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20),
        model_prefix=str(path.with_suffix('')),
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=['\n'],
        normalization_rule_name='identity',
        minloglevel=2,
    )
    return path


@pytest.fixture
def said(tokenizer: Path) -> Choices:
    """All that an openpi checkpoint leaves open."""
    return Choices(
        actions='relative',
        normalization='zscore',
        adapt='none',
        grippers=AS_IS,
        tokenizer=tokenizer,
    )


def edit(path: Path, change: Any) -> None:
    """Alter a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2))


def _drop_relative(pipeline: dict[str, Any]) -> None:
    """Leave out the steps that 0.4 does not have, as its own normaliser is step 5."""
    pipeline['steps'] = [
        step for step in pipeline['steps'] if 'actions_processor' not in step['registry_name']
    ]
    for step in pipeline['steps']:
        step.pop('artifacts', None)
        if 'tokenizer_name' in step['config']:
            step['config']['tokenizer_name'] = 'google/paligemma-3b-pt-224'
        if step['registry_name'] == 'normalizer_processor':
            step['state_file'] = 'policy_preprocessor_step_5_normalizer_processor.safetensors'


def episode(vector: str) -> dict[str, np.ndarray]:
    """Return statistics of smooth motion: positions for the state, differences for the action."""
    time = np.linspace(0, 20, 4000)[:, None]
    joints = np.arange(14)
    positions = 0.8 + 0.1 * joints + 0.4 * np.sin(time * (0.3 + 0.1 * joints) + joints)
    values = positions
    if vector == 'action':
        ahead = np.roll(positions, -30, axis=0)[:-30]
        values = ahead - positions[:-30]
        values[:, [6, 13]] = ahead[:, [6, 13]]
    return {
        'mean': values.mean(axis=0),
        'std': values.std(axis=0),
        'q01': np.quantile(values, 0.01, axis=0),
        'q99': np.quantile(values, 0.99, axis=0),
    }


def write_norm_stats(folder: Path, asset: str) -> Path:
    """Write statistics as openpi does."""
    path = folder / 'assets' / asset / 'norm_stats.json'
    path.parent.mkdir(parents=True)
    stats = {
        name: {key: values.tolist() for key, values in episode(vector).items()}
        for name, vector in (('state', 'state'), ('actions', 'action'))
    }
    path.write_text(json.dumps({'norm_stats': stats}, indent=2))
    return path
