from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.embodiment.schema import (
    ActionGroup,
    ActionJoint,
    Camera,
    Embodiment,
    StateJoint,
    StateSource,
)
from pizero_ros.errors import BundleError, ObservationError
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.processing.signs import ALOHA_SIGNS
from pizero_ros.processing.spec import GripperMap, Statistics

GRIPPERS = (GripperMap(6, 'aloha'), GripperMap(13, 'aloha'))
DELTA = np.array([True] * 6 + [False] + [True] * 6 + [False])


def observation(state, width=None, slots=('base', 'left_wrist', 'right_wrist'), dim=18):
    vector = np.zeros(dim)
    vector[: len(state)] = state
    mapped = np.arange(dim) < (len(state) if width is None else width)
    frames = {
        slot: Frame.of(np.full((30, 40, 3), 40 * (n + 1), np.uint8))
        for n, slot in enumerate(slots)
    }
    return Observation(0, 0, frames, vector, mapped, 'fold')


def inputs(model, robot, embodiment=None):
    return InputPipeline(model, robot, PromptEncoder(model.prompt, model.vocabulary), embodiment)


def random_statistics(rng, width):
    mean, std = rng.normal(size=width), rng.uniform(0.1, 1, width)
    return Statistics(mean, std, mean - 2 * std, mean + 2 * std)


def embodiment(indices=range(14), slots=('base',)):
    joints = [f'j{i}' for i in indices]
    return Embodiment(
        name='test',
        description='',
        source='test.yaml',
        rate_hz=50,
        horizon=50,
        executed_steps=25,
        published_steps=50,
        lead_steps=2,
        vector_dim=18,
        cameras=tuple(
            Camera(s, f'/{s}', 'raw', True, 0, 'none', 'header', 0.2, 30) for s in slots
        ),
        state=(
            StateSource(
                '/joint_states',
                'joint_state',
                'header',
                0.2,
                50,
                tuple(
                    StateJoint(n, i, 'position', 1.0, 0.0, 1, None)
                    for n, i in zip(joints, indices, strict=True)
                ),
            ),
        ),
        actions=(
            ActionGroup(
                'arm',
                'joint_trajectory',
                '/arm',
                'joint_trajectory',
                '',
                tuple(
                    ActionJoint(n, i, 1.0, 0.0, 1, (-3, 3), 1.0, None, 0.1)
                    for n, i in zip(joints, indices, strict=True)
                ),
                False,
                0.0,
            ),
        ),
        max_skew_s=0.1,
        neutral=dict.fromkeys(joints, 0.0),
    )


@pytest.mark.parametrize('adapt', [True, False])
def test_aloha_adaptation_is_openpis(openpi, model, robot, adapt):
    semantics = robot(
        signs=np.array(ALOHA_SIGNS, float) if adapt else None,
        state_grippers=GRIPPERS if adapt else (),
        action_grippers=GRIPPERS if adapt else (),
    )
    key = f'aloha_pi{adapt}'
    state = openpi['aloha_in_state']
    made = inputs(model(), semantics)(observation(state))
    assert np.abs(made.state[:14] - openpi[f'{key}_state']).max() < 1e-6
    outputs = OutputPipeline(model(), semantics)
    state = np.pad(state, (0, 4))
    actions = outputs.inverse(openpi['aloha_in_actions'], state)
    assert np.abs(actions[:, :14] - openpi[f'{key}_actions']).max() < 1e-6
    back = outputs(actions, state)
    assert np.abs(back - openpi[f'{key}_out']).max() < 1e-6


@pytest.mark.parametrize('mode', ['zscore', 'quantile'])
def test_openpis_statistics_through_both_pipelines(openpi, openpi_statistics, model, robot, mode):
    semantics = robot(
        normalization=mode,
        state=openpi_statistics['state'],
        action=openpi_statistics['actions'],
    )
    state = openpi['norm_in_state']
    made = inputs(model(), semantics)(observation(state))
    assert np.abs(made.state - openpi[f'{mode}_padded_state']).max() < 1e-5
    outputs = OutputPipeline(model(), semantics)
    chunk = openpi[f'{mode}_padded_actions'].astype(np.float32)
    assert np.abs(outputs(chunk, state) - openpi['norm_in_actions']).max() < 1e-5
    assert np.abs(outputs.inverse(openpi['norm_in_actions'], state) - chunk).max() < 1e-5


