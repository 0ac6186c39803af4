from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from pizero_ros.errors import ExportError
from pizero_ros.export.graphs import cache_names, export_graphs
from pizero_ros.export.parity import prove
from pizero_ros.model.architecture import Architecture, GemmaSizes, StemSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning, Pi0

# Every width is its own number, so that a weight is known by its shape.
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
SLOTS = 3


@pytest.fixture(scope='module')
def policy() -> Pi0:
    return Pi0.random(SIZES, seed=1)


@pytest.fixture(scope='module')
def folder(policy: Pi0, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both graphs; not to be changed."""
    path = tmp_path_factory.mktemp('graphs')
    written = export_graphs(policy, path)
    assert {file.name for file in written} == {'observe.onnx', 'denoise.onnx'}
    assert {file.name for file in path.iterdir()} == {'observe.onnx', 'denoise.onnx'}
    return path


def weights(path: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(path, providers=['CPUExecutionProvider'])


@pytest.mark.parametrize('name', ['observe.onnx', 'denoise.onnx'])
def test_a_graph_tells_nothing_of_the_machine_that_exported_it(folder: Path, name: str) -> None:
    assert str(Path(__file__).parents[2]).encode() not in (folder / name).read_bytes()
    assert b'stack_trace' not in (folder / name).read_bytes()


def test_exported_graphs_pass_the_proof(policy: Pi0, folder: Path) -> None:
    proof = prove(policy, folder, seed=7, steps=10, slots=SLOTS)
    assert len(proof['cases']) == 2 + SLOTS
    for errors in (proof['max_abs_error'], *proof['cases'].values()):
        assert all(0 <= errors[key] < 2e-5 for key in ('key', 'value', 'velocity', 'sample'))
    assert proof['scale']['velocity'] > 0.1
    assert set(proof['versions']) == {'torch', 'onnx', 'onnxruntime'}


@pytest.mark.parametrize('depth', [0, 1])
def test_graphs_of_a_stem_with_or_without_an_encoder_pass_the_proof(
    tmp_path: Path, depth: int
) -> None:
    vision = replace(SIZES.vision, stem=StemSizes((8, 8), 4), depth=depth)
    policy = Pi0.random(replace(SIZES, vision=vision), seed=1)
    export_graphs(policy, tmp_path)
    proof = prove(policy, tmp_path, seed=7, steps=10, slots=SLOTS)
    assert max(proof['max_abs_error'].values()) < 2e-5


def test_inputs_and_outputs_are_those_of_the_contract(folder: Path) -> None:
    observe, denoise = session(folder / 'observe.onnx'), session(folder / 'denoise.onnx')
    cached = ['key.0', 'key.1', 'value.0', 'value.1']
    assert list(cache_names(2)) == cached
    assert [each.name for each in observe.get_inputs()] == ['images', 'tokens', 'state']
    assert [each.name for each in observe.get_outputs()] == cached
    assert [each.name for each in denoise.get_inputs()] == [*cached, 'x_t', 't']
    assert [each.name for each in denoise.get_outputs()] == ['velocity']
    types = {each.name: each.type for each in (*observe.get_inputs(), *denoise.get_inputs())}
    assert types.pop('tokens') == 'tensor(int64)'
    assert set(types.values()) == {'tensor(float)'}
    shapes = {each.name: each.shape for each in (*observe.get_inputs(), *denoise.get_inputs())}
    assert shapes['images'][1:] == [3, 28, 28]
    assert isinstance(shapes['images'][0], str)
    assert shapes['state'] == [1, 18]
    assert shapes['x_t'] == [1, 10, 18]
    assert shapes['t'] == [1, 10]
    assert shapes['key.1'][:2] == [1, 1]
    assert shapes['key.1'][3] == 16
    assert isinstance(shapes['key.1'][2], str)


@torch.no_grad()
@pytest.mark.parametrize('absent', [(0,), (1,), (2,), (0, 2)])
def test_absent_cameras_are_dropped_with_the_result_of_masking_them(
    policy: Pi0, folder: Path, absent: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(1, SLOTS, 3, 28, 28, generator=generator) * 2 - 1
    tokens = torch.randint(0, 68, (1, 5), generator=generator)
    state = torch.randn(1, 18, generator=generator)
    noise = torch.randn(1, 10, 18, generator=generator)
    mask = torch.tensor([[slot not in absent for slot in range(SLOTS)]])
    cache = policy.observe(Conditioning(images, tokens, state, camera_mask=mask))
    t = torch.full((1, 10), 0.7)
    expected = policy.denoise(cache, noise, t)
    feed = {'images': images[0, mask[0]].numpy(), 'tokens': tokens.numpy(), 'state': state.numpy()}
    found = dict(
        zip(cache_names(2), session(folder / 'observe.onnx').run(None, feed), strict=True)
    )
    assert found['key.0'].shape == (1, 1, 4 * int(mask.sum()) + 5 + 1, 16)
    velocity = session(folder / 'denoise.onnx').run(
        None, {**found, 'x_t': noise.numpy(), 't': t.numpy()}
    )[0]
    np.testing.assert_allclose(velocity, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('graph', 'shape'), [('denoise.onnx', (40, 72)), ('observe.onnx', (48, 88))]
)
def test_one_altered_weight_fails_the_proof(
    policy: Pi0, folder: Path, tmp_path: Path, graph: str, shape: tuple[int, int]
) -> None:
    altered = tmp_path / 'altered'
    shutil.copytree(folder, altered)
    model = onnx.load(altered / graph)
    tensor = next(each for each in model.graph.initializer if tuple(each.dims) == shape)
    values = numpy_helper.to_array(tensor).copy()
    values[3, 4] += 1.0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, altered / graph)
    with pytest.raises(ExportError, match='against torch'):
        prove(policy, altered, seed=7, steps=10, slots=SLOTS)


def test_graphs_of_another_policy_fail_the_proof(folder: Path) -> None:
    with pytest.raises(ExportError, match=r'parity\.velocity'):
        prove(Pi0.random(SIZES, seed=2), folder, seed=7, steps=4, slots=SLOTS)


def test_a_tolerance_of_zero_fails_even_exact_graphs(policy: Pi0, folder: Path) -> None:
    with pytest.raises(ExportError, match='expected less than 0'):
        prove(policy, folder, seed=7, steps=2, slots=1, sample_tolerance=0.0)


def test_a_graph_that_is_not_one_is_named(policy: Pi0, tmp_path: Path) -> None:
    (tmp_path / 'observe.onnx').write_bytes(b'not a graph')
    with pytest.raises(ExportError, match=r'observe\.onnx'):
        prove(policy, tmp_path, seed=7, steps=2, slots=1)


def test_attention_is_free_of_masks(folder: Path) -> None:
    for name, count in (('observe.onnx', 1 + 1 + 1), ('denoise.onnx', 2)):
        graph = onnx.load(folder / name).graph
        attention = [node for node in graph.node if node.op_type == 'Attention']
        assert len(attention) == count, name
        assert all(len([i for i in node.input if i]) == 3 for node in attention)
        kinds = {node.op_type for node in graph.node}
        assert not kinds & {'Where', 'Trilu', 'CumSum', 'And', 'Less', 'Expand'}, name
        assert all(array.dtype != np.bool_ for array in weights(folder / name).values())


def test_only_keys_and_values_of_the_last_layer_are_in_the_graph(folder: Path) -> None:
    shapes = Counter(array.shape for array in weights(folder / 'observe.onnx').values())
    assert shapes[(48, 88)] == 2  # gate and up of the first VLM layer
    assert shapes[(88, 48)] == 1
    assert shapes[(40, 72)] == 2  # the state token, of the first expert layer
    assert shapes[(48, 64)] == 1  # q of the first VLM layer
    assert shapes[(48, 16)] == 2 * 2  # k and v of both
    assert shapes[(40, 16)] == 2 * 2
    step = Counter(array.shape for array in weights(folder / 'denoise.onnx').values())
    assert step[(40, 72)] == 2 * 2
    assert step[(48, 88)] == step[(68, 48)] == 0


def test_no_constant_is_larger_than_the_weights(policy: Pi0, folder: Path) -> None:
    parameters = sum(each.numel() for each in policy.parameters())
    held = sum(
        array.size
        for name in ('observe.onnx', 'denoise.onnx')
        for array in weights(folder / name).values()
    )
    # Both graphs hold the expert; nothing else is held twice, and dead weights are left out.
    expert = sum(each.numel() for each in policy.expert.parameters())
    assert held < parameters + expert
