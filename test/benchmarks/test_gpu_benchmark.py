"""The benchmark for a GPU: refuses plainly without one; its logic runs on the CPU provider."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from pizero_ros.policy.providers import available_providers

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'

NSYS = """\
Generating SQLite file trace.sqlite from trace.nsys-rep
Processing [trace.sqlite] with [cuda_gpu_kern_sum.py]...

Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name
70.0,7000000,100,70000.0,70000.0,1,2,3.0,"void cutlass::Kernel<gemm, 128>(Params)"
30.0,3000000,20,150000.0,150000.0,1,2,3.0,"void onnxruntime::flash::flash_fwd_kernel<256>(P)"
"""


@pytest.fixture(scope='module')
def load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


@pytest.fixture(scope='module')
def gpu(load):
    return load('gpu')


@pytest.fixture(scope='module')
def gpu_profile(load):
    return load('gpu_profile')


@pytest.mark.skipif('cuda' in available_providers(), reason='this machine may have a GPU')
@pytest.mark.parametrize('provider', ['cuda', 'tensorrt'])
def test_without_a_gpu_it_refuses_and_says_what_is_missing(gpu, provider, tmp_path, capsys):
    assert gpu.main(['--provider', provider, '--work', str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert provider in said
    assert 'gpu' in said
    assert list(tmp_path.iterdir()) == []


def test_a_provider_without_a_driver_is_refused(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, 'resolve_provider', lambda name: name)
    monkeypatch.setenv('PATH', '')
    assert gpu.main([]) == 2
    assert 'nvidia-smi: found no NVIDIA GPU' in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    gpu, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gpu.shutil, 'disk_usage', lambda _: type('', (), {'free': 10**9}))
    words = ['--provider', 'cpu', '--precision', 'float32', '--work', str(tmp_path)]
    assert gpu.main(words) == 2
    assert 'found 1 GB free, expected 3' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_its_logic_runs_on_the_processor(gpu, mini_architecture, tmp_path, capfd, monkeypatch):
    pytest.importorskip('torch', reason='exporting needs PyTorch (extra `train`)')
    roofline = importlib.import_module('pizero_ros.bench.roofline')
    monkeypatch.setattr(roofline, '_SECONDS', 0.0)
    monkeypatch.setattr(roofline, '_PRODUCTS', {'cpu': (roofline._Product(32, 64, 2),)})
    monkeypatch.setattr(roofline, '_COPIED_BYTES', {'cpu': 1 << 16})
    out, architecture = tmp_path / 'gpu.json', tmp_path / 'mini16.yaml'
    sizes = mini_architecture.read_text()
    architecture.write_text(sizes.replace('head_dim: 8', 'head_dim: 16'))
    words = ['--provider', 'cpu', '--precision', 'float32', '--steps', '2', '--runs', '2']
    words += ['--architecture', str(architecture), '--work', str(tmp_path)]
    assert gpu.main([*words, '--json', str(out)]) == 0
    result = json.loads(out.read_text())
    assert (result['provider'], result['variant']) == ('cpu', 'cuda')
    assert (result['cameras'], result['tokens'], result['steps']) == (3, 32, 2)
    latency = result['latency_ms']
    assert latency['denoise step']['p50'] == pytest.approx(latency['denoise']['p50'] / 2)
    assert list(result['roofline']['phases']) == ['observe', 'denoise step', 'denoise', 'whole']
    ran = result['kernels']['operators']
    assert ran['GroupQueryAttention'] == {
        'CPUExecutionProvider': ran['GroupQueryAttention']['CPUExecutionProvider']
    }
    assert 'Softmax' not in ran
    assert result['parity']['velocity'] < 1e-4
    printed = capfd.readouterr().out
    assert 'of the floor' in printed
    assert 'operator GroupQueryAttention' in printed


def test_kernels_are_read_from_what_nsys_prints(gpu_profile):
    found = gpu_profile.kernels(NSYS)
    assert list(found.values()) == [
        {'instances': 100, 'total_ms': 7.0},
        {'instances': 20, 'total_ms': 3.0},
    ]
    told = list(
        gpu_profile.lines(
            {
                'operators': {'GroupQueryAttention': {'CUDAExecutionProvider': 20}},
                'sdpa_kernels': {'FLASH_ATTENTION': 2},
                'nsys': found,
            }
        )
    )
    assert told == [
        'operator GroupQueryAttention: 20 on CUDAExecutionProvider',
        'attention kernels that ONNX Runtime says it chose: FLASH_ATTENTION (2 times)',
        'nsys: 20 x void onnxruntime::flash::flash_fwd_kernel<256>(P), 3.00 ms in all',
    ]


def test_output_of_nsys_without_a_table_is_an_error(gpu_profile):
    with pytest.raises(RuntimeError, match='no table of kernels'):
        gpu_profile.kernels('ERROR: no CUDA kernels were captured')


def test_operators_are_counted_by_provider(gpu_profile):
    def event(operator, provider):
        args = {'op_name': operator, 'provider': provider}
        return {'cat': 'Node', 'name': 'n_kernel_time', 'args': args}

    events = [
        {'cat': 'Session', 'name': 'model_loading_uri', 'args': {}},
        event('MatMul', 'CUDAExecutionProvider'),
        event('MatMul', 'CUDAExecutionProvider'),
        event('MatMul', 'CPUExecutionProvider'),
    ]
    found = gpu_profile.operators(events)
    assert found == {'MatMul': {'CUDAExecutionProvider': 2, 'CPUExecutionProvider': 1}}
