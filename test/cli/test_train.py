"""``pizero train`` on real recordings: a run, its interruption, what it leaves, and mistakes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from bags import demonstration, write, write_embodiment

from pizero_ros.cli.main import main

ROOT = Path(__file__).parents[2]

ARCHITECTURE = """\
schema: 1
vision: {image_size: 28, patch: 14, width: 16, depth: 1, mlp: 24, heads: 2}
vlm: {width: 16, depth: 2, mlp: 24, heads: 2, kv_heads: 1, head_dim: 8}
expert: {width: 16, depth: 2, mlp: 24, heads: 2, kv_heads: 1, head_dim: 8}
vocabulary: 300
max_tokens: 24
state_dim: 18
action_dim: 18
horizon: 10
min_period: 0.004
max_period: 4.0
"""


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A robot, an architecture and three recordings of it, which no test alters."""
    folder = tmp_path_factory.mktemp('data')
    write_embodiment(folder)
    (folder / 'small_model.yaml').write_text(ARCHITECTURE)
    for number in range(3):
        write(folder / 'pick' / f'pick{number}', demonstration(24 + 2 * number))
    return folder


@pytest.fixture
def configured(data: Path, tmp_path: Path):
    """Write a configuration with changes and return its path."""

    def write_config(name: str = 'config', **changes) -> Path:
        values = {
            'schema': 1,
            'out': str(tmp_path / 'run'),
            'data': {
                'sources': [
                    {
                        'path': str(data / 'pick'),
                        'embodiment': str(data / 'small.yaml'),
                        'task': 'pick',
                    }
                ],
                'actions': 'relative',
                'validation_share': 0.3,
                'cache': str(data / 'cache'),
            },
            'model': {'architecture': str(data / 'small_model.yaml'), 'init': 'random'},
            'steps': 6,
            'batch': 4,
            'optimizer': {'learning_rate': 3.0e-3, 'warm_up': 1},
            'validation': {'every': 3, 'batches': 1},
            'save': {'every': 2, 'keep': 2},
            'threads': 1,
        }
        for key, value in changes.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        path = tmp_path / f'{name}.yaml'
        path.write_text(yaml.safe_dump(values))
        return path

    return write_config


def losses(run: Path) -> list[str]:
    with (run / 'loss.csv').open() as stream:
        return [row['loss'] for row in csv.DictReader(stream)]


def train(config: Path, *words: str) -> int:
    return main(['train', str(config), '--device', 'cpu', *words])


def test_a_run_stopped_by_steps_goes_on_and_reports(configured, tmp_path, capsys):
    config = configured()
    whole = tmp_path / 'whole'
    assert train(config, '--out', str(whole)) == 0
    assert train(config, '--steps', '3') == 0
    assert 'go on with --resume' in capsys.readouterr().out
    report = tmp_path / 'report.json'
    assert train(config, '--resume', '--json', str(report)) == 0
    assert losses(tmp_path / 'run') == losses(whole)
    result = json.loads(report.read_text())
    assert (result['steps'], result['stopped'], result['held_out']) == (6, False, 1)
    assert result['pairs'] == [{'name': 'pick on small', 'episodes': 2, 'samples': 52}]
    assert result['checkpoint'] == str(tmp_path / 'run/checkpoints/000006')
    assert f'{result["loss"]!r}' == losses(whole)[-1]
    assert (whole / 'config.yaml').read_text() == config.read_text()
    assert (whole / 'curves.png').read_bytes()[1:4] == b'PNG'


def test_ctrl_c_saves_the_step_and_resume_gives_the_same_curve(configured, tmp_path):
    config = configured(steps=400, save={'every': 1000}, validation={'every': 1000})
    run = tmp_path / 'run'
    words = [sys.executable, '-m', 'pizero_ros.cli.main', 'train', str(config), '--device', 'cpu']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith('step 20 of 400'):
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    done = int((run / 'checkpoints/last').resolve().name)
    assert 20 <= done < 400
    before = losses(run)
    assert len(before) == done
    assert train(config, '--resume', '--steps', str(done + 3)) == 0
    assert losses(run)[:done] == before
    assert train(config, '--out', str(tmp_path / 'whole'), '--steps', str(done + 3)) == 0
    assert losses(run) == losses(tmp_path / 'whole')


