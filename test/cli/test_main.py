from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pizero_ros.cli import main as cli
from pizero_ros.cli.main import VERBS, main
from pizero_ros.errors import BundleError, EnvironmentFault

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_verb(capsys):
    assert main(['--help']) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize('verb', VERBS)
def test_each_verb_has_help(verb, capsys):
    assert main([verb, '--help']) == 0
    assert '--json FILE' in capsys.readouterr().out


def test_help_needs_neither_torch_nor_onnxruntime_nor_numpy():
    code = (
        'import sys; from pizero_ros.cli.main import main; main(["--help"]);'
        "print([m for m in ('torch', 'onnxruntime', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == '[]'


def test_verbs_on_a_bundle_do_not_import_torch(tiny_bundle):
    code = (
        'import sys; from pizero_ros.cli.main import main;'
        'status = main(["check", sys.argv[1], "--embodiment", "sim_single_arm"]);'
        "print(status, [m for m in ('torch', 'rclpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, tiny_bundle],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == '0 []'


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out.startswith('pizero ')


@pytest.mark.parametrize('words', [[], ['fly'], ['check'], ['bench', 'x', '--runs', '0']])
def test_wrong_usage_exits_2(words, capsys):
    assert main(words) == 2
    assert 'usage: pizero' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (KeyboardInterrupt(), 130),
        (BundleError('the bundle is damaged'), 1),
        (EnvironmentFault('no provider'), 2),
    ],
)
def test_errors_become_a_line_and_a_status(monkeypatch, capsys, error, status):
    from pizero_ros.cli import check

    def run(_):
        raise error

    monkeypatch.setattr(check, 'run', run)
    assert main(['check', 'bundle']) == status
    assert capsys.readouterr().err == (f'pizero check: {error}\n' if str(error) else '')


def test_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, '-m', 'pizero_ros.cli.main', 'check', '/nonexistent'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert 'found nothing, expected a bundle folder' in done.stderr
    assert 'Traceback' not in done.stderr


def test_completion_knows_the_options_of_every_verb(monkeypatch):
    monkeypatch.setenv('_ARGCOMPLETE', '1')
    parser = cli._parser([])
    verbs = parser._subparsers._group_actions[0].choices
    assert '--embodiment' in verbs['check'].format_help()
    assert '--baseline' in verbs['bench'].format_help()
