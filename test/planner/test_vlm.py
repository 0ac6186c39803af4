"""The vision language model behind a real HTTP server, which misbehaves in every way."""

from __future__ import annotations

import base64
import socket
import threading
import time
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from vlm_server import PLAN, answer

from pizero_ros.errors import PlannerError
from pizero_ros.planner import chat
from pizero_ros.planner.chat import ChatClient, ChatSettings
from pizero_ros.planner.http_post import parse_endpoint
from pizero_ros.planner.plan import (
    Done,
    Failed,
    Finished,
    GoOn,
    Judgement,
    Next,
    NoAnswer,
    Situation,
    Subtask,
)
from pizero_ros.planner.vlm import VlmJudge, VlmPlanner

PROMPTS = ('touch the red cube', 'touch the blue cube')
KEY = 'sk-very-secret-0123'
SETTINGS = ChatSettings(
    model='a-model', timeout_s=10.0, patience_s=20.0, attempts=3, budget=100,
    response_format='json_schema', options={'temperature': 0},
)  # fmt: skip
RED = Subtask('touch the red cube', 30.0)
START = Situation(1, 'touch red, then blue')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(chat, 'FIRST_PAUSE_S', 0.02)


def client(url, key='', **settings):
    endpoint = parse_endpoint(url, '/chat/completions', 'parameters', 'vlm_url')
    return ChatClient(endpoint, replace(SETTINGS, **settings), key)


def planner(server, key='', **settings):
    return VlmPlanner(
        client(server.url, key, **settings), PROMPTS,
        limit_s=30.0, period_s=2.0, longest_side=64,
    )  # fmt: skip


def picture():
    """Left half red, right half blue: uint8 [96, 128, 3] RGB."""
    rgb = np.zeros((96, 128, 3), np.uint8)
    rgb[:, :64, 0] = 255
    rgb[:, 64:, 2] = 255
    return rgb


@pytest.mark.parametrize(
    ('content', 'current', 'expected'),
    [
        (PLAN, None, Next(RED, 'it comes first')),
        (PLAN, RED, GoOn('it comes first')),
        (PLAN | {'subtask': PROMPTS[1]}, RED, Next(Subtask(PROMPTS[1], 30.0), 'it comes first')),
        ({'status': 'continue', 'subtask': None, 'reason': 'not yet'}, RED, GoOn('not yet')),
        ({'status': 'done', 'subtask': None, 'reason': 'both'}, RED, Done('both')),
        ({'status': 'failed', 'subtask': None, 'reason': 'gone'}, None, Failed('gone')),
    ],
)
def test_answers_become_what_the_robot_does(server, content, current, expected):
    server.behave(answer(**content))
    assert planner(server).decide(replace(START, current=current)) == expected


def test_request_shows_pictures_situation_known_prompts_and_schema(server):
    situation = replace(
        START,
        finished=(Finished('touch the red cube', 'succeeded', 4.2),),
        current=Subtask('touch the blue cube', 30.0),
        elapsed_s=3.0,
        verdict='succeeded',
        pictures={'base_0_rgb': picture()},
    )
    planner(server, KEY).decide(situation)
    (request,) = server.requests
    assert request['path'] == '/v1/chat/completions'
    assert request['authorization'] == f'Bearer {KEY}'
    body = request['body']
    assert (body['model'], body['temperature']) == ('a-model', 0)
    schema = body['response_format']['json_schema']
    assert (schema['strict'], schema['schema']['properties']['subtask']['enum']) == (
        True, [*PROMPTS, None],
    )  # fmt: skip
    system, user = body['messages']
    assert all(f'- {prompt}\n' in system['content'] for prompt in PROMPTS)
    text, label, image = user['content']
    assert text['text'].splitlines() == [
        'Instruction: touch red, then blue',
        'Done so far, in order:',
        '- touch the red cube (4 s)',
        'Current subtask: touch the blue cube (for 3 s)',
        'A sensor says about the current subtask: succeeded',
    ]
    assert label['text'] == 'Camera base_0_rgb:'
    kind, _, data = image['image_url']['url'].partition(',')
    assert kind == 'data:image/jpeg;base64'
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (48, 64, 3)
    # OpenCV decodes to BGR.
    assert np.abs(shown[24, 16].astype(int) - (0, 0, 255)).max() < 16
    assert np.abs(shown[24, 48].astype(int) - (255, 0, 0)).max() < 16


