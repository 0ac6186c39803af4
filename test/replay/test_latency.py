"""Latencies that an evaluation imagines."""

import json

import numpy as np
import pytest

from pizero_ros.replay.latency import LatencyError, read_latency


def drawn(text, count=4000):
    latency, generator = read_latency(text), np.random.default_rng(0)
    return np.array([latency.draw(generator) for _ in range(count)]) * 1e-6


def test_one_time_is_a_constant():
    assert set(drawn('80ms', 20)) == {80.0}
    assert set(drawn('0.25s', 20)) == {250.0}


def test_two_times_are_median_and_95th_percentile():
    values = drawn('60ms:120ms')
    assert np.percentile(values, 50) == pytest.approx(60, rel=0.05)
    assert np.percentile(values, 95) == pytest.approx(120, rel=0.05)


def test_measured_latencies_are_drawn_from(tmp_path):
    path = tmp_path / 'measured.json'
    path.write_text(json.dumps([0.05, 0.07]))
    assert set(drawn(str(path), 50)) == {50.0, 70.0}


def test_report_of_a_replay_gives_its_chunks(tmp_path):
    path = tmp_path / 'report.json'
    episodes = [{'timing': {'chunks_s': [0.01, 0.02]}}, {'timing': {'chunks_s': [0.03]}}]
    path.write_text(json.dumps({'episodes': episodes}))
    assert set(drawn(str(path), 100)) == {10.0, 20.0, 30.0}


def test_same_seed_draws_the_same():
    np.testing.assert_array_equal(drawn('60ms:120ms', 50), drawn('60ms:120ms', 50))


@pytest.mark.parametrize('text', ['', '80', 'fast', '0ms', '-5ms', '120ms:60ms', '1ms:2ms:3ms'])
def test_anything_else_is_an_error(text):
    with pytest.raises(LatencyError, match='--latency'):
        read_latency(text)


@pytest.mark.parametrize('content', ['[]', '{}', '[0.1, -1]', '["a"]', 'not json', '[NaN]'])
def test_file_without_latencies_is_an_error(tmp_path, content):
    path = tmp_path / 'l.json'
    path.write_text(content)
    with pytest.raises(LatencyError, match=r'l\.json'):
        read_latency(str(path))


def test_absent_file_is_an_error(tmp_path):
    with pytest.raises(LatencyError, match=r'none\.json'):
        read_latency(str(tmp_path / 'none.json'))
