from __future__ import annotations

import pytest
import torch

from pizero_ros.errors import TrainingError
from pizero_ros.training.saved import latest_checkpoint, run_folder


def open_run(path, identity=None, *, resume=False, keep=2):
    return run_folder(path, 'steps: 3\n', identity or {'steps': 3}, keep=keep, resume=resume)


def write(folder):
    (folder / 'model').write_text('weights')


def test_a_run_keeps_its_configuration_and_its_newest_checkpoints(tmp_path):
    with open_run(tmp_path / 'run') as folder:
        assert folder.latest is None
        for steps in (5, 10, 1_000_000):
            folder.save(steps, write)
        assert folder.latest == tmp_path / 'run/checkpoints/1000000'
    names = sorted(each.name for each in (tmp_path / 'run/checkpoints').iterdir())
    assert names == ['000010', '1000000', 'last']
    assert (tmp_path / 'run/checkpoints/last').resolve().name == '1000000'
    assert (tmp_path / 'run/config.yaml').read_text() == 'steps: 3\n'


def test_an_error_while_writing_leaves_the_checkpoint_that_was_there(tmp_path):
    def fail(folder):
        write(folder)
        raise OSError(28, 'No space left on device')

    with open_run(tmp_path) as folder:
        folder.save(5, write)
        with pytest.raises(TrainingError, match=r'000010: found No space left.*000005 is whole'):
            folder.save(10, fail)
        assert folder.latest == tmp_path / 'checkpoints/000005'
    assert sorted(each.name for each in (tmp_path / 'checkpoints').iterdir()) == ['000005', 'last']


def test_what_a_kill_left_is_no_checkpoint_and_is_removed(tmp_path):
    with open_run(tmp_path) as folder:
        folder.save(5, write)
    left = tmp_path / 'checkpoints/.000010.new'
    left.mkdir()
    write(left)
    assert latest_checkpoint(tmp_path) == tmp_path / 'checkpoints/000005'
    with open_run(tmp_path, resume=True):
        assert not left.exists()


def test_a_folder_with_a_run_is_not_begun_anew(tmp_path):
    with open_run(tmp_path):
        pass
    with pytest.raises(TrainingError, match=r'found a run, expected a new folder.*--resume'):
        open_run(tmp_path).__enter__()
    with pytest.raises(TrainingError, match=r'run.json: found nothing'):
        open_run(tmp_path / 'other', resume=True).__enter__()


def test_a_run_does_not_go_on_with_another_configuration(tmp_path):
    with open_run(tmp_path, {'seed': 1, 'optimizer': {'betas': [0.9, 0.95]}}):
        pass
    other = {'seed': 1, 'optimizer': {'betas': [0.9, 0.99]}}
    with pytest.raises(TrainingError, match=r'optimizer.betas\[1\]: 0.95 before, 0.99 now'):
        open_run(tmp_path, other, resume=True).__enter__()


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, policy):
    from pizero_ros.training.average import Average
    from pizero_ros.training.snapshot import Snapshot, restore
    from pizero_ros.training.trainable import choose_trainable, learning

    choose_trainable(policy, [], ())
    weights = learning(policy)
    average = Average(weights, 0.9)
    optimizer = torch.optim.AdamW(weights.values())
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    with open_run(tmp_path) as folder:
        snapshot = Snapshot(policy, average, optimizer, 1)
        place = folder.save(1, lambda to: snapshot.write(to, {'assets/a/norm_stats.json': b'{}'}))
        assert (place / 'assets/a/norm_stats.json').read_bytes() == b'{}'
        assert restore(place, policy, average, optimizer) == 1
        training = place / 'training.safetensors'
        training.write_bytes(training.read_bytes()[:-100])
        with pytest.raises(TrainingError, match=r'000001: found .*expected a whole checkpoint'):
            restore(place, policy, average, optimizer)


def test_two_do_not_work_in_one_folder(tmp_path):
    with (
        open_run(tmp_path),
        pytest.raises(TrainingError, match='another process at work on it'),
    ):
        open_run(tmp_path, resume=True).__enter__()
    with open_run(tmp_path, resume=True):
        pass
