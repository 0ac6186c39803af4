"""Scripts: what a file may say, and the planner that follows it."""

from __future__ import annotations

import pytest
import yaml

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PlannerError
from pizero_ros.planner.plan import (
    Done,
    Failed,
    Finished,
    GoOn,
    Judgement,
    NoAnswer,
    Situation,
    Subtask,
)
from pizero_ros.planner.script import ScriptPlanner
from pizero_ros.planner.script_file import load_script, script_names

RED = Subtask('touch the red cube', 10.0, 'time', 4.0)
BLUE = Subtask('touch the blue cube', 20.0, 'verdict')
LOOK = Subtask('look up', 5.0, 'planner')


def content():
    return {
        'schema': 1,
        'prompts': [RED.prompt, BLUE.prompt, LOOK.prompt],
        'tasks': [
            {
                'instruction': 'Touch red, then blue',
                'subtasks': [
                    {'prompt': RED.prompt, 'limit_s': 10, 'until': 'time', 'seconds': 4},
                    {'prompt': BLUE.prompt, 'limit_s': 20, 'until': 'verdict'},
                ],
            },
            {
                'instruction': 'look',
                'subtasks': [{'prompt': 'look up', 'limit_s': 5, 'until': 'planner'}] * 2,
            },
        ],
    }


@pytest.fixture
def script(tmp_path):
    def load(change=lambda content: None):
        told = content()
        change(told)
        path = tmp_path / 'script.yaml'
        path.write_text(yaml.safe_dump(told, sort_keys=False))
        return load_script(path)

    return load


class Judges:
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, *says):
        self.says, self.asked, self.closed = list(says), [], False

    def judge(self, situation):
        self.asked.append(situation)
        return self.says.pop(0)

    def counts(self):
        return {'requests': len(self.asked)}

    def close(self):
        self.closed = True


def test_file_is_read_as_it_is_written(script):
    read = script()
    assert read.prompts == (RED.prompt, BLUE.prompt, LOOK.prompt)
    assert read.task('  touch RED, then\nblue ').subtasks == (RED, BLUE)
    assert read.task('touch red') is None


def test_defaults_hold_where_a_subtask_says_nothing(script):
    def change(told):
        told['defaults'] = {'limit_s': 9, 'until': 'time', 'seconds': 3}
        told['tasks'][0]['subtasks'] = [
            {'prompt': RED.prompt},
            {'prompt': BLUE.prompt, 'until': 'verdict', 'limit_s': 8},
            {'prompt': RED.prompt, 'seconds': 5},
        ]

    assert script(change).tasks[0].subtasks == (
        Subtask(RED.prompt, 9.0, 'time', 3.0),
        Subtask(BLUE.prompt, 8.0, 'verdict'),
        Subtask(RED.prompt, 9.0, 'time', 5.0),
    )


def subtask(told):
    return told['tasks'][0]['subtasks'][0]


@pytest.mark.parametrize(
    ('change', 'fragments'),
    [
        (lambda c: c.update(schema=2), ['schema: found 2', 'expected 1']),
        (lambda c: c.pop('prompts'), ['prompts: found nothing']),
        (lambda c: c.update(prompts=[]), ['prompts: found an empty list']),
        (lambda c: c['prompts'].append(''), ['prompts[3]', 'makes the robot hold']),
        (lambda c: c['prompts'].append(' look up'), ['prompts[3]', 'without blanks']),
        (lambda c: c['prompts'].append('look up'), ['prompts[3]', "'look up' twice"]),
        (lambda c: c.update(tasks=[]), ['tasks: found [], expected a list of at least one']),
        (
            lambda c: subtask(c).update(prompt='touch the read cube'),
            ['script.yaml:9', 'subtasks[0].prompt', "Did you mean 'touch the red cube'?"],
        ),
        (lambda c: subtask(c).pop('limit_s'), ['subtasks[0].limit_s: found nothing']),
        (lambda c: subtask(c).update(limit_s=0), ['subtasks[0].limit_s: found 0']),
        (lambda c: subtask(c).update(limit_s=7200), ['subtasks[0].limit_s: found 7200']),
        (lambda c: subtask(c).update(until='then'), ['until', 'one of time, verdict, planner']),
        (lambda c: subtask(c).pop('until'), ['subtasks[0].until: found nothing']),
        (lambda c: subtask(c).pop('seconds'), ['subtasks[0].seconds: found nothing']),
        (lambda c: subtask(c).update(seconds=10), ['seconds: found 10', 'less than limit_s (10)']),
        (lambda c: subtask(c).update(until='verdict'), ['seconds', 'with `until: time` only']),
        (lambda c: subtask(c).update(limits_s=3), ['limits_s', "Did you mean 'limit_s'?"]),
        (lambda c: c.update(defaults={'limits': 3}), ['defaults.limits: found an unknown key']),
        (lambda c: c.update(defaults={'limit_s': 0}), ['defaults.limit_s: found 0']),
        (
            lambda c: c['tasks'][1].update(instruction='touch red,  then blue'),
            ['tasks[1].instruction', 'twice'],
        ),
    ],
)
def test_mistake_in_a_script_is_named(script, change, fragments):
    with pytest.raises(PlannerError) as raised:
        script(change)
    assert [f for f in fragments if f not in str(raised.value)] == [], raised.value


