"""A batch is what the robot's own pipelines make of each sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bags import demonstration, write, write_embodiment
from data_sizes import SIZES

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError, DatasetError, PromptError
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.processing.spec import ModelSpec, PromptSpec
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import INSTRUCTION, Recording
from pizero_ros.training.bag_examples import Reading, read_bag
from pizero_ros.training.collate import Collator
from pizero_ros.training.demonstrations import Demonstrations
from pizero_ros.training.source import ExamplesSource
from pizero_ros.training.statistics import fit, meaning

STEPS = 24
SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
MODEL = ModelSpec(
    slots=SLOTS,
    image_size=(28, 28),
    resize='antialias',
    prompt=PromptSpec('bytes', 24, True, True, {}),
    state_dim=18,
    action_dim=18,
    horizon=10,
    steps=10,
    vocabulary=300,
)
PROMPT = PromptEncoder(MODEL.prompt, MODEL.vocabulary)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def robot(folder):
    return load_embodiment(write_embodiment(folder))


@pytest.fixture(scope='module')
def bag(folder):
    return write(folder / 'bag', demonstration(STEPS))


@pytest.fixture(scope='module')
def pair(robot, bag, folder):
    return Demonstrations('pick', robot, [read_bag(bag, robot, Reading.of(MODEL), folder / 'c')])


@pytest.fixture(scope='module')
def other(robot, folder):
    """The same arm as another robot, without its wrist camera."""
    blind = replace(robot, name='blind', cameras=robot.cameras[:1])
    bag = write(folder / 'blind', demonstration(30, instruction='push it'))
    return Demonstrations('push', blind, [read_bag(bag, blind, Reading.of(MODEL), folder / 'c')])


@pytest.fixture(scope='module')
def robots(pair, other):
    return {
        each.embodiment.name: (
            each.embodiment,
            fit([each], meaning(each.embodiment, 'relative')).semantics,
        )
        for each in (pair, other)
    }


@pytest.fixture(scope='module')
def collate(robots):
    return Collator(MODEL, robots, PROMPT)


def test_batch_is_bit_by_bit_what_the_robot_computes(robot, bag, pair, robots, collate):
    """A picture that took another way through the cache would be a policy's blind spot."""
    pipeline = InputPipeline(MODEL, robots['small'][1], PROMPT, robot)
    assembler = ObservationAssembler(robot)
    intake = Intake(robot, assembler)
    batch = collate([pair[number] for number in range(STEPS)])
    step = 0
    with open_bag(bag) as opened:
        messages = [m for m in Recording(opened, robot).messages() if m.topic != INSTRUCTION]
    for sensed, after in zip(messages, [*messages[1:], None], strict=True):
        intake.take(sensed.topic, sensed.message, sensed.header_ns, sensed.time_ns)
        if after is not None and after.time_ns == sensed.time_ns:
            continue
        inputs = pipeline(assembler.observe(sensed.time_ns, 'pick the cube'))
        np.testing.assert_array_equal(batch.seen.images[step].numpy(), inputs.images)
        np.testing.assert_array_equal(batch.seen.state[step].numpy(), inputs.state)
        tokens = batch.seen.tokens[step][batch.seen.token_mask[step]]
        np.testing.assert_array_equal(tokens.numpy(), inputs.tokens)
        step += 1
    assert step == STEPS


def test_actions_go_back_to_the_robots_commands(robot, pair, robots, collate):
    outputs = OutputPipeline(MODEL, robots['small'][1], robot)
    batch = collate([pair[number] for number in range(STEPS)])
    assert batch.actions.dtype == torch.float32
    assert not batch.actions[..., 3:].any()
    for number in range(STEPS):
        example = pair[number]
        told = outputs(batch.actions[number].numpy(), example.state)
        np.testing.assert_allclose(told, example.actions, atol=1e-5)
        np.testing.assert_array_equal(batch.valid[number], example.actions_valid)
        assert batch.samples[number] == example.name


def test_robots_of_a_batch_each_have_their_own_statistics(pair, other, robots, collate):
    batch = collate([pair[3], other[2], pair[5]])
    for row, (name, example) in enumerate((('small', pair[3]), ('blind', other[2]))):
        outputs = OutputPipeline(MODEL, robots[name][1])
        expected = outputs.inverse(example.actions, example.state)
        np.testing.assert_array_equal(batch.actions[row], expected)


