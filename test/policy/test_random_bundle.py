from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('torch')

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import ExportError, PromptError
from pizero_ros.export import bundle as export_bundle
from pizero_ros.export.bundle import slots_of, write_bundle
from pizero_ros.export.random_bundle import random_model_spec, random_semantics
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.model.pi0 import Pi0
from pizero_ros.policy.bundle import Bundle


@pytest.fixture(scope='module')
def tiny():
    return read_architecture(architecture_path('tiny'))


def write(architecture, out, **options):
    return write_bundle(
        Pi0.random(architecture, 0),
        random_model_spec(architecture, ['base_0_rgb']),
        out,
        semantics={},
        kind='random',
        source='tiny',
        **options,
    )


def test_arm_actions_centre_on_the_neutral_pose(tiny):
    robot = load_embodiment('sim_single_arm')
    semantics = random_semantics(robot, tiny)
    np.testing.assert_allclose(semantics.action.mean[:6], [0, -0.4, 0.9, 0, 0.6, 0])
    np.testing.assert_allclose(semantics.action.std[0], 5.2 / 20)
    np.testing.assert_allclose(semantics.state.mean[:6], [0, -0.4, 0.9, 0, 0.6, 0])
    np.testing.assert_allclose(semantics.state.std[0], 6.4 / 8)
    assert not semantics.relative.any()


def test_gripper_and_twist_have_their_own_rules(tiny):
    semantics = random_semantics(load_embodiment('sim_mobile'), tiny)
    np.testing.assert_allclose(semantics.action.mean[[6, 13]], 0.02)
    np.testing.assert_allclose(semantics.action.std[[6, 13]], 0.005)
    np.testing.assert_allclose(semantics.action.mean[14:17], 0)
    np.testing.assert_allclose(semantics.action.std[14:17], [0.125, 0.125, 0.25])
    assert semantics.state.width == semantics.action.width == 18


def test_statistics_follow_sign_scale_and_offset(tiny):
    robot = load_embodiment('sim_single_arm')
    arm = robot.actions[0]
    joints = tuple(replace(joint, sign=-1, scale=2.0, offset=0.5) for joint in arm.joints)
    changed = replace(robot, actions=(replace(arm, joints=joints), *robot.actions[1:]))
    semantics = random_semantics(changed, tiny)
    np.testing.assert_allclose(semantics.action.mean[1], -2 * -0.4 + 0.5)
    np.testing.assert_allclose(semantics.action.std[1], 2 * 3.8 / 20)


def test_quantiles_agree_with_mean_and_deviation(tiny):
    action = random_semantics(load_embodiment('sim_dual_arm'), tiny).action
    np.testing.assert_allclose((action.q01 + action.q99) / 2, action.mean, atol=1e-12)
    np.testing.assert_allclose((action.q99 - action.q01) / action.std, 4.6527, atol=1e-4)


def test_relative_actions_are_those_of_arms_and_torso_that_the_state_holds(tiny):
    semantics = random_semantics(load_embodiment('sim_mobile'), tiny, 'relative')
    arms_and_torso = [*range(6), *range(7, 13), 17]
    np.testing.assert_array_equal(np.flatnonzero(semantics.relative), arms_and_torso)
    np.testing.assert_array_equal(semantics.action.mean[arms_and_torso], 0)
    np.testing.assert_allclose(semantics.action.mean[6], 0.02)


def test_robot_of_another_horizon_or_too_wide_is_refused(tiny):
    robot = load_embodiment('sim_mobile')
    with pytest.raises(ExportError, match='horizon: found 25, expected 50'):
        random_semantics(replace(robot, horizon=25), tiny)
    with pytest.raises(ExportError, match='state: found 18 values, expected at most 14'):
        random_semantics(robot, replace(tiny, state_dim=14))


def test_slots_are_in_canonical_order_and_others_last():
    robot = load_embodiment('sim_single_arm')
    base, left, right = robot.cameras
    mixed = replace(robot, cameras=(right, replace(left, slot='roof'), base))
    assert slots_of([mixed]) == ('base_0_rgb', 'right_wrist_0_rgb', 'roof')
    assert slots_of([mixed, robot])[:3] == ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')


def test_named_prompts_are_baked_in_and_long_ones_refused(tiny):
    spec = random_model_spec(tiny, ['base_0_rgb'], prompts=['go'])
    assert spec.prompt.named == {'go': (2, ord('g') + 4, ord('o') + 4, 3)}
    with pytest.raises(PromptError):
        random_model_spec(tiny, ['base_0_rgb'], prompts=['x' * 70])
    small = replace(tiny, vocabulary=100)
    assert random_model_spec(small, ['base_0_rgb']).prompt.tokenizer == 'none'
    with pytest.raises(ExportError, match='vocabulary: found 100'):
        random_model_spec(small, ['base_0_rgb'], prompts=['go'])


@pytest.fixture
def exported_before(tiny_bundle, monkeypatch):
    """Take graphs and proof from an export of the same policy: tracing is not under test here."""

    def copy_graphs(_, folder, **__):
        for name in ('observe.onnx', 'denoise.onnx'):
            shutil.copy(tiny_bundle / name, folder)

    proof = json.loads((tiny_bundle / 'parity.json').read_text())
    monkeypatch.setattr(export_bundle, 'export_graphs', copy_graphs)
    monkeypatch.setattr(export_bundle, 'prove', lambda *_, **__: proof)


def test_bundle_appears_whole_under_its_name(tiny, tmp_path, exported_before):
    out = tmp_path / 'deep' / 'bundle'
    written = write(tiny, out)
    assert written.manifest.model_only
    assert Bundle.open(out).manifest == written.manifest
    assert [each.name for each in out.parent.iterdir()] == ['bundle']


def test_bundle_is_replaced_only_on_demand(tiny, tmp_path, exported_before):
    out = tmp_path / 'bundle'
    write(tiny, out)
    with pytest.raises(ExportError, match='--force replaces a bundle'):
        write(tiny, out)
    write(tiny, out, force=True, seed=3)
    assert Bundle.open(out).manifest.provenance.seed == 3
    assert [each.name for each in tmp_path.iterdir()] == ['bundle']


def test_export_that_fails_leaves_what_was_there(tiny, tmp_path, exported_before, monkeypatch):
    out = tmp_path / 'bundle'
    before = write(tiny, out)

    def fail(*_, **__):
        raise ExportError('no parity')

    monkeypatch.setattr(export_bundle, 'prove', fail)
    for target in (out, tmp_path / 'new'):
        with pytest.raises(ExportError, match='no parity'):
            write(tiny, target, force=True)
    assert Bundle.open(out).manifest == before.manifest
    assert [each.name for each in tmp_path.iterdir()] == ['bundle']


@pytest.mark.parametrize('force', [False, True])
def test_a_folder_that_is_no_bundle_is_never_replaced(tiny, tmp_path, force):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ExportError, match='not even with --force'):
        write(tiny, tmp_path, force=force)
    assert (tmp_path / 'notes.txt').read_text() == 'mine'
