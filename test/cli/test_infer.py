from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pizero_ros.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    masks = np.array([[True, True], [True, False], [False, True]])
    words = np.zeros((2, 20), bool)
    words[0, :9] = True
    words[1, :20] = True
    return {
        **{
            f'images.{i}': generator.uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
            for i in range(3)
        },
        **{f'img_masks.{i}': masks[i] for i in range(3)},
        'lang_tokens': generator.integers(1, 320, (2, 20)),
        'lang_masks': words,
        'state': generator.standard_normal((2, 18)).astype(np.float32),
        'noise': generator.standard_normal((2, 50, 18)).astype(np.float32),
    }


def infer(bundle: Path, folder: Path, arrays, *more: str) -> int:
    np.savez(folder / 'in.npz', **arrays)
    words = ['infer', str(bundle), '--inputs', str(folder / 'in.npz')]
    return main([*words, '--out', str(folder / 'out.npz'), *more])


@pytest.mark.parametrize('steps', [10, 4])
def test_batch_with_masked_cameras_and_pads_equals_torch(tiny_bundle, tmp_path, arrays, steps):
    torch = pytest.importorskip('torch')
    from pizero_ros.model.architecture import architecture_path, read_architecture
    from pizero_ros.model.pi0 import Conditioning, Pi0

    arrays['images.2'][0] = np.nan  # An absent camera's pixels are not looked at.
    assert infer(tiny_bundle, tmp_path, arrays, '--steps', str(steps)) == 0
    found = np.load(tmp_path / 'out.npz')['actions']
    assert found.shape == (2, 50, 18)
    assert found.dtype == np.float32
    arrays['images.2'][0] = 0
    model = Pi0.random(read_architecture(architecture_path('tiny')), 0)
    seen = Conditioning(
        torch.from_numpy(np.stack([arrays[f'images.{i}'] for i in range(3)], axis=1)),
        torch.from_numpy(arrays['lang_tokens']),
        torch.from_numpy(arrays['state']),
        torch.from_numpy(np.stack([arrays[f'img_masks.{i}'] for i in range(3)], axis=1)),
        torch.from_numpy(arrays['lang_masks']),
    )
    with torch.no_grad():
        expected = model.sample(seen, torch.from_numpy(arrays['noise']), steps).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_json_says_what_was_left_out(tiny_bundle, tmp_path, arrays):
    assert infer(tiny_bundle, tmp_path, arrays, '--json', str(tmp_path / 'r.json')) == 0
    result = json.loads((tmp_path / 'r.json').read_text())
    assert result['cameras'] == [2, 2]
    assert result['tokens'] == [9, 20]
    assert result['finite']


def test_fewer_cameras_than_slots_and_extra_keys_are_fine(tiny_bundle, tmp_path, arrays):
    arrays.pop('images.2')
    arrays.pop('img_masks.2')
    arrays['img_masks.1'][:] = True
    assert infer(tiny_bundle, tmp_path, {**arrays, 'time': np.zeros(2)}) == 0


BAD = {
    'missing noise': (lambda a: a.pop('noise'), 'noise: found nothing, expected float32 [2, 50'),
    'missing mask': (lambda a: a.pop('img_masks.1'), 'img_masks.1: found nothing'),
    'gap': (lambda a: a.pop('images.1'), 'images.*: found images.0, images.2'),
    'too many': (lambda a: a.update({'images.3': a['images.0']}), 'at most images.2'),
    'image size': (
        lambda a: a.update({'images.0': a['images.0'][:, :, :56]}),
        'images.0: found float32 [2, 3, 56, 112]',
    ),
    'double images': (
        lambda a: a.update({'images.0': a['images.0'].astype(float)}),
        'images.0: found float64',
    ),
    'pixels': (lambda a: a['images.0'].__imul__(255), 'images.0[0]: found values from -25'),
    'nan image': (lambda a: a['images.0'][1].fill(np.nan), 'images.0[1]: found values from nan'),
    'nan state': (
        lambda a: a['state'].__setitem__((1, 2), np.nan),
        'state[1, 2]: found nan, expected a finite number',
    ),
    'infinite noise': (
        lambda a: a['noise'].__setitem__((0, 1, 2), np.inf),
        'noise[0, 1, 2]: found inf',
    ),
    'no camera': (
        lambda a: [a[f'img_masks.{i}'].__setitem__(0, False) for i in range(3)],
        'img_masks.*[0]: found no camera',
    ),
    'no tokens': (lambda a: a['lang_masks'][1].fill(False), 'lang_tokens[1]: found 0 tokens'),
    'vocabulary': (lambda a: a['lang_tokens'].__setitem__((1, 3), 320), 'ids below 320'),
    'state width': (
        lambda a: a.update(state=a['state'][:, :14]),
        'state: found float32 [2, 14], expected float32 [any, 18]',
    ),
    'batch': (lambda a: a.update(noise=a['noise'][:1]), 'noise: found float32 [1, 50, 18]'),
}


@pytest.mark.parametrize('mistake', BAD)
def test_each_bad_input_has_its_own_error_and_writes_nothing(
    tiny_bundle, tmp_path, arrays, capsys, mistake
):
    change, message = BAD[mistake]
    change(arrays)
    assert infer(tiny_bundle, tmp_path, arrays) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.npz').exists()


def test_a_single_array_is_no_batch(tiny_bundle, tmp_path, capsys):
    np.save(tmp_path / 'in.npy', np.zeros(3))
    words = ['infer', str(tiny_bundle), '--inputs', str(tmp_path / 'in.npy')]
    assert main([*words, '--out', str(tmp_path / 'out.npz')]) == 2
    assert 'expected a readable .npz file' in capsys.readouterr().err


@pytest.mark.parametrize('content', [None, b'', b'not a zip file'])
def test_unreadable_input_exits_2(tiny_bundle, tmp_path, capsys, content):
    path = tmp_path / 'in.npz'
    if content is not None:
        path.write_bytes(content)
    words = ['infer', str(tiny_bundle), '--inputs', str(path), '--out', str(tmp_path / 'o.npz')]
    assert main(words) == 2
    assert 'expected a readable .npz file' in capsys.readouterr().err


def test_damaged_bundle_is_a_finding(tiny_copy, tmp_path, arrays, capsys):
    with (tiny_copy / 'denoise.onnx').open('r+b') as stream:
        stream.seek(1000)
        stream.write(b'\xff')
    assert infer(tiny_copy, tmp_path, arrays) == 1
    assert 'SHA-256' in capsys.readouterr().err


def test_absent_provider_is_wrong_usage(tiny_bundle, tmp_path, arrays, capsys):
    import onnxruntime

    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    assert infer(tiny_bundle, tmp_path, arrays, '--provider', 'cuda') == 2
    assert 'extra `gpu`' in capsys.readouterr().err
