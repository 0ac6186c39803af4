from __future__ import annotations

import ctypes
import sys
from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.policy import runtime, threads
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.graph_signature import cache_names
from pizero_ros.policy.manifest import FileEntry
from pizero_ros.policy.runtime import Policy
from pizero_ros.policy.threads import Threads
from pizero_ros.policy.variants import variant_bytes
from pizero_ros.processing.model_inputs import ModelInputs

H, A, S = 50, 18, 18


def inputs(cameras=3, tokens=14, seed=0):
    generator = np.random.default_rng(seed)
    return ModelInputs(
        images=generator.uniform(-1, 1, (cameras, 3, 112, 112)).astype(np.float32),
        tokens=generator.integers(0, 320, tokens),
        state=generator.standard_normal(S, dtype=np.float32),
    )


def noise(seed=1):
    return np.random.default_rng(seed).standard_normal((H, A), dtype=np.float32)


@pytest.fixture(scope='module')
def torch_policy():
    torch = pytest.importorskip('torch')
    from pizero_ros.model.architecture import architecture_path, read_architecture
    from pizero_ros.model.pi0 import Conditioning, Pi0

    model = Pi0.random(read_architecture(architecture_path('tiny')), 0)

    def sample(given, start, camera_mask=None, token_mask=None, steps=10):
        seen = Conditioning(
            torch.from_numpy(given.images)[None],
            torch.from_numpy(given.tokens)[None],
            torch.from_numpy(given.state)[None],
            None if camera_mask is None else torch.tensor(camera_mask)[None],
            None if token_mask is None else torch.tensor(token_mask)[None],
        )
        with torch.no_grad():
            return model.sample(seen, torch.from_numpy(start)[None], steps)[0].numpy()

    return sample


@pytest.mark.parametrize(('cameras', 'tokens'), [(3, 64), (2, 14), (1, 2), (3, 14)])
def test_actions_equal_torch(policy, torch_policy, cameras, tokens):
    given = inputs(cameras, tokens)
    found = policy.infer(given, noise()).actions
    np.testing.assert_allclose(found, torch_policy(given, noise()), atol=1e-5)
    assert np.abs(found - noise()).max() > 1e-3


def test_dropped_camera_and_trimmed_pads_equal_a_masked_torch_sample(policy, torch_policy):
    full = inputs(3, 20)
    present = [True, False, True]
    words = [True] * 14 + [False] * 6
    kept = replace(full, images=full.images[present], tokens=full.tokens[words])
    expected = torch_policy(full, noise(), present, words)
    np.testing.assert_allclose(policy.infer(kept, noise()).actions, expected, atol=1e-5)


def test_threads_are_those_asked_for_or_leave_a_core_to_sensors(tiny_bundle, monkeypatch):
    monkeypatch.setattr(runtime, 'machine_threads', lambda: Threads(4, '4 cores'))
    bundle = Bundle.open(tiny_bundle)

    def chosen(**options):
        return Policy.load(bundle, 'cpu', **options).threads

    assert chosen() == 4
    assert chosen(beside_sensors=True) == 3
    assert chosen(threads=2, beside_sensors=True) == 2
    monkeypatch.setattr(threads, 'SMALL_BYTES', 0)
    assert chosen(beside_sensors=True) == 4


def test_only_the_graphs_that_run_decide_whether_a_policy_is_small(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    files = bundle.manifest.files
    others = {'observe.cuda.onnx': FileEntry(1 << 30, ''), 'observe.onnx.data': FileEntry(5, '')}
    more = replace(bundle, manifest=replace(bundle.manifest, files={**files, **others}))
    used = files['observe.onnx'].size + files['denoise.onnx'].size
    assert variant_bytes(bundle, 'cpu') == used
    assert variant_bytes(more, 'cpu') == used + 5


def test_number_of_steps_is_followed(policy, torch_policy):
    result = policy.infer(inputs(), noise(), steps=3)
    np.testing.assert_allclose(result.actions, torch_policy(inputs(), noise(), steps=3), atol=1e-5)
    assert len(result.steps_s) == 3
    assert sum(result.steps_s) == pytest.approx(result.durations_s['denoise'])


def test_inference_is_repeatable_and_results_are_the_callers(policy):
    first = policy.infer(inputs(), noise()).actions
    kept = first.copy()
    policy.infer(inputs(seed=5), noise(6))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(policy.infer(inputs(), noise()).actions, kept)


def test_cache_stays_where_it_is_over_steps_and_inferences(policy):
    pointers = []
    values = []

    def watch(x_t, velocity, t):
        pointers.append(tuple(value.data_ptr() for value in policy.graphs.cache))
        values.append(tuple(id(value) for value in policy.graphs.cache))

    policy.infer(inputs(), noise(), hook=watch)
    policy.infer(inputs(seed=2), noise(), hook=watch)
    assert len(pointers) == 20
    assert len(set(pointers)) == 1
    assert len(set(values)) == 1
    assert len(pointers[0]) == len(cache_names(4)) == 8


def test_denoise_reads_the_memory_that_observe_wrote(policy):
    graphs = policy.graphs
    graphs.observe(inputs())
    graphs.x_t[0] = noise()
    graphs.t.fill(1)
    before = graphs.denoise().copy()
    np.testing.assert_array_equal(graphs.denoise(), before)
    value = graphs.cache[len(graphs.cache) // 2]
    assert value.shape() == [1, 1, 3 * 64 + 14 + 1, 32]
    ctypes.memset(value.data_ptr(), 0, value.tensor_size_in_bytes())
    assert np.abs(graphs.denoise() - before).max() > 1e-6


def test_buffers_of_few_shapes_are_kept_and_old_ones_dropped(policy):
    for tokens in range(2, 12):
        policy.infer(inputs(1, tokens), noise(), steps=1)
    assert len(policy.graphs._bindings) == 4
    again = policy.infer(inputs(1, 2), noise()).actions
    np.testing.assert_array_equal(again, policy.infer(inputs(1, 2), noise()).actions)


def test_hook_sees_every_step_and_guides_it(policy):
    times = []

    def stand_still(x_t, velocity, t):
        assert x_t.shape == velocity.shape == (H, A)
        times.append(float(t[0]))
        return np.zeros_like(velocity)

    result = policy.infer(inputs(), noise(), hook=stand_still)
    np.testing.assert_array_equal(result.actions, noise())
    np.testing.assert_array_equal(np.float32(times), np.float32(np.arange(10, 0, -1) / 10))


def test_read_only_tokens_are_accepted(policy):
    given = inputs()
    given.tokens.flags.writeable = False
    assert np.isfinite(policy.infer(given, noise()).actions).all()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'images': np.zeros((1, 3, 56, 56), np.float32)}, 'images: found'),
        ({'images': np.zeros((1, 3, 112, 112))}, 'images: found float64'),
        ({'images': np.zeros((0, 3, 112, 112), np.float32)}, '0 cameras'),
        ({'images': np.zeros((4, 3, 112, 112), np.float32)}, '4 cameras'),
        ({'tokens': np.zeros(0, np.int64)}, '0 prompt tokens'),
        ({'tokens': np.zeros(65, np.int64)}, '65 prompt tokens'),
        ({'tokens': np.full(3, 320)}, 'vocabulary of 320'),
        ({'tokens': np.zeros(3, np.int32)}, 'tokens: found int32'),
        ({'state': np.zeros(17, np.float32)}, 'state: found'),
    ],
)
def test_misshapen_inputs_are_refused(policy, change, message):
    with pytest.raises(ValueError, match=message):
        policy.infer(replace(inputs(), **change), noise())


