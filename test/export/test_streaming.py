from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

import pizero_ros
from pizero_ros.errors import BundleError, ExportError
from pizero_ros.export import bundle, streaming
from pizero_ros.export.graphs import export_graphs
from pizero_ros.export.parity import prove
from pizero_ros.export.random_bundle import random_model_spec
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.export.streaming_models import layer_by_layer
from pizero_ros.export.streaming_sessions import GraphRun
from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.policy.bundle import Bundle

SIZES = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=32, depth=1, mlp=52, heads=4),
    vlm=GemmaSizes(width=48, depth=2, mlp=88, heads=4, kv_heads=1, head_dim=16),
    expert=GemmaSizes(width=40, depth=2, mlp=72, heads=4, kv_heads=1, head_dim=16),
    vocabulary=68,
    max_tokens=8,
    state_dim=18,
    action_dim=18,
    horizon=10,
)
SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
GRAPHS = ('observe.onnx', 'denoise.onnx')


class Counted:
    """A source that knows how many of its tensors are still in somebody's memory."""

    def __init__(self, policy: Pi0) -> None:
        self._tensors = policy.state_dict()
        self.alive = self.most = 0
        self.asked: list[str] = []

    def __call__(self, name: str) -> torch.Tensor:
        # The storage keeps the array, and dies with its last user, whatever view that holds.
        array = self._tensors[name].numpy().copy()
        self.asked.append(name)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(array, self._gone)
        return torch.from_numpy(array)

    def _gone(self) -> None:
        self.alive -= 1


@pytest.fixture(scope='module')
def policy() -> Pi0:
    """A policy of which no two tensors are alike, norms and biases included."""
    model = Pi0.random(SIZES, seed=1)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope='module')
