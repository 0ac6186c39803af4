"""Scenes of an evaluation: paired, one for each trial, and never those of training."""

from __future__ import annotations

import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError
from pizero_ros.evaluation.trial import seed_of, trials_of
from pizero_ros.sim.tasks.task import task_named, tasks_of, two_step_tasks_of

ARM = load_embodiment('sim_single_arm')
FIRST = 1_000_000


def test_policies_and_conditions_see_the_same_scenes():
    tasks = [task_named(ARM, 'touch_red_then_hover_blue'), task_named(ARM, 'touch_red')]
    ours = list(trials_of(ARM, 'ours', ('flat', 'human'), tasks, 3, FIRST))
    other = list(trials_of(ARM, 'other', ('flat', 'human'), tasks, 3, FIRST))
    assert [each.seed for each in ours] == [each.seed for each in other]
    two = [each for each in ours if len(each.task.steps) == 2]
    assert [each.condition for each in two] == ['flat', 'human'] * 3
    assert len({each.seed for each in two}) == 3
    assert {each.condition for each in ours if len(each.task.steps) == 1} == {'flat'}
    assert len({each.key for each in ours}) == len(ours) == 9


def test_nobody_who_holds_is_told_steps():
    task = task_named(ARM, 'touch_red_then_hover_blue')
    held = list(trials_of(ARM, 'hold', ('flat', 'human', 'planner'), [task], 2, FIRST))
    assert [each.condition for each in held] == ['flat', 'flat']


def test_each_task_has_seeds_of_its_own_whatever_else_is_asked_for():
    for robot in map(load_embodiment, ('sim_single_arm', 'sim_dual_arm', 'sim_mobile')):
        every = (*tasks_of(robot), *two_step_tasks_of(robot))
        seeds = [seed_of(robot, task, k, FIRST) for task in every for k in (0, 999)]
        assert len(set(seeds)) == len(seeds)
        assert seeds[0] == FIRST
        assert max(seeds) < 2_000_000


@pytest.mark.parametrize('first', [0, 999_999, 1_999_995])
def test_scenes_that_are_not_kept_for_evaluation_are_refused(first):
    with pytest.raises(DatasetError, match='expected a seed from 1000000 to 1999999'):
        list(trials_of(ARM, 'ours', ('flat',), tasks_of(ARM)[:1], 10, first))
