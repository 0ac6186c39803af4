"""The planner that is a person."""

from __future__ import annotations

import pytest

from pizero_ros.planner.human import HumanPlanner
from pizero_ros.planner.plan import Done, Failed, GoOn, Next, NoAnswer, Situation, Subtask


def said(text):
    return Situation(1, '', said=text)


def test_message_is_the_next_prompt_with_the_limit_of_the_node():
    answer = HumanPlanner(7.0).decide(said(' touch the red cube\n'))
    assert answer == Next(Subtask('touch the red cube', 7.0), 'a person said so')


@pytest.mark.parametrize(
    ('text', 'kind'),
    [
        ('done', Done),
        ('stop', Failed),
        ('STOP', Failed),
        ('', Failed),
        ('  ', Failed),
        (None, GoOn),
    ],
)
def test_words_that_are_no_prompts(text, kind):
    assert isinstance(HumanPlanner(7.0).decide(said(text)), kind)


def test_prompt_that_the_policy_does_not_know_is_refused_and_counted():
    planner = HumanPlanner(7.0, ('touch the red cube',))
    answer = planner.decide(said('touch the read cube'))
    assert isinstance(answer, NoAnswer)
    assert "Did you mean 'touch the red cube'?" in answer.reason
    assert planner.counts() == {'unknown prompts refused': 1}
    assert isinstance(planner.decide(said('touch the red cube')), Next)
