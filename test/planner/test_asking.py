"""The planning thread: answers come back, whatever a planner does."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from pizero_ros.errors import ObservationError
from pizero_ros.planner.asking import Asking
from pizero_ros.planner.execution import Question
from pizero_ros.planner.plan import Done, NoAnswer, Situation


class Thinker:
    """Answers when it is allowed to, or as ``close`` ends it."""

    looks_every_s, sees = 1.0, True

    def __init__(self, raises=None):
        self.may, self.closed, self.raises = threading.Event(), threading.Event(), raises
        self.thread = self.situation = None

    def decide(self, situation):
        self.thread, self.situation = threading.current_thread(), situation
        while not (self.may.wait(0.01) or self.closed.is_set()):
            pass
        if self.raises is not None:
            raise self.raises
        return Done('thought')

    def counts(self):
        return {}

    def close(self):
        self.closed.set()


def taken(asking):
    deadline = time.monotonic() + 10.0
    while (answer := asking.answer()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return answer


QUESTION = Question(3, Situation(1, 'think'))
BLACK = {'base_0_rgb': np.zeros((2, 2, 3), np.uint8)}


def test_question_is_answered_by_another_thread_with_pictures():
    thinker = Thinker()
    asking = Asking(thinker, look=lambda: BLACK)
    asking.ask(QUESTION)
    assert (asking.busy, asking.answer()) == (True, None)
    with pytest.raises(ValueError, match='one question at a time'):
        asking.ask(QUESTION)
    thinker.may.set()
    assert taken(asking) == (QUESTION, Done('thought'))
    assert not asking.busy
    assert thinker.thread is not threading.current_thread()
    assert thinker.situation.pictures is BLACK
    assert asking.close()
    assert not thinker.thread.is_alive()


def test_no_pictures_is_no_answer_and_nobody_is_asked():
    def look():
        raise ObservationError.at('/camera', '', found='no picture', expected='one')

    thinker = Thinker()
    asking = Asking(thinker, look)
    asking.ask(QUESTION)
    _, answer = taken(asking)
    assert answer == NoAnswer('/camera: found no picture, expected one.')
    assert thinker.situation is None
    assert asking.close()


def test_planner_that_raises_is_told_and_the_thread_lives_on():
    told = []
    thinker = Thinker(raises=KeyError('bug'))
    thinker.may.set()
    asking = Asking(thinker, dict, told.append)
    for _ in range(2):
        asking.ask(QUESTION)
        _, answer = taken(asking)
        assert answer == NoAnswer("KeyError: 'bug'", permanent=True)
    assert [type(each) for each in told] == [KeyError, KeyError]
    assert asking.close()


def test_close_ends_a_question_under_way():
    thinker = Thinker()
    asking = Asking(thinker)
    asking.ask(QUESTION)
    assert asking.close()
