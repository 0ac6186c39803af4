"""Temporal ensembling by ACT's rule."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.ensemble import DECAY, Ensemble

MS = 1_000_000


def deliver(scheduler, make, value, observed_ms, arrived_ms, **changes):
    """Deliver a chunk whose actions all are ``value``, or an array of actions."""
    request = scheduler.begin(observed_ms * MS)
    actions = np.full((50, 2), value) if np.isscalar(value) else value
    chunk = make.chunk(actions, observed_ns=observed_ms * MS, epoch=request.epoch, **changes)
    return scheduler.accept(chunk, arrived_ms * MS)


@pytest.fixture
def scheduler(make):
    """Executing nothing, with no wait at the first chunk that would shift its clock."""
    return Ensemble(make.robot(make.arm(), lead_steps=1))


def test_the_first_chunk_is_executed_as_it_is(scheduler, make):
    acceptance = deliver(scheduler, make, 1.0, 0, 0)
    np.testing.assert_array_equal(acceptance.chunk.actions, np.full((50, 2), 1.0))
    assert scheduler.mode == 'ensemble'


def test_overlapping_steps_are_exponentially_weighted_with_the_oldest_heaviest(scheduler, make):
    deliver(scheduler, make, 1.0, 0, 0)  # Starts at 20 ms.
    deliver(scheduler, make, 2.0, 220, 300)
    acceptance = deliver(scheduler, make, 4.0, 420, 500)
    one, two, three = np.exp(-DECAY * np.arange(3))
    expected = np.full(50, 4.0)
    expected[:30] = (1 * one + 2 * two + 4 * three) / (one + two + three)
    expected[30:40] = (2 * one + 4 * two) / (one + two)
    # Where the first one has ended, the second is the oldest.
    np.testing.assert_allclose(acceptance.chunk.actions, np.stack([expected] * 2, 1), atol=1e-12)
    assert scheduler.executing is acceptance.chunk
    assert acceptance.steps == range(5, 50)


def test_what_the_model_returned_stays_on_the_chunk(scheduler, make):
    deliver(scheduler, make, 1.0, 0, 0)
    acceptance = deliver(scheduler, make, 2.0, 220, 300)
    np.testing.assert_array_equal(acceptance.chunk.model_actions, np.full((50, 2), 2.0))


def test_chunks_between_the_steps_of_each_other_are_interpolated(scheduler, make):
    values = np.stack([np.arange(50.0)] * 2, axis=1)
    deliver(scheduler, make, values, 0, 0)
    mean = deliver(scheduler, make, values + 10.5, 230, 300).chunk.actions
    np.testing.assert_allclose(mean[:39], values[:39] + 10.5, atol=1e-9)


def test_grippers_follow_the_newest_chunk(make):
    robot = make.robot(
        make.arm(1),
        make.group('gripper', [make.joint('g', 1, position=(0.0, 1.0))], output='gripper'),
    )
    scheduler = Ensemble(robot)
    deliver(scheduler, make, 0.0, 0, 0)
    mean = deliver(scheduler, make, 1.0, 240, 300).chunk.actions
    assert mean[0, 0] == pytest.approx(1 / (1 + np.exp(DECAY)))
    np.testing.assert_array_equal(mean[:, 1], 1.0)


def test_a_hold_and_a_new_prompt_forget_earlier_chunks(scheduler, make):
    deliver(scheduler, make, 1.0, 0, 0)
    scheduler.advance_epoch()
    mean = deliver(scheduler, make, 2.0, 220, 300).chunk.actions
    np.testing.assert_array_equal(mean, np.full((50, 2), 2.0))
    scheduler.held()
    mean = deliver(scheduler, make, 4.0, 420, 500).chunk.actions
    np.testing.assert_array_equal(mean, np.full((50, 2), 4.0))


def test_discarded_chunks_take_no_part(scheduler, make):
    deliver(scheduler, make, 1.0, 0, 0)
    deliver(scheduler, make, 1.0, 220, 300)
    assert deliver(scheduler, make, 100.0, 100, 310).reason == 'superseded'
    mean = deliver(scheduler, make, 1.0, 420, 500).chunk.actions
    np.testing.assert_allclose(mean, 1.0)


def test_a_plan_that_has_run_out_is_not_mixed_in(make):
    """Its unpublished steps reach further, but the robot has been held since."""
    scheduler = Ensemble(make.robot(make.arm(), lead_steps=1, published_steps=26))
    deliver(scheduler, make, 1.0, 0, 0)
    assert scheduler.end_ns == 520 * MS
    late = deliver(scheduler, make, 2.0, 400, 600)  # Asked for in motion, starved since.
    np.testing.assert_array_equal(late.chunk.actions, np.full((50, 2), 2.0))
    rest = deliver(scheduler, make, 3.0, 1400, 1450)
    np.testing.assert_array_equal(rest.chunk.actions, np.full((50, 2), 3.0))
