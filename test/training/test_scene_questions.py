"""Scenes rendered for real, kept on disk, and asked about; a handful of small pictures."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import yaml
from data_sizes import SIZES
from synthetic import config_of

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import (
    BundleError,
    DatasetError,
    EmbodimentError,
    PromptError,
    TrainingConfigError,
)
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.resources import config_dir
from pizero_ros.sim.grounding import ground_truth_images
from pizero_ros.training.config import GroundingConfig
from pizero_ros.training.grounding_data import prepare_scenes
from pizero_ros.training.locations import Locations
from pizero_ros.training.scene_pictures import scene_pictures

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip('mujoco')

READER = replace(SIZES, max_tokens=64)
PICTURE = 64
SEED = 400_000
LOCATIONS = Locations(READER.vocabulary, 16)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """The cache, and the file of a single arm that has no camera on the other side."""
    folder = tmp_path_factory.mktemp('scenes')
    path = config_dir() / 'embodiments/sim_single_arm.yaml'
    robot = yaml.safe_load(path.read_text())
    robot['cameras'] = robot['cameras'][:2]
    (folder / 'single.yaml').write_text(yaml.safe_dump(robot, sort_keys=False))
    return folder


@pytest.fixture(scope='module')
def config(folder):
    robots = (str(folder / 'single.yaml'), 'sim_mobile')
    grounding = GroundingConfig(robots, 6, 2, SEED, PICTURE, 16)
    config = config_of(objective='grounding', grounding=grounding, batch=8, seed=5)
    return replace(config, data=replace(config.data, cache=folder / 'cache'))


def prepared(config, tell=None):
    return prepare_scenes(config, READER, tell=tell or (lambda _line: None))


@pytest.fixture(scope='module')
def data(config):
    return prepared(config)


@pytest.fixture(scope='module')
def truth(folder):
    robots = {'sim_single_arm': folder / 'single.yaml', 'sim_mobile': 'sim_mobile'}
    return {
        name: ground_truth_images(
            load_embodiment(path), range(SEED, SEED + 8), width=PICTURE, height=PICTURE
        )
        for name, path in robots.items()
    }


def test_each_robot_has_its_scenes_and_others_held_out(data):
    assert [(len(each.scenes), each.first) for each in data.learn] == [(6, SEED)] * 2
    assert [(len(each.scenes), each.first) for each in data.held_out] == [(2, SEED + 6)] * 2
    learn, held_out = data.summary()
    assert [each['pictures'] for each in learn] == [12, 18]
    assert held_out == 4
    assert data.model.slots == ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')


def test_a_question_is_a_picture_words_and_where_the_object_is(data, config, truth):
    """Read back from the batch: the text that names the scene, its pixels, the answer."""
    source = data.batches(config)
    resize = ResizeWithPad((28, 28), 'antialias')
    seen, told_nothing, texts = 0, 0, set()
    for step in range(4):
        batch = source.batch(step)
        for row, name in enumerate(batch.samples):
            scene, _, rest = name.removeprefix('scene ').partition(' of ')
            robot, _, text = rest.partition(', ')
            text = text.strip("'")
            texts.add(text)
            valid = batch.seen.token_mask[row]
            assert data._prompt.inverse(batch.seen.tokens[row][valid].numpy()) == text
            there = truth[robot]
            (asked,) = [n for n, each in enumerate(there.objects) if each in text]
            number = int(scene) - SEED
            for camera, slot in enumerate(data.model.slots):
                told = batch.told[row].view(-1, 2)[camera]
                assert told.tolist() == [slot in there.images] * 2
                assert batch.seen.camera_mask[row, camera] == (slot in there.images)
                if slot not in there.images:
                    assert not batch.seen.images[row, camera].any()
                    continue
                image = resize(there.images[slot][number])
                off = np.abs(batch.seen.images[row, camera].numpy() - image).max()
                assert off <= 0.51 / 127.5  # whole grey levels, as samples of recordings have
                answer = batch.answer[row].view(-1, 2)[camera].numpy()
                if there.visible[slot][number, asked] < 0.3:
                    assert (answer == 299).all()
                    told_nothing += 1
                    continue
                seen += 1
                pixel = there.pixels[slot][number, asked]
                centre = (answer - LOCATIONS.first + 0.5) * PICTURE / 16 - 0.5
                assert np.abs(centre - np.clip(pixel, -0.5, PICTURE - 0.5)).max() <= 2.0 + 1e-4
    assert min(seen, told_nothing) > 10
    assert len(texts) > 10
    assert any('post' in text for text in texts)


def test_questions_are_a_function_of_the_step_however_many_processes_share_them(data, config):
    source = data.batches(config)
    whole = source.batch(3)
    halves = [source.batch(3, rank, 2) for rank in (0, 1)]
    assert [*halves[0].samples, *halves[1].samples] == whole.samples
    assert torch.equal(torch.cat([half.answer for half in halves]), whole.answer)
    # Each part is as long as its own longest prompt.
    for half, rows in zip(halves, whole.seen.tokens.tensor_split(2), strict=True):
        length = half.seen.tokens.shape[1]
        assert torch.equal(half.seen.tokens, rows[:, :length])
        assert not rows[:, length:].any()
        assert half.seen.token_mask[:, -1].any()
    with data.batches(config, ahead=2) as ahead:
        found = [ahead.batch(step).samples for step in range(4)]
    assert found == [source.batch(step).samples for step in range(4)]
    assert len({tuple(each) for each in found}) == 4
    other = data.batches(replace(config, seed=6)).batch(3)
    assert other.samples != whole.samples


def test_scenes_are_rendered_once_and_damage_is_mended(data, config, folder):
    def times():
        return {p: p.stat().st_mtime_ns for p in (folder / 'cache').rglob('*') if p.is_file()}

    before, told = times(), []
    assert len(before) == 12
    again = prepared(config, told.append)
    assert (times(), told) == (before, [])
    assert again.identity == data.identity
    # Interrupted: one part is absent, another was being written, and one was cut off.
    first, second, *_ = sorted((folder / 'cache').glob('scenes-*/*'))
    shutil.rmtree(first)
    (second.parent / f'.unfinished-{first.name}-0').mkdir()
    cut = second / 'pictures.npy'
    os.truncate(cut, cut.stat().st_size - 100)
    mended = prepared(config, told.append)
    assert mended.identity == data.identity
    assert len(told) == 1
    assert f'{second} is made anew' in told[0]
    picture = mended.batches(config).batch(0).seen.images
    assert torch.equal(picture, data.batches(config).batch(0).seen.images)
    changed = {path for path, ns in times().items() if before.get(path) != ns}
    assert {path.parent for path in changed} == {first, second}


def test_identity_is_that_of_the_questions(data, config):
    assert prepared(replace(config, threads=2, steps=99)).identity == data.identity
    grounding = config.grounding
    fewer = replace(grounding, bins=8)
    assert prepared(replace(config, grounding=fewer)).identity != data.identity


def with_grounding(config, **changes):
    return replace(config, grounding=replace(config.grounding, **changes))


def test_misfits_are_named_before_anything_is_rendered(config, tmp_path):
    config = replace(config, data=replace(config.data, cache=tmp_path / 'cache'))
    message = r'grounding.bins: found 40 bins and nowhere: tokens 259 to 299, expected at most 39'
    with pytest.raises(TrainingConfigError, match=message):
        prepared(with_grounding(config, bins=40))
    with pytest.raises(EmbodimentError, match=r'ur5e.yaml.*name: found ur5e'):
        prepared(with_grounding(config, robots=('ur5e',)))
    few = replace(config, data=replace(config.data, slots=('base_0_rgb', 'left_wrist_0_rgb')))
    message = 'data.slots: .*expected right_wrist_0_rgb too, a camera of sim_mobile'
    with pytest.raises(TrainingConfigError, match=message):
        prepared(few)
    with pytest.raises(PromptError, match='tokens, expected 1 to 24'):
        prepare_scenes(config, SIZES, tell=print)
    with pytest.raises(BundleError, match='vocabulary: found 200'):
        prepare_scenes(config, replace(READER, vocabulary=200), tell=print)
    assert not (tmp_path / 'cache').exists()


def rendered(folder, cache):
    """One scene of the single arm, with a cache of its own."""
    return scene_pictures(
        load_embodiment(folder / 'single.yaml'),
        range(SEED, SEED + 1),
        PICTURE,
        (28, 28),
        'antialias',
        cache,
        1,
        progress=lambda _share: None,
        tell=print,
    )


def test_what_a_rendering_process_finds_wrong_is_told(folder, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match=r'expected room to write'):
        rendered(folder, tmp_path / 'file')


def killed(_job, _seeds):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_rendering_process_that_is_killed_is_told(folder, tmp_path, monkeypatch):
    from pizero_ros.training import scene_pictures as module

    with monkeypatch.context() as patch:
        patch.setattr(module, '_render', killed)
        with pytest.raises(DatasetError, match=r'a rendering process that was killed'):
            rendered(folder, tmp_path / 'cache')
    assert len(rendered(folder, tmp_path / 'cache')) == 1