def test_misshapen_noise_and_no_steps_are_refused(policy):
    with pytest.raises(ValueError, match='noise: found'):
        policy.infer(inputs(), noise()[:10])
    with pytest.raises(ValueError, match='0 denoise steps'):
        policy.infer(inputs(), noise(), steps=0)


def test_warm_up_returns_the_time_of_each_run_and_ends(policy):
    times = policy.warm_up(cameras=1, tokens=2)
    assert 3 < len(times) <= 20
    assert all(each > 0 for each in times)


def test_auto_says_which_provider_it_became(tiny_bundle):
    loaded = Policy.load(Bundle.open(tiny_bundle))
    assert loaded.provider in ('cpu', 'cuda')
    assert loaded.load_s > 0


def test_provider_asked_for_by_name_and_absent_is_an_error(tiny_bundle):
    import onnxruntime

    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    with pytest.raises(EnvironmentFault, match=r'CUDAExecutionProvider.*extra `gpu`'):
        Policy.load(Bundle.open(tiny_bundle), 'cuda')


def test_provider_that_falls_back_to_the_cpu_is_an_error_not_a_silence(tiny_bundle, monkeypatch):
    from pizero_ros.policy import providers

    monkeypatch.setattr(providers, 'available_providers', lambda: ('cpu', 'cuda'))
    if 'CUDAExecutionProvider' in providers.onnxruntime().get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    with (
        pytest.warns(UserWarning, match='CUDA'),
        pytest.raises(EnvironmentFault, match='a session on CPU'),
    ):
        Policy.load(Bundle.open(tiny_bundle), 'cuda')


def test_auto_takes_the_cpu_where_cuda_is_built_in_and_does_not_work(
    tiny_bundle, monkeypatch, caplog
):
    from pizero_ros.policy import providers

    monkeypatch.setattr(providers, 'available_providers', lambda: ('cpu', 'cuda'))
    if 'CUDAExecutionProvider' in providers.onnxruntime().get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    with pytest.warns(UserWarning, match='CUDA'):
        loaded = Policy.load(Bundle.open(tiny_bundle))
    assert loaded.provider == 'cpu'
    assert 'Using the CPU instead' in caplog.text


def test_unknown_provider_is_an_error(tiny_bundle):
    with pytest.raises(EnvironmentFault, match="'npu'"):
        Policy.load(Bundle.open(tiny_bundle), 'npu')


def test_missing_onnxruntime_names_the_extras(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(EnvironmentFault, match=r'extra `cpu`.*`gpu`'):
        Policy.load(Bundle.open(tiny_bundle), 'cpu')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: d['cache'].update(layers=3), r'observe.onnx: outputs: found .*key\.3'),
        (lambda d: d['cache'].update(head_dim=16), r'key\.0: found .*\[1, 1, any, 32\]'),
        (lambda d: d['model'].update(image_size=[56, 56]), 'input images: found'),
        (lambda d: d['model'].update(state_dim=32), 'input state: found'),
        (lambda d: d['model'].update(action_dim=32), 'input x_t: found'),
    ],
)
def test_graph_that_differs_from_the_manifest_is_refused(
    tiny_copy, edit_manifest, change, message
):
    edit_manifest(tiny_copy, change)
    with pytest.raises(BundleError, match=message):
        Policy.load(Bundle.open(tiny_copy), 'cpu')


def test_file_that_is_no_graph_is_refused(tiny_copy, relist):
    (tiny_copy / 'denoise.onnx').write_bytes(b'not a graph')
    relist(tiny_copy, 'denoise.onnx')
    with pytest.raises(BundleError, match=r'denoise.onnx.*cannot load this graph'):
        Policy.load(Bundle.open(tiny_copy), 'cpu')
