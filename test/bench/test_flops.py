"""Counts against the arithmetic of the published model, and against the tensors themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.bench.flops import (
    Work,
    architecture_of,
    denoise_step,
    phases,
    prefix,
    stack,
    vision,
)
from pizero_ros.errors import BundleError
from pizero_ros.model.architecture import architecture_path, read_architecture

PI0 = read_architecture(architecture_path('pi0'))
SMALL = read_architecture(architecture_path('pi0_small'))


def giga(value):
    return value / 1e9


def test_the_full_models_vision_is_660_gflop_and_a_third_of_it_per_view():
    assert giga(vision(PI0, 3).flop) == pytest.approx(660.5, abs=0.1)
    assert vision(PI0, 3).flop == 3 * vision(PI0, 1).flop
    assert giga(vision(PI0, 3).moved_bytes('bfloat16')) == pytest.approx(0.830, abs=0.001)


def test_the_full_models_prefix_is_3332_gflop_and_3149_without_what_nobody_reads():
    unpruned = stack(PI0.vlm, rows=816, seen=816)
    assert giga(unpruned.flop) == pytest.approx(3332, abs=1)
    assert giga(unpruned.moved_bytes('bfloat16')) == pytest.approx(3.964, abs=0.001)
    pruned = stack(PI0.vlm, rows=816, seen=816, pruned=True)
    assert giga(pruned.flop) == pytest.approx(3149, abs=1)
    assert giga(pruned.moved_bytes('bfloat16')) == pytest.approx(3.746, abs=0.001)
    # The state token adds what 1 of 817 rows of a small stack may.
    assert giga(prefix(PI0, 3, 48).flop - pruned.flop) == pytest.approx(0.7, abs=0.1)


def test_the_full_models_step_is_38_gflop_629_megabytes_and_a_cache_of_15():
    published = denoise_step(PI0, 3, 48, state_cached=False)
    assert giga(published.flop) == pytest.approx(38.6, abs=0.05)
    assert published.weights * 2 / 1e6 == pytest.approx(629, abs=0.5)
    assert published.cached * 2 / 1e6 == pytest.approx(15.0, abs=0.05)
    ours = denoise_step(PI0, 3, 48)
    assert ours.flop == pytest.approx(published.flop * 50 / 51, rel=1e-3)
    assert ours.cached * 816 == published.cached * 817


def test_the_full_models_chunk_is_4_4_tflop_and_11_2_gigabytes():
    whole = phases(PI0, 3, 48, 10)['whole']
    assert giga(whole.flop) == pytest.approx(4380 - 183, rel=2e-3)
    # Our state token reads the expert once before the steps, and the last layer is pruned.
    state = stack(PI0.expert, rows=1, seen=817, pruned=True).moved_bytes('bfloat16')
    moved = giga(whole.moved_bytes('bfloat16') - state)
    assert moved == pytest.approx(11.24 - 0.218, rel=2e-3)


def test_phases_add_up():
    work = phases(SMALL, 2, 12, 10)
    assert work['vision'] + work['prefix'] == work['observe']
    assert work['denoise step'].times(10) == work['denoise']
    assert work['observe'] + work['denoise'] == work['whole']


@pytest.mark.parametrize('name', ['demo', 'tiny', 'pi0_small'])
def test_weights_are_those_of_the_torch_model_less_what_nobody_reads(name):
    pytest.importorskip('torch', reason='the torch model needs PyTorch (extra `train`)')
    from pizero_ros.model.pi0 import Pi0

    sizes = read_architecture(architecture_path(name))
    counts = {name: each.numel() for name, each in Pi0.random(sizes, 0).named_parameters()}
    tower = sum(
        count for name, count in counts.items() if 'vision_tower' in name or 'multi_modal' in name
    )
    assert vision(sizes, 2).weights == tower
    step = sum(
        count
        for name, count in counts.items()
        if 'gemma_expert' in name or name.startswith(('action_in', 'action_time', 'action_out'))
    )
    assert denoise_step(sizes, 2, 5).weights == step
    dead = ('q_proj', 'o_proj', 'mlp', 'post_attention')
    last = f'layers.{sizes.vlm.depth - 1}.'
    stacks = sum(
        count
        for name, count in counts.items()
        if 'layers' in name
        and ('language_model' in name or 'gemma_expert' in name)
        and not (last in name and any(part in name for part in dead))
    )
    state = sum(count for name, count in counts.items() if name.startswith('state_proj'))
    assert prefix(sizes, 2, 5).weights == stacks + state + 5 * sizes.vlm.width


def test_bytes_follow_the_precision():
    work = Work(flop=1, weights=100, cached=10)
    assert work.moved_bytes('float32') == 440
    assert work.moved_bytes('bfloat16') == 220
    assert work.moved_bytes('int8') == 140


@pytest.mark.parametrize('name', ['demo', 'pi0'])
def test_sizes_of_a_manifest_become_the_architecture(name):
    sizes = read_architecture(architecture_path(name))
    assert architecture_of('bundle', sizes.as_mapping()) == sizes


def test_a_stems_work_is_that_of_its_convolutions():
    # 3 → 16 at 56 x 56, 16 → 32 and twice 32 → 32 at 28 x 28; heat, and features under it; tokens.
    sizes = read_architecture(architecture_path('demo'))
    stem = 2 * 9 * (3 * 16 * 56**2 + 16 * 32 * 28**2 + 2 * 32 * 32 * 28**2)
    stem += 2 * 2 * 32 * 6 * 28**2 + 2 * 6 * (19 + 32) * 96
    projector = 2 * 6 * 96 * 96
    assert vision(sizes, 2).flop == 2 * (stem + projector)
    layer = replace(sizes, vision=replace(sizes.vision, depth=1))
    added = 2 * 6 * (4 * 96**2 + 2 * 96 * 192) + 4 * 6**2 * 96
    assert vision(layer, 2).flop == 2 * (stem + added + projector)


@pytest.mark.parametrize('broken', ['vision', 'horizon', 'surplus'])
def test_a_manifest_without_its_sizes_is_an_error_that_names_them(broken):
    sizes = SMALL.as_mapping()
    if broken == 'surplus':
        sizes['surplus'] = 1
    else:
        del sizes[broken]
    with pytest.raises(BundleError, match=rf'bundles/x: architecture: .*{broken}'):
        architecture_of('bundles/x', sizes)
