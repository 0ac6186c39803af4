"""The folder of an evaluation: goes on where it was, and refuses what it is not for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EnvironmentFault
from pizero_ros.evaluation.journal import TRIALS, Journal, Order
from pizero_ros.evaluation.trial import trials_of
from pizero_ros.sim.tasks.task import task_named

ARM = load_embodiment('sim_single_arm')
TASKS = [task_named(ARM, 'touch_red')]
ORDER = Order(seed=1_000_000, width=224, speed=None, executed_steps=0, noise_seed=0)
OURS = {'ours': {'bundle': 'a/bundle', 'identity': '0' * 64}}
ROBOTS = {'sim_single_arm': '3' * 64}


def test_trials_that_were_run_are_not_run_again(tmp_path, record):
    journal = Journal(tmp_path, ORDER, OURS, ROBOTS)
    trials = list(trials_of(ARM, 'ours', ('flat',), TASKS, 3, 1_000_000))
    journal.add(record(seed=1_000_001))
    again = Journal(tmp_path, ORDER, OURS, ROBOTS)
    assert [each.seed for each in again.missing(trials)] == [1_000_000, 1_000_002]
    assert again.records == journal.records


def test_a_line_that_was_cut_off_belongs_to_a_trial_that_is_run_anew(tmp_path, record):
    journal = Journal(tmp_path, ORDER, OURS, ROBOTS)
    journal.add(record(seed=1_000_000))
    whole = (tmp_path / TRIALS).read_bytes()
    journal.add(record(seed=1_000_001))
    (tmp_path / TRIALS).write_bytes((tmp_path / TRIALS).read_bytes()[:-20])
    again = Journal(tmp_path, ORDER, OURS, ROBOTS)
    assert [each['seed'] for each in again.records] == [1_000_000]
    assert (tmp_path / TRIALS).read_bytes() == whole
    again.add(record(seed=1_000_001))
    assert len(Journal(tmp_path, ORDER, OURS, ROBOTS).records) == 2


def test_a_first_line_that_was_cut_off_leaves_nothing(tmp_path):
    Journal(tmp_path, ORDER, OURS, ROBOTS)
    (tmp_path / TRIALS).write_text('{"embodiment": "sim_si')
    assert Journal(tmp_path, ORDER, OURS, ROBOTS).records == []
    assert (tmp_path / TRIALS).read_bytes() == b''


@pytest.mark.parametrize(
    ('key', 'value'), [('seed', 1_500_000), ('width', 48), ('speed', 0.5), ('noise_seed', 1)]
)
def test_another_order_is_refused_and_the_key_named(tmp_path, key, value):
    Journal(tmp_path, ORDER, OURS, ROBOTS)
    with pytest.raises(EnvironmentFault, match=rf'order.json: {key}: .*another folder'):
        Journal(tmp_path, dataclasses.replace(ORDER, **{key: value}), OURS, ROBOTS)


def test_another_policy_of_the_same_name_is_refused_and_further_ones_are_welcome(tmp_path):
    Journal(tmp_path, ORDER, OURS, ROBOTS)
    more = Journal(tmp_path, ORDER, {'small': {'bundle': 'b', 'identity': '1' * 64}}, ROBOTS)
    assert list(more.policies) == ['ours', 'small']
    other = {'ours': {'bundle': 'c', 'identity': '2' * 64}}
    with pytest.raises(EnvironmentFault, match=r'policies\.ours: found another policy'):
        Journal(tmp_path, ORDER, other, ROBOTS)


def test_another_robot_of_the_same_name_is_refused_and_further_ones_are_welcome(tmp_path):
    Journal(tmp_path, ORDER, OURS, ROBOTS)
    more = Journal(tmp_path, ORDER, OURS, {'sim_mobile': '4' * 64})
    assert list(more.robots) == ['sim_single_arm', 'sim_mobile']
    with pytest.raises(EnvironmentFault, match=r'robots\.sim_single_arm: found another robot'):
        Journal(tmp_path, ORDER, OURS, {'sim_single_arm': '5' * 64})


def test_a_trial_that_is_there_twice_is_refused(tmp_path, record):
    journal = Journal(tmp_path, ORDER, OURS, ROBOTS)
    for _ in range(2):
        journal.add(record(seed=1_000_000))
    with pytest.raises(EnvironmentFault, match='a trial that is there twice'):
        Journal(tmp_path, ORDER, OURS, ROBOTS)


@pytest.mark.parametrize('line', ['no json\n', '{"embodiment": "sim_single_arm"}\n'])
def test_a_damaged_line_is_named(tmp_path, line):
    Journal(tmp_path, ORDER, OURS, ROBOTS)
    (tmp_path / TRIALS).write_text(line)
    with pytest.raises(EnvironmentFault, match=r'trials\.jsonl: .*Take the damaged line out'):
        Journal(tmp_path, ORDER, OURS, ROBOTS)


def test_a_record_is_plain_json(record):
    fields = record(success=False, approached=None)
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields
    assert fields['approached'] == [None]
    assert fields['done_s'] is None
