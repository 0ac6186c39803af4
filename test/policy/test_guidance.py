"""Real-time chunking: weights, factor, guided samples and trained prefixes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.export.random_bundle import random_semantics
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.policy.guidance import (
    SCHEDULES,
    PrefixGuidance,
    RealTimeChunking,
    guidance_factor,
    prefix_weights,
)
from pizero_ros.policy.predictor import ChunkPredictor
from pizero_ros.policy.runtime import Policy
from pizero_ros.policy.sampler import integrate
from pizero_ros.processing.model_inputs import ModelInputs

NUMERICS = Path(__file__).resolve().parents[2] / '../shared/data/numerics/lerobot_pi0_small'
NOW_NS = 1_763_000_000_000_000_000
STEP_NS = 20_000_000


# The reference


@pytest.fixture(scope='module')
def reference():
    """Guided samples of lerobot's weights, by its formula without gradients."""
    if not NUMERICS.is_dir():
        pytest.skip(f'the reference numerics are not at {NUMERICS}')
    with np.load(NUMERICS / 'rtc.npz') as data:
        return dict(data)


@pytest.fixture(scope='module')
def exported(reference, tmp_path_factory):
    """The reference checkpoint on ONNX Runtime."""
    pytest.importorskip('torch', reason='exporting a bundle needs PyTorch (extra `train`)')
    from pizero_ros.cli.main import main
    from pizero_ros.policy.bundle import Bundle

    out = tmp_path_factory.mktemp('guidance') / 'lerobot_pi0_small'
    words = ['export', '--checkpoint', str(NUMERICS), '--model-only', '--out', str(out)]
    assert main([*words, '--architecture', str(NUMERICS / 'size.json'), '--jacobian']) == 0
    return Policy.load(Bundle.open(out), 'cpu', threads=1, jacobian=True)


def reference_inputs(sample):
    """Inputs [sample] of the reference without what its masks leave out, and its noise."""
    with np.load(NUMERICS / 'inputs.npz') as data:
        present = [i for i in range(3) if data[f'img_masks.{i}'][sample]]
        inputs = ModelInputs(
            images=np.stack([data[f'images.{i}'][sample] for i in present]),
            tokens=data['lang_tokens'][sample][data['lang_masks'][sample]],
            state=data['state'][sample],
        )
        return inputs, data['noise'][sample]


@pytest.mark.parametrize('extent', ['d2.e6', 'd0.e7'])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_weights_are_those_of_the_reference(reference, schedule, extent):
    delay, end = (int(part[1:]) for part in extent.split('.'))
    found = prefix_weights(schedule, delay, end, 10)
    expected = reference[f'weights.{schedule.upper()}.{extent}']
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def guided_by(exported, reference, schedule, extent, sample, pull_back=None):
    """Sample as the reference did: ten steps, β 10, the leftover padded with zeros."""
    inputs, noise = reference_inputs(sample)
    leftover = reference['prev_chunk_left_over'][sample]
    target = np.zeros((len(leftover), noise.shape[1]), np.float32)
    target[:, : leftover.shape[1]] = leftover
    delay, end = (int(part[1:]) for part in extent.split('.'))
    weights = prefix_weights(schedule, delay, end, len(noise))
    hook = PrefixGuidance(target, weights, 10.0, pull_back)
    return exported.infer(inputs, noise, hook=hook).actions


@pytest.mark.parametrize('sample', [0, 1])
@pytest.mark.parametrize('extent', ['d2.e6', 'd0.e7'])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_guided_actions_are_those_of_the_reference(reference, exported, schedule, extent, sample):
    found = guided_by(exported, reference, schedule, extent, sample)
    for kind in ('plain_identity', 'lerobot_guided'):
        expected = reference[f'{kind}.{schedule.upper()}.{extent}'][sample]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('sample', [0, 1])
@pytest.mark.parametrize('extent', ['d2.e6', 'd0.e7'])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_with_the_jacobian_they_are_those_of_the_paper(
    reference, exported, schedule, extent, sample
):
    """Both forms are 3 to 13 apart on these weights.

    Their Jacobian (up to 12) makes 6e-3 of what ONNX Runtime and torch differ by; single products
    are compared in ``test_jacobian``.
    """
    found = guided_by(exported, reference, schedule, extent, sample, exported.graphs.pull_back)
    name = f'{schedule.upper()}.{extent}'
    expected = reference[f'paper_vjp.{name}'][sample]
    if reference[f'weights.{name}'].any():
        assert np.abs(expected - reference[f'plain_identity.{name}'][sample]).max() > 3.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


# Weights and factor