def test_camera_of_some_samples_is_masked_and_that_of_none_left_out(pair, other, collate):
    batch = collate([pair[0], other[0]])
    assert batch.seen.images.shape == (2, 2, 3, 28, 28)
    assert batch.seen.camera_mask.tolist() == [[True, True], [True, False]]
    assert not batch.seen.images[1, 1].any()
    alone = collate([other[0]])
    assert alone.seen.images.shape == (1, 1, 3, 28, 28)


def test_slots_keep_the_models_order_whatever_the_robots(robots, pair):
    turned = replace(MODEL, slots=('left_wrist_0_rgb', 'base_0_rgb'))
    swapped = Collator(turned, robots, PROMPT)([pair[4]]).seen.images
    straight = Collator(MODEL, robots, PROMPT)([pair[4]]).seen.images
    torch.testing.assert_close(swapped.flip(1), straight, rtol=0, atol=0)
    assert (straight[:, 0] != straight[:, 1]).any()


def test_loss_of_a_mixed_batch_is_that_of_its_samples_alone(pair, other, collate):
    policy = Pi0.random(SIZES, 0)
    examples = [pair[0], other[0], pair[20]]
    noise = torch.randn(3, 10, 18, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.3, 0.6, 0.9])
    with torch.no_grad():
        batch = collate(examples)
        together = policy.losses(batch.seen, batch.actions, noise, t)
        for row, example in enumerate(examples):
            one = collate([example])
            words = int(one.seen.token_mask.sum())
            seen = Conditioning(one.seen.images, one.seen.tokens[:, :words], one.seen.state)
            at = slice(row, row + 1)
            alone = policy.losses(seen, one.actions, noise[at], t[at])
            torch.testing.assert_close(together[at], alone, rtol=1e-4, atol=1e-5)


def test_sample_of_an_unknown_robot_is_refused(pair, collate):
    with pytest.raises(DatasetError, match='embodiment: found crane, expected one of small'):
        collate([replace(pair[0], embodiment='crane')])


def test_picture_of_another_size_is_refused(pair, collate):
    images = {'base_0_rgb': np.zeros((14, 14, 3), np.uint8)}
    with pytest.raises(DatasetError, match=r'images.base_0_rgb: found \[14, 14, 3\]'):
        collate([replace(pair[0], images=images)])


def test_camera_that_the_model_does_not_have_is_refused(pair, robots):
    with pytest.raises(BundleError, match='slots'):
        Collator(replace(MODEL, slots=('base_0_rgb',)), robots, PROMPT)


def test_robot_with_another_horizon_is_refused(robots):
    with pytest.raises(DatasetError, match='horizon: found 10, expected 50'):
        Collator(replace(MODEL, horizon=50), robots, PROMPT)


def test_prompt_longer_than_the_models_is_refused(pair, collate):
    with pytest.raises(PromptError, match='1 to 24'):
        collate([replace(pair[0], prompt='pick ' * 10)])


def equal(one, two):
    for a, b in zip((*one.seen, *one[1:3]), (*two.seen, *two[1:3]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert one.samples == two.samples


@pytest.fixture
def source(pair, other, collate):
    return ExamplesSource([pair, other], collate, batch_size=8, seed=4)


def test_batches_made_ahead_are_the_same_batches(pair, other, collate, source):
    with ExamplesSource([pair, other], collate, batch_size=8, seed=4, ahead=2) as ahead:
        for step in (0, 1, 2, 7, 8, 3, 3):
            equal(ahead.batch(step), source.batch(step))


def test_processes_together_see_the_batch_of_one(source):
    whole = source.batch(5)
    parts = [source.batch(5, rank, 4) for rank in range(4)]
    assert [name for part in parts for name in part.samples] == list(whole.samples)
    torch.testing.assert_close(
        torch.cat([part.actions for part in parts]), whole.actions, rtol=0, atol=0
    )


def test_batches_hold_both_tasks(source):
    prompts = {source.batch(step).seen.token_mask.sum(1).unique().numel() for step in range(4)}
    assert max(prompts) == 2


def test_error_of_a_batch_made_ahead_comes_with_that_batch(pair, collate):
    class Faulty:
        name = 'faulty'
        embodiment = pair.embodiment

        def __len__(self):
            return 16

        def __getitem__(self, number):
            return replace(pair[number], prompt='pick ' * 10 if number == faulty else 'pick')

    faulty = -1
    plain = ExamplesSource([Faulty()], collate, batch_size=4, seed=0)
    faulty = plain.mixture.picks(2)[0].number
    with ExamplesSource([Faulty()], collate, batch_size=4, seed=0, ahead=3) as source:
        source.batch(0)
        source.batch(1)
        with pytest.raises(PromptError):
            source.batch(2)
        source.batch(3)
