"""From a configuration's sources to pairs, statistics and batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bags import demonstration, write, write_embodiment
from data_sizes import SIZES

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import (
    BagError,
    DatasetError,
    PromptError,
    TrainingConfigError,
    TrainingError,
)
from pizero_ros.policy.manifest import TOKENIZER_FILES
from pizero_ros.training.config import DataConfig, SourceConfig
from pizero_ros.training.data import prepare
from pizero_ros.training.input_rules import check_tokenizer
from pizero_ros.training.sources import find_bags
from pizero_ros.training.statistics import fit, meaning


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three demonstrations of one task, two of another, and the robot."""
    folder = tmp_path_factory.mktemp('data')
    write_embodiment(folder)
    for task, count in (('pick', 3), ('push', 2)):
        for number in range(count):
            steps = 24 + 2 * number
            write(folder / task / f'{task}{number}', demonstration(steps, instruction=task))
    return folder


@pytest.fixture
def config(folder):
    robot = str(folder / 'small.yaml')
    sources = tuple(SourceConfig(folder / task, robot, task) for task in ('pick', 'push'))
    return DataConfig(sources, 0.43, 0.3, 'relative', 'zscore', None, None)


@pytest.fixture
def cache(folder):
    return folder / 'cache'


def prepared(config, cache, seed=0, **changes):
    return prepare(config, SIZES, cache, seed, tell=lambda _line: None, **changes)


def test_each_task_of_a_robot_is_a_pair_with_demonstrations_held_out(config, cache):
    data = prepared(config, cache)
    assert [pair.name for pair in data.learn] == ['pick on small', 'push on small']
    assert [len(pair.episodes) for pair in data.learn] == [2, 1]
    assert [len(pair.episodes) for pair in data.held_out] == [1, 1]
    learnt = {episode.origin for pair in data.learn for episode in pair.episodes}
    held = {episode.origin for pair in data.held_out for episode in pair.episodes}
    assert len(learnt | held) == 5
    assert not learnt & held


def test_sources_of_the_same_task_are_one_pair(config, cache):
    sources = tuple(replace(source, task='both') for source in config.sources)
    data = prepared(replace(config, sources=sources, validation_share=0.0), cache)
    assert [len(pair.episodes) for pair in data.learn] == [5]
    assert data.held_out == ()
    assert data.validation(4, 0, 0.43) is None


def test_statistics_are_those_of_what_is_learnt_from(config, cache):
    data = prepared(config, cache)
    robot, semantics = data.robots['small']
    expected = fit(data.learn, meaning(robot, 'relative')).semantics
    np.testing.assert_array_equal(semantics.action.std, expected.action.std)
    everything = fit([*data.learn, *data.held_out], meaning(robot, 'relative')).semantics
    assert (semantics.action.std != everything.action.std).any()


def test_batches_come_from_the_sources(config, cache):
    data = prepared(config, cache)
    batch = data.source(6, 1, 0.43).batch(0)
    assert batch.seen.images.shape == (6, 2, 3, 28, 28)
    assert batch.actions.shape == (6, 10, 18)
    held = data.validation(4, 1, 0.43).batch(0)
    origins = {episode.origin for pair in data.held_out for episode in pair.episodes}
    assert {name.split(' at ')[0] for name in held.samples} <= origins


def test_identity_is_that_of_the_samples_and_their_meaning(config, cache):
    first = prepared(config, cache).identity
    assert prepared(config, cache).identity == first
    assert prepared(replace(config, actions='absolute'), cache).identity != first
    assert prepared(replace(config, validation_share=0.0), cache).identity != first
    prompted = tuple(replace(source, prompt='x') for source in config.sources)
    assert prepared(replace(config, sources=prompted), cache).identity != first


