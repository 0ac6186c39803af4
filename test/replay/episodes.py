"""Small synthetic episodes for tests: a robot with an arm, a gripper and a base, known motions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pizero_ros.replay.columns import Column, Columns
from pizero_ros.replay.episode import (
    BASELINES,
    ChunkFate,
    Deployed,
    Episode,
    Happening,
    Inputs,
    OpenLoop,
    Seam,
    StreamInput,
    Timing,
)

RATE_HZ = 20.0
PERIOD_NS = 50_000_000
START_NS = 1_700_000_000_000_000_000
HORIZON = 10
EVERY = 5

COLUMNS = Columns(
    (
        Column('shoulder', 'arm', 'joint_trajectory', 'rad', -2.0, 2.0),
        Column('elbow', 'arm', 'joint_trajectory', 'rad', -1.0, 1.0),
        Column('finger', 'gripper', 'gripper', 'm', 0.0, 0.04),
        Column('linear.x', 'base', 'twist', 'm/s', -0.5, 0.5),
        Column('angular.z', 'base', 'twist', 'rad/s', -1.0, 1.0),
    )
)
"""Spans 4, 2, 0.04, 1 and 2; the base has mixed units."""


def demonstration(steps: int = 100) -> np.ndarray:
    """Recorded actions, float64 [steps, 5]: an arm, a finger that closes and opens, a base."""
    time = np.arange(steps) / RATE_HZ
    finger = np.full(steps, 0.04)
    finger[steps // 4 : steps // 2] = 0.0
    return np.stack(
        [
            np.sin(time),
            0.5 * np.cos(2 * time),
            finger,
            np.full(steps, 0.2),
            0.1 * np.sin(0.5 * time),
        ],
        axis=1,
    )


def windows(actions: np.ndarray, every: int = EVERY, horizon: int = HORIZON) -> np.ndarray:
    """Actions from every ``every``-th step on, [Q, horizon, J], NaN after the end."""
    padded = np.concatenate([actions, np.full((horizon, actions.shape[1]), np.nan)])
    begins = np.arange(0, len(actions), every)
    return padded[begins[:, None] + np.arange(horizon)]


def open_loop(
    predicted: np.ndarray, recorded: np.ndarray, every: int = EVERY, *, start_ns: int = START_NS
) -> OpenLoop:
    """Chunks [Q, H, J] beside the recorded ones, ``every`` periods apart."""
    asked = start_ns + PERIOD_NS * every * np.arange(len(predicted), dtype=np.int64)
    return OpenLoop(asked, asked - 10_000_000, predicted, recorded)


def deployed(
    commanded: np.ndarray, recorded: np.ndarray, every: int = EVERY, **changes: object
) -> Deployed:
    """A command stream [T, J]; ``changes`` replaces fields."""
    moments = len(commanded)
    time = START_NS + PERIOD_NS * np.arange(moments, dtype=np.int64)
    begins = range(0, moments - every, every)
    chunks = tuple(
        ChunkFate(
            requested_ns=int(time[i]),
            observed_ns=int(time[i]) - 10_000_000,
            arrived_ns=int(time[i]) + 80_000_000,
            reason='accepted',
            first_step=2,
            steps=HORIZON - 2,
            start_ns=int(time[i]) - 10_000_000,
        )
        for i in begins
    )
    moving = np.arange(moments) >= 3
    seams = tuple(
        Seam(
            int(time[i]) + 80_000_000,
            'arm',
            {'shoulder': 0.01, 'elbow': -0.02},
            {'shoulder': -0.1, 'elbow': 0.2},
        )
        for i in begins[1:]
    )
    built = Deployed(
        time_ns=time,
        commanded=commanded,
        recorded=recorded,
        moving=moving,
        chunks=chunks,
        actions=windows(commanded, every)[: len(chunks)],
        seams=seams,
        happenings=(
            Happening(
                START_NS + 7 * PERIOD_NS, 'arm', 'velocity', 'shoulder: 3 rad per second, too fast'
            ),
            Happening(START_NS + 9 * PERIOD_NS, 'observation', 'stale', 'camera: 0.4 s old'),
        ),
        gate_counts={'arm.velocity': 3, 'arm.position': 1, 'chunk.starved': 1},
        trajectories_sent=len(chunks),
        trajectories_rejected={},
        starvations=1,
        observations_refused=2,
        deadlines_missed=0,
    )
    return replace(built, **changes)


def inputs(queries: int = 20) -> Inputs:
    """A camera that lost two pictures, a complete joint stream, and their ages."""
    return Inputs(
        streams=(
            StreamInput('/camera/image_raw', 'camera', 148, 2, 1, 0, 0, 0, ''),
            StreamInput('/joint_states', 'state', 500, 0, 0, 0, 0, 0, ''),
        ),
        newest_age_s=np.linspace(0.001, 0.01, queries),
        oldest_age_s=np.linspace(0.01, 0.04, queries),
        skew_s=np.linspace(0.009, 0.03, queries),
        refused={'missing': 1},
    )


def make_episode(
    bag: str = '/bags/episode_0',
    policy: str = 'tiny',
    *,
    seeds: tuple[int, ...] = (0, 1),
    error: float = 0.05,
    steps: int = 100,
    baselines: bool = True,
) -> Episode:
    """An episode in which the policy errs by seeded noise of ``error`` times each joint's span.

    Baselines: ``recording`` is the recording, ``hold`` its first action of every chunk (it has no
    state of the base: NaN), ``last_action`` the action before, ``linear`` goes on straight.
    """
    actions = demonstration(steps)
    recorded = windows(actions)
    sources: dict[str, np.ndarray] = {}
    streams: dict[str, np.ndarray] = {}
    for seed in seeds:
        noise = np.random.default_rng(seed)
        scale = error * COLUMNS.spans
        filled = np.where(np.isfinite(recorded), recorded, actions[-1])
        sources[f'{policy}#{seed}'] = filled + scale * noise.standard_normal(recorded.shape)
        streams[f'{policy}#{seed}'] = actions + scale * noise.standard_normal(actions.shape)
    if baselines:
        begins = np.arange(0, steps, EVERY)
        before = actions[np.maximum(begins - 1, 0)][:, None]
        slope = actions[begins][:, None] - before
        forward = np.arange(HORIZON)[None, :, None]
        hold = np.repeat(actions[begins][:, None], HORIZON, axis=1)
        hold[:, :, COLUMNS.where(kind='twist')] = np.nan
        constant = np.repeat(actions[:1], steps, axis=0)
        constant[:, COLUMNS.where(kind='twist')] = np.nan
        sources |= {
            'recording': recorded,
            'hold': hold,
            'last_action': np.repeat(before, HORIZON, axis=1),
            'linear': actions[begins][:, None] + slope * forward,
        }
        streams |= {
            'recording': actions,
            'hold': constant,
            'last_action': np.concatenate([actions[:1], actions[:-1]]),
            'linear': actions + 0.01,
        }
        assert set(BASELINES) <= set(sources)
    return Episode(
        bag=bag,
        embodiment='test_robot',
        policy=policy,
        rate_hz=RATE_HZ,
        horizon=HORIZON,
        prompt='pick up the block',
        start_ns=START_NS,
        end_ns=START_NS + PERIOD_NS * (steps - 1),
        columns=COLUMNS,
        action_source='/commands (JointState)',
        open_loop={name: open_loop(array, recorded) for name, array in sources.items()},
        deployed={name: deployed(array, actions) for name, array in streams.items()},
        inputs=inputs(len(recorded)),
        timing=Timing(2.5, 2.0, {'observe': np.full(20, 0.06), 'denoise': np.full(20, 0.04)}, 20),
    )


def with_sources(
    sources: dict[str, np.ndarray],
    streams: dict[str, np.ndarray] | None = None,
    **changes: object,
) -> Episode:
    """An episode of these chunks [Q, H, J] and command streams [T, J]."""
    actions = demonstration()
    return replace(
        make_episode(),
        open_loop={name: open_loop(array, windows(actions)) for name, array in sources.items()},
        deployed={name: deployed(array, actions) for name, array in (streams or {}).items()},
        **changes,
    )