def inside(policy: Pi0, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs with their weights inside; not to be changed."""
    folder = tmp_path_factory.mktemp('inside')
    written = export_graphs(StreamedWeights.of(policy), folder)
    assert [path.name for path in written] == list(GRAPHS)
    return folder


class Export(NamedTuple):
    """An export with weights in data files, and what it was seen to do."""

    folder: Path
    source: Counted
    progress: list[tuple[int, int]]


@pytest.fixture(scope='module')
def streamed(policy: Pi0, tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp('outside')
    source, told = Counted(policy), []
    gc.disable()
    try:
        written = export_graphs(
            StreamedWeights(SIZES, source),
            folder,
            inside=0,
            on_bytes=lambda *now: told.append(now),
        )
    finally:
        gc.enable()
    names = ['observe.onnx', 'observe.onnx.data', 'denoise.onnx', 'denoise.onnx.data']
    assert [path.name for path in written] == names
    return Export(folder, source, told)


@pytest.fixture
def outside(streamed: Export) -> Path:
    """Graphs with their weights in data files; not to be changed."""
    return streamed.folder


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every policy as too large for memory."""
    monkeypatch.setattr(streaming, 'MEMORY_LIMIT', 0)


def values(path: Path) -> list[tuple[tuple[int, ...], bytes]]:
    """Give shape and bytes of all initializers, in an order that needs no names."""
    arrays = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    return sorted((array.shape, array.tobytes()) for array in arrays)


def test_streamed_weights_equal_those_of_an_export_in_memory(
    policy: Pi0, inside: Path, outside: Path, tmp_path: Path
) -> None:
    """The exporter of torch, given the real weights, is the reference."""

    class Observe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._model = policy

        def forward(
            self, images: torch.Tensor, tokens: torch.Tensor, state: torch.Tensor
        ) -> tuple[torch.Tensor, ...]:
            cache = self._model.observe(Conditioning(images[None], tokens, state))
            return (*cache.keys, *cache.values)

    views, words = torch.export.Dim('views'), torch.export.Dim('words')
    program = torch.onnx.export(
        Observe().eval(),
        (torch.zeros(2, 3, 28, 28), torch.zeros(1, 6, dtype=torch.int64), torch.zeros(1, 18)),
        dynamic_shapes=({0: views}, {1: words}, None),
        dynamo=True,
        opset_version=23,
        verbose=False,
    )
    assert program is not None
    program.save(tmp_path / 'reference.onnx')
    expected = values(tmp_path / 'reference.onnx')
    assert len(expected) > 50
    assert values(inside / 'observe.onnx') == expected
    assert values(outside / 'observe.onnx') == expected
    assert values(inside / 'denoise.onnx') == values(outside / 'denoise.onnx')


def test_nothing_that_depends_on_weights_alone_is_left_in_the_graphs(inside: Path) -> None:
    for name in GRAPHS:
        graph = onnx.load(inside / name).graph
        fixed = {each.name for each in graph.initializer}
        assert not [node.op_type for node in graph.node if fixed.issuperset(node.input)]


def test_one_tensor_of_the_source_is_in_memory_at_a_time(streamed: Export) -> None:
    source = streamed.source
    assert source.most == 1
    dead = {'language_model.norm', 'language_model.layers.1.self_attn.q_proj'}
    assert not [name for name in source.asked if any(each in name for each in dead)]


def test_proof_of_a_large_policy_holds_one_operator_at_a_time(
    policy: Pi0, outside: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Counted(policy)
    weights = StreamedWeights(SIZES, source)
    assert not weights.fits_memory
    proof = prove(weights, outside, seed=7, steps=10, slots=3)
    # Weight and bias; patches' weight and bias and the table of places.
    assert source.most == 3
    assert set(source.asked) >= {'state_proj.bias', 'action_out_proj.weight'}
    assert list(proof['cases']) == ['all cameras, longest prompt', 'one camera, shortest prompt']
    assert all(0 <= error < 2e-5 for error in proof['max_abs_error'].values())
    assert proof['scale']['velocity'] > 0.1


def test_proofs_of_large_and_of_small_policies_have_one_format(
    policy: Pi0, inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = prove(StreamedWeights.of(policy), inside, seed=7, steps=4, slots=2)
    assert len(small['cases']) == 4
    monkeypatch.setattr(streaming, 'MEMORY_LIMIT', 0)
    large = prove(policy, outside, seed=7, steps=4, slots=2)
    assert small.keys() == large.keys()
    assert small['tolerance'] == large['tolerance']


def test_one_altered_weight_fails_the_proof_of_a_large_policy(
    policy: Pi0, inside: Path, large: None, tmp_path: Path
) -> None:
    altered = Counted(policy)
    tensors = altered._tensors
    name = 'paligemma_with_expert.gemma_expert.model.layers.1.mlp.up_proj.weight'
    tensors[name] = tensors[name].clone()
    tensors[name][3, 4] += 1.0
    with pytest.raises(ExportError, match=r'parity\.velocity'):
        prove(StreamedWeights(SIZES, altered), inside, seed=7, steps=4, slots=2)


@torch.no_grad()
def test_layer_by_layer_policy_equals_the_policy_in_memory(policy: Pi0) -> None:
    generator = torch.Generator().manual_seed(2)
    seen = Conditioning(
        torch.rand(1, 2, 3, 28, 28, generator=generator) * 2 - 1,
        torch.randint(0, 68, (1, 5), generator=generator),
        torch.randn(1, 18, generator=generator),
    )
    noise = torch.randn(1, 10, 18, generator=generator)
    streamed = layer_by_layer(StreamedWeights.of(policy))
    assert torch.equal(streamed.sample(seen, noise), policy.sample(seen, noise))
    assert all(parameter.is_meta for parameter in streamed.parameters())


def test_every_tensor_of_a_data_file_starts_a_page(outside: Path) -> None:
    for name in GRAPHS:
        tensors = onnx.load(outside / name, load_external_data=False).graph.initializer
        entries = [{e.key: e.value for e in each.external_data} for each in tensors]
        offsets = [int(entry['offset']) for entry in entries if entry]
        assert len(offsets) > 10
        assert not any(offset % 4096 for offset in offsets)
        assert {entry['location'] for entry in entries if entry} == {f'{name}.data'}
        assert (outside / name).stat().st_size < 300_000


@pytest.mark.parametrize('piece', [1, 20_000, 10**9])
def test_a_graph_in_pieces_equals_the_whole(outside: Path, piece: int) -> None:
    random = np.random.default_rng(3)
    feed = {
        'images': random.uniform(-1, 1, (2, 3, 28, 28)).astype(np.float32),
        'tokens': random.integers(0, 68, (1, 4)),
        'state': random.standard_normal((1, 18)).astype(np.float32),
    }
    path = outside / 'observe.onnx'
    session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [each.name for each in session.get_outputs()]
    expected = session.run(names, feed)
    found = GraphRun(path, piece).run(names, feed)
    assert list(found) == names
    for name, array in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-6)


def test_progress_counts_every_byte_once(streamed: Export) -> None:
    done, totals = zip(*streamed.progress, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(set(done))
    assert 0.95 * totals[0] < done[-1] <= totals[0]


def write(weights: Pi0 | StreamedWeights, out: Path, **more: Any) -> None:
    """Export a model-only bundle."""
    spec = random_model_spec(weights.architecture, SLOTS)
    bundle.write_bundle(weights, spec, out, semantics={}, kind='random', source='test', **more)


def interrupted(*_: object, **__: object) -> None:
    """Stand in for an export of graphs, where what comes before it is under test."""
    raise InterruptedError


_KILLED = """\
    import os, signal, sys
    from pizero_ros.export.bundle import write_bundle
    from pizero_ros.export.random_bundle import random_model_spec
    from pizero_ros.export.streaming import StreamedWeights
    from pizero_ros.model.architecture import read_architecture
    from pizero_ros.model.pi0 import Pi0

    sizes = read_architecture(sys.argv[1])
    tensors = Pi0.random(sizes, 0).state_dict()
    left = [30]

    def source(name):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return tensors[name]

    write_bundle(
        StreamedWeights(sizes, source), random_model_spec(sizes, ['base_0_rgb']), sys.argv[2],
        semantics={}, kind='random', source='test',
    )
"""


def test_a_killed_export_leaves_nothing_that_loads_and_the_next_one_cleans_up(
    policy: Pi0, mini_architecture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, 'export_graphs', interrupted)
    out = tmp_path / 'bundle'
    root = str(Path(pizero_ros.__file__).parents[1])
    killed = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(_KILLED), mini_architecture, out],
        env={**os.environ, 'PYTHONPATH': root},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith('.bundle.')
    for folder in (out, left, left / 'bundle'):
        with pytest.raises(BundleError):
            Bundle.open(folder)
    told: list[str] = []
    with pytest.raises(InterruptedError):
        write(policy, out, on_phase=told.append)
    assert told[0] == f'removing what a killed export left: {left}'
    assert not list(tmp_path.iterdir())


def test_a_misshapen_tensor_is_named_and_nothing_is_left(policy: Pi0, tmp_path: Path) -> None:
    tensors = policy.state_dict()
    tensors['action_in_proj.weight'] = tensors['action_in_proj.weight'].T
    named = r'action_in_proj\.weight: found shape \[18, 40\]'
    with pytest.raises(ExportError, match=named):
        write(StreamedWeights(SIZES, tensors.__getitem__), tmp_path / 'bundle')
    assert not list(tmp_path.iterdir())


def test_an_export_leaves_the_folder_of_a_running_one_alone(
    policy: Pi0, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def export(_: object, folder: Path, **more: object) -> None:
        folders.append(folder)
        if len(folders) == 1:
            with pytest.raises(InterruptedError):
                write(policy, tmp_path / 'bundle')
            assert folder.is_dir()
            assert not folders[1].exists()
        raise InterruptedError

    monkeypatch.setattr(bundle, 'export_graphs', export)
    with pytest.raises(InterruptedError):
        write(policy, tmp_path / 'bundle')
    assert len(folders) == 2
    assert not list(tmp_path.iterdir())