def test_script_that_does_not_exist_names_those_that_do(tmp_path):
    with pytest.raises(PlannerError, match=r"one of sim_dual_arm.*Did you mean 'sim_mobile'\?"):
        load_script('sim_mobil')
    with pytest.raises(PlannerError, match='no\\.yaml'):
        load_script(tmp_path / 'no.yaml')


def test_shipped_scripts_are_named_after_the_robots():
    assert script_names() == ['sim_dual_arm', 'sim_mobile', 'sim_single_arm']


@pytest.mark.parametrize('name', ['sim_dual_arm', 'sim_mobile', 'sim_single_arm'])
def test_shipped_scripts_have_every_two_step_task_of_the_robot(name):
    tasks = pytest.importorskip('pizero_ros.sim.tasks.task')
    script, embodiment = load_script(name), load_embodiment(name)
    assert script.prompts == tuple(t.instruction for t in tasks.tasks_of(embodiment))
    assert {
        task.instruction: [subtask.prompt for subtask in task.subtasks] for task in script.tasks
    } == {
        task.instruction: [step.instruction for step in task.steps]
        for task in tasks.two_step_tasks_of(embodiment)
    }
    ScriptPlanner(script)  # needs no judge


def asked(instruction, finished=0, current=None):
    done = (Finished('x', 'succeeded', 1.0),) * finished
    return Situation(1, instruction, done, current)


def test_subtasks_come_in_order_and_then_it_is_done(script):
    planner = ScriptPlanner(script(lambda told: told['tasks'].pop()))
    assert planner.sees is False
    assert planner.decide(asked('touch red, then blue')).subtask == RED
    assert planner.decide(asked('touch red, then blue', 1)).subtask == BLUE
    assert isinstance(planner.decide(asked('touch red, then blue', 2)), Done)


def test_unknown_instruction_fails_and_names_the_nearest(script):
    planner = ScriptPlanner(script(lambda told: told['tasks'].pop()))
    answer = planner.decide(asked('Touch red, then blu'))
    assert isinstance(answer, Failed)
    assert "Did you mean 'Touch red, then blue'?" in answer.reason
    assert planner.counts() == {'unknown instructions': 1}


def test_judge_ends_the_subtasks_that_wait_for_it(script):
    judge = Judges(
        Judgement('going_on', 'not yet'), NoAnswer('time-out'), Judgement('succeeded', 'up'),
        Judgement('succeeded', 'up'), Judgement('failed', 'fell'),
    )  # fmt: skip
    planner = ScriptPlanner(script(), judge, period_s=0.5)
    assert (planner.sees, planner.looks_every_s) == (True, 0.5)
    assert planner.decide(asked('look')).subtask == LOOK
    assert planner.decide(asked('look', 0, LOOK)) == GoOn('not yet')
    assert planner.decide(asked('look', 0, LOOK)) == NoAnswer('time-out')
    assert planner.decide(asked('look', 0, LOOK)).subtask == LOOK
    assert isinstance(planner.decide(asked('look', 1, LOOK)), Done)
    failed = planner.decide(asked('look', 1, LOOK))
    assert failed == Failed("'look up': fell")
    assert len(judge.asked) == 5
    assert planner.counts() == {'requests': 5}
    planner.close()
    assert judge.closed


def test_script_that_needs_a_judge_or_has_no_tasks_is_refused(script):
    with pytest.raises(PlannerError, match=r"'look up'.*vlm_url"):
        ScriptPlanner(script())
    with pytest.raises(PlannerError, match='at least one task'):
        ScriptPlanner(script(lambda told: told.pop('tasks')))
