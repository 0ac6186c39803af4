"""What a checkpoint does not say must be said; what it says is translated, not guessed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('torch')

from safetensors.torch import load_file, save_file

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.checkpoints.choices import (
    Choices,
    GripperChoice,
    parse_gripper,
    parse_relative_mask,
)
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.processing.spec import GripperMap

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment

BOTH = ('state', 'action')


@pytest.fixture
def sizes(small):
    return replace(small, max_tokens=48)


@pytest.fixture
def openpi_copy(openpi, tmp_path) -> Path:
    return Path(shutil.copytree(openpi, tmp_path / 'openpi'))


@pytest.fixture
def lerobot_copy(lerobot_06, tmp_path) -> Path:
    return Path(shutil.copytree(lerobot_06, tmp_path / 'lerobot'))


def alter(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_openpi_lists_everything_that_is_not_said(openpi_copy, sizes, two_arms):
    shutil.copytree(openpi_copy / 'assets/two_arms', openpi_copy / 'assets/lab/other')
    cameras = tuple(replace(each, slot=f'my_{each.slot}') for each in two_arms.cameras)
    robot = replace(two_arms, cameras=cameras)
    with pytest.raises(UnstatedError) as caught:
        open_checkpoint(openpi_copy, sizes).semantics(robot, Choices())
    lines = str(caught.value).splitlines()
    assert 'lab/other, two_arms' in lines[0]
    assert 'base_0_rgb, left_wrist_0_rgb, right_wrist_0_rgb' in lines[0]
    options = [line.split(':')[0].strip() for line in lines[1:-1]]
    assert options == [
        '--actions',
        '--normalization',
        '--adapt',
        '--gripper',
        '--asset',
        '--slots',
        '--tokenizer',
    ]
    assert '--model-only' in lines[-1]
    assert 'rate_hz' in lines[-1]


@pytest.mark.parametrize(
    ('field', 'option'),
    [
        ('actions', '--actions'),
        ('normalization', '--normalization'),
        ('adapt', '--adapt'),
        ('grippers', '--gripper'),
        ('tokenizer', '--tokenizer'),
    ],
)
def test_each_missing_word_is_asked_for(openpi, sizes, two_arms, said, field, option):
    blank: Any = () if field == 'grippers' else None
    with pytest.raises(UnstatedError) as caught:
        open_checkpoint(openpi, sizes).semantics(two_arms, replace(said, **{field: blank}))
    lines = str(caught.value).splitlines()
    assert [line.split(':')[0].strip() for line in lines[1:-1]] == [option]


def test_relative_rule_spares_grippers(openpi, sizes, two_arms, said):
    checkpoint = open_checkpoint(openpi, sizes)
    semantics, notes = checkpoint.semantics(two_arms, said)
    assert np.flatnonzero(~semantics.relative).tolist() == [6, 13]
    assert (semantics.normalization, semantics.eps, semantics.signs) == ('zscore', 1e-6, None)
    assert (semantics.rate_hz, semantics.horizon) == (30, 10)
    assert semantics.state.q01 is None
    assert any('one action every 0.0333333 s' in note for note in notes)
    absolute, _ = checkpoint.semantics(two_arms, replace(said, actions='absolute'))
    assert not absolute.relative.any()


def test_relative_mask_is_openpis_short_form(openpi, sizes, two_arms, said):
    checkpoint = open_checkpoint(openpi, sizes)
    mask = parse_relative_mask('6,-1,6,-1')
    semantics, _ = checkpoint.semantics(two_arms, replace(said, actions=None, relative_mask=mask))
    assert tuple(semantics.relative) == (*[True] * 6, False) * 2
    with pytest.raises(CheckpointError, match='mask of 7 values for 14 actions'):
        checkpoint.semantics(two_arms, replace(said, relative_mask=mask[:7]))
    with pytest.raises(UnstatedError, match='12 relative values beside --actions absolute'):
        checkpoint.semantics(two_arms, replace(said, actions='absolute', relative_mask=mask))


@pytest.mark.parametrize('text', ['', '6,0', '6,a', '6.5'])
def test_malformed_masks_are_refused(text):
    with pytest.raises(ValueError):
        parse_relative_mask(text)


def test_gripper_words():
    assert parse_gripper('as-is') == GripperChoice(BOTH, 'as-is')
    assert parse_gripper('inverted') == GripperChoice(BOTH, 'linear', -1.0, 1.0)
    assert parse_gripper('state:2.5,-1') == GripperChoice(('state',), 'linear', 2.5, -1.0)
    assert parse_gripper('action:aloha') == GripperChoice(('action',), 'aloha')


@pytest.mark.parametrize('text', ['open', 'left:as-is', '0,1', 'nan,1', '1', '1,inf'])
def test_malformed_grippers_are_refused(text):
    with pytest.raises(ValueError):
        parse_gripper(text)


def test_grippers_get_the_map_that_is_said(openpi, sizes, two_arms, said):
    checkpoint = open_checkpoint(openpi, sizes)
    words = (parse_gripper('state:inverted'), parse_gripper('action:50,0.5'))
    semantics, _ = checkpoint.semantics(two_arms, replace(said, grippers=words))
    assert semantics.state_grippers == tuple(GripperMap(i, 'linear', -1, 1) for i in (6, 13))
    assert semantics.action_grippers == tuple(GripperMap(i, 'linear', 50, 0.5) for i in (6, 13))
    with pytest.raises(UnstatedError, match='--gripper'):
        checkpoint.semantics(two_arms, replace(said, grippers=words[:1]))


def test_aloha_adaptation_brings_signs_and_grippers(openpi, sizes, two_arms, said):
    checkpoint = open_checkpoint(openpi, sizes)
    aloha = replace(said, adapt='aloha', grippers=())
    semantics, _ = checkpoint.semantics(two_arms, aloha)
    assert semantics.signs is not None
    assert semantics.signs.tolist() == [1, -1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1]
    assert semantics.state_grippers == semantics.action_grippers
    assert [(each.index, each.kind) for each in semantics.state_grippers] == [
        (6, 'aloha'),
        (13, 'aloha'),
    ]
    with pytest.raises(UnstatedError, match='--adapt aloha brings its own'):
        checkpoint.semantics(two_arms, replace(aloha, grippers=(parse_gripper('inverted'),)))


def test_quantiles_are_kept_where_they_are_used(openpi, sizes, two_arms, said):
    choices = replace(said, normalization='quantile')
    semantics, _ = open_checkpoint(openpi, sizes).semantics(two_arms, choices)
    assert semantics.normalization == 'quantile'
    assert semantics.action.mean is None
    assert (semantics.action.q99 > semantics.action.q01).all()


def test_asset_must_be_chosen_among_several_and_exist(openpi_copy, sizes, two_arms, said):
    shutil.copytree(openpi_copy / 'assets/two_arms', openpi_copy / 'assets/lab/other')
    checkpoint = open_checkpoint(openpi_copy, sizes)
    with pytest.raises(UnstatedError, match='--asset'):
        checkpoint.semantics(two_arms, said)
    with pytest.raises(UnstatedError, match='found nobody, expected one of lab/other, two_arms'):
        checkpoint.semantics(two_arms, replace(said, asset='nobody'))
    checkpoint.semantics(two_arms, replace(said, asset='lab/other'))
    shutil.rmtree(openpi_copy / 'assets')
    with pytest.raises(CheckpointError, match=r'found no norm_stats\.json'):
        checkpoint.semantics(two_arms, said)


def test_statistics_padded_to_the_model_are_cut_to_the_robot(openpi_copy, sizes, two_arms, said):
    path = openpi_copy / 'assets/two_arms/norm_stats.json'

    def pad(value: float) -> Any:
        def change(content: Any) -> None:
            for stats in content['norm_stats'].values():
                for key in stats:
                    stats[key] = [*stats[key][:14], *[value] * 4]

        return change

    alter(path, pad(0.0))
    checkpoint = open_checkpoint(openpi_copy, sizes)
    semantics, _ = checkpoint.semantics(two_arms, said)
    assert semantics.state.width == semantics.action.width == 14
    alter(path, pad(1.7))
    with pytest.raises(CheckpointError, match='18 values, the last 4 of them alive'):
        checkpoint.semantics(two_arms, said)


def test_robot_that_does_not_fit_is_refused(openpi, sizes, two_arms, said):
    checkpoint = open_checkpoint(openpi, sizes)
    with pytest.raises(CheckpointError, match=r'horizon: the policy plans 10 .* says 20'):
        checkpoint.semantics(replace(two_arms, horizon=20), said)
    with pytest.raises(CheckpointError, match='statistics of 14 values, the robot has 7'):
        checkpoint.semantics(replace(load_embodiment('ur5e'), horizon=10), said)


def test_slots_are_renamed_in_the_models_order(openpi, sizes, two_arms, said):
    cameras = tuple(replace(each, slot=f'my_{each.slot}') for each in two_arms.cameras)
    names = tuple(camera.slot for camera in cameras)
    checkpoint = open_checkpoint(openpi, sizes, slots=names)
    assert checkpoint.inputs.slots == names
    checkpoint.semantics(replace(two_arms, cameras=cameras), said)
    for wrong in (names[:2], (names[0], names[0], names[1])):
        with pytest.raises(CheckpointError, match='expected 3 names, for base_0_rgb'):
            open_checkpoint(openpi, sizes, slots=wrong)


def test_lerobot_says_all_of_it(lerobot_06, sizes, two_arms):
    semantics, notes = open_checkpoint(lerobot_06, sizes).semantics(two_arms, Choices())
    assert (semantics.normalization, semantics.eps) == ('zscore', 1e-8)
    assert np.flatnonzero(~semantics.relative).tolist() == [6, 13]
    stats = load_file(lerobot_06 / 'policy_preprocessor_step_6_normalizer_processor.safetensors')
    np.testing.assert_array_equal(semantics.action.mean, stats['action.mean'].double().numpy())
    np.testing.assert_array_equal(
        semantics.state.std, stats['observation.state.std'].double().numpy()
    )
    assert any('left_waist.pos → left_joint_1' in note for note in notes)


def test_older_lerobot_says_all_of_it_too(lerobot_04, lerobot_03, sizes, two_arms):
    for folder in (lerobot_04, lerobot_03):
        semantics, _ = open_checkpoint(folder, sizes).semantics(two_arms, Choices())
        assert not semantics.relative.any()
        assert (semantics.normalization, semantics.eps) == ('zscore', 1e-8)
        assert semantics.state.width == semantics.action.width == 14


def test_word_that_contradicts_lerobot_is_refused(lerobot_06, sizes, two_arms):
    checkpoint = open_checkpoint(lerobot_06, sizes)
    agreeing = Choices(actions='relative', normalization='zscore', adapt='none')
    checkpoint.semantics(two_arms, agreeing)
    wrong = Choices(actions='absolute', normalization='quantile', adapt='aloha', asset='x')
    with pytest.raises(UnstatedError) as caught:
        checkpoint.semantics(two_arms, wrong)
    assert len(str(caught.value).splitlines()) == 5
    assert "--actions: 'absolute', the checkpoint says 'relative'" in str(caught.value)


def step(content: Any, name: str) -> Any:
    return next(each for each in content['steps'] if each['registry_name'] == name)


PROCESSOR_EDITS: dict[str, tuple[str, Any, str]] = {
    'unknown step': (
        'pre',
        lambda c: c['steps'].append({'registry_name': 'crop_processor', 'config': {}}),
        "registry_name: found 'crop_processor'",
    ),
    'foreign class': (
        'pre',
        lambda c: c['steps'].append({'class': 'my.Step', 'config': {}}),
        r'found my\.Step, expected a step of lerobot itself',
    ),
    'other order': ('pre', lambda c: c['steps'].reverse(), 'expected the order of π0'),
    'no normaliser': ('pre', lambda c: c['steps'].pop(), 'found no normalizer_processor'),
    'no newline': ('pre', lambda c: c['steps'].pop(2), 'no newline step'),
    'half inputs': (
        'pre',
        lambda c: step(c, 'device_processor')['config'].update(float_dtype='float16'),
        "float_dtype: found 'float16', expected one of float32",
    ),
    'other exclusions': (
        'pre',
        lambda c: step(c, 'relative_actions_processor')['config'].update(exclude_joints=['waist']),
        r"relative_exclude_joints: \('waist',\) in policy_preprocessor.json, \('gripper',\) in",
    ),
    'relative off': (
        'pre',
        lambda c: step(c, 'relative_actions_processor')['config'].update(enabled=False),
        'absolute_actions_processor.enabled: found true, expected false',
    ),
    'absolute off': (
        'post',
        lambda c: step(c, 'absolute_actions_processor')['config'].update(enabled=False),
        'absolute_actions_processor.enabled: found false, expected true',
    ),
    'other mode': (
        'pre',
        lambda c: step(c, 'normalizer_processor')['config']['norm_map'].update(STATE='QUANTILES'),
        'norm_map: ',
    ),
    'statistics elsewhere': (
        'pre',
        lambda c: step(c, 'normalizer_processor').update(state_file='../x.safetensors'),
        r"state_file: found '../x.safetensors'",
    ),
    'no statistics': (
        'pre',
        lambda c: step(c, 'normalizer_processor').pop('state_file'),
        'state_file: found nothing, .*never fine-tuned has none',
    ),
    'tokenizer gone': (
        'pre',
        lambda c: step(c, 'tokenizer_processor')['config'].update(tokenizer_name='tok'),
        "tokenizer_name: found 'tok', and no such folder",
    ),
    'left padding': (
        'pre',
        lambda c: step(c, 'tokenizer_processor')['config'].update(padding_side='left'),
        "padding_side: found 'left'",
    ),
    'renamed to nothing': (
        'pre',
        lambda c: step(c, 'rename_observations_processor')['config'].update(
            rename_map={'observation.images.top': 'observation.images.nowhere'}
        ),
        'which is no input of this policy',
    ),
    'cameras in another order': (
        'pre',
        lambda c: step(c, 'normalizer_processor')['config'].update(
            features=dict(reversed(step(c, 'normalizer_processor')['config']['features'].items()))
        ),
        'cameras, in order',
    ),
}


@pytest.mark.parametrize('mistake', PROCESSOR_EDITS)
def test_processor_that_is_not_understood_or_contradicts_is_refused(lerobot_copy, sizes, mistake):
    which, change, message = PROCESSOR_EDITS[mistake]
    alter(lerobot_copy / f'policy_{which}processor.json', change)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(lerobot_copy, sizes)


def test_missing_processors_are_named(lerobot_copy, sizes):
    (lerobot_copy / 'policy_postprocessor.json').unlink()
    with pytest.raises(CheckpointError, match=r'policy_postprocessor\.json: found no such file'):
        open_checkpoint(lerobot_copy, sizes)
    open_checkpoint(lerobot_copy, sizes, actions=False)


@pytest.mark.parametrize(
    ('mode', 'pair'),
    [('QUANTILES', ('q01', 'q99')), ('MIN_MAX', ('min', 'max')), ('QUANTILE10', ('q10', 'q90'))],
)
def test_modes_that_map_bounds_to_one_are_quantiles(lerobot_copy, sizes, two_arms, mode, pair):
    modes = {'VISUAL': 'IDENTITY', 'STATE': mode, 'ACTION': mode}
    alter(lerobot_copy / 'config.json', lambda c: c.update(normalization_mapping=modes))
    names = {'pre': 'normalizer_processor', 'post': 'unnormalizer_processor'}
    for which, name in names.items():
        alter(
            lerobot_copy / f'policy_{which}processor.json',
            lambda c, name=name: step(c, name)['config'].update(norm_map=modes),
        )
    semantics, _ = open_checkpoint(lerobot_copy, sizes).semantics(two_arms, Choices())
    stats = load_file(lerobot_copy / 'policy_preprocessor_step_6_normalizer_processor.safetensors')
    assert semantics.normalization == 'quantile'
    for found, key in zip((semantics.action.q01, semantics.action.q99), pair, strict=True):
        np.testing.assert_array_equal(found, stats[f'action.{key}'].double().numpy())


def test_modes_that_differ_between_state_and_action_are_refused(lerobot_copy, sizes):
    modes = {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'IDENTITY'}
    alter(lerobot_copy / 'config.json', lambda c: c.update(normalization_mapping=modes))
    with pytest.raises(CheckpointError, match='a bundle has one formula for both'):
        open_checkpoint(lerobot_copy, sizes)


def test_statistics_of_both_processors_must_be_the_same(lerobot_copy, sizes):
    path = lerobot_copy / 'policy_postprocessor_step_0_unnormalizer_processor.safetensors'
    stats = load_file(path)
    stats['action.mean'][3] += 1e-3
    save_file(stats, path)
    with pytest.raises(CheckpointError, match=r'action\.mean: different values'):
        open_checkpoint(lerobot_copy, sizes)


def test_actions_in_another_order_than_the_robots_are_refused(lerobot_06, sizes, two_arms):
    names = json.loads((lerobot_06 / 'config.json').read_text())['action_feature_names']
    assert names is not None

    def named(robot: Embodiment, order: list[str]) -> Embodiment:
        groups = tuple(
            replace(
                group,
                joints=tuple(replace(each, name=order[each.index]) for each in group.joints),
            )
            for group in robot.actions
        )
        return replace(robot, actions=groups)

    checkpoint = open_checkpoint(lerobot_06, sizes)
    checkpoint.semantics(named(two_arms, names), Choices())
    swapped = [*names[7:], *names[:7]]
    with pytest.raises(CheckpointError, match='order of the actions'):
        checkpoint.semantics(named(two_arms, swapped), Choices())


LEGACY_EDITS = {
    'aloha': ({'adapt_to_pi_aloha': True}, r'gripper map \(0\.4 … 1\.5 rad\)'),
    'delta': ({'use_delta_joint_actions_aloha': True}, 'use_delta_joint_actions_aloha'),
    'horizon': ({'n_action_steps': 5}, 'samples n_action_steps actions'),
    'width': ({'proj_width': 40}, r'expert.width: 40 in .*, 48 in the architecture file'),
    'no resize': ({'resize_imgs_with_padding': None}, 'resize_imgs_with_padding: found nothing'),
    'unknown': ({'new_trick': 1}, 'new_trick: found an unknown key'),
}


@pytest.mark.parametrize('mistake', LEGACY_EDITS)
def test_old_configuration_that_is_not_supported_is_refused(lerobot_03, sizes, tmp_path, mistake):
    change, message = LEGACY_EDITS[mistake]
    folder = Path(shutil.copytree(lerobot_03, tmp_path / 'ckpt'))
    alter(folder / 'config.json', lambda content: content.update(change))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder, sizes)


def test_old_statistics_that_were_never_filled_in_are_refused(
    lerobot_03, sizes, two_arms, tmp_path
):
    folder = Path(shutil.copytree(lerobot_03, tmp_path / 'ckpt'))
    tensors = load_file(folder / 'model.safetensors')
    for name in tensors:
        if 'buffer_action' in name:
            tensors[name].fill_(float('inf'))
    save_file(tensors, folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'action.mean\[0\] is inf'):
        open_checkpoint(folder, sizes).semantics(two_arms, Choices())
