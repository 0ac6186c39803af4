"""Every layout gives the same weights, and through ONNX the actions that upstream computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch')

import torch
from safetensors.torch import load_file, save_file

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.cli.main import main
from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.model.pi0 import Conditioning
from pizero_ros.policy.bundle import Bundle

EMBEDDING = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'
EXPERT_HEAD = 'paligemma_with_expert.gemma_expert.lm_head.weight'
FORMATS = ('lerobot_pi0_small', 'openpi_pi0_small')
TOLERANCES = [(4, 5e-5), (10, 3e-4)]


@pytest.fixture(scope='module')
def bundles(numerics, tmp_path_factory) -> dict[str, Path]:
    """Both reference checkpoints as `pizero export --model-only` exports them, when asked for."""
    folder = tmp_path_factory.mktemp('bundles')

    class Exported(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            words = ['export', '--checkpoint', str(numerics / name), '--model-only']
            words += ['--architecture', str(numerics / name / 'size.json')]
            words += ['--json', str(folder / f'{name}.json'), '--out', str(folder / name)]
            assert main(words) == 0
            self[name] = folder / name
            return self[name]

    return Exported()


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize(('steps', 'tolerance'), TOLERANCES)
def test_exported_graphs_compute_upstreams_actions(
    bundles, numerics, tmp_path, name, steps, tolerance
):
    words = ['infer', str(bundles[name]), '--steps', str(steps), '--provider', 'cpu']
    words += ['--inputs', str(numerics / 'lerobot_pi0_small/inputs.npz'), '--threads', '1']
    assert main([*words, '--out', str(tmp_path / 'out.npz')]) == 0
    found = np.load(tmp_path / 'out.npz')['actions']
    expected = np.load(numerics / name / 'outputs.npz')[f'actions_n{steps}']
    assert np.abs(found - expected).max() < tolerance


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize(('steps', 'tolerance'), TOLERANCES)
@torch.no_grad()
def test_torch_computes_upstreams_actions(numerics, small, name, steps, tolerance):
    model = open_checkpoint(numerics / name, small, actions=False).model()
    with np.load(numerics / 'lerobot_pi0_small/inputs.npz') as data:
        inputs = {key: torch.from_numpy(data[key]) for key in data}
    seen = Conditioning(
        images=torch.stack([inputs[f'images.{i}'] for i in range(3)], dim=1),
        tokens=inputs['lang_tokens'],
        state=inputs['state'],
        camera_mask=torch.stack([inputs[f'img_masks.{i}'] for i in range(3)], dim=1),
        token_mask=inputs['lang_masks'],
    )
    found = model.sample(seen, inputs['noise'], steps).numpy()
    expected = np.load(numerics / name / 'outputs.npz')[f'actions_n{steps}']
    assert np.abs(found - expected).max() < tolerance


@pytest.mark.parametrize('name', FORMATS)
def test_bundle_says_where_it_came_from_and_what_was_not_read(bundles, name):
    bundle = Bundle.open(bundles[name])
    report = json.loads(bundles[name].with_suffix('.json').read_text())
    assert bundle.manifest.model_only
    family = 'lerobot-0.6' if name.startswith('lerobot') else 'openpi'
    assert (report['kind'], bundle.manifest.provenance.kind) == (family, family)
    assert bundle.manifest.provenance.source == name
    assert bundle.manifest.model.resize == ('lerobot' if family != 'openpi' else 'antialias')
    assert bundle.manifest.model.prompt.clean == (family == 'openpi')
    assert [key.endswith(EXPERT_HEAD) for key in report['ignored']].count(True) == 1
    assert len(report['ignored']) == (2 if family != 'openpi' else 1)


@pytest.fixture
def layouts(lerobot_06, lerobot_04, lerobot_03, openpi) -> dict[str, Path]:
    return {
        'lerobot-0.6': lerobot_06,
        'lerobot-0.4': lerobot_04,
        'lerobot-0.3': lerobot_03,
        'openpi': openpi,
    }


@pytest.fixture
def sizes(small):
    from dataclasses import replace

    return replace(small, max_tokens=48)


def test_every_layout_is_known_and_holds_the_same_weights(layouts, sizes):
    opened = {family: open_checkpoint(path, sizes) for family, path in layouts.items()}
    assert {each.family for each in opened.values()} == opened.keys()
    reference = {name: source.load() for name, source in opened['lerobot-0.6'].weights.items()}
    for checkpoint in opened.values():
        assert checkpoint.weights.keys() == reference.keys()
        for name, source in checkpoint.weights.items():
            assert torch.equal(source.load(), reference[name]), name


@pytest.mark.parametrize(
    ('family', 'resize', 'newline_as_text'),
    [
        ('lerobot-0.6', 'lerobot', True),
        ('lerobot-0.4', 'lerobot', True),
        ('lerobot-0.3', 'lerobot_left_top', True),
        ('openpi', 'antialias', False),
    ],
)
def test_input_rules_are_those_of_the_writer(layouts, sizes, family, resize, newline_as_text):
    inputs = open_checkpoint(layouts[family], sizes).inputs
    assert inputs.resize == resize
    assert inputs.newline_as_text is newline_as_text
    assert inputs.clean is (family == 'openpi')
    assert inputs.slots == ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')


def test_lerobot_files_without_its_prefix_are_read_as_the_published_base_models_need(
    lerobot_04, sizes, tmp_path
):
    folder = Path(shutil.copytree(lerobot_04, tmp_path / 'ckpt'))
    tensors = load_file(folder / 'model.safetensors')
    bare = {name.removeprefix('model.'): tensor for name, tensor in tensors.items()}
    save_file(bare, folder / 'model.safetensors')
    assert len(open_checkpoint(folder, sizes).weights) == 106
    bare['model.state_proj.bias'] = bare.pop('state_proj.bias')
    save_file(bare, folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'unexpected: model.state_proj.bias') as caught:
        open_checkpoint(folder, sizes)
    assert 'missing: state_proj.bias [48]' in str(caught.value)


@pytest.mark.parametrize('mixture', ['all', 'openpi', 'lerobot', 'lerobot 0.3'])
def test_mixtures_of_types_that_upstream_writes_are_read(openpi, small, tmp_path, mixture):
    norms = ('input_layernorm', 'post_attention_layernorm', 'model.norm')
    wide = {
        'all': (),
        'openpi': (*norms, 'embeddings.p', 'action_', 'state_'),
        'lerobot': (*norms, 'vision_tower', 'projector', 'action_', 'state_'),
        'lerobot 0.3': ('gemma_expert.model.norm', 'gemma_expert.lm_head', 'action_', 'state_'),
    }[mixture]
    folder = Path(shutil.copytree(openpi, tmp_path / 'ckpt'))
    tensors = {
        name: tensor if any(part in name for part in wide) else tensor.bfloat16()
        for name, tensor in load_file(folder / 'model.safetensors').items()
    }
    save_file(tensors, folder / 'model.safetensors')
    config = json.loads((folder / 'config.json').read_text())
    with pytest.raises(CheckpointError, match='found BF16, expected F32, the precision in config'):
        open_checkpoint(folder, small)
    (folder / 'config.json').write_text(json.dumps({**config, 'precision': 'bfloat16'}))
    model = open_checkpoint(folder, small).model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_embeddings_that_differ_are_told_and_the_first_is_used(lerobot_06, sizes, tmp_path):
    folder = Path(shutil.copytree(lerobot_06, tmp_path / 'ckpt'))
    tensors = load_file(folder / 'model.safetensors')
    tensors[f'model.{EMBEDDING}'][3, 4] += 1
    save_file(tensors, folder / 'model.safetensors')
    checkpoint = open_checkpoint(folder, sizes)
    assert any('differ: the first is used' in note for note in checkpoint.notes)
    assert torch.equal(checkpoint.weights[EMBEDDING].load(), tensors[f'model.{EMBEDDING}'])


def test_all_mistakes_are_listed_at_once(openpi, small, tmp_path):
    folder = Path(shutil.copytree(openpi, tmp_path / 'ckpt'))
    tensors = load_file(folder / 'model.safetensors')
    del tensors['state_proj.bias']
    tensors['state_proj.bis'] = torch.zeros(48)
    tensors['action_in_proj.weight'] = tensors['action_in_proj.weight'].T.contiguous()
    tensors['action_in_proj.bias'] = tensors['action_in_proj.bias'].double()
    tensors['action_out_proj.bias'][5] = float('nan')
    save_file(tensors, folder / 'model.safetensors')
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder, small)
    assert str(caught.value).splitlines() == [
        f'{folder}/model.safetensors: 5 mistakes, read as openpi:',
        '  unexpected: state_proj.bis F32 [48]',
        '  missing: state_proj.bias [48]',
        '  misshapen: action_in_proj.weight: found [18, 48], expected [48, 18]',
        '  wrongly typed: action_in_proj.bias: found F64, expected F32 or BF16',
        '  not finite: action_out_proj.bias: nan at flat index 5',
    ]


def test_sizes_of_a_reduced_model_must_be_given(numerics):
    with pytest.raises(UnstatedError, match=r'vision.width is 72, in the published π0 1152'):
        open_checkpoint(numerics / 'lerobot_pi0_small', actions=False)


def test_sizes_that_contradict_the_tensors_are_refused(numerics):
    tiny = read_architecture(architecture_path('tiny'))
    with pytest.raises(CheckpointError, match=r'image_size: 56 in .*config.json, 112 in the arch'):
        open_checkpoint(numerics / 'lerobot_pi0_small', tiny, actions=False)


def test_wrong_digest_is_refused(numerics, small):
    folder = numerics / 'openpi_pi0_small'
    with pytest.raises(CheckpointError, match='SHA-256: found'):
        open_checkpoint(folder, small, sha256='0' * 64)


def test_only_one_embodiment_and_no_seed_go_with_a_checkpoint(openpi, tmp_path, capsys):
    words = ['export', '--checkpoint', str(openpi), '--out', str(tmp_path / 'x')]
    robots = ['--embodiment', 'aloha', '--embodiment', 'ur5e']
    assert main([*words, *robots]) == 2
    assert 'belong to one robot' in capsys.readouterr().err
    assert main([*words, '--model-only', '--seed', '1']) == 2
    capsys.readouterr()
    assert main([*words, '--model-only', '--actions', 'relative', '--asset', 'x']) == 2
    assert 'found --actions, --asset, expected no such option' in capsys.readouterr().err
    words = ['export', '--random', 'tiny', '--model-only', '--out', str(tmp_path / 'x')]
    assert main([*words, '--adapt', 'none', '--prompts-only']) == 2
    assert 'found --adapt, --prompts-only, expected no such option' in capsys.readouterr().err


def test_openpi_bundle_for_a_robot_needs_no_tokenizer_on_it(openpi, tokenizer, tmp_path):
    data = Path(__file__).resolve().parents[1] / 'data/lerobot_e2e'
    words = ['export', '--checkpoint', str(openpi), '--out', str(tmp_path / 'bundle')]
    words += ['--embodiment', str(data / 'two_arms.yaml'), '--actions', 'relative']
    words += ['--architecture', str(data / 'architecture.yaml'), '--normalization', 'zscore']
    words += ['--adapt', 'none', '--gripper', 'inverted', '--tokenizer', str(tokenizer)]
    words += ['--prompt', ' fold_the towel\n', '--prompts-only', '--steps', '3']
    assert main(words) == 0
    bundle = Bundle.open(tmp_path / 'bundle')
    semantics = bundle.semantics('lerobot_two_arms')
    prompt = bundle.manifest.model.prompt
    assert not (tmp_path / 'bundle/tokenizer.model').exists()
    assert (prompt.tokenizer, bundle.manifest.model.steps) == ('none', 3)
    assert np.flatnonzero(~semantics.relative).tolist() == [6, 13]
    assert [each.index for each in semantics.state_grippers] == [6, 13]
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    ids = [*model.encode('fold the towel', add_bos=True), *model.encode('\n')]
    assert list(prompt.named.values()) == [tuple(ids)]
