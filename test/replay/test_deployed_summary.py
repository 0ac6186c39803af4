"""The figures of a command stream: seams, jerk, limits, chunks and what is lacking."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from episodes import (
    HORIZON,
    RATE_HZ,
    START_NS,
    demonstration,
    deployed,
    make_episode,
    with_sources,
)

from pizero_ros.control.safety import REASONS
from pizero_ros.replay.columns import Column, Columns
from pizero_ros.replay.episode import ChunkFate, Seam
from pizero_ros.replay.summary import LIMIT_REASONS, summarise

NAN = math.nan
SHOULDER, ELBOW = range(2)


@pytest.fixture
def actions():
    return demonstration()


def test_the_executed_stream_is_compared_moment_by_moment(actions):
    off = actions.copy()
    off[:, ELBOW] -= 0.1
    off[:4] = NAN
    figures = summarise(with_sources({}, {'tiny#0': off}))['sources']['tiny#0']
    assert set(figures) == {'deployed'}
    figures = figures['deployed']
    assert figures['moments'] == 100
    # Nothing was measured yet: that is no fault of the policy.
    assert figures['undefined'] == 0
    assert figures['joints']['elbow']['mae'] == pytest.approx(0.1)
    assert figures['joints']['elbow']['count'] == 96
    assert figures['moving_share'] == 0.97


def test_a_joint_that_is_lost_on_the_way_is_told_as_deployed(actions):
    off = actions.copy()
    off[:10, ELBOW] = NAN
    off[20:23, ELBOW] = NAN
    figures = summarise(with_sources({}, {'tiny#0': off}))['sources']['tiny#0']['deployed']
    assert figures['undefined'] == 3


def test_chunks_that_are_not_executed_any_more_are_counted(actions):
    stream = deployed(actions, actions, restarts=2, unanswered=1)

    def at_end(*reasons):
        fates = tuple(replace(stream.chunks[0], reason=reason) for reason in reasons)
        changed = replace(stream, chunks=fates, actions=stream.actions[: len(fates)])
        episode = replace(make_episode(), deployed={'tiny#0': changed})
        return summarise(episode)['sources']['tiny#0']['deployed']

    figures = at_end('refused', 'accepted', 'refused', 'late', 'refused')
    assert (figures['restarts'], figures['unanswered']) == (2, 1)
    assert figures['refused_at_end'] == 3
    assert at_end('refused', 'accepted')['refused_at_end'] == 0
    assert at_end('accepted', 'late')['refused_at_end'] == 0


def test_a_chunk_that_was_published_beyond_its_actions_leaves_the_other_figures(actions):
    stream = deployed(actions, actions)
    wild = replace(stream.chunks[3], first_step=HORIZON + 5, steps=HORIZON)
    chunks = (*stream.chunks[:3], wild, *stream.chunks[4:])
    episode = replace(make_episode(), deployed={'tiny#0': replace(stream, chunks=chunks)})
    figures = summarise(episode)['sources']['tiny#0']['deployed']
    assert figures['seams']['arm']['asked']['max'] == pytest.approx(0.0, abs=1e-12)


def test_seams_are_absolute_and_over_all_joints(actions):
    seams = tuple(
        Seam(START_NS + i, 'arm', {'shoulder': -0.1 * i, 'elbow': 0.0}, {'shoulder': 1.0 * i})
        for i in range(1, 6)
    )
    episode = with_sources({}, {'tiny#0': actions})
    stream = replace(episode.deployed['tiny#0'], seams=(*seams, Seam(0, 'leg', {'x': 9.0}, {})))
    figures = summarise(replace(episode, deployed={'tiny#0': stream}))['sources']['tiny#0']
    arm = figures['deployed']['seams']['arm']
    assert (arm['count'], arm['unit']) == (5, 'rad')
    assert arm['position'] == pytest.approx({'p50': 0.05, 'p95': 0.455, 'max': 0.5})
    assert arm['speed'] == pytest.approx({'p50': 3.0, 'p95': 4.8, 'max': 5.0})
    assert list(figures['deployed']['seams']) == ['arm']


def test_what_a_seam_had_to_bridge_is_told_beside_what_was_published(actions):
    chunks = np.zeros((19, HORIZON, 5))
    chunks[1::2, :, ELBOW] = 0.4
    stream = replace(deployed(actions, actions, seams=()), actions=chunks)
    episode = replace(make_episode(), deployed={'tiny#0': stream})
    arm = summarise(episode)['sources']['tiny#0']['deployed']['seams']['arm']
    assert arm['position'] == {'p50': None, 'p95': None, 'max': None}
    assert arm['asked'] == {'p50': pytest.approx(0.2), 'p95': 0.4, 'max': 0.4}


def test_jerk_is_compared_with_the_recording(actions):
    shaken = actions.copy()
    shaken[:, SHOULDER] += 0.01 * (-1.0) ** np.arange(100)
    shaken[:, ELBOW] = actions[:, ELBOW]
    figures = summarise(with_sources({}, {'tiny#0': shaken}))['sources']['tiny#0']['deployed']
    arm = figures['jerk']['arm']
    assert arm['unit'] == 'rad/s³'
    # A third difference of an alternation by 0.01 is 0.08, of the demonstration next to nothing.
    assert arm['rms'] == pytest.approx(0.08 * RATE_HZ**3 / math.sqrt(2), rel=1e-3)
    moves = np.diff(actions[3:, :2], n=3, axis=0) * RATE_HZ**3
    assert arm['recorded_rms'] == pytest.approx(np.sqrt((moves**2).mean()))
    assert arm['ratio'] == pytest.approx(arm['rms'] / arm['recorded_rms'])


def test_jerk_of_mixed_units_is_a_ratio_of_shares(actions):
    columns = Columns(
        (
            Column('lift', 'arm', 'joint_trajectory', 'm', 0.0, 0.5),
            Column('turn', 'arm', 'joint_trajectory', 'rad', -2.0, 2.0),
        )
    )
    two = actions[:, :2]
    stream = deployed(3.0 * two, two)
    episode = replace(make_episode(), columns=columns, open_loop={}, deployed={'tiny#0': stream})
    figures = summarise(episode)['sources']['tiny#0']['deployed']
    assert figures['jerk']['arm'] == {
        'unit': None, 'rms': None, 'recorded_rms': None, 'ratio': pytest.approx(3.0),
    }  # fmt: skip
    assert figures['seams']['arm']['unit'] is None
    assert figures['seams']['arm']['position']['max'] is None
    assert figures['seams']['arm']['count'] == 18


def test_limit_hits_are_the_gates_interventions_about_limits(actions):
    counts = {f'arm.{reason}': 1 for reason in REASONS} | {'base.workspace': 4, 'chunk.starved': 9}
    episode = with_sources({}, {'tiny#0': actions})
    stream = replace(episode.deployed['tiny#0'], gate_counts=counts)
    figures = summarise(replace(episode, deployed={'tiny#0': stream}))['sources']['tiny#0']
    assert figures['deployed']['limit_hits'] == {'arm': 5, 'gripper': 0, 'base': 4}
    assert figures['deployed']['interventions'] == counts
    assert set(LIMIT_REASONS) <= set(REASONS)


def test_chunks_and_their_latencies_are_counted(actions):
    chunks = tuple(
        ChunkFate(1000 * i, 1000 * i - 500, 1000 * i + latency, reason)
        for i, (latency, reason) in enumerate(
            [(50_000_000, 'accepted'), (150_000_000, 'accepted'), (100_000_000, 'late')]
        )
    )
    episode = with_sources({}, {'tiny#0': actions})
    stream = replace(episode.deployed['tiny#0'], chunks=chunks)
    figures = summarise(replace(episode, deployed={'tiny#0': stream}))['sources']['tiny#0']
    assert figures['deployed']['chunks'] == {'accepted': 2, 'late': 1}
    assert figures['deployed']['latency_s'] == pytest.approx(
        {'p50': 0.1, 'p95': 0.145, 'max': 0.15}
    )
    assert figures['deployed']['reaction_s']['p50'] == pytest.approx(0.1000005)