def test_droid_leaves_the_third_camera_out(openpi, model, robot):
    """openpi masks it (droid_masks); here an absent slot is dropped, with the same result."""
    semantics = robot(relative=np.zeros(8, bool))
    seen = observation(openpi['droid_state'], slots=('left_wrist', 'base'))
    made = inputs(model(), semantics)(seen)
    assert len(made.images) == openpi['droid_masks'].sum() == 2
    assert np.array_equal(made.state[:8], openpi['droid_state'].astype(np.float32))
    # Slot order, not the order of arrival: base is the second of the two frames.
    assert made.images[0].max() == pytest.approx(80 / 255 * 2 - 1, abs=1e-6)
    assert made.images[1].max() == pytest.approx(40 / 255 * 2 - 1, abs=1e-6)


def test_relative_actions_are_based_on_the_state_in_policy_units(model, robot):
    """openpi adapts to π0's joint space first and subtracts the adapted state then."""
    rng = np.random.default_rng(0)
    semantics = robot(
        relative=DELTA,
        signs=np.array(ALOHA_SIGNS, float),
        state_grippers=GRIPPERS,
        action_grippers=GRIPPERS,
    )
    state, actions = rng.uniform(0, 1, 14), rng.uniform(0, 1, (50, 14))
    made = OutputPipeline(model(), semantics).inverse(actions, state)
    expected = (actions - state) * ALOHA_SIGNS
    assert np.abs(made[:, :14] - expected)[:, DELTA].max() < 1e-6
    assert np.abs(made[:, 6] - (actions[:, 6] * 2.1123 - 0.6213 - 0.5476)).max() < 1e-6


@pytest.mark.parametrize('mode', ['zscore', 'quantile', 'identity'])
@pytest.mark.parametrize('seed', range(4))
def test_output_pipeline_inverse_undoes(model, robot, mode, seed):
    rng = np.random.default_rng(seed)
    width = 16
    relative = rng.random(width) < 0.5
    relative[14:] = False
    semantics = robot(
        normalization=mode,
        state=random_statistics(rng, 14),
        action=random_statistics(rng, width),
        relative=relative,
        signs=rng.choice([-1.0, 1.0], width),
        state_grippers=GRIPPERS,
        action_grippers=(GripperMap(6, 'aloha'), GripperMap(13, 'linear', -2.0, 0.5)),
    )
    outputs = OutputPipeline(model(), semantics)
    state, actions = rng.uniform(0, 1, 18), rng.uniform(0, 1, (50, width))
    made = outputs.inverse(actions, state)
    assert made.shape == (50, 32)
    assert made.dtype == np.float32
    assert (made[:, width:] == 0).all()
    back = outputs(made, state)
    assert back.shape == (50, width)
    assert back.dtype == np.float64
    assert np.abs(back - actions).max() < 1e-5
    junk = made.copy()
    junk[:, width:] = 1e3
    assert np.array_equal(outputs(junk, state), back)


def test_state_inverse_undoes(model, robot):
    rng = np.random.default_rng(0)
    semantics = robot(
        normalization='zscore',
        state=random_statistics(rng, 14),
        action=random_statistics(rng, 14),
        signs=np.array(ALOHA_SIGNS, float),
        state_grippers=GRIPPERS,
    )
    pipeline = inputs(model(), semantics)
    state = rng.uniform(0, 1, 14)
    made = pipeline(observation(state)).state
    assert np.abs(pipeline.state.inverse(made) - state).max() < 1e-5


def test_unmapped_values_are_zero_after_normalisation(model, robot):
    rng = np.random.default_rng(0)
    semantics = robot(
        normalization='zscore',
        state=random_statistics(rng, 14),
        action=random_statistics(rng, 14),
    )
    seen = observation(rng.normal(size=14))
    mapped = seen.state_mapped.copy()
    mapped[[3, 9]] = False
    made = inputs(model(), semantics)(replace(seen, state_mapped=mapped))
    assert (made.state[[3, 9]] == 0).all()
    assert (made.state[14:] == 0).all()
    assert (np.delete(made.state[:14], [3, 9]) != 0).all()


