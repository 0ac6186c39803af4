"""The comparison of ways to infer: same inputs and weights, ratios of turns, honest targets."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import numpy as np
import pytest

from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.runtime import Policy

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


@pytest.fixture(scope='module')
def load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


@pytest.fixture(scope='module')
def inference(load):
    return load('inference')


@pytest.fixture(scope='module')
def contenders(load):
    return load('inference_contenders')


def row(ratio):
    return {
        'median_ms': 1000 / ratio,
        'min_ms': 900 / ratio,
        'p95_ms': 1200 / ratio,
        'ratio': ratio,
        'ratio_low': ratio,
        'ratio_high': ratio,
        'ratio_of_medians': ratio,
        'gflop_s': 100.0,
        'max_abs_error': 1e-6,
    }


@pytest.fixture
def result():
    few = {'eager padded': row(1.0), 'compile': row(1.9), 'cpu': row(2.2), 'cpu_int8': row(3.5)}
    full = {'eager padded': row(1.0), 'compile': row(1.3), 'cpu': row(1.5), 'cpu_int8': row(2.5)}
    return {
        'cases': [
            {'cameras': 2, 'tokens': 12, 'steps': 10, 'gflop': 60.0, 'contenders': few},
            {'cameras': 3, 'tokens': 64, 'steps': 10, 'gflop': 90.0, 'contenders': full},
        ],
        'roof': {
            'float32': {'matmul_gflop_s': 200.0, 'copy_gb_s': 40.0},
            'int8': {'matmul_gflop_s': 800.0, 'copy_gb_s': 40.0},
        },
    }


def test_targets_that_are_met_are_not_mentioned(inference, result):
    assert list(inference.missing(result)) == []


@pytest.mark.parametrize(
    ('case', 'name', 'ratio', 'said'),
    [
        (0, 'cpu', 2.05, '2 cameras, 12 tokens: cpu is 2.05 times as fast as eager padded'),
        (0, 'compile', 2.3, 'cpu is 0.96 times as fast as compile'),
        (0, 'cpu_int8', 2.9, 'cpu_int8 is 2.90 times as fast as eager padded'),
        (1, 'cpu', 1.35, '3 cameras, 64 tokens: cpu is 1.35 times as fast as eager padded'),
    ],
)
def test_each_target_can_be_missed(inference, result, case, name, ratio, said):
    changed = copy.deepcopy(result)
    changed['cases'][case]['contenders'][name] = row(ratio)
    (line,) = inference.missing(changed)
    assert said in line


def test_who_did_not_take_part_misses_the_target(inference, result):
    del result['cases'][0]['contenders']['cpu_int8']
    (line,) = inference.missing(result)
    assert 'cpu_int8 did not take part' in line


def test_ratios_are_of_turns_of_the_same_cycle(inference):
    """A machine that is half as fast in the second cycle changes no ratio."""
    ours, theirs = [[1.0, 1.0], [2.0, 2.0]], [[3.0, 3.0], [6.0, 6.0]]
    figures = inference._figures(ours, theirs, gflop=30.0)
    assert (figures['ratio'], figures['ratio_low'], figures['ratio_high']) == (3.0, 3.0, 3.0)
    assert figures['median_ms'] == 1500.0
    assert figures['min_ms'] == 1000.0
    assert figures['gflop_s'] == 20.0


def test_the_picture_shows_every_case(load, result, tmp_path):
    path = tmp_path / 'inference.png'
    load('inference_plot').draw(path, result)
    assert path.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('name', ['eager padded', 'plain', 'cpu'])
def test_every_way_gives_the_same_actions_in_a_process_of_its_own(
    contenders, tiny_bundle, tmp_path, name
):
    case = contenders.Case(2, 7, 3)
    contender = contenders.Contender(name, contenders.Setup(tiny_bundle, 0, 1, tmp_path))
    try:
        actions, seconds = contender.prepare(case)
        assert seconds > 0
        assert len(contender.time(case, 2)) == 2
    finally:
        contender.close()
    inputs, noise = contenders.inputs_of(Bundle.open(tiny_bundle), case)
    policy = Policy.load(Bundle.open(tiny_bundle), 'cpu', 1)
    np.testing.assert_allclose(actions, policy.infer(inputs, noise, 3).actions, atol=2e-5)


def test_a_contender_that_cannot_work_says_why(contenders, tmp_path):
    setup = contenders.Setup(tmp_path / 'nothing', 0, 1, tmp_path)
    contender = contenders.Contender('cpu', setup)
    try:
        with pytest.raises(RuntimeError, match=r'cpu: (.|\n)*nothing'):
            contender.prepare(contenders.Case(1, 1, 1))
    finally:
        contender.close()
