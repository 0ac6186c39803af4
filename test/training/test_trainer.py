from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from synthetic import SMALL, Synthetic, config_of

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.errors import TrainingConfigError, TrainingError
from pizero_ros.model.pi0 import Pi0
from pizero_ros.training.config import LoraConfig
from pizero_ros.training.distributed import Team
from pizero_ros.training.flow import draw_flow
from pizero_ros.training.lora import add_lora, merged
from pizero_ros.training.saved import run_folder
from pizero_ros.training.schedule import learning_rate
from pizero_ros.training.trainable import unreached
from pizero_ros.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

ALONE = Team(0, 1, torch.device('cpu'))


def train(path: Path, config, *, until=None, resume=False, source=None, policy=None, **options):
    policy = policy or Pi0.random(SMALL, seed=3)
    source = source or Synthetic(SMALL, config.batch)
    trainer = Trainer(config, policy, source, ALONE, validation=Synthetic(SMALL, 4, seed=9))
    with run_folder(path, 'x: 1\n', config.identity(), keep=config.keep, resume=resume) as folder:
        return trainer, trainer.run(folder, until or config.steps, **options)


def losses(path: Path, name: str = 'loss.csv') -> dict[int, float]:
    with (path / name).open() as stream:
        return {int(row['step']): float(row['loss']) for row in csv.DictReader(stream)}


def test_training_learns(tmp_path):
    config = config_of(steps=150, save_every=150, validate_every=50)
    _, outcome = train(tmp_path, config)
    curve = list(losses(tmp_path).values())
    assert len(curve) == 150
    # The loss of noise alone is the noise's variance and the actions' together, above 1.
    assert np.mean(curve[:10]) > 1.0
    assert np.mean(curve[-10:]) < 0.75 * np.mean(curve[:10])
    looks = losses(tmp_path, 'validation.csv')
    assert list(looks) == [50, 100, 150]
    assert looks[150] < looks[50]
    assert outcome.validation == looks[150]
    assert (tmp_path / 'curves.png').stat().st_size > 1000


def test_a_run_is_a_plain_loop_of_adamw_clipping_and_averaging(tmp_path):
    config = config_of(steps=5)
    config = replace(config, optimizer=replace(config.optimizer, clip=0.3))
    trainer, _ = train(tmp_path, config)
    policy = Pi0.random(SMALL, seed=3)
    dead = unreached(policy)
    weights = {name: each for name, each in policy.named_parameters() if name not in dead}
    average = {name: each.detach().clone() for name, each in weights.items()}
    optimizer = torch.optim.AdamW(
        weights.values(), betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-10
    )
    curve, clipped = [], 0
    for step in range(5):
        batch = Synthetic(SMALL, 12).batch(step, 0, 1)
        draw = draw_flow((0, 0, step), (12, 8, 6), slice(0, 12))
        loss = policy.loss(batch.seen, batch.actions, draw.noise, draw.t)
        curve.append(loss.item())
        policy.zero_grad()
        loss.backward()
        norm = torch.stack([each.grad.norm() for each in weights.values()]).norm()
        clipped += int(norm > 0.3)
        for each in weights.values():
            each.grad *= min(1.0, 0.3 / norm)
        optimizer.param_groups[0]['lr'] = learning_rate(step, config.optimizer)
        optimizer.step()
        for name, each in weights.items():
            average[name] = 0.9 * average[name] + 0.1 * each.detach()
    assert clipped > 0  # or clipping would not be tested
    assert list(losses(tmp_path).values()) == pytest.approx(curve, abs=1e-5)
    saved = open_checkpoint(tmp_path / 'checkpoints/last', SMALL, actions=False).model()
    for name, each in weights.items():
        if name.endswith('k_proj.bias'):
            # Softmax ignores what is added to all keys: its gradient is rounding, which Adam
            # makes into whole steps.
            continue
        live = dict(trainer.policy.named_parameters())[name]
        torch.testing.assert_close(live, each, rtol=0, atol=2e-5)
        torch.testing.assert_close(saved.state_dict()[name], average[name], rtol=0, atol=2e-5)


