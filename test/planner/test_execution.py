"""The state of an instruction: what the policy is told, what ends a subtask, who is asked when."""

from __future__ import annotations

import pytest

from pizero_ros.planner.execution import HANDOVER_S, STOP, Execution, PolicyView
from pizero_ros.planner.plan import Done, Failed, GoOn, Next, NoAnswer, Subtask

RED = Subtask('red', 10.0, 'time', 4.0)
BLUE = Subtask('blue', 20.0, 'verdict')
LOOK = Subtask('look', 6.0, 'planner')
PERIOD_S = 2.0


class Plan(Execution):
    """An execution with a clock; ``go`` is what the node's timer does."""

    def __init__(self, looks_every_s=PERIOD_S, start_s=100.0):
        super().__init__(looks_every_s=looks_every_s, planning_limit_s=30.0)
        self.now_s = start_s
        self.obeys = True
        self.policy_state = 'running'

    def go(self, seconds, step_s=0.25):
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            if self.obeys:
                state = self.policy_state if self.prompt else 'holding'
                self.heed(PolicyView(state, self.prompt, 'why'))
            self.tick(self.now_s)

    def asked(self):
        return self.question(self.now_s)

    def answer(self, answer, question=None):
        question = question or self.asked()
        assert question is not None
        self.answered(question, answer, self.now_s)

    @property
    def seen(self):
        return self.view(self.now_s)

    @property
    def done(self):
        return [(each.prompt, each.outcome, each.elapsed_s) for each in self.seen.finished]


@pytest.fixture
def plan():
    plan = Plan()
    plan.instruct('red then blue', plan.now_s)
    return plan


def test_nothing_is_asked_or_told_without_an_instruction():
    plan = Plan()
    plan.go(5.0)
    assert (plan.state, plan.prompt, plan.generation, plan.asked()) == ('idle', STOP, 0, None)
    plan.instruct('   ', plan.now_s)
    assert (plan.state, plan.generation) == ('idle', 0)


def test_the_first_prompt_is_the_planners_answer(plan):
    assert (plan.state, plan.prompt) == ('planning', STOP)
    question = plan.asked()
    assert (question.situation.instruction, question.situation.current) == ('red then blue', None)
    plan.answer(Next(RED, 'it is near'), question)
    assert (plan.state, plan.prompt, plan.seen.reason) == ('running', 'red', 'it is near')


def test_time_ends_a_subtask_and_its_prompt_stays_until_the_next_is_known(plan):
    plan.answer(Next(RED))
    plan.go(3.75)
    assert (plan.state, plan.asked()) == ('running', None)
    plan.go(0.25)
    assert (plan.state, plan.prompt, plan.done) == (
        'planning', 'red', [('red', 'succeeded', 4.0)],
    )  # fmt: skip
    question = plan.asked()
    assert [each.prompt for each in question.situation.finished] == ['red']
    plan.answer(Next(BLUE), question)
    assert (plan.state, plan.prompt) == ('running', 'blue')


def test_robot_holds_if_the_next_subtask_is_long_in_coming(plan):
    plan.answer(Next(RED))
    plan.go(4.0)
    plan.go(HANDOVER_S - 0.25)
    assert plan.prompt == 'red'
    plan.go(0.25)
    assert (plan.state, plan.prompt) == ('planning', STOP)
    plan.answer(Next(BLUE))
    assert plan.prompt == 'blue'


@pytest.mark.parametrize('state', ['holding', 'inactive', 'silent'])
def test_time_counts_only_while_the_policy_follows(plan, state):
    plan.answer(Next(RED))
    plan.go(2.0)
    plan.policy_state = state
    plan.go(3.0)
    assert plan.state == 'running'
    plan.policy_state = 'dry_run'
    plan.go(1.75)
    assert plan.state == 'running'
    plan.go(0.25)
    assert plan.done == [('red', 'succeeded', 7.0)]


def test_time_does_not_count_under_another_prompt(plan):
    plan.answer(Next(RED))
    plan.obeys = False
    plan.heed(PolicyView('running', 'wave'))
    plan.go(9.75)
    assert plan.state == 'running'
    plan.go(0.25)
    assert (plan.state, plan.done) == ('failed', [('red', 'failed', 10.0)])