def test_meaning_that_a_policy_has_learnt_is_kept(config, cache):
    data = prepared(config, cache)
    semantics = data.robots['small'][1]
    wide = replace(semantics, action=replace(semantics.action, std=semantics.action.std * 2))
    further = prepared(config, cache, model=data.model, known={'small': wide})
    assert further.robots['small'][1] is wide
    one, two = (each.source(4, 0, 0.43).batch(0) for each in (data, further))
    np.testing.assert_allclose(one.actions.numpy(), 2 * two.actions.numpy(), atol=1e-3)


def test_other_input_rules_than_a_policy_has_learnt_are_refused(config, cache):
    model = prepared(config, cache).model
    same = prepared(replace(config, slots=model.slots), cache, model=model)
    assert same.model is model
    turned = replace(config, slots=model.slots[::-1])
    message = r'data.slots: found left_wrist.*as in the run before'
    with pytest.raises(TrainingConfigError, match=message):
        prepared(turned, cache, model=model)
    other = replace(config, tokenizer=Path('words.json'))
    message = 'data.tokenizer: found huggingface, expected bytes, as in the run before'
    with pytest.raises(TrainingConfigError, match=message):
        prepared(other, cache, model=model)


def test_a_camera_that_a_policy_has_no_slot_for_is_told_before_anything_is_read(config, tmp_path):
    cache = tmp_path / 'cache'
    (name,) = {source.embodiment for source in config.sources}
    first, *others = (camera.slot for camera in load_embodiment(name).cameras)
    message = rf'data.slots: found {", ".join(others)}, expected {first} too, a camera of small'
    with pytest.raises(TrainingConfigError, match=message):
        prepared(replace(config, slots=tuple(others)), cache)
    assert not cache.exists()


@pytest.mark.parametrize(
    ('given', 'learned', 'error', 'message'),
    [
        ('{"red": 2}', '{"red": 1}', TrainingConfigError, 'byte for byte. Name .*tokenizer.json'),
        (None, '{"red": 1}', TrainingConfigError, 'found none: one token a byte, expected'),
        ('absent', '{"red": 1}', TrainingConfigError, 'words.json: No such file'),
        ('{"red": 1}', None, TrainingError, 'tokenizer.json: found No such file'),
    ],
)
def test_another_tokenizer_than_a_policy_has_learnt_is_refused(
    config, cache, tmp_path, given, learned, error, message
):
    model = prepared(config, cache).model
    model = replace(model, prompt=replace(model.prompt, tokenizer='huggingface'))
    words, own = tmp_path / 'words.json', tmp_path / TOKENIZER_FILES['huggingface']
    if learned is not None:
        own.write_text(learned)
        check_tokenizer(tmp_path, model, own)
    if given not in (None, 'absent'):
        words.write_text(given)
    with pytest.raises(error, match=message):
        check_tokenizer(tmp_path, model, None if given is None else words)


def test_other_rate_than_a_policy_has_learnt_is_refused(config, cache):
    data = prepared(config, cache)
    known = {'small': replace(data.robots['small'][1], rate_hz=50.0)}
    with pytest.raises(DatasetError, match='rate_hz: found 20, expected 50, as the policy'):
        prepared(config, cache, model=data.model, known=known)


def test_joint_that_stands_still_is_told_where_it_is_known(config, cache, tmp_path):
    bag = write(tmp_path / 'short', demonstration(12))
    sources = (replace(config.sources[0], path=bag),)
    short = replace(config, sources=sources, validation_share=0.0)
    with pytest.raises(DatasetError, match='state finger'):
        prepared(short, cache)
    told = []
    data = prepare(replace(short, still=('finger',)), SIZES, cache, 0, tell=told.append)
    assert any('small: state finger' in line for line in told)
    assert {each.joint for each in data.still} == {'finger'}


def test_prompt_that_does_not_fit_is_told_before_training(config, cache):
    long = tuple(replace(source, prompt='pick ' * 9) for source in config.sources)
    with pytest.raises(PromptError, match='1 to 24'):
        prepared(replace(config, sources=long), cache)


