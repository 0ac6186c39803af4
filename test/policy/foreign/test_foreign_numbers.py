"""The whole path of a chunk policy against torch and NumPy, step by step as its training did."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.errors import ObservationError
from pizero_ros.policy.noise import GaussianNoise
from pizero_ros.policy.opened import open_policy

torch = pytest.importorskip('torch', reason='the reference is computed with PyTorch')
F = torch.nn.functional


def levels(observation, slot):
    """Grey levels in 0..1, float64 [1, 3, H, W]."""
    picture = observation.images[slot].rgb()
    return torch.tensor(picture).permute(2, 0, 1)[None].double() / 255


def run(net, *inputs):
    with torch.no_grad():
        return net(*inputs).double().numpy()


def act_reference(net, observation):
    """What ``ACT`` in conftest.py says, written down a second time."""
    top = F.interpolate(levels(observation, 'base_0_rgb'), (36, 44), mode='bilinear')
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    top = (top - mean) / std
    wrist = F.interpolate(levels(observation, 'left_wrist_0_rgb'), (42, 56), mode='bilinear')
    wrist = F.pad(wrist, (0, 0, 7, 7))[:, [2, 1, 0]] * 3 - 1
    own = observation.state[[6, 0, 1, 2, 3, 4, 5]]
    own[0] = own[0] * 25 + 0.1
    state_mean = np.array([0.5, 0.0, -0.4, 0.9, 0.1, 0.6, 0.0])
    state = (own - state_mean) / (np.array([0.3, 0.2, 0.4, 0.3, 0.5, 0.2, 0.1]) + 1e-8)
    rows = run(
        net,
        top.float(),
        wrist.permute(0, 2, 3, 1).float(),
        torch.tensor(state[None]).float(),
    )[0][2:]
    low = np.array([-0.3, -1.0, -0.2, -1.5, -1.0, -0.4, -0.5])
    high = np.array([0.4, 1.5, 0.3, 1.0, 2.0, 0.5, 0.6])
    given = (rows + 1) / 2 * (high - low) + low
    given[:, 0] += observation.state[2]
    given[:, 2] += observation.state[1]
    given[:, 5] += observation.state[5]
    given[:, 6] += own[0]
    given[:, 6] = (given[:, 6] + 0.2) / 50
    expected = np.empty_like(given)
    expected[:, [2, 0, 1, 3, 4, 5, 6]] = given
    return rows, expected


def test_act_like_policy_computes_what_torch_and_numpy_compute(act, robot, observe):
    predict = open_policy(act.folder, robot, 'cpu', threads=1)
    for observation in (observe(), observe(shift=0.2)):
        chunk = predict(observation, sequence=4, epoch=2)
        rows, expected = act_reference(act.net, observation)
        np.testing.assert_allclose(chunk.model_actions, rows, rtol=0, atol=1e-5)
        np.testing.assert_allclose(chunk.actions, expected, rtol=0, atol=1e-5)
        assert chunk.actions.dtype == np.float64
        assert (chunk.observed_ns, chunk.rate_hz, chunk.horizon) == (observation.stamp_ns, 50, 28)
        assert (chunk.sequence, chunk.epoch, chunk.shift_ns) == (4, 2, 0)
        assert list(chunk.durations_s) == ['preprocess', 'infer', 'postprocess']


def test_diffusion_like_policy_starts_from_the_noise_of_the_observations_stamp(
    diffusion, robot, observe
):
    observation = observe()
    chunk = open_policy(diffusion.folder, robot, 'cpu', threads=1, noise=GaussianNoise(3))(
        observation
    )
    picture = torch.tensor(observation.images['right_wrist_0_rgb'].rgb()).permute(2, 0, 1)
    low, high = np.array([-1.0, -1.0, -0.5]), np.array([1.0, 1.5, 2.0])
    state = (observation.state[:3] - low) / (high - low + 1e-6) * 2 - 1
    noise = GaussianNoise(3)(observation.stamp_ns, 16, 7)
    expected = run(
        diffusion.net,
        picture[None, None],
        torch.tensor(state).float()[None, None],
        torch.tensor(noise)[None],
    )
    np.testing.assert_allclose(chunk.actions, expected, rtol=0, atol=1e-5)
    assert chunk.rate_hz == 10


def test_same_observation_gives_the_same_chunk_and_another_stamp_another_one(
    diffusion, robot, observe
):
    predict = open_policy(diffusion.folder, robot, 'cpu', threads=1)
    first = predict(observe()).actions
    later = predict(observe(stamp_ns=observe().stamp_ns + 1)).actions
    np.testing.assert_array_equal(predict(observe()).actions, first)
    assert np.abs(later - first).max() > 0.1
    predict.noise = GaussianNoise(1)
    assert np.abs(predict(observe()).actions - first).max() > 0.1
    predict.noise = GaussianNoise(0)
    np.testing.assert_array_equal(predict(observe()).actions, first)


def test_leftover_is_refused(act, robot, observe):
    predict = open_policy(act.folder, robot, 'cpu', threads=1)
    with pytest.raises(ValueError, match='cannot be held to one'):
        predict(observe(), leftover=object())


def test_warm_up_returns_seconds_and_changes_nothing(diffusion, robot, observe):
    predict = open_policy(diffusion.folder, robot, 'cpu', threads=1)
    before = predict(observe()).actions
    assert all(seconds > 0 for seconds in predict.warm_up('anything'))
    np.testing.assert_array_equal(predict(observe()).actions, before)


def test_absent_camera_is_an_error_and_an_unused_one_is_not(act, robot, observe):
    predict = open_policy(act.folder, robot, 'cpu', threads=1)
    full = predict(observe()).actions
    seen = predict(observe(['left_wrist_0_rgb', 'base_0_rgb'])).actions
    np.testing.assert_array_equal(seen, full)
    with pytest.raises(ObservationError, match='no usable camera for slot left_wrist_0_rgb'):
        predict(observe(['base_0_rgb']))


def test_state_that_no_joint_reported_is_an_error(act, robot, observe):
    observation = observe()
    observation.state_mapped[[2, 4]] = False
    with pytest.raises(ObservationError, match='no joint at 2, 4 of the robot vector'):
        open_policy(act.folder, robot, 'cpu', threads=1)(observation)