@pytest.mark.parametrize(
    ('schedule', 'expected'),
    [
        ('zeros', [1, 1, 0, 0, 0, 0, 0, 0]),
        ('ones', [1, 1, 1, 1, 1, 1, 0, 0]),
        ('linear', [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
        (
            'exp',
            [1, 1, *(w * math.expm1(w) / (math.e - 1) for w in (0.8, 0.6, 0.4, 0.2)), 0, 0],
        ),
    ],
)
def test_weights_by_hand(schedule, expected):
    found = prefix_weights(schedule, 2, 6, 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_a_start_beyond_the_end_counts_as_the_end(schedule):
    np.testing.assert_array_equal(prefix_weights(schedule, 5, 3, 8), [1, 1, 1, 0, 0, 0, 0, 0])
    assert not prefix_weights(schedule, 2, 0, 8).any()
    np.testing.assert_array_equal(prefix_weights(schedule, 8, 8, 8), np.ones(8))


def test_factor_is_the_table_of_the_paper():
    """pi0.md section 5.1, for ten Euler steps; the first is bounded by β."""
    table = [10.0, 9.11, 4.25, 2.76, 2.17, 2.0, 2.17, 2.76, 4.25, 9.11]
    found = [guidance_factor(step / 10, 10.0) for step in range(10, 0, -1)]
    np.testing.assert_allclose(found, table, atol=5e-3)
    assert guidance_factor(0.9, 5.0) == 5.0


# Samples of a field that is known


def sample(hook=None, prefix=None, steps=10):
    """Sample [6, 2] where the model wants all actions to be 3, from noise -1."""
    x_t = np.full((6, 2), -1.0, np.float32)
    t = np.zeros(6, np.float32)
    seen = []

    def velocity():
        seen.append((x_t.copy(), t.copy()))
        return ((x_t - 3.0) / np.maximum(t, 0.1)[:, None]).astype(np.float32)

    integrate(velocity, x_t, t, steps, hook, prefix=prefix)
    return x_t, seen


def test_guided_sample_is_pulled_to_the_leftover_by_its_weights():
    target = np.full((4, 2), 1.0, np.float32)
    weights = np.array([1.0, 1.0, 0.5, 0.0, 0.0, 0.0], np.float32)
    found, _ = sample(PrefixGuidance(target, weights, 10.0))
    # The last step leaves 1 - dt * 9.11 = 0.089 of the 2 by which the model disagrees.
    np.testing.assert_allclose(found[:2], 1.0 + 2 * (1 - 0.1 * 82 / 9), atol=1e-4)
    np.testing.assert_allclose(found[2], 1.0 + 2 * (1 - 0.05 * 82 / 9), atol=1e-4)
    np.testing.assert_allclose(found[3:], 3.0, atol=1e-5)


def test_without_weights_the_velocity_is_the_models():
    hook = PrefixGuidance(np.ones((4, 2), np.float32), np.zeros(6, np.float32), 10.0)
    np.testing.assert_array_equal(sample(hook)[0], sample()[0])


def test_the_hook_reads_the_live_buffers_and_writes_its_own():
    hook = PrefixGuidance(np.ones((6, 2), np.float32), np.ones(6, np.float32), 10.0)
    x_t, velocity = np.full((6, 2), 2.0, np.float32), np.full((6, 2), 0.5, np.float32)
    t = np.full(6, 0.5, np.float32)
    first = hook(x_t, velocity, t)
    # x1 = 2 - 0.5 * 0.5 = 1.75; v - 2 * (1 - 1.75) = 2.
    np.testing.assert_allclose(first, 2.0)
    assert first.dtype == np.float32
    assert (x_t == 2.0).all()
    assert (velocity == 0.5).all()
    assert hook(x_t, velocity, t) is first


def test_weights_without_a_target_are_a_broken_invariant():
    with pytest.raises(ValueError, match='3 steps have a weight and 2 a target'):
        PrefixGuidance(np.ones((2, 2), np.float32), prefix_weights('ones', 0, 3, 6), 10.0)


def test_trained_prefix_stays_at_flow_time_zero_in_every_step():
    prefix = np.array([[0.25, -0.5], [0.75, 0.125]], np.float32)
    found, seen = sample(prefix=prefix)
    np.testing.assert_array_equal(found[:2], prefix)
    np.testing.assert_allclose(found[2:], 3.0, atol=1e-5)
    assert len(seen) == 10
    for step, (x_t, t) in enumerate(seen):
        np.testing.assert_array_equal(x_t[:2], prefix)
        np.testing.assert_array_equal(t, np.float32([0, 0] + 4 * [(10 - step) / 10]))


# The real policy


@pytest.fixture
def robot():
    return load_embodiment('sim_single_arm')


@pytest.fixture
def relative_policy(policy, robot):
    """The tiny policy with actions relative to the observed state, grippers excepted."""
    architecture = SimpleNamespace(horizon=50, state_dim=18, action_dim=18)
    semantics = random_semantics(robot, architecture, 'relative')
    assert any(semantics.relative)
    assert not all(semantics.relative)
    manifest = replace(policy.bundle.manifest, embodiments={robot.name: semantics})
    return Policy(replace(policy.bundle, manifest=manifest), policy.graphs, 'cpu', 0.0)


def observation(robot, stamp_ns=NOW_NS, moved=0.0):
    state, mapped = np.zeros(18), np.zeros(18, bool)
    for joint in robot.state_joints:
        state[joint.index] = robot.neutral[joint.name] + moved
        mapped[joint.index] = True
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    images = {camera.slot: Frame.of(picture, stamp_ns) for camera in robot.cameras}
    return Observation(stamp_ns, stamp_ns, images, state, mapped, 'stack the blocks')


def continued(policy, robot, chunking, moved):
    """Two chunks 25 steps apart, the second held to the first with a delay of 10 steps.

    Returns their disagreement [25, action width] at equal times, in standard deviations.
    """
    predict = ChunkPredictor(policy, robot, chunking=chunking)
    first = predict(observation(robot))
    left = SimpleNamespace(actions=first.actions[25:], delay=10, end=25)
    seen = observation(robot, NOW_NS + 25 * STEP_NS, moved)
    second = predict(seen, leftover=None if chunking is None else left)
    std = policy.bundle.semantics(robot.name).action.std[: second.actions.shape[1]]
    return np.abs(second.actions[:25] - first.actions[25:]) / std


@pytest.mark.parametrize('moved', [0.0, 0.3])
@pytest.mark.parametrize('schedule', ['zeros', 'ones'])
def test_relative_actions_are_anchored_anew_before_they_guide(
    relative_policy, robot, schedule, moved
):
    """Without that, committed steps would be off by the 0.3 rad that the robot has moved."""
    free = continued(relative_policy, robot, None, moved)
    held = continued(relative_policy, robot, RealTimeChunking(schedule=schedule), moved)
    assert free[:10].max() > 2.0
    certain = 10 if schedule == 'zeros' else 25
    assert held[:certain].max() < 0.01
    assert held[certain:].max(initial=3.0) > 2.0


@pytest.mark.parametrize('moved', [0.0, 0.3])
def test_trained_prefix_repeats_the_committed_steps_exactly(relative_policy, robot, moved):
    free = continued(relative_policy, robot, None, moved)
    held = continued(relative_policy, robot, RealTimeChunking('trained_prefix'), moved)
    assert free[:10].max() > 2.0
    assert held[:10].max() < 1e-5
    assert held[10:].max() > 1.0


def test_linear_weights_let_the_chunk_depart_gradually(policy, robot):
    held = continued(policy, robot, RealTimeChunking(), 0.0)
    assert held[:10].max() < 0.01
    assert held[10:13].max() < 0.5
    by_step = held.mean(axis=1)
    assert by_step[10:15].mean() < by_step[15:20].mean() < by_step[20:25].mean()


def test_trained_prefix_through_the_graph_equals_torch(policy):
    torch = pytest.importorskip('torch')
    from pizero_ros.model.architecture import architecture_path, read_architecture
    from pizero_ros.model.pi0 import Conditioning, Pi0

    generator = np.random.default_rng(4)
    inputs = ModelInputs(
        images=generator.uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32),
        tokens=generator.integers(0, 320, 9),
        state=generator.standard_normal(18, dtype=np.float32),
    )
    noise = generator.standard_normal((50, 18), dtype=np.float32)
    prefix = generator.standard_normal((7, 18), dtype=np.float32)
    found = policy.infer(inputs, noise, prefix=prefix).actions

    model = Pi0.random(read_architecture(architecture_path('tiny')), 0)
    arrays = (inputs.images, inputs.tokens, inputs.state)
    x_t = torch.from_numpy(noise)[None].clone()
    with torch.no_grad():
        cache = model.observe(Conditioning(*(torch.from_numpy(array)[None] for array in arrays)))
        for step in range(10, 0, -1):
            x_t[0, :7] = torch.from_numpy(prefix)
            t = torch.full((1, 50), step / 10)
            t[0, :7] = 0.0
            x_t = x_t - 0.1 * model.denoise(cache, x_t, t)
    np.testing.assert_array_equal(found[:7], prefix)
    np.testing.assert_allclose(found[7:], x_t[0, 7:].numpy(), rtol=0, atol=1e-5)
    assert np.abs(found[7:] - policy.infer(inputs, noise).actions[7:]).max() > 1e-4


def test_misshapen_prefix_is_refused(policy):
    inputs = ModelInputs(
        np.zeros((1, 3, 112, 112), np.float32), np.zeros(2, np.int64), np.zeros(18, np.float32)
    )
    noise = np.zeros((50, 18), np.float32)
    for wrong in ((51, 18), (3, 7)):
        with pytest.raises(ValueError, match='prefix: found'):
            policy.infer(inputs, noise, prefix=np.zeros(wrong, np.float32))
