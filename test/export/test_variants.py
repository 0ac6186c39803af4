"""Other graphs of the same policy, run by the robot's own runtime on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from pizero_ros.errors import BundleError, ExportError
from pizero_ros.export.bundle import write_bundle
from pizero_ros.export.random_bundle import random_model_spec
from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.manifest import PARTS
from pizero_ros.policy.runtime import Policy, _variant_for
from pizero_ros.policy.variants import open_graphs
from pizero_ros.processing.model_inputs import ModelInputs

SIZES = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=64, depth=2, mlp=96, heads=2),
    vlm=GemmaSizes(width=64, depth=3, mlp=96, heads=4, kv_heads=1, head_dim=16),
    expert=GemmaSizes(width=64, depth=3, mlp=96, heads=4, kv_heads=1, head_dim=16),
    vocabulary=320,
    max_tokens=20,
    state_dim=18,
    action_dim=18,
    horizon=50,
)
SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
CASES = [(cameras, words) for cameras in (1, 2, 3) for words in (2, 7, 20)]


@pytest.fixture(scope='module')
def model():
    return Pi0.random(SIZES, 3)


def bundle_of(model, out, variants, precision='float32'):
    return write_bundle(
        model,
        random_model_spec(SIZES, SLOTS, steps=10),
        out,
        semantics={},
        kind='random',
        source='test',
        seed=3,
        variants=variants,
        precision=precision,
    )


@pytest.fixture(scope='module')
def bundle(model, tmp_path_factory):
    return bundle_of(model, tmp_path_factory.mktemp('variants') / 'all', tuple(PARTS))


def inputs_of(cameras, words, seed=0):
    rng = np.random.default_rng(seed)
    return ModelInputs(
        images=rng.uniform(-1, 1, (cameras, 3, 28, 28)).astype(np.float32),
        tokens=rng.integers(0, 320, words),
        state=rng.standard_normal(18, dtype=np.float32),
    )


def noise_of(seed=0):
    return np.random.default_rng(seed + 100).standard_normal((50, 18), dtype=np.float32)


def expected(model, inputs, noise, steps=10):
    seen = Conditioning(
        torch.from_numpy(inputs.images)[None],
        torch.from_numpy(inputs.tokens)[None],
        torch.from_numpy(inputs.state)[None],
    )
    with torch.inference_mode():
        return model.sample(seen, torch.from_numpy(noise)[None], steps)[0].numpy()


def load(bundle, variant):
    return Policy.load(Bundle.open(bundle.path), 'cpu', threads=1, variant=variant)


@pytest.fixture(scope='module')
def policies(bundle):
    return {name: load(bundle, name) for name in ('cpu', *PARTS)}


@pytest.mark.parametrize('name', ['cpu', 'cpu_split', 'cuda', 'tensorrt'])
@pytest.mark.parametrize(('cameras', 'words'), CASES)
def test_exact_variants_equal_the_model(model, policies, name, cameras, words):
    inputs, noise = inputs_of(cameras, words), noise_of()
    wanted = expected(model, inputs, noise)
    found = policies[name].infer(inputs, noise).actions
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize(('cameras', 'words'), [(1, 2), (3, 20)])
def test_8_bit_weights_stay_within_their_stated_bound(model, bundle, policies, cameras, words):
    inputs, noise = inputs_of(cameras, words), noise_of()
    off = np.abs(
        policies['cpu_int8'].infer(inputs, noise).actions - expected(model, inputs, noise)
    )
    assert 0.0 < off.max() < bundle.parity['variants']['cpu_int8']['tolerance']['sample']
    products = onnx.load(bundle.path / 'observe.cpu_int8.onnx').graph.node
    assert sum(node.op_type == 'MatMulInteger' for node in products) > 20


@pytest.mark.parametrize('name', ['cuda', 'tensorrt'])
def test_single_steps_of_a_fused_variant_serve_hooks_and_prefixes(model, policies, name):
    inputs, noise = inputs_of(2, 7), noise_of()
    policy = policies[name]
    whole = policy.infer(inputs, noise)
    assert whole.steps_s == ()
    stepwise = policy.infer(inputs, noise, hook=lambda x_t, velocity, t: None)
    assert len(stepwise.steps_s) == 10
    np.testing.assert_allclose(stepwise.actions, whole.actions, atol=1e-5)
    reference = policies['cpu'].infer(inputs, noise, prefix=noise[:5])
    prefixed = policy.infer(inputs, noise, prefix=noise[:5])
    np.testing.assert_allclose(prefixed.actions, reference.actions, atol=1e-5)
    fewer = policy.infer(inputs, noise, steps=4)
    np.testing.assert_allclose(fewer.actions, expected(model, inputs, noise, 4), atol=1e-5)


def test_warm_up_for_single_steps_opens_their_graph(bundle):
    policy = load(bundle, 'cuda')
    policy.warm_up(2, 7)
    assert 'denoise' not in policy.graphs._sessions
    policy.warm_up(2, 7, stepwise=True)
    assert 'denoise' in policy.graphs._sessions


def test_fused_buffers_stay_where_they_are(policies):
    graphs, addresses = policies['cuda'].graphs, []
    for seed in range(3):
        policies['cuda'].infer(inputs_of(2, 7, seed), noise_of(seed))
        addresses.append([value.data_ptr() for value in graphs.cache])
    assert addresses[0] == addresses[1] == addresses[2]


def test_what_one_shape_left_behind_does_not_reach_another(model, policies):
    for cameras, words in [(3, 20), (1, 2), (2, 7), (3, 20), (1, 7), (2, 2), (1, 2)]:
        inputs, noise = inputs_of(cameras, words, words), noise_of(cameras)
        found = policies['cuda'].infer(inputs, noise).actions
        assert np.abs(found - expected(model, inputs, noise)).max() < 1e-5


def test_only_views_that_changed_are_encoded_again(model, bundle):
    policy = load(bundle, 'cpu_split')
    inputs, noise = inputs_of(3, 7), noise_of()
    first = policy.infer(inputs, noise)
    assert policy.graphs.encoded == 3
    assert set(first.durations_s) == {'observe', 'vision', 'prefix', 'denoise'}
    again = policy.infer(inputs, noise)
    assert policy.graphs.encoded == 3
    np.testing.assert_array_equal(again.actions, first.actions)
    images = inputs.images.copy()
    images[1] = -images[1]
    changed = replace(inputs, images=images)
    found = policy.infer(changed, noise).actions
    assert policy.graphs.encoded == 4
    assert np.abs(found - expected(model, changed, noise)).max() < 1e-5
    swapped = replace(inputs, images=inputs.images[::-1].copy())
    found = policy.infer(swapped, noise).actions
    assert np.abs(found - expected(model, swapped, noise)).max() < 1e-5


def test_fused_graphs_have_nothing_that_a_cuda_graph_cannot_hold(bundle):
    for part, file in bundle.manifest.variants['cuda'].files.items():
        kinds = {node.op_type for node in onnx.load(bundle.path / file).graph.node}
        hostile = {'Shape', 'Range', 'If', 'Loop', 'Scan', 'NonZero', 'ConstantOfShape', 'Size'}
        assert not kinds & hostile, part
        assert 'GroupQueryAttention' in kinds
    sample = onnx.load(bundle.path / bundle.manifest.variants['cuda'].files['sample']).graph
    attention = [node for node in sample.node if node.op_type == 'GroupQueryAttention']
    assert len(attention) == 10 * SIZES.expert.depth
    assert not {'Sin', 'Cos'} & {node.op_type for node in sample.node}


def test_tensorrt_graphs_have_standard_operators_only(bundle):
    for file in bundle.manifest.variants['tensorrt'].files.values():
        assert {node.domain for node in onnx.load(bundle.path / file).graph.node} <= {
            '',
            'ai.onnx',
        }


def test_sample_reads_the_weights_of_the_step(bundle):
    files = bundle.manifest.variants['cuda'].files
    graph = onnx.load(bundle.path / files['sample'], load_external_data=False).graph
    outside = {
        entry.value
        for each in graph.initializer
        for entry in each.external_data
        if entry.key == 'location'
    }
    assert outside == {f'{files["denoise"]}.data'}
    assert (bundle.path / files['sample']).stat().st_size < 1_000_000


@pytest.mark.parametrize('precision', ['float16', 'bfloat16'])
def test_16_bit_variants_say_where_they_were_proven(model, tmp_path, precision):
    bundle = bundle_of(model, tmp_path / 'half', ('cuda',), precision)
    proof = bundle.parity['variants']['cuda']
    assert bundle.manifest.variants['cuda'].precision == precision
    assert proof['structure']['sample'] < 1e-4
    assert proof['proven_in'] == ('float32' if precision == 'bfloat16' else 'float16')
    weights = onnx.load(bundle.path / 'denoise.cuda.onnx').graph.initializer
    kinds = {each.data_type for each in weights if len(each.dims) == 2 and min(each.dims) >= 64}
    wanted = onnx.TensorProto.FLOAT16 if precision == 'float16' else onnx.TensorProto.BFLOAT16
    assert wanted in kinds
    if precision == 'float16':
        inputs, noise = inputs_of(2, 7), noise_of()
        found = load(bundle, 'cuda').infer(inputs, noise).actions
        off = np.abs(found - expected(model, inputs, noise)).max()
        assert 1e-6 < off < proof['tolerance']['sample']


def test_exact_graphs_run_unless_others_are_named(bundle):
    policy = Policy.load(Bundle.open(bundle.path), 'cpu', threads=1)
    assert (policy.variant, policy.provider) == ('cpu', 'cpu')
    named = Policy.load(Bundle.open(bundle.path), threads=1, variant='cpu_int8')
    assert (named.variant, named.provider) == ('cpu_int8', 'cpu')


def test_8_bit_graphs_are_nobody_s_default(bundle):
    with pytest.raises(BundleError, match=r'variants\.cpu_int8.*found provider cuda'):
        open_graphs(bundle, 'cpu_int8', 'cuda', 1, False)
    made = replace(bundle.manifest.variants['tensorrt'], precision='float8')
    manifest = replace(bundle.manifest, variants={'tensorrt': made})
    assert _variant_for(replace(bundle, manifest=manifest), 'tensorrt', None, False) == 'cpu'
    assert _variant_for(replace(bundle, manifest=manifest), 'tensorrt', 'tensorrt', False) != 'cpu'


def test_missing_variant_is_named_with_those_that_are_there(tiny_bundle):
    with pytest.raises(BundleError, match=r'variants.*found cpu,? expected cpu_int8'):
        Policy.load(Bundle.open(tiny_bundle), 'cpu', variant='cpu_int8')


def test_proof_of_a_variant_that_fails_its_bound_is_refused(model, tmp_path):
    bundle = bundle_of(model, tmp_path / 'one', ('cpu_int8',))
    proof = json.loads((bundle.path / 'parity.json').read_text())
    proof['variants']['cpu_int8']['max_abs_error']['sample'] = 3.0
    path = tmp_path / 'parity.json'
    path.write_text(json.dumps(proof))
    from pizero_ros.policy.bundle import read_parity

    read_parity(path)
    with pytest.raises(BundleError, match=r'variants\.cpu_int8\.max_abs_error\.sample'):
        read_parity(path, (), ('cpu_int8',))
    del proof['variants']
    path.write_text(json.dumps(proof))
    with pytest.raises(BundleError, match='parity proof'):
        read_parity(path, (), ('cpu_int8',))


def test_fused_graphs_of_another_policy_are_refused(model, tmp_path, monkeypatch):
    from pizero_ros.export import variants

    written = variants._write_fused

    def of_another(weights, *rest):
        other = variants.StreamedWeights.of(Pi0.random(SIZES, 4))
        written(other, *rest)

    monkeypatch.setattr(variants, '_write_fused', of_another)
    with pytest.raises(ExportError, match=r'against torch|not this policy'):
        bundle_of(model, tmp_path / 'other', ('cuda',))
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize('name', ['cuda', 'tensorrt'])
def test_unrolled_sample_can_be_run_in_pieces(bundle, name):
    from pizero_ros.export.streaming_sessions import GraphRun

    path = bundle.path / bundle.manifest.variants[name].files['sample']
    pieces, whole = GraphRun(path, piece=30_000), GraphRun(path)
    rng = np.random.default_rng(5)
    # Two views and seven tokens, the state, and room for the actions where it is prepared.
    total = 2 * 4 + 7 + 1 + 50
    cached = (1, 1, total if name == 'cuda' else total - 50, 16)
    spans = {'actions_last': np.array([total - 1], 'i4'), 'actions_total': np.array(total, 'i4')}
    feed = {
        each: rng.standard_normal((1, 50, 18) if each == 'noise' else cached, dtype=np.float32)
        if each not in spans
        else spans[each]
        for each in whole.inputs
    }
    found, wanted = (run.run(['actions'], feed)['actions'] for run in (pieces, whole))
    np.testing.assert_array_equal(found, wanted)
    assert len(pieces._pieces) > 20


def test_head_that_the_cuda_operator_does_not_take_is_named(tmp_path):
    heads = replace(SIZES.vlm, head_dim=8)
    sizes = replace(SIZES, vlm=heads, expert=replace(SIZES.expert, head_dim=8))
    with pytest.raises(ExportError, match=r'head_dim: found 8, expected a multiple of 16'):
        write_bundle(
            Pi0.random(sizes, 0),
            random_model_spec(sizes, SLOTS[:1], steps=2),
            tmp_path / 'narrow',
            semantics={},
            kind='random',
            source='test',
            variants=('cuda',),
        )
