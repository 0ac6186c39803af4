from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pizero_ros.cli.exit_codes import FINDING, USAGE
from pizero_ros.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

ROBOT = ('--embodiment', 'sim_single_arm')


@pytest.fixture
def arrays(tiny_bundle):
    from pizero_ros.policy.bundle import Bundle

    generator = np.random.default_rng(0)
    bundle = Bundle.open(tiny_bundle)
    model = bundle.manifest.model
    width = bundle.semantics('sim_single_arm').state.width
    return {
        **{
            f'image.{slot}': generator.integers(0, 256, (60, 80, 3), np.uint8)
            for slot in model.slots
        },
        'state': generator.standard_normal(width),
        'prompt': 'stack the blocks',
        'noise': generator.standard_normal((model.horizon, model.action_dim)).astype(np.float32),
    }


def infer(bundle: Path, folder: Path, arrays, *more: str) -> int:
    np.savez(folder / 'in.npz', **arrays)
    words = ['infer', str(bundle), '--raw', '--inputs', str(folder / 'in.npz')]
    return main([*words, '--out', str(folder / 'out.npz'), *more])


def actions(folder: Path):
    with np.load(folder / 'out.npz') as archive:
        return archive['actions']


def test_actions_are_the_predictors(tiny_bundle, tmp_path, arrays):
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.observation.observation import Frame, Observation
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.predictor import ChunkPredictor
    from pizero_ros.policy.runtime import Policy

    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT, '--json', str(tmp_path / 'r.json')) == 0
    policy = Policy.load(Bundle.open(tiny_bundle), 'cpu')
    state = np.zeros(18)
    state[: len(arrays['state'])] = arrays['state']
    predict = ChunkPredictor(
        policy, load_embodiment('sim_single_arm'), noise=lambda *_: arrays['noise']
    )
    images = {
        name.removeprefix('image.'): Frame.of(image)
        for name, image in arrays.items()
        if name.startswith('image.')
    }
    mapped = np.arange(18) < len(arrays['state'])
    chunk = predict(Observation(0, 0, images, state, mapped, arrays['prompt']))
    np.testing.assert_allclose(actions(tmp_path), chunk.actions, atol=1e-6)
    report = json.loads((tmp_path / 'r.json').read_text())
    assert report['embodiment'] == 'sim_single_arm'
    assert report['cameras'] == list(images)


def test_whole_levels_as_floats_equal_bytes(tiny_bundle, tmp_path, arrays):
    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT) == 0
    expected = actions(tmp_path)
    for name in [name for name in arrays if name.startswith('image.')]:
        arrays[name] = (arrays[name].transpose(2, 0, 1) / 255).astype(np.float32)
    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT) == 0
    np.testing.assert_array_equal(actions(tmp_path), expected)


def test_slot_left_out_is_a_missing_camera(tiny_bundle, tmp_path, arrays):
    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT) == 0
    with_all = actions(tmp_path)
    arrays.pop(next(name for name in arrays if name.startswith('image.')))
    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT, '--json', str(tmp_path / 'r.json')) == 0
    assert np.abs(actions(tmp_path) - with_all).max() > 1e-4
    report = json.loads((tmp_path / 'r.json').read_text())
    assert f'image.{report["cameras"][0]}' in arrays


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'images.base_0_rgb': np.zeros((4, 4, 3), np.uint8)}, 'an unknown array'),
        ({'image.base_0_rgb': np.zeros((3, 4, 4), np.uint8)}, 'uint8 [3, 4, 4]'),
        ({'image.base_0_rgb': np.full((3, 9, 9), 2, np.float32)}, 'values from 2 to 2'),
        ({'image.base_0_rgb': np.full((3, 9, 9), np.nan, np.float32)}, 'values from nan to nan'),
        ({'state': np.zeros(3)}, 'state: found float64 [3], expected'),
        ({'state': None}, 'state: found nothing, expected'),
        ({'noise': None}, 'noise: found nothing, expected float32 [50, 18]'),
        ({'noise': np.zeros((50, 18))}, 'noise: found float64 [50, 18]'),
        ({'prompt': np.array(3)}, 'prompt: found int64 [], expected one string'),
        ({'prompt': ''}, 'prompt'),
    ],
)
def test_what_is_not_in_the_contract_is_refused(
    tiny_bundle, tmp_path, arrays, capsys, change, message
):
    given = {name: value for name, value in {**arrays, **change}.items() if value is not None}
    assert infer(tiny_bundle, tmp_path, given, *ROBOT) == USAGE
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.npz').exists()


def test_state_that_is_not_finite_is_refused(tiny_bundle, tmp_path, arrays, capsys):
    arrays['state'][2] = np.nan
    assert infer(tiny_bundle, tmp_path, arrays, *ROBOT) == USAGE
    assert 'state[2]: found nan' in capsys.readouterr().err


def test_no_picture_at_all_is_refused(tiny_bundle, tmp_path, arrays, capsys):
    given = {name: value for name, value in arrays.items() if not name.startswith('image.')}
    assert infer(tiny_bundle, tmp_path, given, *ROBOT) == USAGE
    assert 'no image' in capsys.readouterr().err


def test_bundle_for_several_robots_asks_which(tiny_bundle, tmp_path, arrays, capsys):
    assert infer(tiny_bundle, tmp_path, arrays) == USAGE
    assert 'one of sim_single_arm' in capsys.readouterr().err
    assert infer(tiny_bundle, tmp_path, arrays, '--embodiment', 'ur5e') == FINDING


def test_embodiment_without_raw_is_refused(tiny_bundle, tmp_path, capsys):
    words = ['infer', str(tiny_bundle), '--inputs', 'x.npz', '--out', str(tmp_path / 'o.npz')]
    assert main([*words, *ROBOT]) == USAGE
    assert '--raw beside it' in capsys.readouterr().err
