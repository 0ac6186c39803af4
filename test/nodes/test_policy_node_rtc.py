"""Real-time chunking over real DDS: chunks go on from the ones that are executed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from pizero_ros.msg import PolicyStatus

from pizero_ros.observation.intake import stamp_ns
from pizero_ros.policy.bundle import Bundle


def in_motion(chunk):
    return chunk.start == chunk.header.stamp


def disagreement(chunks, std):
    """RMS difference of successive chunks at the later one's first steps, in deviations."""
    found = []
    for earlier, later in pairwise(chunks):
        if not in_motion(later):
            continue  # From rest, after a pause of a busy machine.
        actions = [np.reshape(c.actions, (c.horizon, c.width)) for c in (earlier, later)]
        passed = (stamp_ns(later.start) - stamp_ns(earlier.start)) * 1e-9 * earlier.rate_hz
        at = passed + np.arange(3)
        before = np.stack(
            [np.interp(at, np.arange(earlier.horizon), column) for column in actions[0].T], axis=1
        )
        found.append((actions[1][:3] - before) / std)
    return float(np.sqrt(np.mean(np.square(found))))


def run(start, tiny_bundle, **parameters):
    robot = start(noise='gaussian', **parameters)
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    robot.until(lambda: sum(chunk.sent for chunk in robot.chunks) >= 6)
    chunks = [chunk for chunk in robot.chunks if chunk.sent]
    held = parameters['scheduling'] == 'rtc'
    assert {chunk.leftover_steps > 0 for chunk in chunks if in_motion(chunk)} == {held}
    std = Bundle.open(tiny_bundle).semantics(robot.embodiment.name).action.std
    return robot.status.scheduling, disagreement(chunks, std[: chunks[0].width])


@pytest.mark.parametrize('method', ['guided', 'trained_prefix'])
def test_chunks_of_independent_noise_continue_each_other_with_rtc(start, tiny_bundle, method):
    mode, seam = run(start, tiny_bundle, scheduling='rtc', rtc_method=method)
    assert mode == 'rtc'
    assert seam < 0.02


def test_and_disagree_without_it(start, tiny_bundle):
    mode, seam = run(start, tiny_bundle, scheduling='async')
    assert mode == 'async'
    assert seam > 0.7


@pytest.mark.parametrize(
    ('parameters', 'fragments'),
    [
        ({'rtc_schedule': 'cosine'}, ['rtc_schedule', "'cosine'", 'zeros, ones, linear, exp']),
        ({'rtc_method': 'vjp'}, ['rtc_method', "'vjp'", 'guided, jacobian, trained_prefix']),
        (
            {'scheduling': 'rtc', 'rtc_method': 'jacobian'},
            ['jacobian.onnx: found no such file', '--jacobian'],
        ),
        (
            {'scheduling': 'rtc', 'executed_steps': 48},
            ['executed_steps + lead_steps', '48 + 2', 'horizon (50)', 'execute fewer'],
        ),
    ],
)
def test_unknown_choices_and_nothing_left_to_agree_on_are_refused(
    robot, tiny_bundle, parameters, fragments
):
    good = {'embodiment': 'sim_single_arm', 'bundle': str(tiny_bundle), 'prompt': 'wave'}
    robot.run_policy(**good, **parameters)
    assert not robot.configure()
    robot.until(lambda: robot.logged(*fragments), timeout_s=5.0)
