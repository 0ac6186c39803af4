"""Graphs that are not what their manifest says, refused before they are trusted."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.policy.foreign.bundle import ForeignBundle
from pizero_ros.policy.foreign.graph import ForeignGraph

onnx = pytest.importorskip('onnx', reason='building graphs needs onnx (extra `train`)')

FLOAT, HALF, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE
BYTES, WHOLE = onnx.TensorProto.UINT8, onnx.TensorProto.INT64
INPUTS = {
    'image': (FLOAT, [1, 3, 48, 64]),
    'state': (FLOAT, [1, 3]),
    'noise': (FLOAT, [1, 16, 7]),
}
OUTPUT = FLOAT, [1, 16, 7]


@pytest.fixture
def load(tmp_path, describe):
    """Load a graph that returns a constant (or random numbers) whatever its inputs are."""

    def build(inputs=None, output=OUTPUT, change=None, node=None):
        kind, shape = output
        if node is None:
            value = onnx.helper.make_tensor('value', kind, shape, np.arange(np.prod(shape)))
            node = onnx.helper.make_node('Constant', [], ['trajectory'], value=value)
        declared = INPUTS | (inputs or {})
        graph = onnx.helper.make_graph(
            [node],
            'chunk',
            [
                onnx.helper.make_tensor_value_info(name, *declared[name])
                for name in declared
                if declared[name]
            ],
            [onnx.helper.make_tensor_value_info('trajectory', kind, shape)],
        )
        opset = onnx.helper.make_opsetid('', 20)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
        onnx.save(model, tmp_path / 'diffusion.onnx')
        describe(tmp_path, change or (lambda document: None))
        return ForeignGraph(ForeignBundle.open(tmp_path), 'cpu', 1)

    return build


def test_axes_of_one_step_and_sizes_left_open_are_taken(load):
    inputs = {
        'image': (HALF, ['batch', 1, 3, 'height', 64]),
        'state': (DOUBLE, [3]),
        'noise': (FLOAT, [16, 7]),
    }
    graph = load(inputs, output=(FLOAT, [16, 7]))
    rows = graph(graph.blank())
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.arange(112).reshape(16, 7))


@pytest.mark.parametrize(
    ('inputs', 'change', 'fragments'),
    [
        (
            {'tokens': (WHOLE, [1, 32])},
            None,
            ['input tokens: found tensor(int64) [1, 32]', 'a prompt, are not supported'],
        ),
        ({'noise': None}, None, ['inputs: found image, state, expected noise']),
        (
            {},
            lambda d: d['state'].update(input='stat'),
            ['inputs', 'expected stat', "Did you mean 'state'?"],
        ),
        (
            {'image': (FLOAT, [1, 48, 64, 3])},
            None,
            ['input image: found tensor(float) [1, 48, 64, 3]', '[1, 3, 48, 64]'],
        ),
        ({'image': (FLOAT, [1, 3, 48, 32])}, None, ['input image', '[1, 3, 48, 32]']),
        ({'image': (FLOAT, [3, 48])}, None, ['input image', '[3, 48]']),
        ({'image': (WHOLE, [1, 3, 48, 64])}, None, ['input image', 'tensor(int64)']),
        (
            {'image': (FLOAT, [1, 2, 3, 48, 64])},
            None,
            ['input image', '[1, 2, 3, 48, 64]', 'a history, are not supported'],
        ),
        (
            {'state': (FLOAT, [1, 2, 3])},
            None,
            ['input state', '[1, 2, 3]', 'a history, are not supported'],
        ),
        ({'state': (FLOAT, [1, 4])}, None, ['input state', '[1, 4]', '[1, 3]']),
        ({'state': (BYTES, [1, 3])}, None, ['input state', 'tensor(uint8)']),
        ({'noise': (FLOAT, [1, 16, 8])}, None, ['input noise', '[1, 16, 8]', '[1, 16, 7]']),
        (
            {'image': (BYTES, [1, 3, 48, 64])},
            lambda d: d['images'][0].update(range=[0, 1]),
            ['input image', 'tensor(uint8)', 'range: [0, 255]'],
        ),
    ],
)
def test_input_that_differs_from_the_manifest_is_named(load, inputs, change, fragments):
    with pytest.raises(BundleError) as caught:
        load(inputs, change=change)
    for fragment in ['diffusion.onnx', *fragments]:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ('output', 'change', 'fragments'),
    [
        (
            OUTPUT,
            lambda d: d['output'].update(name='x'),
            ['outputs: found trajectory, expected x'],
        ),
        (OUTPUT, lambda d: d.update(horizon=8), ['output trajectory', '[1, 16, 7]', '[1, 8, 7]']),
        ((FLOAT, [1, 7, 16]), None, ['output trajectory', '[1, 7, 16]']),
        ((FLOAT, [2, 16, 7]), None, ['output trajectory', '[2, 16, 7]']),
        ((FLOAT, [7]), None, ['output trajectory', '[7]']),
        ((WHOLE, [1, 16, 7]), None, ['output trajectory', 'tensor(int64)']),
    ],
)
def test_output_that_differs_from_the_manifest_is_named(load, output, change, fragments):
    with pytest.raises(BundleError) as caught:
        load(output=output, change=change)
    for fragment in ['diffusion.onnx', *fragments]:
        assert fragment in str(caught.value)


@pytest.mark.parametrize('shape', [[12, 7], [7, 16], [2, 8, 7]])
def test_output_of_open_size_is_refused_when_it_comes_out_wrong(load, shape):
    open_size = FLOAT, [1, *'abc'[: len(shape)]]
    node = onnx.helper.make_node('Identity', ['noise'], ['trajectory'])

    def change(document):
        document['noise'].update(shape=shape)

    expected = rf'output trajectory: found {re.escape(str([1, *shape]))}, expected \[1, 16, 7\]'
    with pytest.raises(BundleError, match=expected):
        load({'noise': open_size}, output=open_size, change=change, node=node)


def test_inputs_without_effect_are_found(load, act):
    mixed = onnx.helper.make_node('Identity', ['noise'], ['trajectory'])
    assert load(node=mixed).ignored() == ('image', 'state')
    assert ForeignGraph(ForeignBundle.open(act.folder), 'cpu', 1).ignored() == ()


def test_graph_that_draws_its_own_noise_is_refused(load):
    node = onnx.helper.make_node('RandomNormal', [], ['trajectory'], shape=[1, 16, 7])
    with pytest.raises(BundleError, match=r'another chunk at each run .* with the noise as an'):
        load(node=node)


def test_file_that_is_no_graph_is_refused(tmp_path, describe):
    (tmp_path / 'diffusion.onnx').write_bytes(b'no graph')
    describe(tmp_path, lambda document: None)
    with pytest.raises(BundleError, match=r'diffusion.onnx: ONNX Runtime .* cannot load'):
        ForeignGraph(ForeignBundle.open(tmp_path), 'cpu', 1)


def test_provider_that_is_asked_for_by_name_and_not_there_is_an_error(act):
    with pytest.raises(EnvironmentFault, match='provider'):
        ForeignGraph(ForeignBundle.open(act.folder), 'abacus', 1)