def test_robot_vector_of_18_is_the_default_and_the_model_width_follows_the_manifest(model, robot):
    semantics = robot(relative=np.zeros(18, bool))
    for width in (18, 32):
        sizes = model(state_dim=width, action_dim=width)
        made = inputs(sizes, semantics)(observation(np.ones(18)))
        assert made.state.shape == (width,)
        assert made.state.sum() == 18
        assert OutputPipeline(sizes, semantics)(np.ones((50, width), np.float32), np.zeros(18))[
            0
        ].shape == (18,)


def test_images_are_stacked_in_slot_order_and_resized_once(model, robot):
    pipeline = inputs(model(), robot())
    seen = observation(np.zeros(14))
    made = pipeline(seen)
    assert made.images.shape == (3, 3, 28, 28)
    assert made.images.dtype == np.float32
    assert [round(float(i.max() + 1) * 127.5) for i in made.images] == [40, 80, 120]
    frame = seen.images['base']
    assert pipeline.prepare_image(frame) is pipeline.prepare_image(frame)
    assert np.array_equal(made.images[0], ResizeWithPad((28, 28), 'antialias')(frame.rgb()))


def test_a_stack_that_was_begun_ahead_holds_the_images_of_the_observation(model, robot):
    pipeline = inputs(model(), robot())
    old, seen = observation(np.zeros(14)).images, observation(np.ones(14))
    slots = list(seen.images)
    for slot in slots[:2]:
        pipeline.prepare_image(old[slot])
        pipeline.prepare_image(seen.images[slot])
    pipeline.prepare_stack(old)
    pipeline.prepare_stack({**old, slots[0]: seen.images[slots[0]]})
    expected = inputs(model(), robot())(seen)
    first = pipeline(seen)
    assert np.array_equal(first.images, expected.images)
    pipeline.prepare_stack(seen.images)
    fewer = replace(seen, images={slot: seen.images[slot] for slot in slots[1:]})
    assert np.array_equal(pipeline(fewer).images, expected.images[1:])
    pipeline.prepare_stack(old)
    pipeline(seen)
    assert np.array_equal(first.images, expected.images)


def test_a_stack_begun_ahead_leaves_frames_that_nobody_prepared_alone(model, robot):
    pipeline = inputs(model(), robot())
    frames = observation(np.zeros(14)).images
    pipeline.prepare_stack(frames)
    assert not any(frame.has(pipeline.resize) for frame in frames.values())


def test_a_frame_is_resized_where_the_model_reads_it(model, robot):
    pipeline, seen = inputs(model(), robot()), observation(np.zeros(14))
    expected = inputs(model(), robot())(observation(np.zeros(14))).images
    pipeline.prepare_stack(seen.images)
    for slot, frame in seen.images.items():
        pipeline.prepare_slot(slot, frame)
    made = pipeline(seen).images
    assert np.array_equal(made, expected)
    for frame in seen.images.values():
        image = pipeline.prepare_image(frame)
        assert np.shares_memory(image, made)
        assert not image.flags.writeable


def test_a_newer_frame_of_a_slot_leaves_the_image_of_the_one_before_alone(model, robot):
    pipeline, fresh = inputs(model(), robot()), inputs(model(), robot())
    rng = np.random.default_rng(4)
    frames = [Frame.of(rng.integers(0, 256, (48, 64, 3), np.uint8), n) for n in range(3)]
    seen = observation(np.zeros(14), slots=('base',))
    pipeline.prepare_stack({'base': frames[0]})
    for frame in frames:
        pipeline.prepare_slot('base', frame)
    made = pipeline(replace(seen, images={'base': frames[2]})).images
    for frame in frames:
        assert np.array_equal(pipeline.prepare_image(frame), fresh.resize(frame.rgb()))
    assert np.array_equal(made[0], fresh.resize(frames[2].rgb()))


def test_a_frame_that_cannot_be_decoded_leaves_its_slot_to_the_next_one(model, robot):
    pipeline = inputs(model(), robot())
    seen = observation(np.zeros(14), slots=('base',))
    broken = Frame.of(np.zeros((48, 64), np.uint8))
    pipeline.prepare_stack({'base': broken})
    with pytest.raises(ObservationError):
        pipeline.prepare_slot('base', broken)
    expected = inputs(model(), robot())(seen).images
    assert np.array_equal(pipeline(seen).images, expected)


