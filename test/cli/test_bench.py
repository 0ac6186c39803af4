"""``pizero bench``: what it prints, writes and refuses; never how long anything took."""

from __future__ import annotations

import json

import pytest

from pizero_ros.bench import roofline
from pizero_ros.cli.main import main

pytest.importorskip('torch', reason='exporting needs PyTorch (extra `train`)')

ROBOT = ['preprocess', 'observe', 'denoise step', 'denoise', 'postprocess', 'whole', 'chunk']


@pytest.fixture(scope='module')
def mini_bundle(mini_architecture, tmp_path_factory):
    out = tmp_path_factory.mktemp('bundles') / 'mini'
    words = ['export', '--random', str(mini_architecture), '--embodiment', 'sim_single_arm']
    assert main([*words, '--out', str(out), '--prompt', 'go', '--steps', '4']) == 0
    return out


@pytest.fixture
def quick_roof(monkeypatch):
    """Measure the machine in no time, and badly."""
    monkeypatch.setattr(roofline, '_SECONDS', 0.0)
    monkeypatch.setattr(roofline, '_PRODUCTS', {'cpu': (roofline._Product(32, 64, 2),)})
    monkeypatch.setattr(roofline, '_COPIED_BYTES', {'cpu': 1 << 16})


def test_every_phase_and_the_ratio_to_torch_are_reported(mini_bundle, tmp_path, capsys):
    out = tmp_path / 'bench.json'
    words = ['bench', str(mini_bundle), '--runs', '3', '--cameras', '2', '--tokens', '5']
    words += ['--provider', 'cpu']
    assert main([*words, '--baseline', 'torch', '--json', str(out)]) == 0
    result = json.loads(out.read_text())
    assert list(result['latency_ms']) == [*ROBOT, 'whole in eager torch']
    for row in result['latency_ms'].values():
        assert 0 < row['p50'] <= row['p95'] <= row['p99']
    assert (result['cameras'], result['tokens'], result['steps']) == (2, 5, 4)
    assert (result['provider'], result['variant']) == ('cpu', 'cpu')
    assert result['torch_over_bundle'] > 0
    assert result['peak_rss_bytes'] > 1e7
    assert 'scale' not in result
    assert 'roofline' not in result
    printed = capsys.readouterr().out
    assert 'denoise step' in printed
    assert 'eager torch takes' in printed


def test_scaling_roofline_and_picture(mini_bundle, tmp_path, capsys, quick_roof):
    out, picture = tmp_path / 'bench.json', tmp_path / 'bench.png'
    words = ['bench', str(mini_bundle), '--runs', '2', '--provider', 'cpu', '--threads', '1']
    words += ['--scale', 'cameras', 'steps', '--roofline', '--plot', str(picture)]
    assert main([*words, '--json', str(out)]) == 0
    result = json.loads(out.read_text())
    assert [point['cameras'] for point in result['scale']['cameras']] == [1, 2, 3]
    assert [point['steps'] for point in result['scale']['steps']] == [1, 2, 5, 10, 20]
    for point in result['scale']['cameras']:
        assert list(point['latency_ms']) == ROBOT
        assert (point['tokens'], point['steps']) == (32, 4)
    roof = result['roofline']
    assert roof['threads'] == 1
    assert list(roof['phases']) == ['observe', 'denoise step', 'denoise', 'whole']
    for name, row in roof['phases'].items():
        assert row['measured_ms'] == result['latency_ms'][name]['p50']
        assert row['gflop_s'] == pytest.approx(1e3 * row['gflop'] / row['measured_ms'])
    assert picture.read_bytes().startswith(b'\x89PNG')
    printed = capsys.readouterr().out
    assert 'over cameras, ms' in printed
    assert 'GB/s copied' in printed


def test_a_model_only_bundle_has_no_phases_of_a_robot(mini_architecture, tmp_path):
    bundle, out = tmp_path / 'bundle', tmp_path / 'bench.json'
    words = ['export', '--random', str(mini_architecture), '--model-only', '--out', str(bundle)]
    assert main(words) == 0
    assert main(['bench', str(bundle), '--runs', '1', '--json', str(out)]) == 0
    latency = json.loads(out.read_text())['latency_ms']
    assert list(latency) == ['observe', 'denoise step', 'denoise', 'whole']


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--cameras', '4'], '--cameras: found 4, expected at most 3'),
        (['--tokens', '33'], '--tokens: found 33, expected at most 32'),
        (['--plot', 'bench.svg'], 'expected a file whose name ends in .png'),
        (['--plot', 'nowhere/bench.png'], 'expected a folder that exists'),
        (['--scale', 'horizon'], 'horizon'),
        (['--runs', '0'], '--runs'),
    ],
)
def test_wrong_usage_is_refused(mini_bundle, words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['bench', str(mini_bundle), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_robot_that_the_bundle_does_not_know_is_a_finding(mini_bundle, capsys):
    assert main(['bench', str(mini_bundle), '--embodiment', 'ur5e']) == 1
    assert 'ur5e' in capsys.readouterr().err


def test_a_variant_that_the_bundle_lacks_is_an_error_and_no_figures(mini_bundle, capsys):
    assert main(['bench', str(mini_bundle), '--variant', 'cpu_int8', '--runs', '1']) != 0
    captured = capsys.readouterr()
    assert 'cpu_int8' in captured.err
    assert 'denoise step' not in captured.out
