"""What is timed is what a robot does, and every phase has its own figures."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.bench.inputs import ModelSpace, Robot, Size, around, noise
from pizero_ros.bench.sweep import AXES, sweep
from pizero_ros.bench.timing import PHASES, measure, percentiles_ms, warm_up
from pizero_ros.errors import BundleError
from pizero_ros.observation.observation import Frame
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.runtime import Policy


@pytest.fixture(scope='module')
def bundle(tiny_bundle):
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope='module')
def policy(bundle):
    return Policy.load(bundle, 'cpu', 1)


def test_a_robots_pictures_pass_through_the_real_resize(bundle):
    robot = Robot(bundle, 'sim_dual_arm')
    inputs, seconds = robot.before(Size(cameras=2, tokens=7, steps=1))
    assert seconds > 0
    assert inputs.images.shape == (2, 3, 112, 112)
    for slot, image in zip(bundle.manifest.model.slots, inputs.images, strict=False):
        expected = robot._inputs.prepare_image(Frame.of(robot._pictures[slot]))
        np.testing.assert_array_equal(image, expected)
    # 640x480 in a square: bars above and below.
    assert (inputs.images[:, :, :10] == -1).all()
    assert len(inputs.tokens) == 7


def test_actions_come_back_as_the_robots(bundle):
    robot = Robot(bundle, 'sim_dual_arm')
    assert robot.after(noise(bundle)) > 0


def test_a_robot_that_the_bundle_does_not_know_is_an_error(bundle):
    with pytest.raises(BundleError, match='ur5e'):
        around(bundle, 'ur5e')


def test_the_first_robot_of_a_bundle_is_the_default(bundle):
    assert isinstance(around(bundle, None), Robot)


def test_inputs_of_model_space_are_the_same_every_time(bundle):
    size = Size(2, 7, 1)
    one, other = (ModelSpace(bundle).before(size)[0] for _ in range(2))
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.tokens, other.tokens)


@pytest.mark.parametrize('kind', [ModelSpace, lambda bundle: Robot(bundle, 'sim_dual_arm')])
def test_no_picture_is_like_the_one_before(bundle, kind):
    """A variant that reuses unchanged views must not be timed on them."""
    surround, size = kind(bundle), Size(2, 7, 1)
    one, other = (surround.before(size)[0].images for _ in range(2))
    assert all((mine != theirs).any() for mine, theirs in zip(one, other, strict=True))


def test_every_size_gets_every_phase_as_often_as_it_ran(bundle, policy):
    sizes = (Size(1, 3, 2), Size(2, 3, 3))
    surround = around(bundle, None)
    warm_up(policy, sizes, surround)
    times = measure(policy, sizes, surround, 3, beside=lambda _: None)
    for size in sizes:
        counts = {name: len(each) for name, each in times[size].items()}
        steps = counts.pop('denoise step')
        assert steps == 3 * size.steps
        assert set(counts.values()) == {3}
        assert set(counts) == {
            *('preprocess', 'observe', 'denoise', 'postprocess', 'whole', 'chunk', 'beside')
        }


def test_phases_add_up_to_the_chunk(bundle, policy):
    size = Size(1, 3, 2)
    times = measure(policy, (size,), around(bundle, None), 2)[size]
    for k in range(2):
        model = times['observe'][k] + times['denoise'][k]
        assert model <= times['whole'][k]
        around_it = times['preprocess'][k] + times['postprocess'][k]
        assert times['whole'][k] + around_it <= times['chunk'][k]


def test_model_only_times_nothing_around_the_model(bundle, policy):
    size = Size(1, 3, 2)
    times = measure(policy, (size,), ModelSpace(bundle), 1)[size]
    assert not times.keys() & {'preprocess', 'postprocess', 'chunk'}


def test_percentiles_are_milliseconds_in_the_order_of_the_phases():
    times = {'whole': [0.002], 'denoise step': [], 'observe': [0.001, 0.003], 'beside': [0.5]}
    rows = percentiles_ms(times)
    assert list(rows) == ['observe', 'whole', 'beside']
    assert rows['observe']['p50'] == pytest.approx(2.0)
    assert rows['beside'] == {'p50': 500.0, 'p95': 500.0, 'p99': 500.0}
    assert 'denoise step' in PHASES


@pytest.mark.parametrize('axis', AXES)
def test_a_sweep_varies_one_thing_within_the_limits_of_the_bundle(bundle, axis):
    model = bundle.manifest.model
    base = Size(2, 12, 10)
    sizes = sweep(axis, base, model)
    values = [getattr(size, axis) for size in sizes]
    assert values == sorted(set(values))
    assert values[0] == 1
    limits = {'cameras': len(model.slots), 'tokens': model.prompt.max_tokens, 'steps': 20}
    assert values[-1] == limits[axis]
    for other in set(AXES) - {axis}:
        assert {getattr(size, other) for size in sizes} == {getattr(base, other)}