def test_going_on_gives_the_same_curve_and_weights(tmp_path):
    config = config_of(steps=9, save_every=4)
    whole, _ = train(tmp_path / 'whole', config)
    parts = tmp_path / 'parts'
    _, first = train(parts, config, until=4)
    assert first.steps == 4
    _, stopped = train(parts, config, resume=True, stop=iter([False, False, True]).__next__)
    assert (stopped.steps, stopped.stopped) == (7, True)
    again, last = train(parts, config, resume=True)
    assert last.steps == 9
    assert losses(parts) == losses(tmp_path / 'whole')
    assert losses(parts, 'validation.csv') == losses(tmp_path / 'whole', 'validation.csv')
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[name], weight), name


def test_checkpoints_are_openpi_checkpoints_of_the_averaged_weights(tmp_path):
    config = config_of(steps=6, save_every=2, keep=2)
    trainer, outcome = train(tmp_path, config)
    checkpoints = sorted(each.name for each in (tmp_path / 'checkpoints').iterdir())
    assert checkpoints == ['000004', '000006', 'last']
    assert outcome.checkpoint == tmp_path / 'checkpoints/000006'
    opened = open_checkpoint(tmp_path / 'checkpoints/last', SMALL, actions=False)
    assert opened.family == 'openpi'
    policy = opened.model()
    with trainer._average.in_place():
        expected = {name: each.clone() for name, each in trainer.policy.state_dict().items()}
    assert all(torch.equal(policy.state_dict()[name], expected[name]) for name in expected)
    live = trainer.policy.state_proj.weight
    assert not torch.equal(policy.state_proj.weight, live)


def test_frozen_weights_stay_and_the_others_move(tmp_path):
    config = config_of(steps=2)
    config = replace(config, model=replace(config.model, freeze=('*.paligemma.*',)))
    start = Pi0.random(SMALL, seed=3).state_dict()
    trainer, _ = train(tmp_path, config)
    again, _ = train(tmp_path, replace(config, steps=2), resume=True)
    for found in (trainer, again):
        for name, weight in found.policy.state_dict().items():
            same = torch.equal(weight, start[name])
            assert same == ('.paligemma.' in name), name


def test_low_rank_updates_learn_beside_frozen_matrices_and_are_merged_for_export(tmp_path):
    config = config_of(steps=4, save_every=2)
    lora = LoraConfig(rank=2, alpha=4.0, targets=('*.layers.*.q_proj.weight',))
    model = replace(config.model, freeze=('*',), lora=lora)
    with pytest.raises(TrainingConfigError, match='every weight frozen'):
        train(tmp_path / 'no', replace(config, model=replace(model, lora=None)))
    config = replace(config, model=model)
    whole, _ = train(tmp_path / 'a', config)
    assert whole.counts[0] < 0.2 * whole.counts[1]
    start = Pi0.random(SMALL, seed=3).state_dict()
    saved = open_checkpoint(tmp_path / 'a/checkpoints/last', SMALL, actions=False).model()
    for name, weight in saved.state_dict().items():
        moves = name.endswith('q_proj.weight') and name not in unreached(whole.policy)
        assert torch.equal(weight, start[name]) != moves, name
    train(tmp_path / 'b', config, until=2)
    again, _ = train(tmp_path / 'b', config, resume=True)
    assert losses(tmp_path / 'b') == losses(tmp_path / 'a')
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[name], weight), name


@torch.no_grad()
def test_merged_low_rank_updates_compute_the_same(policy):
    add_lora(policy, LoraConfig(2, 3.0, ('*.q_proj.weight', 'action_out_proj.weight')), 0, ())
    generator = torch.Generator().manual_seed(0)
    for name, parameter in policy.named_parameters():
        if name.endswith('lora_up'):
            parameter.normal_(generator=generator)
    plain = Pi0(SMALL)
    plain.load_state_dict(merged(policy, policy.state_dict()), strict=True)
    batch = Synthetic(SMALL, 3).batch(0, 0, 1)
    noise, t = torch.randn(3, 8, 6, generator=generator), torch.full((3, 8), 0.5)
    expected = policy.velocity_joint(batch.seen, noise, t)
    torch.testing.assert_close(
        plain.velocity_joint(batch.seen, noise, t), expected, rtol=1e-4, atol=1e-4
    )


