"""The controller model: what it refuses, how it interpolates and replaces."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.spline import Knots, cubic_range
from pizero_ros.control.validation import ValidationRules, command_from_message

MS = 1_000_000
RULES = pytest.mark.parametrize('replacement', ['discard', 'blend'])


def command(positions, times_ms, stamp_ms=0, names=('a', 'b'), velocities=None):
    return TrajectoryCommand(
        'arm',
        stamp_ms * MS,
        tuple(names),
        np.array(positions, np.float64).reshape(len(times_ms), len(names)),
        None if velocities is None else np.array(velocities, np.float64),
        np.array(times_ms, np.int64) * MS,
    )


def controller(replacement='discard', positions=(0.0, 0.0), **options):
    return JointTrajectoryController(
        ('a', 'b'), np.array(positions), replacement=replacement, **options
    )


GOOD = command([[1.0, 1.0], [2.0, 2.0]], [100, 200], stamp_ms=1000)
REJECTED = [
    (replace(GOOD, joint_names=('a',), positions=np.ones((2, 1))), 'joint_set'),
    (replace(GOOD, joint_names=('a', 'a')), 'joint_set'),
    (replace(GOOD, joint_names=('a', 'x')), 'unknown_joint'),
    (command(np.zeros((0, 2)), [], 1000), 'no_points'),
    (replace(GOOD, time_from_start_ns=np.array([200, 200]) * MS), 'time_not_increasing'),
    (replace(GOOD, time_from_start_ns=np.array([200, 100]) * MS), 'time_not_increasing'),
    (replace(GOOD, stamp_ns=700 * MS), 'ends_in_the_past'),
    (replace(GOOD, positions=np.ones((2, 3))), 'length_mismatch'),
    (replace(GOOD, velocities=np.zeros((1, 2))), 'length_mismatch'),
    (replace(GOOD, velocities=np.array([[1.0, 1.0], [0.0, 1e-6]])), 'nonzero_last_velocity'),
    (replace(GOOD, positions=np.full((2, 2), np.nan)), 'not_finite'),
]


@RULES
@pytest.mark.parametrize(('message', 'reason'), REJECTED)
def test_rejections_are_named_and_counted(replacement, message, reason):
    model = controller(replacement)
    rejection = model.accept(message, 1000 * MS)
    assert rejection.reason == reason
    assert rejection.text
    assert (model.accepted, model.rejected) == (0, {reason: 1})
    assert model.sample(1000 * MS)[0].tolist() == [0.0, 0.0]


def test_what_validation_allows():
    model = controller()
    assert model.accept(GOOD, 1000 * MS) is None
    assert model.accept(replace(GOOD, stamp_ns=800 * MS), 1000 * MS) is None  # ends now
    assert model.accept(replace(GOOD, stamp_ns=0), 10**18) is None
    assert model.accept(replace(GOOD, velocities=np.full((2, 2), 1e-7)), 1000 * MS) is None
    lenient = controller(rules=ValidationRules(allow_nonzero_velocity_at_trajectory_end=True))
    assert lenient.accept(replace(GOOD, velocities=np.ones((2, 2))), 1000 * MS) is None
    partial = controller(rules=ValidationRules(allow_partial_joints_goal=True))
    assert partial.accept(command([1.0], [100], names=('b',)), 0) is None
    assert partial.accept(replace(GOOD, joint_names=()), 0).reason == 'no_joint_names'
    assert model.accepted == 4


@RULES
def test_linear_interpolation_and_hold_at_the_end(replacement):
    model = controller(replacement)
    model.sample(990 * MS)
    model.accept(GOOD, 1000 * MS)
    positions, velocities = model.sample(1045 * MS)
    np.testing.assert_allclose(positions, 0.5)  # ramp from 990 ms, the last commanded time
    np.testing.assert_allclose(velocities, 1.0 / 0.110)
    np.testing.assert_allclose(model.sample(1150 * MS)[0], 1.5)
    positions, velocities = model.sample(9999 * MS)
    assert (positions.tolist(), velocities.tolist()) == ([2.0, 2.0], [0.0, 0.0])
    assert model.end_ns == 1200 * MS


def test_cubic_interpolation_with_velocities():
    model = controller()
    velocities = [[1.0, 0.0], [0.0, 0.0]]
    model.accept(command([[1.0, 1.0], [2.0, 3.0]], [100, 1100], 0, velocities=velocities), 0)
    model.sample(0)
    positions, speeds = model.sample(600 * MS)
    # Hermite at half of 1 s: (p0 + p1)/2 + (v0 - v1)/8 and 1.5 (p1 - p0) - (v0 + v1)/4.
    np.testing.assert_allclose(positions, [1.5 + 1.0 / 8.0, 2.0])
    np.testing.assert_allclose(speeds, [1.5 - 0.25, 3.0])


def test_range_of_a_cubic_is_that_of_its_samples():
    rng = np.random.default_rng(3)
    for scale in (1.0, 1e-6, 0.0):
        ends = [rng.normal(0.0, (1.0, 10.0 * scale), (50, 2)).T for _ in range(2)]
        lowest, highest = cubic_range(*map(tuple, ends), 0.3)
        points = Knots.of(
            np.array([0, 300_000_000]),
            np.array([end[0] for end in ends]),
            np.array([end[1] for end in ends]),
        )
        at = np.array([points.sample(t)[0] for t in range(0, 300_000_001, 100_000)])
        np.testing.assert_allclose(lowest, at.min(axis=0), atol=1e-5)
        np.testing.assert_allclose(highest, at.max(axis=0), atol=1e-5)
        assert (lowest <= at.min(axis=0) + 1e-12).all()
        assert (highest >= at.max(axis=0) - 1e-12).all()


def test_joints_are_sorted_into_the_controllers_order():
    model = controller()
    model.accept(command([[1.0, 2.0]], [100], names=('b', 'a')), 0)
    model.sample(0)
    assert model.sample(100 * MS)[0].tolist() == [2.0, 1.0]


def test_from_measured_needs_and_uses_the_measured_state():
    model = controller(interpolate_from_desired_state=False)
    model.accept(command([[1.0, 1.0]], [100]), 0)
    with pytest.raises(ValueError, match='measured'):
        model.sample(0)
    assert model.sample(0, np.array([0.5, 0.2]))[0].tolist() == [0.5, 0.2]
    np.testing.assert_allclose(model.sample(50 * MS)[0], [0.75, 0.6])


def run(model, message, arrives_ms, until_ms, step_ms=10):
    """Sample every step; the message arrives on the way. Returns positions of the first joint."""
    out = {}
    for now in range(0, until_ms + 1, step_ms):
        if now == arrives_ms:
            assert model.accept(message, now * MS) is None
        out[now] = model.sample(now * MS)[0]
    return out


def running(replacement):
    """A controller that goes from 0 to 1 in 1 s, with knots every 100 ms."""
    model = controller(replacement)
    times = np.arange(100, 1001, 100)
    model.accept(command(np.repeat(times[:, None] / 1000.0, 2, axis=1), times), 0)
    return model


def test_a_past_stamp_is_absolute_under_discard_and_reanchored_under_blend():
    past = command([[2.0, 2.0], [3.0, 3.0]], [100, 300], stamp_ms=300)
    discarded = run(running('discard'), past, 500, 900)
    assert discarded[500][0] == pytest.approx(2.5)  # 200 ms into it: a jump
    assert discarded[600][0] == pytest.approx(3.0)
    blended = run(running('blend'), past, 500, 900)
    assert blended[500][0] == pytest.approx(0.49)  # bridge: where the last update was
    assert blended[600][0] == pytest.approx(2.0)
    assert blended[800][0] == pytest.approx(3.0)


def test_a_future_stamp_drops_the_old_at_once_under_discard_and_hands_over_under_blend():
    future = command([[0.9, 0.9]], [100], stamp_ms=700)
    discarded = run(running('discard'), future, 500, 900)
    # From 0.49 at 490 ms straight to 0.9 at 800 ms.
    assert discarded[700][0] == pytest.approx(0.49 + 0.41 * 210 / 310)
    blended = run(running('blend'), future, 500, 900)
    assert blended[600][0] == pytest.approx(0.59)  # still the old one, one update behind
    assert blended[700][0] == pytest.approx(0.69)
    assert blended[800][0] == pytest.approx(0.9)


@RULES
def test_a_present_stamp_is_reached_on_time_under_both_rules(replacement):
    now = command([[0.9, 0.9], [1.0, 1.0]], [100, 200], stamp_ms=500)
    sampled = run(running(replacement), now, 500, 900)
    assert sampled[600][0] == pytest.approx(0.9)
    assert sampled[700][0] == pytest.approx(1.0)
    steps = np.diff([sampled[t][0] for t in range(480, 620, 10)])
    assert steps.max() < 0.06


def test_left_out_joints_hold_under_discard_and_go_on_under_blend():
    rules = ValidationRules(allow_partial_joints_goal=True)
    partial = command([0.0, 0.0], [100, 200], stamp_ms=500, names=('b',))
    for replacement, expected in (('discard', 0.49), ('blend', 1.0)):
        model = controller(replacement, rules=rules)
        times = np.arange(100, 1001, 100)
        model.accept(command(np.repeat(times[:, None] / 1000.0, 2, axis=1), times), 0)
        sampled = run(model, partial, 500, 1100)
        assert sampled[1100][0] == pytest.approx(expected)
        assert sampled[1100][1] == pytest.approx(0.0)


def test_a_single_point_is_not_blended_with():
    model = controller('blend')
    model.accept(command([[0.5, 0.5]], [40]), 0)
    past = command([[2.0, 2.0], [3.0, 3.0]], [100, 300], stamp_ms=300)
    assert run(model, past, 500, 900)[500][0] == pytest.approx(2.5)


def test_only_the_latest_message_between_two_updates_counts():
    model = controller()
    model.accept(command([[1.0, 1.0]], [100]), 0)
    model.accept(command([[2.0, 2.0]], [100]), 0)
    model.sample(0)
    assert model.sample(100 * MS)[0].tolist() == [2.0, 2.0]
    assert model.accepted == 2


def message(points, names=('a', 'b')):
    def duration(ms):
        return SimpleNamespace(sec=ms // 1000, nanosec=ms % 1000 * MS)

    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=12, nanosec=345)),
        joint_names=list(names),
        points=[
            SimpleNamespace(
                positions=point.get('p', []),
                velocities=point.get('v', []),
                accelerations=point.get('a', []),
                effort=point.get('e', []),
                time_from_start=duration(point['t']),
            )
            for point in points
        ],
    )


def test_messages_become_commands_or_typed_faults():
    good = command_from_message(
        message([{'p': [1.0, 2.0], 't': 100}, {'p': [3.0, 4.0], 't': 1200}]), 'arm'
    )
    assert good.stamp_ns == 12_000_000_345
    assert good.positions.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert good.time_from_start_ns.tolist() == [100 * MS, 1200 * MS]
    empty = command_from_message(message([]))
    assert controller().accept(empty, 0).reason == 'no_points'
    both = [1.0, 2.0]
    for points, reason in [
        ([{'p': both, 't': 1}, {'p': [1.0], 't': 2}], 'length_mismatch'),
        ([{'p': both, 'v': [1.0], 't': 1}], 'length_mismatch'),
        ([{'v': both, 't': 1}], 'length_mismatch'),
        ([{'p': both, 'e': both, 't': 1}], 'effort'),
        ([{'p': both, 'a': both, 't': 1}], 'not_modelled'),
        ([{'p': both, 'v': both, 't': 1}, {'p': both, 't': 2}], 'not_modelled'),
    ]:
        assert command_from_message(message(points)).reason == reason
