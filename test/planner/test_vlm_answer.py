"""What a model says is either exactly what was asked for, or nothing."""

from __future__ import annotations

import json

import pytest

from pizero_ros.planner.vlm_answer import (
    MalformedAnswer,
    UnknownSubtask,
    judgement_schema,
    plan_schema,
    read_judgement,
    read_plan,
)

PROMPTS = ('touch the red cube', 'touch the blue cube')
GOOD = {'status': 'next', 'subtask': 'touch the red cube', 'reason': 'first'}


@pytest.mark.parametrize(
    ('change', 'read'),
    [
        ({}, ('next', 'touch the red cube', 'first')),
        ({'status': 'continue', 'subtask': None}, ('continue', '', 'first')),
        ({'status': 'done', 'subtask': None}, ('done', '', 'first')),
        ({'status': 'failed', 'subtask': None, 'reason': ''}, ('failed', '', '')),
    ],
)
def test_good_answer_is_read(change, read):
    assert read_plan(json.dumps(GOOD | change), PROMPTS) == read


@pytest.mark.parametrize(
    'subtask',
    ['touch the green cube', 'Touch the red cube', 'touch the red cube ', '', 'touch the red'],
)
def test_subtask_that_is_not_known_to_the_letter_is_refused(subtask):
    with pytest.raises(UnknownSubtask, match=repr(subtask)):
        read_plan(json.dumps(GOOD | {'subtask': subtask}), PROMPTS)


@pytest.mark.parametrize(
    'text',
    [
        '',
        'I would touch the red cube next.',
        f'```json\n{json.dumps(GOOD)}\n```',
        f'{json.dumps(GOOD)} {json.dumps(GOOD)}',
        json.dumps([GOOD]),
        'null',
        json.dumps({k: v for k, v in GOOD.items() if k != 'reason'}),
        json.dumps(GOOD | {'speed': 2}),
        json.dumps(GOOD | {'status': 'start'}),
        json.dumps(GOOD | {'status': ['next']}),
        json.dumps(GOOD | {'reason': None}),
        json.dumps(GOOD | {'subtask': None}),
        json.dumps(GOOD | {'status': 'continue'}),
        json.dumps(GOOD | {'status': 'done', 'subtask': ''}),
        json.dumps(GOOD | {'subtask': ['touch the red cube']}),
        '{"status": "done", "status": "next", "subtask": "touch the red cube", "reason": ""}',
        '[' * 100_000,
    ],
)
def test_anything_else_is_malformed(text):
    with pytest.raises(MalformedAnswer):
        read_plan(text, PROMPTS)


def test_schema_names_the_known_prompts_and_nothing_else():
    schema = plan_schema(PROMPTS)
    assert schema['properties']['subtask']['enum'] == [*PROMPTS, None]
    assert schema['additionalProperties'] is False
    assert set(schema['required']) == set(GOOD)
    assert judgement_schema()['properties']['judgement']['enum'] == [
        'going_on', 'succeeded', 'failed',
    ]  # fmt: skip


def test_judgement_is_read_as_strictly():
    assert read_judgement('{"judgement": "succeeded", "reason": "it touches"}') == (
        'succeeded', 'it touches',
    )  # fmt: skip
    for text in ('{"judgement": "yes", "reason": ""}', '{"judgement": "failed"}', 'failed', '3'):
        with pytest.raises(MalformedAnswer):
            read_judgement(text)
