"""Raw observations through an imported bundle give the actions that lerobot itself computed.

What limits the agreement is float32: another order of summation in ONNX Runtime than in torch, ten
Euler steps long. Observed are at most 1.1e-5 standard deviations of the action statistics; a state
that is off by 0.1 mrad would show as 4e-4 (``test/data/lerobot_e2e/README.md``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pizero_ros.cli.exit_codes import USAGE
from pizero_ros.cli.main import main

pytest.importorskip('torch', reason='exporting a bundle needs PyTorch (extra `train`)')
pytest.importorskip('tokenizers', reason="lerobot's tokenizers need it (extra `tokenizer`)")

DATA = Path(__file__).resolve().parents[1] / 'data' / 'lerobot_e2e'
TOLERANCE = 5e-5
"""In standard deviations of each action value."""

CASES: dict[str, Any] = json.loads((DATA / 'cases.json').read_text())['cases']
RELATIVE_CASES = (
    'three_vga_cameras',
    'float_images',
    'no_base_camera',
    'no_left_wrist_camera',
    'prompt_with_underscores',
    'state_far_from_the_data',
)
"""The model computes the same as with absolute actions; these are about what differs."""
TWO_CAMERA_CASES = ('no_right_wrist_camera', 'left_wrist_camera_only', 'base_camera_only')
VARIANT_CASES = [
    *(('absolute', case) for case in CASES),
    *(('relative', case) for case in RELATIVE_CASES),
    *(('two_cameras', case) for case in TWO_CAMERA_CASES),
]


@pytest.fixture(scope='module')
def arrays() -> dict[str, np.ndarray]:
    with np.load(DATA / 'cases.npz') as archive:
        return dict(archive)


@pytest.fixture(scope='module')
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints, imported and exported for a robot; exported when first asked for."""
    folder = tmp_path_factory.mktemp('lerobot')

    class Exported(dict[str, Path]):
        def __missing__(self, variant: str) -> Path:
            checkpoint = Path(shutil.copytree(DATA / variant, folder / variant))
            shutil.copy(DATA / 'model.safetensors', checkpoint)
            out = folder / f'{variant}_bundle'
            words = ['export', '--checkpoint', str(checkpoint), '--out', str(out)]
            robot = folder / f'{variant}.yaml'
            robot.write_text(robot_text(variant))
            words += ['--embodiment', str(robot)]
            assert main([*words, '--architecture', str(DATA / 'architecture.yaml')]) == 0
            self[variant] = out
            return out

    return Exported()


def robot_text(variant: str) -> str:
    """Return a robot with the cameras that this policy knows."""
    text = (DATA / 'two_arms.yaml').read_text()
    if variant == 'two_cameras':
        lines = text.splitlines(keepends=True)
        text = ''.join(line for line in lines if 'slot: right_wrist_0_rgb' not in line)
    return text


def picture(recipe: dict[str, Any]) -> np.ndarray:
    """Draw the image that lerobot saw, and make sure that it is that one."""
    random = np.random.RandomState(recipe['seed'])
    height, width = recipe['height'], recipe['width']
    if recipe['kind'] == 'noise':
        image = random.randint(0, 256, (height, width, 3), np.uint8)
    elif recipe['kind'] == 'float':
        image = random.random_sample((3, height, width)).astype(np.float32)
    else:
        cell = recipe['cell']
        shape = (-(-height // cell), -(-width // cell), 3)
        coarse = random.randint(0, 256, shape, np.uint8)
        image = coarse.repeat(cell, 0).repeat(cell, 1)[:height, :width]
    assert hashlib.sha256(image.tobytes()).hexdigest() == recipe['sha256']
    return image


def observation(case: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    images = {f'image.{slot}': picture(each) for slot, each in CASES[case]['images'].items()}
    return {
        **images,
        'state': arrays[f'{case}.state'],
        'noise': arrays[f'{case}.noise'],
        'prompt': CASES[case]['prompt'],
    }


def infer(bundle: Path, folder: Path, given: dict[str, Any]) -> int:
    np.savez(folder / 'in.npz', **given)
    words = ['infer', str(bundle), '--raw', '--inputs', str(folder / 'in.npz')]
    words += ['--out', str(folder / 'out.npz'), '--json', str(folder / 'out.json')]
    return main([*words, '--provider', 'cpu', '--threads', '1'])


def actions_in(folder: Path) -> np.ndarray:
    with np.load(folder / 'out.npz') as archive:
        found: np.ndarray = archive['actions']
    return found


def statistics(variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of the actions."""
    from safetensors.numpy import load_file

    steps = json.loads((DATA / variant / 'policy_postprocessor.json').read_text())['steps']
    name = next(step['state_file'] for step in steps if 'state_file' in step)
    tensors = load_file(DATA / variant / name)
    return tensors['action.mean'], tensors['action.std']


@pytest.mark.parametrize(('variant', 'case'), VARIANT_CASES)
def test_actions_are_those_of_lerobot(bundles, arrays, tmp_path, variant, case):
    assert infer(bundles[variant], tmp_path, observation(case, arrays)) == 0
    report = json.loads((tmp_path / 'out.json').read_text())
    assert report['tokens'] == arrays[f'{case}.tokens'].tolist()
    assert report['cameras'] == list(CASES[case]['images'])
    found = actions_in(tmp_path)
    expected = arrays[f'{case}.{variant}']
    assert found.shape == expected.shape == (10, 14)
    error = np.abs(found - expected) / statistics(variant)[1]
    assert error.max() < TOLERANCE


@pytest.mark.parametrize('case', CASES)
def test_reference_is_relative_to_the_state_in_all_but_the_grippers(arrays, case):
    """Weights, noise and inputs are the same in both variants, so one follows from the other."""
    mean, std = statistics('absolute')
    model_space = (arrays[f'{case}.absolute'] - mean) / std
    base = arrays[f'{case}.state'].copy()
    base[[6, 13]] = 0
    mean, std = statistics('relative')
    error = arrays[f'{case}.relative'] - (model_space * std + mean + base)
    assert (np.abs(error) / std).max() < TOLERANCE


def test_swapped_wrist_cameras_are_far_from_lerobot(bundles, arrays, tmp_path):
    given = observation('three_vga_cameras', arrays)
    left, right = 'image.left_wrist_0_rgb', 'image.right_wrist_0_rgb'
    given[left], given[right] = given[right], given[left]
    assert infer(bundles['absolute'], tmp_path, given) == 0
    error = actions_in(tmp_path) - arrays['three_vga_cameras.absolute']
    assert (np.abs(error) / statistics('absolute')[1]).max() > 0.5


def test_prompt_that_lerobot_would_cut_short_is_refused(bundles, arrays, tmp_path, capsys):
    given = observation('prompt_as_long_as_allowed', arrays)
    given['prompt'] += ' on'
    assert infer(bundles['absolute'], tmp_path, given) == USAGE
    assert '49 tokens, expected 1 to 48' in capsys.readouterr().err
    assert not (tmp_path / 'out.npz').exists()
