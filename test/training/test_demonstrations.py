"""Demonstrations are put together to a task, and held out whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bags import demonstration, write, write_embodiment

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError
from pizero_ros.training.bag_examples import Reading, read_bag
from pizero_ros.training.demonstrations import Demonstrations, hold_out

LENGTHS = (6, 9, 4)


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    return load_embodiment(write_embodiment(tmp_path_factory.mktemp('robot')))


@pytest.fixture(scope='module')
def episodes(robot, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bags')
    return [
        read_bag(
            write(folder / f'bag{number}', demonstration(steps, instruction=f'task {number}')),
            robot,
            Reading((28, 28), 'antialias'),
            folder / 'cache',
        )
        for number, steps in enumerate(LENGTHS)
    ]


def test_samples_are_counted_through_all_demonstrations(robot, episodes):
    pair = Demonstrations('reach', robot, episodes)
    assert len(pair) == sum(LENGTHS)
    prompts = [pair[number].prompt for number in range(len(pair))]
    assert prompts == ['task 0'] * 6 + ['task 1'] * 9 + ['task 2'] * 4
    np.testing.assert_array_equal(pair[6].state, episodes[1][0].state)
    np.testing.assert_array_equal(pair[18].state, episodes[2][3].state)
    assert pair[6].name == f'{episodes[1].origin} at 1700000000000000000 ns'
    for outside in (-1, 19):
        with pytest.raises(IndexError):
            pair[outside]


def test_no_demonstration_is_refused(robot):
    with pytest.raises(DatasetError, match='reach: demonstrations: found none'):
        Demonstrations('reach', robot, [])


def test_demonstration_of_another_robot_is_refused(robot, episodes):
    with pytest.raises(DatasetError, match=r'bag0: embodiment: found small, expected other'):
        Demonstrations('reach', replace(robot, name='other'), episodes)


def test_demonstration_of_another_image_size_is_refused(robot, episodes, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(3))
    other = read_bag(bag, robot, Reading((14, 14), 'antialias'), tmp_path / 'cache')
    with pytest.raises(DatasetError, match='shape: found'):
        Demonstrations('reach', robot, [*episodes, other])


class Named:
    """Stands for a cached demonstration where only its name counts."""

    def __init__(self, origin):
        self.origin = origin


def names(split):
    return [[each.origin for each in part] for part in split]


def test_held_out_are_whole_demonstrations_in_the_share_asked_for():
    episodes = [Named(f'/data/bag{number}') for number in range(20)]
    learn, held = names(hold_out(episodes, 0.1, seed=1))
    assert (len(learn), len(held)) == (18, 2)
    assert sorted(learn + held) == sorted(each.origin for each in episodes)
    assert names(hold_out(episodes, 0.1, seed=1)) == [learn, held]
    assert any(names(hold_out(episodes, 0.1, seed=seed))[1] != held for seed in range(2, 6))


def test_held_out_do_not_depend_on_the_order_or_the_place_of_the_data():
    episodes = [Named(f'/data/bag{number}') for number in range(20)]
    moved = [Named(f'/other/bag{number}') for number in reversed(range(20))]
    expected = {Path(name).name for name in names(hold_out(episodes, 0.2, seed=3))[1]}
    assert {Path(name).name for name in names(hold_out(moved, 0.2, seed=3))[1]} == expected


def test_nothing_is_held_out_of_a_share_of_nothing():
    assert names(hold_out([Named('a')], 0.0, seed=0)) == [['a'], []]


def test_holding_out_the_only_demonstration_is_refused():
    with pytest.raises(DatasetError, match=r'1 of 1 demonstrations.*hold out none'):
        hold_out([Named('a')], 0.1, seed=0)