def test_limit_stops_the_robot_and_asks_nobody(plan):
    plan.answer(Next(BLUE))
    plan.go(19.75)
    assert plan.prompt == 'blue'
    plan.go(0.25)
    assert (plan.state, plan.prompt, plan.asked()) == ('failed', STOP, None)
    assert "'blue' has reached its limit, 20 s" in plan.seen.reason
    assert plan.done == [('blue', 'failed', 20.0)]


def test_policy_that_failed_ends_the_instruction(plan):
    plan.answer(Next(BLUE))
    plan.policy_state = 'fault'
    plan.go(0.25)
    assert (plan.state, plan.prompt) == ('failed', STOP)
    assert plan.seen.reason == 'the policy has failed: why'


@pytest.mark.parametrize('text', ['succeeded', 'succeeded: blue', ' succeeded : blue '])
def test_verdict_ends_a_subtask_that_waits_for_it(plan, text):
    plan.answer(Next(BLUE))
    plan.go(1.0)
    plan.judge(text)
    plan.go(0.25)
    assert (plan.state, plan.done) == ('planning', [('blue', 'succeeded', 1.25)])


def test_verdict_of_failure_stops_the_robot(plan):
    plan.answer(Next(BLUE))
    plan.judge('failed')
    plan.go(0.25)
    assert (plan.state, plan.prompt, plan.done[0][1]) == ('failed', STOP, 'failed')


def test_verdicts_that_are_not_meant_or_not_understood_are_counted_and_change_nothing(plan):
    plan.judge('succeeded')
    plan.answer(Next(BLUE))
    for text in ('succeeded: red', 'yes', 'succeeded:', '', 'SUCCEEDED'):
        plan.judge(text)
    plan.go(1.0)
    assert plan.state == 'running'
    assert plan.counts == {
        'verdicts without a subtask': 1,
        'verdicts on another subtask': 1,
        'verdicts not understood': 4,
    }


def test_verdict_of_the_subtask_before_does_not_end_the_next():
    plan = Plan()
    plan.instruct('look, then blue', plan.now_s)
    plan.answer(Next(LOOK))
    plan.judge('succeeded')
    plan.go(PERIOD_S)
    question = plan.asked()
    assert question.situation.verdict == 'succeeded'
    plan.answer(Next(BLUE), question)
    plan.go(1.0)
    assert (plan.state, plan.prompt) == ('running', 'blue')


def test_planner_is_asked_again_and_again_while_it_has_to_judge(plan):
    plan.answer(Next(LOOK))
    assert plan.asked() is None
    plan.go(PERIOD_S - 0.25)
    assert plan.asked() is None
    plan.go(0.25)
    question = plan.asked()
    assert (question.situation.current, question.situation.elapsed_s) == (LOOK, PERIOD_S)
    plan.answer(GoOn('still looking'), question)
    assert plan.asked() is None
    plan.go(PERIOD_S)
    plan.answer(Done('seen'))
    assert (plan.state, plan.prompt, plan.done) == ('done', STOP, [('look', 'succeeded', 4.0)])


def test_without_answers_the_subtask_goes_on_until_its_limit_and_then_the_robot_stops(plan):
    plan.answer(Next(LOOK))
    for _ in range(2):
        plan.go(PERIOD_S)
        plan.answer(NoAnswer('time-out'))
        assert (plan.state, plan.prompt) == ('running', 'look')
    plan.go(2.0)
    assert (plan.state, plan.prompt) == ('failed', STOP)
    assert plan.seen.reason == "'look' has reached its limit, 6 s; last: time-out"
    assert plan.counts == {'no answer': 2}


def test_after_a_permanent_failure_nobody_is_asked_and_the_limit_still_holds(plan):
    plan.answer(Next(LOOK))
    plan.go(PERIOD_S)
    plan.answer(NoAnswer('HTTP 401', permanent=True))
    assert (plan.state, plan.prompt) == ('running', 'look')
    plan.go(3.75)
    assert (plan.state, plan.asked()) == ('running', None)
    plan.go(0.25)
    assert plan.state == 'failed'
    plan.instruct('again', plan.now_s)
    assert plan.asked() is not None


def test_permanent_failure_before_the_first_subtask_ends_the_instruction(plan):
    plan.answer(NoAnswer('HTTP 401', permanent=True))
    assert (plan.state, plan.prompt, plan.seen.reason) == ('failed', STOP, 'HTTP 401')


