"""When inference is wanted, and which chunks count."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.modes import SCHEDULERS
from pizero_ros.control.open_loop import OpenLoop
from pizero_ros.control.schedule import DelayEstimate

MS = 1_000_000


def run_once(scheduler, make, start_ms, latency_ms, epoch=None):
    request = scheduler.begin(start_ms * MS)
    chunk = make.chunk(
        np.zeros((50, 2)),
        observed_ns=start_ms * MS,
        epoch=request.epoch if epoch is None else epoch,
    )
    return scheduler.accept(chunk, (start_ms + latency_ms) * MS)


@pytest.mark.parametrize('mode', ['open_loop', 'async'])
def test_inference_is_wanted_at_once_and_never_twice(make, mode):
    scheduler = SCHEDULERS[mode](make.robot(make.arm()))
    assert scheduler.mode == mode
    assert scheduler.wants_inference(0)
    scheduler.begin(0)
    assert not scheduler.wants_inference(10_000 * MS)
    assert scheduler.next_request_ns() is None
    with pytest.raises(ValueError, match='under way'):
        scheduler.begin(0)
    scheduler.fail()
    assert scheduler.wants_inference(0)


def test_async_asks_so_that_the_chunk_arrives_after_its_executed_steps(make):
    scheduler = Asynchronous(make.robot(make.arm()))
    assert run_once(scheduler, make, 0, 150).steps == range(50)
    # Accepted at 150, 25 steps are 500 ms, the delay is 150.
    assert scheduler.next_request_ns() == 500 * MS
    assert not scheduler.wants_inference(500 * MS - 1)
    assert scheduler.wants_inference(500 * MS)
    assert run_once(scheduler, make, 500, 150).steps == range(10, 50)
    assert scheduler.next_request_ns() == 1000 * MS


def test_from_rest_a_chunk_starts_when_it_has_arrived(make):
    """The first, the one after a hold, the one after starvation; but none observed in motion."""
    scheduler = Asynchronous(make.robot(make.arm(), lead_steps=0))
    first = run_once(scheduler, make, 0, 3000)  # Slower than the whole horizon.
    assert first.steps == range(50)
    assert (first.chunk.observed_ns, first.chunk.start_ns) == (0, 3020 * MS)
    assert scheduler.executing.start_ns == 3020 * MS
    moving = run_once(scheduler, make, 3100, 100)
    assert (moving.chunk.start_ns, moving.steps.start) == (3100 * MS, 6)
    starved = run_once(scheduler, make, 4081, 100)
    assert (starved.chunk.start_ns, starved.steps) == (4201 * MS, range(50))
    request = scheduler.begin(4500 * MS)
    scheduler.held()  # Observed in motion, held since: its own clock counts.
    chunk = make.chunk(np.zeros((50, 2)), observed_ns=4500 * MS, epoch=request.epoch)
    assert scheduler.accept(chunk, 4600 * MS).chunk.start_ns == 4500 * MS
    scheduler.held()
    assert run_once(scheduler, make, 5000, 100).chunk.start_ns == 5120 * MS


def test_async_with_slow_inference_asks_at_once(make):
    scheduler = Asynchronous(make.robot(make.arm()))
    assert run_once(scheduler, make, 0, 700).steps == range(50)
    assert scheduler.wants_inference(700 * MS)


def test_open_loop_executes_n_and_asks_when_they_have_elapsed(make):
    scheduler = OpenLoop(make.robot(make.arm(), executed_steps=10))
    assert run_once(scheduler, make, 0, 150).steps == range(10)
    assert scheduler.end_ns == 370 * MS  # 150, 2 steps of lead, 9 steps from the first
    assert not scheduler.wants_inference(370 * MS - 1)
    assert scheduler.wants_inference(370 * MS)
    assert run_once(scheduler, make, 370, 150).steps == range(10)
    assert scheduler.end_ns == 740 * MS


def test_open_loop_does_not_publish_beyond_published_steps(make):
    scheduler = OpenLoop(make.robot(make.arm(), executed_steps=25, published_steps=5))
    assert run_once(scheduler, make, 0, 150).steps == range(5)


def test_async_starves_when_the_published_horizon_has_run_out(make):
    scheduler = Asynchronous(make.robot(make.arm(), published_steps=30))
    assert not scheduler.starved(10_000 * MS)
    run_once(scheduler, make, 0, 150)
    assert scheduler.end_ns == 770 * MS
    assert not scheduler.starved(770 * MS)
    assert scheduler.starved(770 * MS + 1)
    scheduler.held()
    assert not scheduler.starved(10_000 * MS)


def test_open_loop_resting_for_one_inference_is_not_starvation(make):
    scheduler = OpenLoop(make.robot(make.arm(), executed_steps=10))
    run_once(scheduler, make, 0, 150)
    assert not scheduler.starved((370 + 150 + 40) * MS)
    assert scheduler.starved((370 + 150 + 40) * MS + 1)


def test_a_new_prompt_discards_the_chunk_under_way_and_asks_at_once(make):
    scheduler = Asynchronous(make.robot(make.arm()))
    assert run_once(scheduler, make, 0, 100).accepted
    request = scheduler.begin(300 * MS)
    assert scheduler.advance_epoch() == request.epoch + 1
    assert not scheduler.wants_inference(310 * MS)
    chunk = make.chunk(np.zeros((50, 2)), observed_ns=300 * MS, epoch=request.epoch)
    assert scheduler.accept(chunk, 400 * MS).reason == 'stale_epoch'
    assert scheduler.wants_inference(400 * MS)
    assert scheduler.end_ns == 1120 * MS


def test_late_superseded_and_future_chunks_are_discarded(make):
    scheduler = Asynchronous(make.robot(make.arm()))
    assert run_once(scheduler, make, 1000, 100).accepted
    late = run_once(scheduler, make, 1600, 1200)
    assert (late.reason, late.steps) == ('late', range(0))
    assert scheduler.executing.observed_ns == 1000 * MS
    assert run_once(scheduler, make, 2000, 100).accepted
    old = make.chunk(np.zeros((50, 2)), observed_ns=1990 * MS)
    assert scheduler.accept(old, 2200 * MS).reason == 'superseded'
    ahead = make.chunk(np.zeros((50, 2)), observed_ns=3000 * MS)
    assert scheduler.accept(ahead, 2200 * MS).reason == 'from_future'
    assert scheduler.executing.observed_ns == 2000 * MS


def test_delay_is_the_windowed_95th_percentile_and_forgets():
    delay = DelayEstimate(20)
    assert delay.value_ns == 0
    delay.add(5000)
    assert delay.value_ns == 5000
    for latency in range(1, 20):
        delay.add(latency)
    assert delay.value_ns == 19  # 19th of 20: one outlier in twenty does not count
    for _ in range(20):
        delay.add(7)
    assert delay.value_ns == 7


def test_a_clock_that_jumped_back_does_not_stall_inference(make):
    scheduler = Asynchronous(make.robot(make.arm()))
    assert run_once(scheduler, make, 100_000, 100).accepted
    assert scheduler.wants_inference(5 * MS)
