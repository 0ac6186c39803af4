"""8-bit floats: what is quantised, how well it holds, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from pizero_ros.errors import ExportError
from pizero_ros.export import streaming
from pizero_ros.export.bundle import write_bundle
from pizero_ros.export.float8 import Measured, products, quantize
from pizero_ros.export.random_bundle import random_model_spec
from pizero_ros.export.variants import make_variants
from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.runtime import Policy
from pizero_ros.processing.model_inputs import ModelInputs

SIZES = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=64, depth=1, mlp=96, heads=2),
    vlm=GemmaSizes(width=64, depth=1, mlp=96, heads=4, kv_heads=1, head_dim=16),
    expert=GemmaSizes(width=64, depth=1, mlp=96, heads=4, kv_heads=1, head_dim=16),
    vocabulary=320,
    max_tokens=12,
    state_dim=18,
    action_dim=18,
    horizon=8,
)
STEPS = 3
SLOTS = ('base_0_rgb', 'left_wrist_0_rgb')
FLOAT16, FLOAT8 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT8E4M3FN


@pytest.fixture(scope='module')
def model():
    return Pi0.random(SIZES, 3)


@pytest.fixture(scope='module')
def bundle(model, tmp_path_factory):
    return write_bundle(
        model,
        random_model_spec(SIZES, SLOTS, steps=STEPS),
        tmp_path_factory.mktemp('float8') / 'bundle',
        semantics={},
        kind='random',
        source='test',
        seed=3,
        variants=('tensorrt',),
        precision='float8',
    )


def load_graphs(bundle):
    files = bundle.manifest.variants['tensorrt'].files
    return {part: onnx.load(bundle.path / file).graph for part, file in files.items()}


def test_samples_stay_within_the_stated_bound(model, bundle):
    proof = bundle.parity['variants']['tensorrt']
    assert bundle.manifest.variants['tensorrt'].precision == proof['proven_in'] == 'float8'
    policy = Policy.load(Bundle.open(bundle.path), 'cpu', threads=1, variant='tensorrt')
    rng = np.random.default_rng(5)
    for cameras, words in ((1, 2), (2, 12)):
        inputs = ModelInputs(
            images=rng.uniform(-1, 1, (cameras, 3, 28, 28)).astype(np.float32),
            tokens=rng.integers(0, 320, words),
            state=rng.standard_normal(18, dtype=np.float32),
        )
        noise = rng.standard_normal((8, 18), dtype=np.float32)
        seen = Conditioning(
            torch.from_numpy(inputs.images)[None],
            torch.from_numpy(inputs.tokens)[None],
            torch.from_numpy(inputs.state)[None],
        )
        with torch.inference_mode():
            wanted = model.sample(seen, torch.from_numpy(noise)[None], STEPS)[0].numpy()
        off = np.abs(policy.infer(inputs, noise).actions - wanted).max()
        # Above what float16 alone is off by: the products are really 8-bit.
        assert 2e-3 < off < proof['tolerance']['sample']


def test_every_large_product_is_quantised_and_no_projection_of_the_robots_values(bundle):
    graphs = load_graphs(bundle)
    found = 0
    for part in ('observe', 'denoise'):
        graph = graphs[part]
        makers = {name: node for node in graph.node for name in node.output}
        kinds = {each.name: each.data_type for each in graph.initializer}
        # Nothing of it is left, and the float8 matrices are where it was.
        assert not products(onnx.helper.make_model(graph))
        for node in graph.node:
            if node.op_type != 'MatMul' or node.input[1] not in makers:
                continue
            value, weight = (makers[name] for name in node.input)
            if weight.op_type != 'DequantizeLinear':
                continue
            found += 1
            assert kinds[weight.input[0]] == FLOAT8
            assert value.op_type == 'DequantizeLinear'
            quantised = makers[value.input[0]]
            assert quantised.op_type == 'QuantizeLinear'
            assert quantised.input[1] == value.input[1]
            assert kinds[value.input[1]] == kinds[weight.input[1]] == FLOAT16
    assert found == bundle.parity['variants']['tensorrt']['products'] >= 10
    small = {18}
    for graph in graphs.values():
        for each in graph.initializer:
            if small & set(each.dims) and len(each.dims) == 2:
                assert each.data_type == onnx.TensorProto.FLOAT


def test_operators_are_standard_and_weights_are_dequantised_once_for_all_steps(bundle):
    graphs = load_graphs(bundle)
    for graph in graphs.values():
        assert {node.domain for node in graph.node} <= {'', 'ai.onnx'}

    def of_weights(graph):
        constants = {each.name for each in graph.initializer}
        return [
            node.output[0]
            for node in graph.node
            if node.op_type == 'DequantizeLinear' and node.input[0] in constants
        ]

    assert of_weights(graphs['sample']) == of_weights(graphs['denoise'])
    assert len(set(of_weights(graphs['denoise']))) == len(of_weights(graphs['denoise']))
    file = bundle.manifest.variants['tensorrt'].files['sample']
    assert (bundle.path / file).stat().st_size < 500_000


def test_cuda_has_no_8_bit_floats(model, tmp_path):
    with pytest.raises(ExportError, match=r'cuda.*precision.*found float8'):
        make_variants(
            model,
            tmp_path,
            ['cuda'],
            precision='float8',
            seed=0,
            steps=2,
            slots=2,
            on_phase=lambda _: None,
        )
    assert not list(tmp_path.iterdir())


def test_policies_that_do_not_fit_into_memory_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, 'MEMORY_LIMIT', 1000)
    with pytest.raises(ExportError, match=r'tensorrt.*float8.*GB of float32 weights.*float16'):
        make_variants(
            model,
            tmp_path,
            ['tensorrt'],
            precision='float8',
            seed=0,
            steps=2,
            slots=2,
            on_phase=lambda _: None,
        )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def product(tmp_path):
    """One product of [1, 64] with a constant matrix, in a file with data beside it."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 64)).astype(np.float16)
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('MatMul', ['x', 'weight'], ['y'])],
        'product',
        [make('x', FLOAT16, [1, 64])],
        [make('y', FLOAT16, [1, 64])],
        [onnx.numpy_helper.from_array(weight, 'weight')],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', 23)], ir_version=10
    )
    path = tmp_path / 'observe.tensorrt.onnx'
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        location=f'{path.name}.data',
        size_threshold=256,
    )
    return path, weight.astype(np.float32)


