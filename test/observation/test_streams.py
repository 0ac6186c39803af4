from __future__ import annotations

import pytest

from pizero_ros.observation.streams import StreamClock, jumps_back

S = 1_000_000_000


def clock(stamp='header', rate_hz=10.0):
    return StreamClock('/topic', stamp, 0.25, rate_hz)


def take(stream, stamps_s, delay_s=0.0):
    for seconds in stamps_s:
        stamp_ns, received_ns = round(seconds * S), round((seconds + delay_s) * S)
        assert stream.stamp(stamp_ns, received_ns) == stamp_ns
        stream.advance(stamp_ns, received_ns)


def test_missing_is_counted_from_the_nominal_rate():
    stream = clock()
    take(stream, [1.0, 1.1, 1.2, 1.5, 1.6, 2.6])
    # 1.3, 1.4, then 1.7 to 2.5.
    assert stream.counters.missing == 2 + 9
    assert stream.counters.received == 6


def test_jitter_is_not_missing():
    stream = clock()
    take(stream, [1.0, 1.14, 1.2, 1.34, 1.4])
    assert stream.counters.missing == 0


def test_late_is_age_on_arrival():
    stream = clock()
    take(stream, [1.0, 1.1], delay_s=0.2)
    assert stream.counters.late == 0
    take(stream, [1.2], delay_s=0.3)
    assert stream.counters.late == 1


def test_zero_stamp_is_dropped_and_counted():
    stream = clock()
    assert stream.stamp(0, 5 * S) is None
    assert (stream.counters.received, stream.counters.unstamped) == (1, 1)
    assert 'stamp: receive' in stream.absent().detail


def test_receive_time_is_used_where_the_embodiment_says_so():
    stream = clock('receive')
    assert stream.stamp(0, 5 * S) == 5 * S
    assert stream.stamp(3 * S, 6 * S) == 6 * S
    assert stream.counters.unstamped == 0


def test_rate_is_measured_and_decays_when_messages_stop():
    stream = clock()
    take(stream, [n / 9.5 for n in range(1, 100)])
    now = round(99 / 9.5 * S)
    assert stream.measured_hz(now) == pytest.approx(9.5, abs=0.01)
    assert stream.measured_hz(now + 5 * S) < 5.2
    assert clock().measured_hz(now) == 0.0


def test_reset_keeps_totals_only():
    stream = clock()
    take(stream, [1.0, 1.1])
    stream.reset()
    assert stream.newest_ns is None
    assert stream.measured_hz(2 * S) == 0.0
    assert stream.counters.received == 2
    take(stream, [50.0])
    assert stream.counters.missing == 0


@pytest.mark.parametrize(('age_s', 'kind'), [(0.2, None), (0.3, 'stale'), (-0.3, 'future')])
def test_age_has_a_limit_on_both_sides(age_s, kind):
    fault = clock().age_fault(10 * S, 10 * S + round(age_s * S))
    assert (fault.kind if fault else None) == kind


def test_stale_says_age_and_limit():
    assert clock().age_fault(10 * S, 11 * S).detail == '1.000 s old, limit 0.25 s'


def test_a_second_back_is_a_jump_and_less_is_an_overtaken_message():
    assert jumps_back(8 * S, 10 * S)
    assert not jumps_back(9 * S, 10 * S)
    assert not jumps_back(8 * S, None)


def test_status_is_a_copy():
    stream = clock()
    take(stream, [1.0])
    status = stream.status(2 * S, required=True, age_s=1.0, fault='')
    take(stream, [1.1])
    assert status.counters.received == 1
    assert (status.topic, status.nominal_hz, status.max_age_s) == ('/topic', 10.0, 0.25)