@pytest.mark.parametrize('answer', [NoAnswer('time-out'), GoOn('with what?')])
def test_no_first_answer_is_waited_for_so_long_and_no_longer(plan, answer):
    for _ in range(14):
        plan.answer(answer)
        plan.go(PERIOD_S)
        assert (plan.state, plan.prompt) == ('planning', STOP)
    plan.go(2.0)
    assert plan.state == 'failed'
    assert 'no answer from the planner in 30.0 s' in plan.seen.reason
    assert plan.counts['no answer'] == 14


def test_planner_that_gives_up_stops_the_robot(plan):
    plan.answer(Next(LOOK))
    plan.go(PERIOD_S)
    plan.answer(Failed('it is not there'))
    assert (plan.state, plan.prompt, plan.seen.reason) == ('failed', STOP, 'it is not there')


def test_answer_to_what_is_over_is_dropped(plan):
    plan.answer(Next(LOOK))
    plan.go(PERIOD_S)
    late = plan.asked()
    plan.instruct('something else', plan.now_s)
    plan.answer(Done('seen'), late)
    assert (plan.state, plan.counts) == ('planning', {'answers too late': 1})
    plan.answer(Next(BLUE))
    later = late._replace(step=plan.seen.step)
    plan.go(20.0)
    plan.answer(Next(RED), later)
    assert (plan.state, plan.prompt, plan.counts['answers too late']) == ('failed', STOP, 2)


def test_same_instruction_changes_nothing_while_it_is_carried_out_and_repeats_it_later(plan):
    plan.answer(Next(LOOK))
    plan.instruct(' red  then blue', plan.now_s)
    assert (plan.prompt, plan.generation) == ('look', 1)
    plan.go(PERIOD_S)
    plan.answer(Done())
    plan.instruct('red then blue', plan.now_s)
    assert (plan.state, plan.generation, plan.done) == ('planning', 2, [])


def test_another_instruction_holds_until_its_first_subtask(plan):
    plan.answer(Next(LOOK))
    plan.instruct('green', plan.now_s)
    assert (plan.state, plan.prompt, plan.done) == ('planning', STOP, [])


def test_empty_instruction_stops(plan):
    plan.answer(Next(LOOK))
    plan.instruct('', plan.now_s)
    assert (plan.state, plan.prompt, plan.asked()) == ('stopped', STOP, None)


def test_empty_instruction_stops_what_a_person_began_without_one():
    plan = Plan(looks_every_s=None)
    plan.say('look', plan.now_s)
    plan.answer(Next(LOOK), plan.asked())
    plan.instruct('', plan.now_s)
    assert (plan.state, plan.prompt, plan.asked()) == ('stopped', STOP, None)


def test_person_is_waited_for_and_every_message_is_asked_about():
    plan = Plan(looks_every_s=None)
    plan.say('look', plan.now_s)
    plan.say('red', plan.now_s)
    assert plan.asked().situation.said == 'look'
    plan.answer(Next(LOOK), plan.asked())
    assert (plan.prompt, plan.asked()) == ('look', None)
    plan.go(5.0)
    plan.say('look', plan.now_s)
    plan.answer(Next(LOOK))
    plan.go(5.0)
    assert (plan.state, plan.done) == ('running', [('look', 'succeeded', 5.0)])
    plan.go(1.0)
    assert (plan.state, plan.prompt) == ('failed', STOP)
    plan.instruct('tidy up', plan.now_s)
    plan.go(100.0)
    assert plan.state == 'planning'


def test_clock_that_is_reset_or_begins_leaves_the_limit_where_it_was(plan):
    plan.answer(Next(BLUE))
    plan.go(15.0)
    plan.now_s = 3.0
    plan.tick(plan.now_s)
    plan.go(4.75)
    assert plan.state == 'running'
    plan.go(0.25)
    assert plan.state == 'failed'

    early = Plan(start_s=0.0)
    early.instruct('blue', 0.0)
    early.now_s = 1.7e9
    early.tick(early.now_s)
    assert (early.state, early.asked() is not None) == ('planning', True)


def test_stop_leaves_a_hold(plan):
    plan.answer(Next(LOOK))
    plan.stop('the planner was ended', plan.now_s)
    assert (plan.state, plan.prompt, plan.seen.reason) == (
        'stopped', STOP, 'the planner was ended',
    )  # fmt: skip
