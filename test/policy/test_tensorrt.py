"""What TensorRT's provider is told: shapes to build for, where engines are, and no precisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.graph_signature import cache_names
from pizero_ros.policy.manifest import Variant
from pizero_ros.policy.tensorrt import engine_folder, profile_shapes, tensorrt_options


@pytest.fixture
def bundle(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv('PIZERO_CACHE', str(tmp_path / 'cache'))
    return Bundle.open(tiny_bundle)


@pytest.fixture
def variant():
    # The reference's files stand for a variant's: they are in every bundle's list.
    return Variant(
        'tensorrt', 'float16', {'observe': 'observe.onnx', 'denoise': 'denoise.onnx'}, 10
    )


def parsed(profile):
    """``name:1x2,name:…`` → name → sizes."""
    entries = (entry.split(':') for entry in profile.split(','))
    return {name: tuple(map(int, sizes.split('x'))) for name, sizes in entries}


def test_profiles_go_from_one_camera_and_token_to_all(bundle):
    model, cache = bundle.manifest.model, bundle.manifest.cache
    vision = bundle.manifest.architecture['vision']
    views = (vision['image_size'] // vision['patch']) ** 2
    height, width = model.image_size
    least, usual, most = map(parsed, profile_shapes(bundle))
    slots, longest = len(model.slots), model.prompt.max_tokens
    for shapes, cameras, words in (
        (least, 1, 1),
        (usual, slots, max(longest // 4, 1)),
        (most, slots, longest),
    ):
        assert shapes['images'] == (cameras, 3, height, width)
        assert shapes['tokens'] == (1, words)
        cached = (1, cache.kv_heads, cameras * views + words + 1, cache.head_dim)
        assert {shapes[name] for name in cache_names(cache.layers)} == {cached}
        assert len(shapes) == 2 + 2 * cache.layers


def test_every_profile_lies_between_the_smallest_and_the_largest(bundle):
    least, usual, most = map(parsed, profile_shapes(bundle))
    assert set(least) == set(usual) == set(most)
    for name, sizes in usual.items():
        for low, size, high in zip(least[name], sizes, most[name], strict=True):
            assert low <= size <= high


def test_engines_of_other_graphs_lie_elsewhere(bundle, variant, tmp_path):
    folder = engine_folder(bundle, variant)
    assert folder.parent == tmp_path / 'cache' / 'tensorrt'
    assert folder == engine_folder(bundle, variant)
    other = replace(variant, files={'observe': 'observe.onnx'})
    assert engine_folder(bundle, other) != folder
    files = dict(bundle.manifest.files)
    files['denoise.onnx'] = replace(files['denoise.onnx'], sha256='0' * 64)
    altered = replace(bundle, manifest=replace(bundle.manifest, files=files))
    assert engine_folder(altered, variant) != folder
    # Two checkpoints may have the same graphs, and differ in the weights beside them alone.
    trained = []
    for digit in '12':
        files['denoise.onnx.data'] = replace(files['denoise.onnx'], sha256=digit * 64)
        changed = replace(bundle.manifest, files=dict(files))
        trained.append(engine_folder(replace(bundle, manifest=changed), variant))
    assert trained[0] != trained[1]


def test_engines_are_kept_in_the_home_of_the_user_without_a_setting(
    bundle, variant, tmp_path, monkeypatch
):
    monkeypatch.delenv('PIZERO_CACHE')
    monkeypatch.setenv('HOME', str(tmp_path))
    folder = engine_folder(bundle, variant)
    assert folder.parent == tmp_path / '.cache' / 'pizero_ros' / 'tensorrt'


def test_types_are_those_of_the_graph(bundle, variant):
    # With any of these ONNX Runtime lets TensorRT choose precisions; without, it is held to the
    # graph's own types, which is what 8-bit floats need.
    options = tensorrt_options(bundle, variant)
    assert not {'trt_fp16_enable', 'trt_bf16_enable', 'trt_int8_enable'} & set(options)


def test_engines_and_timings_are_kept_and_captured(bundle, variant):
    options = tensorrt_options(bundle, variant)
    folder = engine_folder(bundle, variant)
    assert folder.is_dir()
    assert options['trt_engine_cache_enable'] == options['trt_timing_cache_enable'] == '1'
    assert options['trt_engine_cache_path'] == options['trt_timing_cache_path'] == str(folder)
    # Its captured graph would be replayed for every camera count and prompt length.
    assert 'trt_cuda_graph_enable' not in options
    shapes = [options[f'trt_profile_{which}_shapes'] for which in ('min', 'opt', 'max')]
    assert tuple(shapes) == profile_shapes(bundle)