def test_a_dry_run_computes_a_batch_and_begins_nothing(configured, tmp_path, capsys):
    assert train(configured(), '--dry-run') == 0
    out = capsys.readouterr().out
    assert 'pick on small: 2 episodes, 52 samples' in out
    assert re.search(r'loss of the first batch \d\.\d{4}', out)
    assert not (tmp_path / 'run').exists()


def test_post_training_starts_from_the_averaged_weights_and_keeps_the_units(
    configured, tmp_path, capsys
):
    assert train(configured()) == 0
    first = tmp_path / 'run/checkpoints/last'
    # All three recordings, whose statistics are not those of the two before.
    changes = {'model': {'init': 'run', 'from': str(tmp_path / 'run')}, 'steps': 2}
    more = {'validation_share': 0.0}
    later = configured('later', out=str(tmp_path / 'later'), data=more, **changes)
    assert train(later) == 0
    second = tmp_path / 'later/checkpoints/last'
    assert (second / 'semantics.yaml').read_text() == (first / 'semantics.yaml').read_text()
    more['statistics'] = 'data'
    anew = configured('anew', out=str(tmp_path / 'anew'), data=more, **changes)
    assert train(anew) == 0
    third = tmp_path / 'anew/checkpoints/last'
    assert (third / 'semantics.yaml').read_text() != (first / 'semantics.yaml').read_text()
    other = configured('other', out=str(tmp_path / 'x'), data={'actions': 'absolute'}, **changes)
    assert train(other) == 2
    assert 'data.actions: found another meaning' in capsys.readouterr().err
    words = {'tokenizer': str(ROOT / 'config/tokenizers/demo.model'), 'statistics': 'data'}
    other = configured('words', out=str(tmp_path / 'x'), data=words, **changes)
    assert train(other) == 2
    assert 'demo.model, expected the tokens of the run before' in capsys.readouterr().err


def test_a_run_that_learned_to_see_is_where_one_begins_that_learns_to_act(
    configured, data, tmp_path, capsys
):
    """Input rules go on, and statistics are measured: pictures have none."""
    pytest.importorskip('mujoco')
    sizes = tmp_path / 'sizes.yaml'
    sizes.write_text(ARCHITECTURE.replace('max_tokens: 24', 'max_tokens: 64'))
    values = {
        'schema': 1,
        'out': str(tmp_path / 'see'),
        'objective': 'grounding',
        'grounding': {
            'robots': ['sim_single_arm'],
            'scenes': 4,
            'held_out': 2,
            'seed': 500,
            'picture': 48,
            'bins': 16,
        },
        'data': {'cache': str(data / 'cache')},
        'model': {'architecture': str(sizes), 'init': 'random'},
        'steps': 2,
        'batch': 4,
        'validation': {'batches': 1},
        'threads': 1,
    }
    config = tmp_path / 'see.yaml'
    config.write_text(yaml.safe_dump(values))
    result = tmp_path / 'see.json'
    assert train(config, '--json', str(result)) == 0
    out = capsys.readouterr().out
    assert 'where things are for sim_single_arm: 4 scenes, 12 pictures' in out
    assert set(json.loads(result.read_text())['measures']) == {'located', 'nowhere'}
    seen = tmp_path / 'see/checkpoints/last'
    words = ['--embodiment', str(data / 'small.yaml'), '--out', str(tmp_path / 'bundle')]
    assert main(['export', '--checkpoint', str(seen), *words]) == 2
    assert 'has learned to see and not to act' in capsys.readouterr().err
    model = {'architecture': str(sizes), 'init': 'run', 'from': str(tmp_path / 'see')}
    assert train(configured(model=model)) == 0
    acting = yaml.safe_load((tmp_path / 'run/checkpoints/last/semantics.yaml').read_text())
    seeing = yaml.safe_load((seen / 'semantics.yaml').read_text())
    assert acting['model'] == seeing['model']
    assert acting['model']['slots'] == ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb']
    assert (list(acting['embodiments']), seeing['embodiments']) == (['small'], {})


