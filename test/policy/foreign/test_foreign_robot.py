"""A chunk policy and a robot: what does not fit is said before the graph runs."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.cli.main import main
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError
from pizero_ros.policy.opened import open_policy
from pizero_ros.policy.predictor import ChunkPredictor


@pytest.fixture
def half_blind(act_copy, edit):
    """The ACT-like policy whose graph reads a constant in place of its first camera."""
    onnx = pytest.importorskip('onnx', reason='altering graphs needs onnx (extra `train`)')
    model = onnx.load(act_copy / 'act.onnx')
    for node in model.graph.node:
        node.input[:] = ['black' if name == 'top' else name for name in node.input]
    black = onnx.numpy_helper.from_array(np.zeros((1, 3, 36, 44), np.float32), 'black')
    model.graph.initializer.append(black)
    (act_copy / 'act.onnx.data').unlink()
    onnx.save(model, act_copy / 'act.onnx')
    digest = hashlib.sha256((act_copy / 'act.onnx').read_bytes()).hexdigest()
    edit(act_copy, lambda document: document.update(files={'act.onnx': digest}))
    return act_copy


@pytest.mark.parametrize(
    ('change', 'fragments'),
    [
        (
            lambda d: d.update(embodiment='aloha'),
            ['embodiment: found aloha, expected sim_single_arm'],
        ),
        (
            lambda d: d['images'][1].update(slot='left_wrist_rgb'),
            ['images[1].slot: found left_wrist_rgb', "Did you mean 'left_wrist_0_rgb'?"],
        ),
        (
            lambda d: d['state']['indices'].__setitem__(0, 7),
            ['state.indices[0]: found 7, expected the index of a state joint'],
        ),
        (
            lambda d: d['output'].update(indices=[1, 0, 2, 3, 4, 5, 9], relative=[False] * 7),
            [
                'output.indices: found nothing for gripper_joint (6)',
                'output.indices[6]: found 9, expected the index of an action joint',
            ],
        ),
    ],
)
def test_what_does_not_fit_the_robot_is_named(act_copy, edit, robot, change, fragments):
    edit(act_copy, lambda d: d['output'].update(relative=[False] * 7))
    edit(act_copy, change)
    with pytest.raises(BundleError) as caught:
        open_policy(act_copy, robot, 'cpu')
    for fragment in ['policy.yaml', *fragments]:
        assert fragment in str(caught.value)


def test_action_relative_to_a_velocity_is_refused(act, robot):
    source = robot.state[0]
    joints = (source.joints[0], replace(source.joints[1], field='velocity'), *source.joints[2:])
    moving = replace(robot, state=(replace(source, joints=joints),))
    with pytest.raises(BundleError, match=r'output.relative\[2\].* velocity of joint_2'):
        open_policy(act.folder, moving, 'cpu')


def test_another_rate_is_a_warning(diffusion, robot, caplog):
    with caplog.at_level(logging.WARNING):
        assert open_policy(diffusion.folder, robot, 'cpu').rate_hz == 10
    assert '16 actions at 10 Hz, 1.60 s' in caplog.text
    assert '50 Hz' in caplog.text


def test_pi0_bundle_opens_as_before_with_its_noise_and_steps(tiny_bundle, policy, robot, observe):
    observation = replace(observe(), prompt='stack the blocks')
    opened = open_policy(tiny_bundle, robot, 'cpu', threads=1, steps=3)
    assert isinstance(opened, ChunkPredictor)
    expected = ChunkPredictor(policy, robot, steps=3)(observation)
    np.testing.assert_array_equal(opened(observation).actions, expected.actions)


def test_pi0_bundle_for_another_robot_and_no_folder_at_all_are_refused(tiny_bundle, tmp_path):
    with pytest.raises(BundleError, match='expected aloha'):
        open_policy(tiny_bundle, load_embodiment('aloha'), 'cpu')
    with pytest.raises(BundleError, match='expected a bundle folder'):
        open_policy(tmp_path / 'absent', load_embodiment('aloha'), 'cpu')


@pytest.mark.parametrize('name', ['act', 'diffusion'])
def test_check_says_what_it_is_and_runs_it(name, request, tmp_path, capsys):
    folder = request.getfixturevalue(name).folder
    out = tmp_path / 'check.json'
    words = ['check', str(folder), '--embodiment', 'sim_single_arm', '--json', str(out)]
    assert main(words) == 0
    result = json.loads(out.read_text())
    found = {each['subject']: each for each in result['findings']}
    assert result['passed']
    assert 'for evaluation, no robot runs it' in found['chunk policy']['message']
    rows = {'act': 28, 'diffusion': 16}[name]
    assert found['dry run']['message'] == f'{rows} x 7 finite actions from the neutral pose'
    assert found['timing']['severity'] == {'act': 'ok', 'diffusion': 'warning'}[name]
    assert f'{name}_like' in capsys.readouterr().out


def test_input_without_effect_is_a_warning(half_blind, robot, caplog, capsys):
    with caplog.at_level(logging.WARNING):
        open_policy(half_blind, robot, 'cpu')
    assert 'input top has no effect on the chunk' in caplog.text
    assert main(['check', str(half_blind), '--embodiment', 'sim_single_arm']) == 0
    assert 'top has no effect' in capsys.readouterr().out


def test_check_without_a_robot_loads_the_graph(act, capsys):
    assert main(['check', str(act.folder)]) == 0
    assert 'loaded on cpu' in capsys.readouterr().out


def test_check_fails_on_another_robot_and_on_a_mistake(act_copy, edit, capsys):
    assert main(['check', str(act_copy), '--embodiment', 'ur5e']) == 1
    assert 'expected ur5e' in ''.join(capsys.readouterr().out.split('\n'))
    edit(act_copy, lambda d: d.pop('rate_hz'))
    assert main(['check', str(act_copy)]) == 1
    assert 'rate_hz' in capsys.readouterr().out
