"""``pizero evaluate`` asked wrongly: said at once, and nothing is started or left behind."""

from __future__ import annotations

import re

import pytest

from pizero_ros.cli.evaluate_arguments import identity_of
from pizero_ros.cli.main import main
from pizero_ros.policy.manifest import MANIFEST_FILE
from pizero_ros.resources import config_dir

HOLD = ('--baseline', 'hold')
ARM = ('--embodiment', 'sim_single_arm')


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        ((*HOLD, *ARM, '--seed', '12'), 'expected a seed from 1000000 to 1999999'),
        ((*HOLD, *ARM, '--seed', '1999999'), 'expected a seed from 1000000 to 1999999'),
        ((*HOLD, *ARM, '--trials', '0'), '--trials: found 0, expected 1 to 1000'),
        ((*HOLD, *ARM, '--speed', '2'), '--speed: found 2.0, expected 0.05 to 1'),
        ((*HOLD, *ARM, '--size', '8'), '--size: found 8, expected 16 to 1024'),
        ((*HOLD, *ARM, '--task', 'touch_rde'), "found 'touch_rde'"),
        ((*HOLD, *ARM, '--condition', 'human'), 'expected two-step tasks'),
        ((*HOLD, '--embodiment', 'ur5e'), 'ur5e'),
        ((*HOLD, '--embodiment', 'nobody'), 'nobody'),
        (ARM, 'expected a bundle, --policy or --baseline'),
        ((*ARM, '--policy', 'ours'), 'expected NAME=DIR'),
        ((*ARM, '--policy', 'hold=b'), 'found a name that is taken'),
        ((*ARM, '--policy', 'a/b=b'), 'found no name'),
        ((*ARM, '--bundle', 'nothing/there'), 'there: found no policy.yaml'),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(tmp_path, capsys, words, told):
    assert main(['evaluate', *words, '--out', str(tmp_path / 'out')]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_robot_that_is_named_twice_is_refused(tmp_path, capsys):
    again = str(config_dir() / 'embodiments' / 'sim_single_arm.yaml')
    words = (*HOLD, *ARM, '--embodiment', again)
    assert main(['evaluate', *words, '--out', str(tmp_path / 'out')]) == 2
    assert 'expected each robot once' in capsys.readouterr().err


def test_a_policy_is_what_it_does_and_not_when_it_was_exported(tiny_bundle, tmp_path):
    manifest = (tiny_bundle / MANIFEST_FILE).read_text()
    (created,) = re.findall(r"created: '?([^'\n]+)", manifest)
    found = []
    for text in (
        manifest,
        manifest.replace(created, '2020-01-01T00:00:00+00:00'),
        manifest.replace('steps: 10', 'steps: 9'),
    ):
        (tmp_path / MANIFEST_FILE).write_text(text)
        found.append(identity_of(tmp_path))
    assert found[0] == found[1] != found[2]


def test_a_task_of_another_robot_is_left_out_and_one_of_none_is_refused(tmp_path, capsys):
    robots = (*ARM, '--embodiment', 'sim_mobile')
    words = (*HOLD, *robots, '--task', 'drive_red', '--task', 'drive_rde')
    assert main(['evaluate', *words, '--out', str(tmp_path / 'out')]) == 2
    assert "found 'drive_rde'" in capsys.readouterr().err


def test_a_folder_with_other_things_in_it_is_refused(tmp_path, capsys):
    (tmp_path / 'thesis.tex').touch()
    assert main(['evaluate', *HOLD, *ARM, '--out', str(tmp_path)]) == 2
    assert 'a folder with other things in it' in capsys.readouterr().err
