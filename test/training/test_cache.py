"""The folder of a demonstration is whole or absent, whoever else is writing it."""

import numpy as np
import pytest

from pizero_ros.errors import DatasetError
from pizero_ros.training.cache import CachedEpisode, EpisodeWriter, Shape

SHAPE = Shape('arm', ('front', 'wrist'), (4, 6), (True, True, False), 5, 2)


def fill(writer, value=1.0, count=3):
    for number in range(count):
        picture = np.full((4, 6, 3), number, np.uint8)
        pictures = {'front': writer.picture('front', picture)}
        state, actions = np.full(3, value), np.full((5, 2), value + number)
        writer.sample(number, f'task {number % 2}', pictures, state, actions, np.arange(5) < 4)
    return writer


def test_what_was_written_is_read(tmp_path):
    episode = fill(EpisodeWriter(tmp_path / 'a', SHAPE)).finish('key', 'bag', {'late': 2})
    again = CachedEpisode(tmp_path / 'a', 'key')
    assert (len(again), again.origin, again.left_out) == (3, 'bag', {'late': 2})
    assert again.shape == SHAPE
    assert again.digest == episode.digest
    example = again[2]
    assert (example.prompt, example.embodiment, example.name) == ('task 0', 'arm', 'bag at 2 ns')
    assert list(example.images) == ['front']
    assert example.images['front'].tolist() == np.full((4, 6, 3), 2).tolist()
    assert example.actions.tolist() == [[3.0, 3.0]] * 5
    assert example.actions_valid.tolist() == [True] * 4 + [False]
    assert example.state_mapped.tolist() == [True, True, False]


def test_files_are_numpys(tmp_path):
    fill(EpisodeWriter(tmp_path / 'a', SHAPE)).finish('key', 'bag', {})
    pictures = np.load(tmp_path / 'a' / 'pictures-front.npy', mmap_mode='r')
    assert (pictures.shape, pictures.dtype) == ((3, 4, 6, 3), np.uint8)
    assert np.load(tmp_path / 'a' / 'pictures-wrist.npy').shape == (0, 4, 6, 3)
    samples = np.load(tmp_path / 'a' / 'samples.npy')
    assert samples['observed_ns'].tolist() == [0, 1, 2]
    assert samples['pictures'].tolist() == [[0, -1], [1, -1], [2, -1]]


def test_nothing_is_there_before_it_is_finished(tmp_path):
    writer = fill(EpisodeWriter(tmp_path / 'a', SHAPE))
    with pytest.raises(DatasetError):
        CachedEpisode(tmp_path / 'a', 'key')
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_of_the_same_the_first_one_wins(tmp_path):
    one, two = (fill(EpisodeWriter(tmp_path / 'a', SHAPE), value) for value in (1.0, 2.0))
    first = one.finish('key', 'bag', {})
    second = two.finish('key', 'bag', {})
    assert first[0].state.tolist() == second[0].state.tolist() == [1.0] * 3
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_what_was_made_from_something_else_is_replaced(tmp_path):
    fill(EpisodeWriter(tmp_path / 'a', SHAPE), 1.0).finish('old', 'bag', {})
    episode = fill(EpisodeWriter(tmp_path / 'a', SHAPE), 2.0).finish('new', 'bag', {})
    assert episode[0].state.tolist() == [2.0] * 3
    with pytest.raises(DatasetError, match='key: found new, expected old'):
        CachedEpisode(tmp_path / 'a', 'old')


def test_looking_for_a_slot_reads_no_picture(tmp_path):
    episode = fill(EpisodeWriter(tmp_path / 'a', SHAPE)).finish('key', 'bag', {})
    (tmp_path / 'a' / 'pictures-front.npy').unlink()
    images = episode[0].images
    assert 'front' in images
    assert 'wrist' not in images
    with pytest.raises(DatasetError, match=r'pictures-front\.npy'):
        images['front']


def test_folder_that_went_away_is_told(tmp_path):
    episode = fill(EpisodeWriter(tmp_path / 'a', SHAPE)).finish('key', 'bag', {})
    (tmp_path / 'a' / 'samples.npy').unlink()
    with pytest.raises(DatasetError, match=r'samples\.npy: found No such file'):
        episode[0]
