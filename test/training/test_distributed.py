"""Two processes of PyTorch's FSDP, over gloo on the CPU, against one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from processes import finish, table
from synthetic import (
    SCENES,
    SMALL,
    WITH_STEM,
    Synthetic,
    SyntheticQuestions,
    config_in_part,
    config_of,
)

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.errors import EnvironmentFault, TrainingError
from pizero_ros.model.pi0 import Pi0
from pizero_ros.training.distributed import Team, team
from pizero_ros.training.saved import run_folder
from pizero_ros.training.trainer import Trainer

CHANGES = {
    'steps': 6,
    'save_every': 2,
    'validate_every': 2,
    'rtc_max_delay': 3,
    'learn_repeated': 0,
    'draws': 2,
}
WORDS = ['in_part=1', *(f'{key}={value}' for key, value in CHANGES.items())]
ALONE = Team(0, 1, torch.device('cpu'))


# One run in many ends with an abort inside PyTorch's gloo ("terminate called without an active
# exception") on a busy machine; 16 in a row did not. A second try is shown in the summary.
@pytest.mark.flaky(reruns=1)
@pytest.mark.skipif(not torch.distributed.is_available(), reason='PyTorch without distributed')
def test_two_processes_give_the_losses_of_one_and_one_goes_on_where_two_stopped(tmp_path):
    """Clean prefixes and recordings that end make each process's count of values another."""
    config = config_of(**CHANGES, model=config_in_part())
    alone = Trainer(
        config,
        Pi0.random(SMALL, 3),
        Synthetic(SMALL, config.batch),
        ALONE,
        validation=Synthetic(SMALL, 4, seed=9),
    )
    with run_folder(tmp_path / 'one', '', config.identity(), keep=2, resume=False) as folder:
        alone.run(folder, config.steps)
    two = finish(tmp_path / 'two', *WORDS, 'until=4', processes=2)
    assert two.returncode == 0, two.stderr
    one, expected = table(tmp_path / 'two'), table(tmp_path / 'one')
    assert len(one) == 4
    for row, wanted in zip(one, expected, strict=False):
        assert row == pytest.approx(wanted, abs=1e-5)
    # The shards were put together: another number of processes goes on from there.
    rest = finish(tmp_path / 'two', *WORDS, '--resume')
    assert rest.returncode == 0, rest.stderr
    for name in ('loss.csv', 'validation.csv'):
        joined, expected = table(tmp_path / 'two', name), table(tmp_path / 'one', name)
        assert len(joined) == len(expected)
        for row, wanted in zip(joined, expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)
    found, wanted_policy = (
        open_checkpoint(tmp_path / name / 'checkpoints/last', SMALL, actions=False).model()
        for name in ('two', 'one')
    )
    for name, weight in wanted_policy.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.distributed.is_available(), reason='PyTorch without distributed')
@pytest.mark.parametrize(('sizes', 'keypoints'), [(SMALL, 0.0), (WITH_STEM, 0.3)])
def test_two_processes_learn_to_see_as_one_does(tmp_path, sizes, keypoints):
    """Absent cameras make each process's count of tokens another."""
    scenes = replace(SCENES, keypoints=keypoints)
    config = config_of(steps=4, validate_every=2, objective='grounding', grounding=scenes)
    alone = Trainer(
        config,
        Pi0.random(sizes, 3),
        SyntheticQuestions(sizes, config.batch),
        ALONE,
        validation=SyntheticQuestions(sizes, 4, seed=9),
    )
    with run_folder(tmp_path / 'one', '', config.identity(), keep=2, resume=False) as folder:
        alone.run(folder, config.steps)
    two = finish(
        tmp_path / 'two', f'keypoints={keypoints}', 'steps=4', 'validate_every=2', processes=2
    )
    assert two.returncode == 0, two.stderr
    for name in ('loss.csv', 'validation.csv'):
        found, expected = table(tmp_path / 'two', name), table(tmp_path / 'one', name)
        assert len(found) == len(expected)
        for row, wanted in zip(found, expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    two = Team(0, 2, torch.device('cpu'))
    with pytest.raises(TrainingError, match='batch: found 9, expected a multiple of 2'):
        Trainer(config_of(batch=9), Pi0.random(SMALL, 3), Synthetic(SMALL, 9), two)


@pytest.mark.parametrize('device', ['cuda:99', 'tpu', 'meta'])
def test_a_device_that_is_not_there_is_a_clear_error(device):
    with pytest.raises(EnvironmentFault, match=f'{device}'), team(device):
        pass
