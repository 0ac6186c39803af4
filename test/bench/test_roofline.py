"""The limit of the hardware: arithmetic that must be exact, and graphs that must run."""

from __future__ import annotations

import math
import sys

import pytest

from pizero_ros.bench import roofline
from pizero_ros.bench.flops import Work, phases
from pizero_ros.bench.roofline import Roof, achieved, measure_roof
from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.model.architecture import architecture_path, read_architecture

PI0 = read_architecture(architecture_path('pi0'))
H200 = Roof('cuda', None, 'bfloat16', copy_gb_s=4300.0, matmul_gflop_s=790e3)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(roofline, '_SECONDS', 0.0)
    monkeypatch.setattr(roofline, '_PRODUCTS', {'cpu': (roofline._Product(32, 64, 2),)})
    monkeypatch.setattr(roofline, '_COPIED_BYTES', {'cpu': 1 << 16})


def test_floor_is_whichever_limit_is_reached_last():
    roof = Roof('cpu', 1, 'float32', copy_gb_s=1.0, matmul_gflop_s=100.0)
    assert roof.floor_s(Work(flop=10**9, weights=10**6)) == pytest.approx(0.010)
    assert roof.floor_s(Work(flop=10**8, weights=10**6)) == pytest.approx(0.004)


def test_the_full_model_on_an_h200_has_the_published_floor():
    """3 views, 48 tokens, 10 steps, last layer pruned: 6.32 ms, and 0.15 for our state token."""
    work = phases(PI0, 3, 48, 10)
    rows = achieved(H200, work, dict.fromkeys(work, 12.0))
    assert rows['vision'].floor_ms == pytest.approx(0.84, abs=0.01)
    assert rows['denoise step'].floor_ms * 10 == pytest.approx(1.50, abs=0.01)
    assert rows['whole'].floor_ms == pytest.approx(6.32, abs=0.05)
    assert rows['whole'].of_floor == pytest.approx(rows['whole'].floor_ms / 12)
    assert rows['whole'].gflop_s == pytest.approx(work['whole'].flop / 12e-3 / 1e9)


def test_phases_that_were_not_timed_have_no_row_and_sums_are_of_their_parts():
    work = phases(PI0, 2, 5, 4)
    rows = achieved(H200, work, {'observe': 5.0, 'denoise': 2.0, 'whole': 7.0, 'chunk': 9.0})
    assert list(rows) == ['observe', 'denoise', 'whole']
    parts = rows['observe'].floor_ms + rows['denoise'].floor_ms
    assert rows['whole'].floor_ms == pytest.approx(parts)


@pytest.mark.parametrize('precision', ['float32', 'float16', 'int8'])
def test_the_processor_can_be_measured_in_every_precision_that_it_runs(quick, precision):
    pytest.importorskip('onnx', reason='the graphs to measure with need onnx (extra `train`)')
    roof = measure_roof('cpu', 1, precision)
    assert (roof.provider, roof.threads, roof.precision) == ('cpu', 1, precision)
    for value in (roof.copy_gb_s, roof.matmul_gflop_s):
        assert math.isfinite(value)
        assert value > 0


def test_a_precision_without_kernels_is_an_error_and_no_number(quick):
    pytest.importorskip('onnx', reason='the graphs to measure with need onnx (extra `train`)')
    with pytest.raises(BundleError, match='cannot load this graph'):
        measure_roof('cpu', 1, 'bfloat16')


def test_without_onnx_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(EnvironmentFault, match='pip install onnx'):
        measure_roof('cpu', None, 'float32')