def test_no_key_no_header_and_other_formats(server):
    planner(server, response_format='json_object').decide(START)
    planner(server, response_format='none').decide(START)
    first, second = server.requests
    assert first['authorization'] is None
    assert first['body']['response_format'] == {'type': 'json_object'}
    assert 'response_format' not in second['body']


@pytest.mark.parametrize(
    'trouble',
    [
        *({'kind': 'status', 'code': code} for code in (408, 429, 500, 502, 503, 504)),
        {'kind': 'drop'},
        {'kind': 'cut'},
    ],
)
def test_trouble_that_may_pass_is_tried_again(server, trouble):
    server.behave(trouble, trouble, answer(**PLAN))
    asking = planner(server)
    assert asking.decide(START) == Next(RED, 'it comes first')
    assert len(server.requests) == 3
    assert (asking.counts()['requests'], asking.counts()['retries']) == (1, 2)


def test_pauses_grow_and_the_servers_wish_is_heard(server, monkeypatch):
    monkeypatch.setattr(chat, 'FIRST_PAUSE_S', 0.2)
    busy = {'kind': 'status', 'code': 503}
    server.behave(busy, busy, busy | {'headers': {'Retry-After': '1'}}, answer(**PLAN))
    assert isinstance(planner(server, attempts=4).decide(START), Next)
    at = [request['at'] for request in server.requests]
    first, second, third = (later - earlier for earlier, later in pairwise(at))
    # Never sooner; how much later depends on the machine.
    assert first >= 0.1
    assert second >= 0.2
    assert third >= 1.0


def test_trouble_that_stays_is_no_answer_after_so_many_attempts(server):
    server.behave({'kind': 'status', 'code': 500, 'body': {'error': 'out of memory'}})
    asking = planner(server)
    said = asking.decide(START)
    assert said == NoAnswer('HTTP 500: {"error": "out of memory"} (3 requests)')
    assert asking.counts() == {'requests': 1, 'retries': 2, 'HTTP 500': 3}


@pytest.mark.parametrize('code', [301, 307, 400, 403, 404, 422])
def test_status_that_will_not_pass_is_not_tried_again(server, code):
    elsewhere = {'Location': 'http://127.0.0.1:1/v1/chat/completions'}
    server.behave({'kind': 'status', 'code': code, 'headers': elsewhere})
    said = planner(server, KEY).decide(START)
    assert (said.permanent, said.reason.startswith(f'HTTP {code}')) == (True, True)
    assert len(server.requests) == 1


def test_wrong_key_is_said_without_the_key(server):
    server.behave(key='another')
    said = planner(server, KEY).decide(START)
    assert said.permanent
    assert said.reason == 'HTTP 401: {"error": {"message": "wrong key: Bearer (the key)"}}'
    assert KEY not in repr(said)
    server.behave(key=KEY)
    assert isinstance(planner(server, KEY).decide(START), Next)


@pytest.mark.parametrize(
    'trouble',
    [
        answer(**PLAN) | {'seconds': 5.0},
        {'kind': 'drip', 'part': 'header'},
        {'kind': 'drip', 'part': 'body'},
    ],
)
def test_slow_answer_is_given_up_however_it_is_slow(server, trouble):
    server.behave(trouble)
    asking = planner(server, timeout_s=0.3, attempts=2)
    said = asking.decide(START)  # without a deadline of its own, the dripping would never end
    assert said == NoAnswer('no answer in 0.3 s (2 requests)')
    assert asking.counts() == {'requests': 1, 'retries': 1, 'time-outs': 2}


def test_patience_ends_a_question_before_its_attempts_do(server):
    server.behave(answer(**PLAN) | {'seconds': 5.0})
    asking = planner(server, timeout_s=0.3, attempts=100, patience_s=0.8)
    assert isinstance(asking.decide(START), NoAnswer)
    assert 2 <= asking.counts()['time-outs'] <= 3


@pytest.mark.parametrize(
    'reply',
    [
        {'kind': 'raw', 'body': 'not json'},
        {'kind': 'raw', 'body': '[]'},
        {'kind': 'raw', 'body': '{"choices": []}'},
        {'kind': 'raw', 'body': '{"choices": [{"message": {}}]}'},
        {'kind': 'raw', 'body': '{"choices": [{"message": "touch"}]}'},
        {'kind': 'answer', 'content': None},
        {'kind': 'answer', 'content': 'Touch the red cube.'},
        {'kind': 'answer', 'content': '{"status": "next"'},
        answer(**PLAN | {'status': 'go'}),
        answer(**PLAN, speed='fast'),
        answer(**PLAN) | {'finish': 'length'},
        answer(**PLAN) | {'message': {'refusal': 'I will not.'}},
    ],
)
def test_malformed_answer_is_refused_and_counted(server, reply):
    server.behave(reply)
    asking = planner(server)
    said = asking.decide(START)
    assert isinstance(said, NoAnswer)
    assert said.reason.startswith('a malformed answer: ')
    assert not said.permanent
    assert asking.counts() == {'requests': 1, 'malformed answers refused': 1}