class Poisoned(Synthetic):
    def batch(self, step, rank, world):
        batch = super().batch(step, rank, world)
        if step == 5:
            batch.actions[3, 2, 1] = float('nan')
        return batch


def test_nan_in_the_data_names_step_and_sample_and_writes_nothing_over(tmp_path):
    config = config_of(steps=9, save_every=2)
    message = r'step 5: synthetic 5\.3 has actions that are not finite: found a loss of nan'
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, config, source=Poisoned(SMALL, config.batch))
    assert list(losses(tmp_path)) == [0, 1, 2, 3, 4]
    assert (tmp_path / 'checkpoints/last').resolve().name == '000004'
    # With the sample mended, the run goes on as if nothing had been.
    train(tmp_path, config, resume=True)
    train(tmp_path / 'whole', config)
    assert losses(tmp_path) == losses(tmp_path / 'whole')


def test_divergence_blames_no_sample(tmp_path):
    policy = Pi0.random(SMALL, seed=3)
    with torch.no_grad():
        policy.action_out_proj.weight.fill_(1e30)
    with pytest.raises(TrainingError, match=r'step 0: found a loss of inf.*lower optimizer'):
        train(tmp_path, config_of(steps=2), policy=policy)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_bfloat16_leaves_weights_and_flow_in_float32(tmp_path, precision):
    config = config_of(steps=3, precision=precision)
    trainer, _ = train(tmp_path, config)
    assert {each.dtype for each in trainer.policy.parameters()} == {torch.float32}
    reference = tmp_path / 'reference'
    train(reference, config_of(steps=3))
    first, exact = losses(tmp_path)[0], losses(reference)[0]
    assert first == exact if precision == 'float32' else first != exact
    assert first == pytest.approx(exact, rel=1e-2)


def test_a_run_with_clean_prefixes_trains_and_goes_on_exactly(tmp_path):
    config = config_of(steps=6, save_every=3, rtc_max_delay=4)
    train(tmp_path / 'whole', config)
    train(tmp_path / 'parts', config, until=3)
    train(tmp_path / 'parts', config, resume=True)
    assert losses(tmp_path / 'parts') == losses(tmp_path / 'whole')
    train(tmp_path / 'plain', config_of(steps=6))
    assert losses(tmp_path / 'plain')[0] != losses(tmp_path / 'whole')[0]


def test_a_run_with_several_draws_a_sample_goes_on_exactly_and_is_judged_by_one(tmp_path):
    config = config_of(steps=6, save_every=3, rtc_max_delay=4, draws=3)
    train(tmp_path / 'whole', config)
    train(tmp_path / 'parts', config, until=3)
    train(tmp_path / 'parts', config, resume=True)
    assert losses(tmp_path / 'parts') == losses(tmp_path / 'whole')
    train(tmp_path / 'plain', config_of(steps=6, rtc_max_delay=4))
    assert losses(tmp_path / 'plain')[0] != losses(tmp_path / 'whole')[0]
    # The same weights get the same look, however many draws they learn from.
    still = {'optimizer': replace(config.optimizer, learning_rate=0.0, decay_to=0.0)}
    looks = []
    for draws in (1, 3):
        path = tmp_path / f'still{draws}'
        train(path, config_of(steps=5, draws=draws, **still))
        looks.append(losses(path, 'validation.csv'))
    assert looks[0] == looks[1]
    with pytest.raises(TrainingError, match='draws: 3 before, 1 now'):
        train(tmp_path / 'whole', replace(config, draws=1), resume=True)


def test_a_prefix_as_long_as_the_chunk_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r'rtc.max_delay: found 8, expected fewer than the 8'):
        train(tmp_path, config_of(rtc_max_delay=8))
