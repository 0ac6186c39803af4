from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError, PromptError
from pizero_ros.export.random_bundle import random_semantics
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.policy.noise import ContinuousNoise
from pizero_ros.policy.predictor import ChunkPredictor
from pizero_ros.policy.runtime import Policy

NOW_NS = 1_763_000_000_000_000_000


@pytest.fixture
def robot():
    return load_embodiment('sim_single_arm')


def observation(robot, slots=None, stamp_ns=NOW_NS, prompt='stack the blocks'):
    state = np.zeros(18)
    mapped = np.zeros(18, bool)
    for joint in robot.state_joints:
        state[joint.index] = robot.neutral[joint.name]
        mapped[joint.index] = True
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    slots = [camera.slot for camera in robot.cameras] if slots is None else slots
    images = {slot: Frame.of(picture, stamp_ns) for slot in slots}
    return Observation(stamp_ns, stamp_ns, images, state, mapped, prompt)


def test_chunk_belongs_to_its_observation_and_is_timed(policy, robot):
    chunk = ChunkPredictor(policy, robot)(observation(robot), sequence=4, epoch=2)
    assert (chunk.observed_ns, chunk.rate_hz, chunk.sequence, chunk.epoch) == (NOW_NS, 50, 4, 2)
    assert chunk.actions.shape == (50, 7)
    assert chunk.actions.dtype == np.float64
    assert chunk.model_actions.shape == (50, 18)
    assert list(chunk.durations_s) == ['preprocess', 'observe', 'denoise', 'postprocess']


def test_actions_are_unnormalised_with_the_bundles_statistics(policy, robot):
    chunk = ChunkPredictor(policy, robot)(observation(robot))
    semantics = policy.bundle.semantics(robot.name)
    expected = chunk.model_actions[:, :7] * (semantics.action.std + semantics.eps)
    np.testing.assert_allclose(chunk.actions, expected + semantics.action.mean, atol=1e-12)


def test_same_observation_gives_the_same_chunk(policy, robot):
    predict = ChunkPredictor(policy, robot)
    first = predict(observation(robot))
    predict(observation(robot, stamp_ns=NOW_NS + 1))
    np.testing.assert_array_equal(first.actions, predict(observation(robot)).actions)


def test_missing_camera_is_dropped_and_changes_the_chunk_only_by_what_it_saw(policy, robot):
    predict = ChunkPredictor(policy, robot)
    full = predict(observation(robot)).model_actions
    two = predict(observation(robot, ['base_0_rgb', 'left_wrist_0_rgb'])).model_actions
    assert 0 < np.abs(full - two).max() < 0.5


def test_relative_actions_start_from_the_observed_state(policy, robot):
    architecture = type('Sizes', (), {'horizon': 50, 'state_dim': 18, 'action_dim': 18})
    relative = random_semantics(robot, architecture, 'relative')
    manifest = replace(policy.bundle.manifest, embodiments={robot.name: relative})
    bundle = replace(policy.bundle, manifest=manifest)
    moved = Policy(bundle, policy.graphs, policy.provider, 0.0)
    seen = observation(robot)
    chunk = ChunkPredictor(moved, robot)(seen)
    offset = chunk.model_actions[:, :6] * (relative.action.std + relative.eps)[:6]
    np.testing.assert_allclose(chunk.actions[:, :6], offset + seen.state[:6], atol=1e-12)


def test_chunks_of_continuous_noise_have_no_seam_on_an_untrained_policy(policy, robot):
    predict = ChunkPredictor(policy, robot, ContinuousNoise(0, 50, epoch_ns=NOW_NS))
    early = predict(observation(robot)).actions
    late = predict(observation(robot, stamp_ns=NOW_NS + 500_000_000)).actions
    std = policy.bundle.semantics(robot.name).action.std
    assert (np.abs(early[25:] - late[:25]) / std).max() < 0.2
    assert (np.abs(np.diff(early, axis=0)) / std).max() < 0.2


def test_robot_that_the_bundle_does_not_know_is_refused(policy):
    with pytest.raises(BundleError, match='expected aloha'):
        ChunkPredictor(policy, load_embodiment('aloha'))


def test_empty_prompt_is_an_error(policy, robot):
    with pytest.raises(PromptError):
        ChunkPredictor(policy, robot)(observation(robot, prompt=''))


def test_warm_up_prepares_the_shapes_that_the_prompt_and_the_cameras_have(policy, robot):
    predict = ChunkPredictor(policy, robot)
    assert len(predict.warm_up('go')) > 3
    prepared = policy.graphs.cache
    predict(observation(robot, prompt='go'))
    assert policy.graphs.cache is prepared
