"""Scheduler, predictor and real ONNX Runtime together: how large the seams are."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.leftover import actions_at
from pizero_ros.control.modes import make_scheduler
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.policy.guidance import RealTimeChunking
from pizero_ros.policy.noise import GaussianNoise
from pizero_ros.policy.predictor import ChunkPredictor

START_NS = 1_763_000_000_000_000_000
MS = 1_000_000
CHUNKS = 8
LATENCY_MS = (150, 170, 140, 160)
STALENESS_MS = (7, 21, 0, 33)
"""Observations are older than requests: cameras of 30 Hz on a robot of 50 Hz."""


@pytest.fixture
def seams(policy):
    """Return a function that runs a mode and returns its seams, in standard deviations."""
    robot = load_embodiment('sim_dual_arm')
    std = policy.bundle.semantics(robot.name).action.std
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    state, mapped = np.zeros(18), np.zeros(18, bool)
    for joint in robot.state_joints:
        state[joint.index] = robot.neutral[joint.name]
        mapped[joint.index] = True

    def run(mode, chunking=None):
        method = 'guided' if chunking is None else chunking.method
        scheduler = make_scheduler(mode, robot, trained_prefix=method == 'trained_prefix')
        # Independent noise for every observation: successive chunks of an untrained policy
        # disagree as much as they can.
        predict = ChunkPredictor(policy, robot, GaussianNoise(0), chunking=chunking)
        now_ns, found = START_NS, []
        for number in range(CHUNKS):
            now_ns = max(now_ns, scheduler.next_request_ns() or 0)
            executing = scheduler.executing
            request = scheduler.begin(now_ns)
            observed_ns = now_ns - STALENESS_MS[number % 4] * MS
            images = {camera.slot: Frame.of(picture, observed_ns) for camera in robot.cameras}
            seen = Observation(observed_ns, observed_ns, images, state, mapped, 'stack the blocks')
            chunk = predict(seen, epoch=request.epoch, leftover=request.leftover(observed_ns))
            now_ns += LATENCY_MS[number % 4] * MS
            acceptance = scheduler.accept(chunk, now_ns)
            assert acceptance.accepted
            if executing is not None:
                first = acceptance.steps.start
                before = actions_at(executing, acceptance.chunk.start_ns, 50)[first]
                found.append(np.abs(acceptance.chunk.actions[first] - before) / std)
        return np.array(found)

    return run


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


def test_seams_of_disagreeing_chunks_shrink_to_a_hundredth(seams):
    free = rms(seams('async'))
    assert free > 1.0  # Two independent samples: the square root of 2.
    linear = rms(seams('rtc'))
    ones = rms(seams('rtc', RealTimeChunking(schedule='ones')))
    assert linear < 0.01 * free
    assert ones < linear


def test_ensembling_shrinks_seams_less(seams):
    free, mean, held = (rms(seams(mode)) for mode in ('async', 'ensemble', 'rtc'))
    assert held < 0.01 * free
    assert 0.5 * free < mean < free
