"""Learning to see: the loss, its measures, and a run of it."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from synthetic import BINS, SCENES, SMALL, WITH_STEM, SyntheticQuestions, config_of

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.errors import TrainingConfigError, TrainingError
from pizero_ros.model.answers import answer_logits
from pizero_ros.model.pi0 import Pi0
from pizero_ros.training.distributed import Team
from pizero_ros.training.grounding import Grounding
from pizero_ros.training.heat_maps import HeatMaps, Objects, heat_hits, heat_loss
from pizero_ros.training.locations import Locations
from pizero_ros.training.saved import run_folder
from pizero_ros.training.trainable import unanswering
from pizero_ros.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

ALONE = Team(0, 1, torch.device('cpu'))
LOCATIONS = Locations(SMALL.vocabulary, BINS)


def train(path: Path, config, *, until=None, resume=False, source=None):
    trainer = Trainer(
        config,
        Pi0.random(SMALL, seed=3),
        source or SyntheticQuestions(SMALL, config.batch),
        ALONE,
        validation=SyntheticQuestions(SMALL, 8, seed=9),
    )
    with run_folder(path, 'x: 1\n', config.identity(), keep=2, resume=resume) as folder:
        return trainer, trainer.run(folder, until or config.steps)


def config(**changes):
    return config_of(**{'objective': 'grounding', 'grounding': SCENES, **changes})


def rows(path: Path, name: str) -> list[dict[str, str]]:
    with (path / name).open() as stream:
        return list(csv.DictReader(stream))


def test_places_are_bins_and_what_is_not_seen_is_nowhere():
    pixels = np.array([[-0.5, 27.4], [13.4, 13.6], [-90.0, 900.0], [3, 3], [np.nan, 3]])
    visible = np.array([1.0, 0.3, 0.5, 0.29, 1.0], np.float32)
    found = LOCATIONS.tokens(pixels.astype(np.float32), visible, 28)
    first, nowhere = 32 - 9, 31
    assert (LOCATIONS.first, LOCATIONS.nowhere) == (first, nowhere)
    expected = [[0, 7], [3, 4], [0, 7]]
    assert found[:3].tolist() == [[first + u, first + v] for u, v in expected]
    assert (found[3:] == nowhere).all()


@torch.no_grad()
def test_loss_is_the_cross_entropy_of_the_tokens_of_present_cameras(policy):
    batch = SyntheticQuestions(SMALL, 6).batch(0, 0, 1)
    terms = Grounding(policy, BINS)(batch, None)
    assert terms.counts.tolist() == [2, 4, 4, 2, 4, 4]
    assert terms.hits is None
    shares = answer_logits(policy, batch.seen, batch.answer, batch.told).log_softmax(-1)
    each = -shares.gather(2, batch.answer[..., None])[..., 0]
    torch.testing.assert_close(terms.sums, (each * batch.told).sum(dim=1))


@torch.no_grad()
def test_measures_count_what_was_said_freely(policy, monkeypatch):
    from pizero_ros.training import grounding

    batch = SyntheticQuestions(SMALL, 12, seed=4).batch(0, 0, 1)
    truth = batch.answer.view(12, 2, 2)
    told = batch.told.view(12, 2, 2)[..., 0]
    absent = (truth == LOCATIONS.nowhere).all(-1)
    cases = [int((told & ~absent).sum()), int((told & absent).sum())]
    assert min(cases) > 3

    def hits(said) -> list[float]:
        monkeypatch.setattr(grounding, 'likeliest_answer', lambda *_: said.reshape(12, 4))
        terms = Grounding(policy, BINS)(batch, None, judged=True)
        assert terms.cases.tolist() == cases
        return terms.hits.tolist()

    assert hits(truth) == cases
    # One bin beside still counts, two do not; towards the middle, so that it stays a place.
    inward = torch.where(truth - LOCATIONS.first < BINS // 2, 1, -1)
    moved = torch.where(absent[..., None], truth, truth + inward)
    assert hits(moved) == cases
    one = moved.clone()
    one[..., 1] += torch.where(absent, 0, inward[..., 1])
    assert hits(one) == [0, cases[1]]
    assert hits(torch.full_like(truth, LOCATIONS.nowhere)) == [0, cases[1]]
    assert hits(torch.full_like(truth, LOCATIONS.nowhere - 1))[1] == 0
    half = truth.clone()
    half[..., 1] = LOCATIONS.nowhere
    assert hits(half) == [0, cases[1]]


def test_a_run_learns_to_see_and_leaves_the_expert_alone(tmp_path):
    run = config(steps=120, save_every=120, validate_every=60, batch=24)
    _, outcome = train(tmp_path, run)
    curve = [float(row['loss']) for row in rows(tmp_path, 'loss.csv')]
    # A uniform guess among 32 tokens costs 3.47; to know only that 9 of them come up, 2.2.
    assert np.mean(curve[:3]) > 3.0
    assert np.mean(curve[-10:]) < 1.9
    looks = rows(tmp_path, 'validation.csv')
    assert [row['step'] for row in looks] == ['60', '120']
    assert list(looks[0]) == ['step', 'loss', 'located', 'nowhere']
    assert float(looks[1]['loss']) < float(looks[0]['loss'])
    assert outcome.measures == {k: float(looks[1][k]) for k in ('located', 'nowhere')}
    # It learns first that a camera is dark, from all patches at once.
    assert outcome.measures['nowhere'] > 0.6
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    start = Pi0.random(SMALL, seed=3)
    saved = open_checkpoint(tmp_path / 'checkpoints/last', SMALL, actions=False).model()
    for name, weight in saved.state_dict().items():
        still = torch.equal(weight, start.state_dict()[name])
        assert still == (name in unanswering(start)), name


def learn(run, sizes):
    trainer = Trainer(
        run,
        Pi0.random(sizes, 3),
        SyntheticQuestions(sizes, 24),
        ALONE,
        validation=SyntheticQuestions(sizes, 24, seed=9),
    )
    for step in range(run.steps):
        trainer._step(step, False)
    return trainer.validate().measures


def test_keypoints_learn_where_things_are():
    # A guess that knows nothing of the picture is within one bin in both axes one time in eight.
    located, nowhere = learn(config(steps=300, batch=24, validate_batches=4), WITH_STEM)
    assert located > 0.3
    assert nowhere > 0.9


def test_keypoints_that_are_told_their_objects_see_them_at_once():
    told = replace(SCENES, keypoints=0.3)
    run = config(steps=40, batch=24, validate_batches=4, grounding=told)
    assert learn(run, WITH_STEM)[2] > 0.9
    weak = replace(run, grounding=replace(SCENES, keypoints=1e-9))
    assert learn(weak, WITH_STEM)[2] < 0.6


@torch.no_grad()
def test_what_keypoints_are_told_counts_beside_each_token():
    policy = Pi0.random(WITH_STEM, 3)
    batch = SyntheticQuestions(SMALL, 6).batch(0, 0, 1)
    alone = Grounding(policy, BINS)(batch, None)
    both = Grounding(policy, BINS, keypoints=0.3)(batch, None)
    stem = policy.vision_tower.stem
    with HeatMaps(stem) as made:
        policy.embed_views(batch.seen.images.flatten(0, 1))
    maps = made.of(batch.objects)
    assert not stem.heat._forward_hooks
    side = maps.shape[-1]
    assert maps.shape == (6, 2, 1, side, side)
    torch.testing.assert_close(maps.exp().sum((-2, -1)), torch.ones(6, 2, 1))
    expected = alone.sums + 0.3 * heat_loss(maps, batch.objects) * alone.counts
    torch.testing.assert_close(both.sums, expected)
    assert torch.equal(both.counts, alone.counts)


def test_maps_are_right_around_the_object_and_flat_where_it_is_not_seen():
    place = torch.tensor([[[[0.3, 0.8]]], [[[0.0, 1.0]]]])  # cells 0.7 and 2.7; -0.5 and 3.5
    yes = torch.ones(2, 1, 1, dtype=torch.bool)
    ideal = torch.zeros(2, 1, 1, 4, 4)
    ideal[0, 0, 0, 2:4, 0:2] = torch.tensor([[0.3 * 0.3, 0.3 * 0.7], [0.7 * 0.3, 0.7 * 0.7]])
    ideal[1, 0, 0, 3, 0] = 1.0
    maps = ideal.clamp(min=1e-9).log()
    entropy = -(ideal * maps).sum((-3, -2, -1))[:, 0]
    seen = Objects(place, yes, yes)
    torch.testing.assert_close(heat_loss(maps, seen), entropy)
    assert [int(each) for each in heat_hits(maps, seen)] == [2, 2]
    flat = torch.full_like(maps, -math.log(16.0))
    hidden = Objects(place, ~yes, yes)
    torch.testing.assert_close(heat_loss(flat, hidden), torch.full((2,), math.log(16.0)))
    assert (heat_loss(maps, hidden) > 5.0).all()
    assert [int(each) for each in heat_hits(maps, hidden)] == [0, 0]
    away = maps.flip(-1)
    assert [int(each) for each in heat_hits(away, seen)] == [0, 2]
    untold = Objects(place, yes, ~yes)
    assert heat_loss(maps, untold).tolist() == [0.0, 0.0]
    assert [int(each) for each in heat_hits(maps, untold)] == [0, 0]


def test_what_maps_cost_is_float32_under_autocast():
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 1, 3, 8, 8, generator=generator).flatten(3).log_softmax(-1)
    maps = maps.unflatten(3, (8, 8))
    places = torch.rand(2, 1, 3, 2, generator=generator)
    objects = Objects(places, places[..., 0] > 0.3, places[..., 0] > 0.0)
    expected = heat_loss(maps, objects)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(heat_loss(maps, objects), expected, rtol=0, atol=0)


def test_patches_cannot_be_told(policy):
    with pytest.raises(TrainingConfigError, match=r'grounding\.keypoints.*no keypoints'):
        Grounding(policy, BINS, keypoints=0.3)


def test_going_on_gives_the_same_curve_and_weights(tmp_path):
    run = config(steps=6, save_every=3, validate_every=2)
    whole, _ = train(tmp_path / 'whole', run)
    train(tmp_path / 'parts', run, until=3)
    again, _ = train(tmp_path / 'parts', run, resume=True)
    for name in ('loss.csv', 'validation.csv'):
        assert rows(tmp_path / 'parts', name) == rows(tmp_path / 'whole', name)
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[name], weight), name
    other = replace(run, grounding=replace(SCENES, bins=7))
    with pytest.raises(TrainingError, match=r'grounding.bins: 8 before, 7 now'):
        train(tmp_path / 'whole', other, resume=True)


def test_weights_are_taken_on_by_a_run_that_learns_to_act(tmp_path):
    """Of such a run the averaged weights are the start, expert and all."""
    from pizero_ros.training.start import first_policy

    trainer, _ = train(tmp_path / 'see', config(steps=2))
    sizes = tmp_path / 'see/checkpoints/last/architecture.yaml'
    model = replace(config().model, architecture=str(sizes), init='run', source=tmp_path / 'see')
    policy = first_policy(model, 0)
    with trainer._average.in_place():
        for name, weight in trainer.policy.state_dict().items():
            assert torch.equal(policy.state_dict()[name], weight), name


def test_bfloat16_is_nearly_the_same(tmp_path):
    first = {}
    for precision in ('float32', 'bfloat16'):
        train(tmp_path / precision, config(steps=2, precision=precision))
        first[precision] = [float(row['loss']) for row in rows(tmp_path / precision, 'loss.csv')]
    assert first['bfloat16'] != first['float32']
    assert first['bfloat16'] == pytest.approx(first['float32'], rel=2e-2)


class Poisoned(SyntheticQuestions):
    def batch(self, step, rank, world):
        batch = super().batch(step, rank, world)
        batch.seen.images[2, 0, 0, 5, 5] = float('inf')
        return batch


def test_pictures_that_are_not_finite_are_named(tmp_path):
    message = r'step 0: question 0\.2 has images that are not finite'
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, config(steps=2), source=Poisoned(SMALL, 12))
