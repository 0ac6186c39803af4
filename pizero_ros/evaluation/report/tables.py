"""The tables of the page: scores, differences, tasks, and how timely everything was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.evaluation.report import words
from pizero_ros.evaluation.trial import BASELINES
from pizero_ros.page.numbers import NOTHING, milliseconds
from pizero_ros.page.tables import Cell, Heading, Row, Table, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def scores_table(scores: Sequence[Mapping[str, Any]], *, by_task: bool) -> Table:
    """Return success, progress and language following.

    Args:
        scores: Those of ``scores_of``.
        by_task: Of each task, instead of all together.
    """
    headings = [
        Heading('robot', numeric=False),
        Heading('policy', numeric=False),
        Heading('told', numeric=False, hint='flat: the overall instruction; else step by step'),
        Heading('tasks', numeric=False),
        Heading('trials'),
        Heading('success %', 'every step done in time and in order'),
        Heading('progress', 'largest share of the way that was made, 0 to 1'),
        Heading('followed %', 'right object and arm in every step; nothing approached: not'),
        Heading('of approached %', 'the same of trials in which anything was approached'),
        Heading('first step %', 'tasks of two steps: the first was done'),
        Heading('time [s]', 'median time of the trials that succeeded'),
    ]
    rows = [
        Row(
            (
                word(each['embodiment']),
                word(each['policy']),
                word(each['condition'] if each['steps'] > 1 else NOTHING),
                word(words.tasks_of(each)),
                Cell(str(each['success']['n']), each['success']['n']),
                _share(each['success']),
                _mean(each['progress']),
                _share(each['followed']),
                _share(each['followed_of_approached']),
                _share(each['first_step']) if each['steps'] > 1 else Cell(NOTHING),
                Cell(words.seconds(each['done_s']), each['done_s']),
            ),
            apart=each['policy'] in BASELINES,
        )
        for each in scores
        if (each['task'] is not None) == by_task
    ]
    return Table('Scores by task' if by_task else 'Scores', tuple(headings), tuple(rows))


def pairs_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Return differences on the scenes that both have."""
    headings = [
        Heading('robot', numeric=False),
        Heading('tasks', numeric=False),
        Heading('a', numeric=False),
        Heading('b', numeric=False),
        Heading('scenes'),
        Heading('success', 'a - b, percentage points'),
        Heading('progress', 'a - b'),
        Heading('followed', 'a - b, percentage points'),
    ]
    rows = []
    for each in pairs:
        of = each['condition'] if each['policy'] is None else each['policy']
        steps = 'single-step' if each['steps'] == 1 else f'two-step, {of}'
        rows.append(
            Row(
                (
                    word(each['embodiment']),
                    word(steps),
                    word(each['a']),
                    word(each['b']),
                    Cell(str(each['success']['n']), each['success']['n']),
                    _difference(each['success'], 100.0, 0),
                    _difference(each['progress'], 1.0, 2),
                    _difference(each['followed'], 100.0, 0),
                )
            )
        )
    return Table('Differences', tuple(headings), tuple(rows))


def timing_table(timing: Sequence[Mapping[str, Any]]) -> Table:
    """Return how timely policies and simulation were."""
    headings = [
        Heading('robot', numeric=False),
        Heading('policy', numeric=False),
        Heading('trials'),
        Heading('latency p95 [ms]', 'newest stamp to command, largest of any trial'),
        Heading('starvations', 'the horizon ran out before the next chunk came'),
        Heading('held', 'trials in which the robot was told to hold at some time'),
        Heading('pictures left out', 'by a simulation that could not keep up'),
        Heading('messages missing', 'pictures and states that the policy missed, by their rates'),
    ]
    rows = [
        Row(
            (
                word(each['embodiment']),
                word(each['policy']),
                Cell(str(each['trials']), each['trials']),
                Cell(milliseconds(each['latency_p95_ms']), each['latency_p95_ms']),
                *(
                    Cell(str(each[name]), each[name])
                    for name in ('starvations', 'held', 'frames_skipped', 'messages_missing')
                ),
            )
        )
        for each in timing
    ]
    return Table('Timing', tuple(headings), tuple(rows))


def _share(share: Mapping[str, Any] | None) -> Cell:
    return Cell(
        words.percent(share),
        None if share is None else share['share'],
        words.percent_between(share),
    )


def _mean(value: Mapping[str, Any] | None) -> Cell:
    return Cell(
        words.mean(value), None if value is None else value['mean'], words.mean_between(value)
    )


def _difference(value: Mapping[str, Any], scale: float, digits: int) -> Cell:
    return Cell(
        words.difference(value, scale=scale, digits=digits),
        value['mean'],
        words.difference_between(value, scale=scale, digits=digits),
    )