def test_a_frame_is_resized_also_before_a_stack_is_begun(model, robot):
    pipeline, seen = inputs(model(), robot()), observation(np.zeros(14), slots=('base',))
    pipeline.prepare_slot('base', seen.images['base'])
    assert seen.images['base'].has(pipeline.resize)
    expected = inputs(model(), robot())(seen).images
    assert np.array_equal(pipeline(seen).images, expected)


def test_no_camera_at_all_is_refused(model, robot):
    with pytest.raises(ObservationError, match='no usable camera'):
        inputs(model(), robot())(observation(np.zeros(14), slots=()))


def test_a_slot_the_model_does_not_know_is_refused(model, robot):
    with pytest.raises(BundleError, match='expected also head'):
        inputs(model(), robot())(observation(np.zeros(14), slots=('head',)))
    with pytest.raises(BundleError, match='expected also head'):
        inputs(model(), robot(), embodiment(slots=('base', 'head')))


def test_more_state_than_statistics_is_refused_and_not_cut(model, robot):
    rng = np.random.default_rng(0)
    semantics = robot(
        normalization='zscore',
        state=random_statistics(rng, 12),
        action=random_statistics(rng, 14),
    )
    with pytest.raises(BundleError, match='found statistics of 12 values, expected 14'):
        inputs(model(), semantics)(observation(np.zeros(14)))
    with pytest.raises(BundleError, match=r'12 values, expected 14, as test\.yaml maps'):
        inputs(model(), semantics, embodiment())


def bad_statistics(model, robot):
    rng = np.random.default_rng(0)
    good = random_statistics(rng, 14)
    return {'normalization': 'zscore', 'state': good, 'action': good}


@pytest.mark.parametrize(
    ('sizes', 'changes', 'message'),
    [
        ({'state_dim': 13}, {}, r'state: found 14 values, expected 1 to 13'),
        ({'action_dim': 13}, {}, r'relative: found 14 values, expected 1 to 13'),
        ({}, {'relative': np.zeros(15, bool)}, 'statistics of 14 values, expected 15'),
        ({}, {'signs': np.ones(13)}, 'found 13 signs, expected 14'),
        ({}, {'action_grippers': (GripperMap(14, 'aloha'),)}, 'action_grippers'),
        ({}, {'state_grippers': (GripperMap(20, 'aloha'),)}, 'state_grippers'),
    ],
)
def test_widths_are_checked_at_construction(model, robot, sizes, changes, message):
    semantics = robot(**{**bad_statistics(model, robot), **changes})
    with pytest.raises(BundleError, match=message):
        OutputPipeline(model(**sizes), semantics)


def test_an_action_relative_to_nothing_is_refused(model, robot):
    rng = np.random.default_rng(0)
    relative = np.zeros(16, bool)
    relative[15] = True
    semantics = robot(
        normalization='zscore',
        state=random_statistics(rng, 14),
        action=random_statistics(rng, 16),
        relative=relative,
    )
    with pytest.raises(BundleError, match=r'relative\[15\].*expected False from index 14 on'):
        OutputPipeline(model(), semantics)
    mask = np.zeros(14, bool)
    mask[13] = True
    gap = replace(semantics, relative=mask, action=random_statistics(rng, 14))
    with pytest.raises(BundleError, match=r'relative\[13\].*a state joint of index 13'):
        OutputPipeline(model(), gap, embodiment(indices=range(13)))
    OutputPipeline(model(), gap, embodiment())


def test_near_constant_statistics_are_reported(model, robot):
    std = np.ones(14)
    std[4] = 1e-5
    stats = Statistics(np.zeros(14), std, None, None)
    semantics = robot(normalization='zscore', state=stats, action=stats)
    assert inputs(model(), semantics).state.near_constant == (4,)
    assert OutputPipeline(model(), semantics).near_constant == (4,)


def test_a_state_that_is_too_short_is_a_broken_invariant(model, robot):
    with pytest.raises(ValueError, match='a state of 14 values, expected 18'):
        OutputPipeline(model(), robot())(np.zeros((50, 32), np.float32), np.zeros(14))
