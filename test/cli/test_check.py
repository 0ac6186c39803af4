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
