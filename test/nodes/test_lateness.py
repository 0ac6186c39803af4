"""How late a timer was is counted from its own grid; no ROS, no clock."""

import pytest

from pizero_ros.nodes.lateness import Lateness

PERIOD = 20_000_000
MS = 1_000_000
START = 1_700_000_000 * 10**9


def called(lateness, grid, late_ns, *, inferring=False):
    """Call at a point of the grid, so much after it."""
    skipped = late_ns // PERIOD
    until_next_ns = (skipped + 1) * PERIOD - late_ns
    now_ns = START + grid * PERIOD + late_ns
    lateness.tick(now_ns, until_next_ns, inferring=inferring)


def test_lateness_is_told_apart_by_what_the_node_did():
    lateness = Lateness(PERIOD)
    for k, late_ms in enumerate((0, 1, 2, 3)):
        called(lateness, k, late_ms * MS)
    called(lateness, 4, 5 * MS, inferring=True)
    found = lateness.percentiles()
    assert found['idle'].p50 == pytest.approx(2e-3)
    assert found['idle'].largest == pytest.approx(3e-3)
    assert found['inferring'] == pytest.approx((5e-3, 5e-3, 5e-3))


def test_a_call_behind_skipped_ones_is_as_late_as_the_first_of_them():
    lateness = Lateness(PERIOD)
    called(lateness, 0, 0)
    called(lateness, 1, 47 * MS)  # The calls of grid points 2 and 3 are skipped.
    assert lateness.percentiles()['idle'].largest == pytest.approx(47e-3)
    called(lateness, 4, MS)
    assert lateness.percentiles()['idle'].p50 == pytest.approx(24e-3)


def test_a_clock_that_was_set_back_is_not_lateness():
    lateness = Lateness(PERIOD)
    called(lateness, 100, 0)
    called(lateness, 3, MS)
    assert lateness.percentiles() == {}
    called(lateness, 4, MS)
    assert lateness.percentiles()['idle'].largest == pytest.approx(1e-3)