def test_largest_values_of_all_runs_are_measured(product):
    path, _ = product
    measured = Measured(path)
    for factor in (1.0, -3.0, 2.0):
        measured.run({'x': np.full((1, 64), factor, np.float16), 'unread': np.zeros(1)})
    assert measured.largest == {'x': 3.0}
    with pytest.raises(ExportError, match=r'x: found a value of inf'):
        measured.run({'x': np.full((1, 64), np.inf, np.float16)})


def test_values_above_the_measured_ones_still_fit(product):
    path, weight = product
    assert quantize(path, {'x': 3.0}) == 1
    data = path.parent / f'{path.name}.data'
    # One byte for each weight, where there were two.
    assert 64 * 64 <= data.stat().st_size < 64 * 64 * 1.2 + 4096
    run = Measured(path).run
    # A value of float8 is off by a sixteenth of it at most, that of the weights too.
    for size in (0.3, 3.0, 5.9):
        x = np.zeros((1, 64), np.float16)
        x[0, 7] = size
        found, wanted = run({'x': x})['y'][0].astype(np.float32), size * weight[7]
        assert np.abs(found - wanted).max() < 0.14 * size * np.abs(weight[7]).max()
    # Far above, values end at the largest that there is; they do not overflow.
    x[0, 7] = 1000.0
    found = run({'x': x})['y'][0].astype(np.float32)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, 6.0 * weight[7], rtol=0.1, atol=0.1)
