"""Recorded chunks made again: equal to the last bit, or a reason why not. Without ROS."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bags import (
    JOINTS,
    PERIOD_NS,
    START_NS,
    Types,
    demonstration,
    measured,
    write,
    write_embodiment,
)
from bundles import refit
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pizero_ros.cli.main import main
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.observation import Observation
from pizero_ros.policy.noise import make_noise
from pizero_ros.policy.opened import open_policy
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import Recording
from pizero_ros.replay.reproduce import CHUNK, reproduce

MESSAGE = Path(__file__).resolve().parents[2] / 'msg/ActionChunk.msg'
STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(get_types_from_msg(MESSAGE.read_text(), CHUNK))
TOPIC = '/policy_node/chunk'
SEED = 3


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    folder = tmp_path_factory.mktemp('robot')
    limits = {'image_max_age_s': 0.3, 'state_max_age_s': 0.3, 'max_skew_s': 0.3}
    return load_embodiment(write_embodiment(folder, horizon=50, staleness=limits))


@pytest.fixture(scope='module')
def policy(tmp_path_factory, tiny_bundle, robot):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return open_policy(refit(tiny_bundle, folder, [robot]), robot)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """One second of a robot whose two arm joints come from two drivers that stamp alike."""
    path = write(tmp_path_factory.mktemp('bag') / 'bag', two_drivers(demonstration(20)))
    with open_bag(path) as bag:
        yield bag


def two_drivers(messages):
    for topic, kind, time_ns, message in messages:
        if topic != '/arm/joint_states':
            yield topic, kind, time_ns, message
            continue
        step = (time_ns - START_NS) // PERIOD_NS
        for name, value in zip(JOINTS[:2], measured(step)[:2], strict=True):
            yield topic, kind, time_ns, Types().joints(time_ns, [name], [value])


def live(robot, policy, source, noise, *, every, lost=()):
    """Do what a node does: observe after every few messages, and say what came of it."""
    assembler = ObservationAssembler(robot)
    intake = Intake(robot, assembler)
    policy.noise = make_noise(noise, SEED, robot.rate_hz, untrained=policy.untrained)
    said, prompt = [], 'wave'
    for number, sensed in enumerate(Recording(source, robot).messages()):
        if number in lost:
            continue
        if sensed.topic == '/instruction':
            prompt = sensed.message.data
            continue
        now_ns = sensed.time_ns + 1_234_567
        intake.take(sensed.topic, sensed.message, sensed.header_ns, now_ns)
        if number % every:
            continue
        observed = assembler.observe(now_ns, prompt)
        if isinstance(observed, Observation):
            said.append(chunk_message(policy(observed, sequence=len(said)), observed, now_ns))
    return said


def chunk_message(chunk, observed, now_ns):
    """Fill in the message as the node does, in types of rosbags."""
    types = STORE.types
    time = types['builtin_interfaces/msg/Time']

    def stamp(time_ns):
        return time(*divmod(time_ns, 1_000_000_000))

    return types[CHUNK](
        header=types['std_msgs/msg/Header'](stamp(chunk.observed_ns), ''),
        start=stamp(chunk.start_ns),
        embodiment='small',
        sequence=chunk.sequence,
        epoch=0,
        prompt=observed.prompt,
        rate_hz=chunk.rate_hz,
        horizon=len(chunk.actions),
        width=chunk.actions.shape[1],
        actions=chunk.actions.ravel(),
        group_names=[],
        group_sizes=np.empty(0, np.uint32),
        joint_names=[],
        joint_indices=np.empty(0, np.uint32),
        streams=list(observed.stamps_ns),
        stream_stamps=[stamp(each) for each in observed.stamps_ns.values()],
        leftover_steps=0,
        inference_s=0.0,
        newest_age_s=(now_ns - observed.stamp_ns) * 1e-9,
        oldest_age_s=(now_ns - observed.oldest_ns) * 1e-9,
        sent=False,
    )


@pytest.fixture
def again(robot, policy, source, tmp_path):
    """Writes chunks to a recording and makes them again."""

    def make(said, noise='gaussian', *, source=source, robot=robot):
        path = tmp_path / f'said_{len(list(tmp_path.iterdir()))}'
        messages = [(TOPIC, CHUNK, START_NS + k, chunk) for k, chunk in enumerate(said)]
        write(path, messages, store=STORE, storage=StoragePlugin.MCAP)
        with open_bag(path) as recording:
            return reproduce(source, recording, robot, policy, noise=noise, noise_seed=SEED)

    return make


@pytest.mark.parametrize('noise', ['gaussian', 'auto'])
def test_every_chunk_is_made_again_exactly(robot, policy, source, again, noise):
    said = live(robot, policy, source, noise, every=2)
    found = again(said, noise)
    assert [each.sequence for each in found] == list(range(len(said)))
    assert {each.difference for each in found} == {0.0}
    # Observations taken between two messages of one stamp are among them.
    mixed = [chunk for chunk in said if chunk.oldest_age_s - chunk.newest_age_s > 0.01]
    assert 5 < len(mixed) < len(said)
    # And one without the optional camera, which had not delivered yet.
    assert '/wrist/image_raw/compressed' not in said[0].streams
    assert {chunk.prompt for chunk in said} == {'pick the cube'}


@pytest.mark.parametrize('noise', ['gaussian', 'continuous'])
def test_chunks_of_a_looped_recording_may_lie_among_each_other(
    robot, policy, source, again, noise
):
    said = live(robot, policy, source, noise, every=13)
    looped = [*said, *(replace(c, sequence=c.sequence + len(said)) for c in said)]
    looped.sort(key=lambda chunk: (chunk.header.stamp.sec, chunk.header.stamp.nanosec))
    found = again(looped, noise)
    assert [each.sequence for each in found] == [chunk.sequence for chunk in looped]
    assert {each.difference for each in found} == {0.0}


def test_second_activation_starts_its_noise_anew(robot, policy, source, again):
    said = live(robot, policy, source, 'continuous', every=13)
    later = live(robot, policy, source, 'continuous', every=11)[4:]
    assert {each.difference for each in again([*said, *said], 'continuous')} == {0.0}
    renumbered = [replace(chunk, sequence=k) for k, chunk in enumerate(later)]
    assert min(each.difference for each in again(renumbered, 'continuous')) > 1e-3


def test_largest_difference_is_told_in_the_units_of_the_robot(robot, policy, source, again):
    said = live(robot, policy, source, 'gaussian', every=13)
    altered = said[2].actions.reshape(50, -1).copy()
    altered[5:8] += [[0.25], [0.0], [-0.5]]
    said[2] = replace(said[2], actions=altered.ravel())
    differences = [each.difference for each in again(said)]
    assert differences.pop(2) == pytest.approx(0.5, abs=1e-12)
    assert set(differences) == {0.0}


def test_chunk_with_a_leftover_is_refused(robot, policy, source, again):
    said = live(robot, policy, source, 'gaussian', every=13)
    said[1] = replace(said[1], leftover_steps=12)
    with pytest.raises(BagError, match='leftover_steps: found 12 in chunk 1, expected 0'):
        again(said)


def test_continuous_noise_without_its_first_chunk_is_refused(robot, policy, source, again):
    said = live(robot, policy, source, 'continuous', every=13)[1:]
    with pytest.raises(BagError, match='sequence: found 1 first, expected 0'):
        again(said, 'continuous')
    said = live(robot, policy, source, 'gaussian', every=13)[1:]
    assert {each.difference for each in again(said)} == {0.0}


@pytest.mark.parametrize('topic', ['/front/image_raw', '/finger/joint_states'])
def test_message_that_is_not_in_the_recording_is_named(
    robot, policy, source, again, tmp_path, topic
):
    said = live(robot, policy, source, 'gaussian', every=13)
    messages = two_drivers(demonstration(20))
    other = write(
        tmp_path / 'other', (m for m in messages if m[0] != topic or m[2] < START_NS + 10**9 // 2)
    )
    with (
        open_bag(other) as bag,
        pytest.raises(BagError, match=f'{topic}: found no message with the stamp'),
    ):
        again(said, source=bag)


def test_message_that_the_node_lost_is_noticed(robot, policy, source, again):
    """Joint by joint: the elbow is one step older than it would be, the stamp is the same."""
    numbered = enumerate(Recording(source, robot).messages())
    elbows = [n for n, each in numbered if getattr(each.message, 'name', None) == ['elbow']]
    said = live(robot, policy, source, 'gaussian', every=2, lost=elbows[4:5])
    with pytest.raises(BagError, match='The node lost messages'):
        again(said)


def test_stream_that_goes_by_arrival_is_refused(robot, policy, source, again):
    said = live(robot, policy, source, 'gaussian', every=13)
    front, *others = robot.cameras
    by_arrival = replace(robot, cameras=(replace(front, stamp='receive'), *others))
    with pytest.raises(BagError, match=r'/front/image_raw: found stamps of arrival'):
        again(said, robot=by_arrival)


@pytest.mark.parametrize(
    ('change', 'fragment'),
    [
        ({'embodiment': 'franka'}, 'embodiment: found franka, expected small'),
        ({'streams': [], 'stream_stamps': []}, 'streams: found nothing'),
        ({'horizon': 25, 'width': 6}, r'found \(25, 6\) in the recording'),
    ],
)
def test_chunk_of_something_else_is_refused(robot, policy, source, again, change, fragment):
    said = live(robot, policy, source, 'gaussian', every=13)
    with pytest.raises(BagError, match=fragment):
        again([replace(said[0], **change)])


def test_recording_without_chunks_is_refused(robot, policy, source):
    with pytest.raises(BagError, match='ActionChunk: found no message of this type'):
        reproduce(source, source, robot, policy)


def test_command_tells_the_same_from_the_different(robot, policy, source, tmp_path, capsys):
    said = live(robot, policy, source, 'gaussian', every=5)
    said[2].actions[7] += 1e-3
    messages = [(TOPIC, CHUNK, START_NS + k, chunk) for k, chunk in enumerate(said)]
    path = write(tmp_path / 'said', messages, store=STORE, storage=StoragePlugin.MCAP)
    words = ['reproduce', str(source.path), str(path), '--bundle', str(policy.policy.bundle.path)]
    words += ['--embodiment', str(robot.source), '--noise', 'gaussian', '--seed', str(SEED)]
    out = tmp_path / 'result.json'
    assert main([*words, '--json', str(out)]) == 1
    result = json.loads(out.read_text())
    assert result['different'] == 1
    assert result['largest_difference'] == pytest.approx(1e-3)
    assert len(result['chunks']) == len(said)
    assert f'{len(said) - 1} of {len(said)} chunks are the same' in capsys.readouterr().out
    assert main([*words, '--tolerance', '0.01']) == 0
    assert main([*words, '--topic', '/other']) == 1
    assert '/other: found no such topic' in capsys.readouterr().err
