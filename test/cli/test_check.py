from __future__ import annotations

import json

from pizero_ros.cli.main import main


def test_good_bundle_passes_with_its_robot(tiny_bundle, tmp_path, capsys):
    out = tmp_path / 'check.json'
    words = ['check', str(tiny_bundle), '--embodiment', 'sim_mobile', '--json', str(out)]
    assert main(words) == 0
    result = json.loads(out.read_text())
    assert result['passed']
    assert result['embodiment'] == 'sim_mobile'
    subjects = {each['subject']: each['severity'] for each in result['findings']}
    assert subjects['parity'] == subjects['files'] == subjects['dry run'] == 'ok'
    assert subjects['weights'] == 'warning'
    assert '50 x 18 finite actions' in capsys.readouterr().out


def test_wrong_robot_is_a_finding(tiny_bundle, tmp_path, capsys):
    out = tmp_path / 'check.json'
    words = ['check', str(tiny_bundle), '--embodiment', 'aloha', '--json', str(out)]
    assert main(words) == 1
    result = json.loads(out.read_text())
    assert not result['passed']
    assert [each['subject'] for each in result['findings'] if each['severity'] == 'error'] == [
        'embodiment'
    ]
    assert 'fail' in capsys.readouterr().out


def test_damaged_bundle_is_a_finding(tiny_copy, capsys):
    (tiny_copy / 'observe.onnx').write_bytes(b'')
    assert main(['check', str(tiny_copy)]) == 1
    assert 'observe.onnx' in capsys.readouterr().out


def test_unknown_robot_and_absent_bundle_are_wrong_usage(tiny_bundle, tmp_path, capsys):
    assert main(['check', str(tiny_bundle), '--embodiment', 'nobody']) == 2
    assert main(['check', str(tmp_path / 'absent')]) == 2
    assert 'expected a bundle folder' in capsys.readouterr().err


def test_graphs_that_are_not_the_reference_are_held_against_it(tmp_path, capsys):
    out = tmp_path / 'bundle'
    words = ['export', '--random', 'tiny', '--model-only', '--variant', 'cpu_int8']
    assert main([*words, '--out', str(out)]) == 0
    assert 'variant cpu_int8 (int8): largest error' in capsys.readouterr().out
    report = tmp_path / 'report.json'
    given = ['check', str(out), '--json', str(report)]
    assert main([*given, '--variant', 'cpu_int8']) == 0
    found = {each['subject']: each for each in json.loads(report.read_text())['findings']}
    assert found['against the reference']['severity'] == 'ok'
    assert 'cpu_int8 loaded on cpu' in found['graphs']['message']
    assert main(given) == 0
    assert 'against the reference' not in report.read_text()
    assert main([*given, '--variant', 'cuda']) == 1
    assert '--variant cuda' in report.read_text()