def test_a_run_goes_on_with_the_tokens_that_it_began_with(configured, tmp_path, capsys):
    sizes, words = tmp_path / 'sizes.yaml', tmp_path / 'words.model'
    sizes.write_text(ARCHITECTURE.replace('vocabulary: 300', 'vocabulary: 448'))
    content = (ROOT / 'config/tokenizers/demo.model').read_bytes()
    words.write_bytes(content)
    model = {'architecture': str(sizes), 'init': 'random'}
    config = configured(model=model, data={'tokenizer': str(words)})
    assert train(config, '--steps', '2') == 0
    # The name of the file that it was trained into, which is of no effect.
    words.write_bytes(content.replace(b'tokenizers/demo', b'tokenizers/else'))
    assert train(config, '--resume') == 1
    assert 'tokenizer_sha256' in capsys.readouterr().err
    words.write_bytes(content)
    assert train(config, '--resume') == 0


def test_what_was_trained_is_exported_for_its_robot(configured, data, tmp_path):
    import numpy as np

    from pizero_ros.policy.bundle import Bundle

    config = configured()
    assert train(config) == 0
    checkpoint = tmp_path / 'run/checkpoints/last'
    bundle = tmp_path / 'bundle'
    words = ['--embodiment', str(data / 'small.yaml'), '--out', str(bundle)]
    assert main(['export', '--checkpoint', str(checkpoint), *words]) == 0
    manifest = Bundle.open(bundle).manifest
    robot = manifest.embodiments['small']
    stats = json.loads((checkpoint / 'assets/small/norm_stats.json').read_text())['norm_stats']
    np.testing.assert_array_equal(robot.action.mean, stats['actions']['mean'])
    assert robot.relative.any()
    assert manifest.model.prompt.tokenizer == 'bytes'


@pytest.mark.parametrize(
    ('changes', 'words', 'status', 'message'),
    [
        ({'steps': 0}, (), 2, r'config.yaml:\d+: steps: found 0'),
        ({'optimizer': {'learning_rat': 1}}, (), 2, r"Did you mean 'learning_rate'"),
        ({}, ('--steps', '7'), 2, r'--steps: found 7, expected at most 6'),
        ({}, ('--device', 'tpu'), 2, r'--device: found tpu'),
        ({}, ('--resume',), 1, r'run.json: found nothing'),
        ({'model': {'init': 'run', 'from': 'nowhere'}}, (), 1, r'nowhere: found no checkpoint'),
        ({'model': {'freeze': ['*.vision.*']}}, (), 2, r"'\*.vision.\*', which fits no weight"),
        ({'batch': 4, 'rtc': {'max_delay': 10}}, (), 1, r'rtc.max_delay: found 10'),
    ],
)
def test_mistakes_are_one_line_and_a_status(
    configured, tmp_path, capsys, changes, words, status, message
):
    changes.setdefault('rtc', {})
    config = configured(**{k: v for k, v in changes.items() if k != 'rtc'})
    if changes['rtc']:
        config.write_text(config.read_text() + f'rtc: {changes["rtc"]}\n')
    assert train(config, *words) == status
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'run').exists()


def test_a_run_is_not_begun_over_another_nor_resumed_with_other_settings(configured, capsys):
    config = configured(steps=2)
    assert train(config) == 0
    assert train(config) == 1
    assert 'found a run, expected a new folder' in capsys.readouterr().err
    other = configured('other', steps=2, batch=8)
    assert train(other, '--resume') == 1
    assert 'batch: 4 before, 8 now' in capsys.readouterr().err
