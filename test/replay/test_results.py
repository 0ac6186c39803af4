"""What ``report.json`` says: every episode that can be summed up, and what each chunk took."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from episodes import make_episode

from pizero_ros.errors import BagError
from pizero_ros.replay.episode import Timing
from pizero_ros.replay.jobs import Job, Outcome
from pizero_ros.replay.results import Run, report_content

RUN = Run('pizero replay', '2026-01-01T12:00:00+00:00', {}, {}, [], {})
JOBS = [Job(f'/bags/{name}', 'tiny', name) for name in ('whole', 'broken', 'gone')]


def load(job):
    if job.key == 'gone':
        raise BagError.at(job.bag, '', found='nothing', expected='an episode')
    made = make_episode(job.bag, seeds=(0,))
    if job.key == 'broken':
        chunks = made.open_loop['tiny#0']
        bad = replace(chunks, predicted=chunks.predicted[:, :4])
        return replace(made, open_loop={**made.open_loop, 'tiny#0': bad})
    return made


def chunks_s(phases, chunks):
    made = replace(make_episode(seeds=(0,)), timing=Timing(9.0, 1.0, phases, chunks))
    found = report_content(RUN, JOBS[:1], [], lambda _job: made)
    return found['episodes'][0]['timing']['chunks_s']


def test_an_episode_that_cannot_be_summed_up_is_listed_and_the_others_stay():
    told = []
    before = Outcome(Job('/bags/cut', '', ''), 'cut off')
    found = report_content(RUN, JOBS, [before], load, lambda *done: told.append(done))
    assert [each['bag'] for each in found['episodes']] == ['/bags/whole']
    assert [each['bag'] for each in found['failed']] == ['/bags/cut', '/bags/broken', '/bags/gone']
    broken, gone = (each['error'] for each in found['failed'][1:])
    assert broken.startswith('IndexError: ')
    assert '.py:' in broken
    assert gone.startswith('/bags/gone: found nothing')
    assert found['comparison']['episodes'] == 1
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_every_chunk_has_the_sum_of_its_phases():
    phases = {'observe': np.array([0.1, 0.2]), 'denoise': np.array([0.01, 0.02])}
    assert chunks_s(phases, 2) == pytest.approx([0.11, 0.22])


def test_a_phase_that_some_chunks_lack_is_spread_over_all():
    phases = {'observe': np.array([0.1, 0.2, 0.1]), 'warm': np.array([0.3])}
    assert chunks_s(phases, 3) == pytest.approx([0.2, 0.3, 0.2])
    assert chunks_s({'infer': np.array([0.3, 0.3])}, 3) == pytest.approx([0.2] * 3)


def test_without_a_policy_there_is_nothing_to_time():
    assert chunks_s({}, 0) == []