def test_recording_in_two_sources_is_refused(config, cache, folder):
    again = replace(config.sources[0], path=folder / 'pick' / 'pick1', task='again')
    with pytest.raises(DatasetError, match=r'pick1: task again.*another source has too'):
        prepared(replace(config, sources=(*config.sources, again)), cache)


def test_two_robots_of_one_name_are_refused(config, cache, tmp_path):
    other = write_embodiment(tmp_path, executed_steps=3)
    sources = (config.sources[0], replace(config.sources[1], embodiment=str(other)))
    with pytest.raises(DatasetError, match='another robot named small'):
        prepared(replace(config, sources=sources), cache)


def test_recording_of_another_robot_is_refused(config, cache):
    sources = (replace(config.sources[0], embodiment='sim_single_arm'),)
    with pytest.raises(BagError, match='no such topic'):
        prepared(replace(config, sources=sources), cache)


@pytest.mark.parametrize(('name', 'found'), [('nowhere', 'nothing'), ('empty', 'no recording')])
def test_folder_without_recordings_is_refused(tmp_path, name, found):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match=f'{name}: found {found}'):
        find_bags(tmp_path / name)


def test_recordings_are_found_at_any_depth(folder):
    found = find_bags(folder)
    assert [path.name for path in found] == ['pick0', 'pick1', 'pick2', 'push0', 'push1']
    assert find_bags(folder / 'pick' / 'pick1') == [folder / 'pick' / 'pick1']
    (storage,) = Path(folder / 'pick' / 'pick1').glob('*.db3')
    assert find_bags(storage) == [storage]


def test_progress_goes_from_nothing_to_all(config, tmp_path):
    seen = []
    prepared(config, tmp_path / 'cache', progress=lambda what, share: seen.append((what, share)))
    read = [share for what, share in seen if what.startswith('reading')]
    assert read == sorted(read)
    assert read[-1] == pytest.approx(1.0)
    assert seen[-1] == ('statistics of small', 1.0)


def test_statistics_are_measured_once(config, cache, tmp_path):
    first = prepared(config, tmp_path / 'cache')
    (kept,) = (tmp_path / 'cache').glob('statistics-*.json')
    before = kept.stat().st_mtime_ns
    second = prepared(config, tmp_path / 'cache')
    assert kept.stat().st_mtime_ns == before
    for key in ('mean', 'std', 'q01', 'q99'):
        for part in ('state', 'action'):
            one, two = (getattr(getattr(d.robots['small'][1], part), key) for d in (first, second))
            np.testing.assert_array_equal(one, two)
    assert second.identity == first.identity
    prepared(replace(config, actions='absolute'), tmp_path / 'cache')
    assert len(list((tmp_path / 'cache').glob('statistics-*.json'))) == 2


def digit(text):
    at = text.index('.') + 3
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]


@pytest.mark.parametrize(
    'damage', [lambda _: '', lambda _: '{', lambda _: '{"key": "other"}', lambda _: '[]', digit]
)
def test_damaged_statistics_are_measured_anew(config, tmp_path, damage):
    first = prepared(config, tmp_path / 'cache')
    (kept,) = (tmp_path / 'cache').glob('statistics-*.json')
    whole = kept.read_text()
    kept.write_text(damage(whole))
    told = []
    second = prepare(config, SIZES, tmp_path / 'cache', 0, tell=told.append)
    assert second.identity == first.identity
    assert any('measured anew' in line for line in told)
    assert kept.read_text() == whole


def test_tokenizer_of_an_unknown_kind_is_refused(config, cache, tmp_path):
    with pytest.raises(DatasetError, match=r'found .txt, expected a file that ends in .model'):
        prepared(replace(config, tokenizer=tmp_path / 'words.txt'), cache)


def test_slots_are_those_of_the_robots_in_the_order_of_pi0(config, cache):
    robot = load_embodiment(config.sources[0].embodiment)
    assert prepared(config, cache).model.slots == tuple(c.slot for c in robot.cameras)
    turned = ('left_wrist_0_rgb', 'base_0_rgb')
    assert prepared(replace(config, slots=turned), cache).model.slots == turned
