from __future__ import annotations

import json

import pytest

from pizero_ros.cli.main import main

pytest.importorskip('torch', reason='exporting needs PyTorch (extra `train`)')


@pytest.fixture(scope='module')
def mini_bundle(mini_architecture, tmp_path_factory):
    out = tmp_path_factory.mktemp('bundles') / 'mini'
    words = ['export', '--random', str(mini_architecture), '--embodiment', 'sim_single_arm']
    result = out.with_name('export.json')
    words += ['--out', str(out), '--prompt', 'go', '--steps', '4', '--json', str(result)]
    assert main(words) == 0
    return out, json.loads(result.read_text())


def test_export_says_what_it_wrote(mini_bundle):
    out, result = mini_bundle
    assert result['embodiments'] == ['sim_single_arm']
    assert result['slots'] == ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb']
    assert result['max_abs_error']['velocity'] < 1e-4
    assert sorted(path.name for path in out.iterdir()) == [
        'denoise.onnx',
        'observe.onnx',
        'parity.json',
        'policy.yaml',
    ]
    assert main(['check', str(out), '--embodiment', 'sim_single_arm']) == 0


def test_bundle_in_the_way_is_wrong_usage(mini_bundle, mini_architecture, capsys):
    out, _ = mini_bundle
    words = ['export', '--random', str(mini_architecture), '--model-only', '--out', str(out)]
    assert main(words) == 2
    assert '--force' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words',
    [
        ['--out', 'x', '--model-only'],
        ['--out', 'x', '--random', 'tiny'],
        ['--out', 'x', '--random', 'tiny', '--model-only', '--embodiment', 'ur5e'],
        ['--out', 'x', '--random', 'huge', '--model-only'],
        ['--out', 'x', '--random', 'tiny', '--embodiment', 'nobody'],
        ['--out', 'x', '--random', 'tiny', '--model-only', '--seed', '-1'],
    ],
)
def test_export_refuses_wrong_usage(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['export', *words]) == 2
    assert capsys.readouterr().err
    assert not (tmp_path / 'x').exists()