def test_endless_answer_is_not_read_to_its_end(server):
    server.behave({'kind': 'large'})
    said = planner(server, attempts=1).decide(START)
    assert said == NoAnswer('more than 1048576 bytes (1 requests)')


@pytest.mark.parametrize('subtask', ['fold the towel', 'Touch the red cube', ''])
def test_unknown_subtask_never_becomes_a_prompt(server, subtask):
    server.behave(answer(**PLAN | {'subtask': subtask}))
    asking = planner(server)
    said = asking.decide(START)
    assert isinstance(said, NoAnswer)
    assert repr(subtask) in said.reason
    assert asking.counts() == {'requests': 1, 'unknown subtasks refused': 1}


def test_nobody_listening_is_no_answer():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{taken.getsockname()[1]}/v1'
        asking = VlmPlanner(client(url), PROMPTS, limit_s=9, period_s=1, longest_side=64)
        said = asking.decide(START)
    assert 'refused' in said.reason
    assert not said.permanent
    assert asking.counts()['failed connections'] == 3


def test_budget_is_spent_for_one_instruction_and_renewed_for_the_next(server):
    server.behave({'kind': 'status', 'code': 500})
    asking = planner(server, budget=5)
    assert not asking.decide(START).permanent
    said = asking.decide(START)
    assert (said.permanent, 'the budget of 5 requests' in said.reason) == (True, True)
    assert len(server.requests) == 5
    server.behave()
    assert asking.decide(START).permanent
    assert server.requests == []
    assert isinstance(asking.decide(replace(START, generation=2)), Next)


@pytest.mark.parametrize(
    'trouble',
    [answer(**PLAN) | {'seconds': 20.0}, {'kind': 'status', 'code': 503, 'headers': {
        'Retry-After': '20'}}],
)  # fmt: skip
def test_close_ends_a_question_under_way(server, trouble):
    server.behave(trouble)
    asking, said = planner(server), []
    thread = threading.Thread(target=lambda: said.append(asking.decide(START)))
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    asking.close()
    thread.join(8.0)
    assert not thread.is_alive()
    assert isinstance(said[0], NoAnswer)


def test_judge_says_how_a_subtask_stands(server):
    server.behave(answer(judgement='succeeded', reason='it touches'))
    judge = VlmJudge(client(server.url), longest_side=64)
    situation = replace(START, current=RED, elapsed_s=2.0, pictures={'base_0_rgb': picture()})
    assert judge.judge(situation) == Judgement('succeeded', 'it touches')
    user = server.requests[0]['body']['messages'][1]['content']
    assert user[0]['text'] == 'Subtask, for 2 s now: touch the red cube'
    assert user[2]['type'] == 'image_url'
    server.behave(answer(**PLAN))
    assert isinstance(judge.judge(situation), NoAnswer)
    assert judge.counts()['malformed answers refused'] == 1


@pytest.mark.parametrize(
    'url',
    [
        '', 'localhost:8000', 'ftp://host/v1', 'http://', 'http://host:port/v1',
        'http://user:secret@host/v1', 'http://host/v1?key=secret', 'http://höst/v1',
    ],
)  # fmt: skip
def test_address_that_is_none_is_refused_without_showing_secrets(url):
    with pytest.raises(PlannerError, match='parameters: vlm_url: found') as raised:
        parse_endpoint(url, '/chat/completions', 'parameters', 'vlm_url')
    assert 'secret' not in str(raised.value)


def test_address_may_be_given_with_the_resource_or_without():
    for url in ('https://host/v1', 'https://host/v1/', 'https://host/v1/chat/completions'):
        endpoint = parse_endpoint(url, '/chat/completions', '', '')
        assert endpoint == (True, 'host', None, '/v1/chat/completions')
        assert not endpoint.on_this_machine
    assert parse_endpoint('http://[::1]:80/', '/x', '', '').on_this_machine
