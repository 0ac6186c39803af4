"""Both evaluations of a recording; numbers against NumPy that knows nothing of ours."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from bags import (
    EMBODIMENT,
    PERIOD_NS,
    RATE_HZ,
    START_NS,
    Types,
    commanded,
    demonstration,
    measured,
    write,
    write_embodiment,
)
from rosbags.highlevel import AnyReader

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError
from pizero_ros.policy.opened import open_policy
from pizero_ros.replay.evaluate import UNINSTRUCTED, Settings, evaluate

SHARED = Path(__file__).resolve().parents[2] / '../shared/data/bags'
STEPS = 60
HORIZON = 10


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    return load_embodiment(write_embodiment(tmp_path_factory.mktemp('robot')))


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write(tmp_path_factory.mktemp('bag') / 'bag', demonstration(STEPS))


@pytest.fixture(scope='module')
def episode(bag, robot):
    return evaluate(bag, robot, None, 'none', Settings(latency='75ms'))


def queries(every=5, first=2):
    return range(first, STEPS, every)


def test_queries_are_made_every_n_recorded_steps(episode):
    stamps = [START_NS + step * PERIOD_NS for step in queries()]
    for chunks in episode.open_loop.values():
        np.testing.assert_array_equal(chunks.observed_ns, stamps)


def test_recorded_actions_end_with_the_recording(episode):
    recorded = episode.open_loop['hold'].recorded
    for query, step in enumerate(queries()):
        known = min(HORIZON, STEPS - step)
        expected = [commanded(step + k) for k in range(known)]
        np.testing.assert_allclose(recorded[query, :known], expected, atol=1e-9)
        assert np.isnan(recorded[query, known:]).all()


def test_recording_as_policy_is_exactly_right(episode):
    chunks = episode.open_loop['recording']
    known = ~np.isnan(chunks.recorded)
    assert (chunks.predicted[known] == chunks.recorded[known]).all()
    assert not np.isnan(chunks.predicted).any()


def test_hold_is_the_measured_state_for_the_whole_chunk(episode):
    predicted = episode.open_loop['hold'].predicted
    for query, step in enumerate(queries()):
        np.testing.assert_allclose(predicted[query], [measured(step)] * HORIZON, atol=1e-12)


def test_last_action_is_the_one_before_the_observation(episode):
    predicted = episode.open_loop['last_action'].predicted
    for query, step in enumerate(queries()):
        np.testing.assert_array_equal(predicted[query], [commanded(step - 1)] * HORIZON)


def test_linear_goes_on_as_the_last_two_actions(episode):
    predicted = episode.open_loop['linear'].predicted
    for query, step in enumerate(queries()):
        last, before = commanded(step - 1), commanded(step - 2)
        expected = [last + (k + 1) * (last - before) for k in range(HORIZON)]
        np.testing.assert_allclose(predicted[query], expected, atol=1e-12)


def test_baselines_of_a_real_recording_score_what_numpy_says():
    """The ten lines of NumPy know the bag, the joints and the horizon, and nothing of ours."""
    path = SHARED / 'unitree_g1_ep010'
    if not path.is_dir():
        pytest.skip('the shared recordings are not here')
    robot = load_embodiment('unitree_g1')
    names = [joint.name for joint in robot.action_joints]
    with AnyReader([path]) as reader:
        rows = {'/joint_states': [], '/demo/action': []}
        for connection, _, raw in reader.messages(
            [c for c in reader.connections if c.topic in rows]
        ):
            message = reader.deserialize(raw, connection.msgtype)
            rows[connection.topic].append([message.position[message.name.index(n)] for n in names])
    state, action = np.array(rows['/joint_states']), np.array(rows['/demo/action'])
    found = evaluate(path, robot, None, 'none', Settings(modes=('open_loop',))).open_loop
    asked = np.arange(2, len(action), robot.executed_steps)
    assert len(found['hold'].asked_ns) == len(asked)
    for name, predict in (('hold', state[asked]), ('last_action', action[asked - 1])):
        errors = [
            np.abs(predict[q] - action[i : i + 50]).mean(axis=0) * len(action[i : i + 50])
            for q, i in enumerate(asked)
        ]
        mae = np.sum(errors, axis=0) / sum(len(action[i : i + 50]) for i in asked)
        chunks = found[name]
        ours = np.nanmean(np.abs(chunks.predicted - chunks.recorded), axis=(0, 1))
        np.testing.assert_allclose(ours, mae, atol=2e-8)
    exact = found['recording']
    assert np.nanmax(np.abs(exact.predicted - exact.recorded)) == 0.0


def test_deployed_recording_is_followed_once_the_robot_has_caught_up(episode):
    """From rest a chunk starts when it has arrived; the seams after it fade that delay out."""
    stream = episode.deployed['recording']
    np.testing.assert_array_equal(np.diff(stream.time_ns), PERIOD_NS)
    assert {chunk.reason for chunk in stream.chunks} == {'accepted'}
    error = np.abs(stream.commanded - stream.recorded)
    arm, finger = error[:, :2].max(axis=1), error[:, 2]
    assert arm[:10].max() > 0.05
    # Where a chunk takes over, the path is straight up to the next waypoint.
    assert arm[-10:].max() < 1e-3
    assert np.median(arm[-10:]) < 1e-5
    # A gripper's goal is sent a lead ahead of its step, and only on change.
    assert (finger > 1e-6).sum() <= 2 * 3


def test_chunks_take_the_latency(episode):
    for stream in episode.deployed.values():
        for chunk in stream.chunks:
            assert chunk.arrived_ns - chunk.observed_ns == pytest.approx(75e6, abs=1)
            assert chunk.requested_ns <= chunk.observed_ns


def test_slow_inference_misses_deadlines_and_starves(bag, robot):
    slow = evaluate(bag, robot, None, 'none', Settings(modes=('deployed',), latency='700ms'))
    stream = slow.deployed['recording']
    assert stream.deadlines_missed == len(stream.chunks) > 0
    assert stream.starvations >= 1
    assert any(happening.reason == 'starved' for happening in stream.happenings)


def test_slower_inference_never_comes_off_better(bag, robot):
    """A robot that waits for its first chunk stands; the demonstrator's motion is not its own."""
    errors, missed = [], []
    for latency in ('50ms', '300ms', '1s', '20s'):
        settings = Settings(modes=('deployed',), latency=latency)
        stream = evaluate(bag, robot, None, 'none', settings).deployed['recording']
        errors.append(np.nanmean(np.abs(stream.commanded - stream.recorded)[:, :2]))
        missed.append(stream.deadlines_missed)
    assert errors == sorted(errors)
    assert missed[0] == 0
    assert missed[-1] == stream.unanswered == 1
    first = np.append(measured(0), 0)[:2]
    np.testing.assert_array_equal(stream.commanded[:, :2], [first] * len(stream.commanded))


def test_topic_that_starts_late_delays_the_robot_and_no_more(tmp_path, robot):
    def late():
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            step = (time_ns - START_NS) // PERIOD_NS
            if not (topic == '/finger/joint_states' and step < 12):
                yield topic, msgtype, time_ns, message

    found = evaluate(write(tmp_path / 'bag', late()), robot, None, 'none', Settings())
    stream = found.deployed['recording']
    assert {chunk.reason for chunk in stream.chunks} == {'accepted'}
    assert np.abs(stream.commanded - stream.recorded)[-20:, :2].max() < 0.02


@pytest.mark.parametrize('offset_ns', [-START_NS, 10**12])
def test_recording_without_a_single_observation_is_an_error(tmp_path, robot, offset_ns):
    """Header stamps of 0, or of another clock."""

    def stamped():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if hasattr(message, 'header'):
                message.header = types.header(time_ns + offset_ns if offset_ns > 0 else 0)
            yield topic, msgtype, time_ns, message

    path = write(tmp_path / 'bag', stamped())
    why = 'without a header stamp' if offset_ns < 0 else 'in the future'
    with pytest.raises(BagError, match=f'observations: found none at 12 moments.*{why}'):
        evaluate(path, robot, None, 'none', Settings(actions='/demo/action'))


def test_recording_of_two_steps_is_an_error(tmp_path, robot):
    path = write(tmp_path / 'bag', demonstration(2))
    with pytest.raises(BagError, match='2 recorded steps of actions; at least 3'):
        evaluate(path, robot, None, 'none', Settings())


def test_holes_in_a_recording_make_the_robot_hold(tmp_path, robot):
    def holed():
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            step = (time_ns - START_NS) // PERIOD_NS
            if not (topic == '/arm/joint_states' and 20 <= step < 40):
                yield topic, msgtype, time_ns, message

    found = evaluate(write(tmp_path / 'bag', holed()), robot, None, 'none', Settings())
    stream = found.deployed['recording']
    assert stream.observations_refused > 0
    assert any(happening.reason == 'stale' for happening in stream.happenings)
    step = (stream.time_ns - START_NS) // PERIOD_NS
    assert not stream.moving[(step > 32) & (step < 40)].any()
    assert stream.moving[(step > 45)].all()
    # A robot that held would see itself; the recording shows one that went on.
    assert stream.restarts == 1
    assert np.abs(stream.commanded - stream.recorded)[step > 55, :2].max() < 0.06
    assert {chunk.reason for chunk in stream.chunks} <= {'accepted', 'stale_epoch'}
    assert found.inputs.refused == {'stale': 4}
    states = {stream.topic: stream for stream in found.inputs.streams}
    assert states['/arm/joint_states'].missing == 20


def test_gate_keeps_the_stream_within_the_limits(bag, tmp_path):
    content = yaml.safe_load(EMBODIMENT)
    content['actions'][0]['joints'][0]['position'] = [-2.0, 0.7]
    narrow = load_embodiment(write_embodiment(tmp_path, actions=content['actions']))
    stream = evaluate(bag, narrow, None, 'none', Settings()).deployed['recording']
    assert stream.recorded[:, 0].max() > 0.9
    assert stream.commanded[:, 0].max() == 0.7
    assert stream.gate_counts['arm.position'] > 0
    assert any(happening.reason == 'position' for happening in stream.happenings)


def test_same_settings_give_the_same_episode(bag, robot, episode):
    again = evaluate(bag, robot, None, 'none', Settings(latency='75ms'))
    same(again, episode)


def same(one, other):
    """Compare everything but the timing, bit by bit."""
    flat_one, flat_other = (asdict(replace(e, timing=None)) for e in (one, other))
    np.testing.assert_equal(flat_one, flat_other)


def test_a_mode_that_is_not_asked_for_is_not_run(bag, robot):
    only = evaluate(bag, robot, None, 'none', Settings(modes=('open_loop',)))
    assert not only.deployed
    other = evaluate(bag, robot, None, 'none', Settings(modes=('deployed',)))
    assert not other.open_loop
    assert len(other.inputs.newest_age_s) == len(queries())


def test_instruction_is_that_of_the_recording_unless_another_is_given(bag, robot, tmp_path):
    settings = Settings(modes=('open_loop',))
    assert evaluate(bag, robot, None, 'none', settings).prompt == 'pick the cube'
    given = replace(settings, prompt='wave')
    assert evaluate(bag, robot, None, 'none', given).prompt == 'wave'
    silent = write(tmp_path / 'bag', demonstration(STEPS, instruction=''))
    assert evaluate(silent, robot, None, 'none', settings).prompt == UNINSTRUCTED


def test_truncated_recording_is_an_error(bag, robot, tmp_path):
    copy = tmp_path / 'bag'
    copy.mkdir()
    for each in bag.iterdir():
        data = each.read_bytes()
        (copy / each.name).write_bytes(data if each.suffix == '.yaml' else data[: len(data) // 2])
    with pytest.raises(BagError, match='bag'):
        evaluate(copy, robot, None, 'none', Settings())


@pytest.fixture(scope='module')
def trained(tiny_bundle):
    """A tiny policy and the robot that it was made for, with a recording of that robot."""
    robot = load_embodiment('sim_single_arm')
    return open_policy(tiny_bundle, robot), robot


@pytest.fixture(scope='module')
def arm_bag(trained, tmp_path_factory):
    robot = trained[1]

    def recorded():
        types = Types()
        names = [joint.name for joint in robot.action_joints]
        topics = {source.topic: [j.name for j in source.joints] for source in robot.state}
        for step in range(40):
            now_ns = START_NS + round(step * 1e9 / robot.rate_hz)
            values = {n: robot.neutral[n] + 0.002 * step for n in robot.neutral}
            for topic, joints in topics.items():
                yield (
                    topic,
                    'sensor_msgs/msg/JointState',
                    now_ns,
                    types.joints(now_ns, joints, [values.get(n, 0.0) for n in joints]),
                )
            yield (
                '/demo/action',
                'sensor_msgs/msg/JointState',
                now_ns,
                types.joints(now_ns, names, [values.get(n, 0.0) for n in names]),
            )
            for number, camera in enumerate(robot.cameras):
                rgb = np.random.default_rng([step, number]).integers(0, 60, (24, 32, 3), np.uint8)
                yield camera.topic, 'sensor_msgs/msg/Image', now_ns, types.image(now_ns, rgb)

    return write(tmp_path_factory.mktemp('arm') / 'bag', recorded())


def test_policy_is_repeatable_and_depends_on_its_seed(trained, arm_bag):
    policy, robot = trained
    settings = Settings(every=10, seeds=(0, 1), prompt='wave', noise='gaussian')
    one = evaluate(arm_bag, robot, policy, 'tiny', settings)
    other = evaluate(arm_bag, robot, policy, 'tiny', settings)
    same(one, other)
    assert one.policy_sources == ('tiny#0', 'tiny#1')
    zero, first = (one.open_loop[name].predicted for name in one.policy_sources)
    assert np.abs(zero - first).max() > 1e-3
    alone = evaluate(arm_bag, robot, policy, 'tiny', replace(settings, seeds=(1,)))
    np.testing.assert_array_equal(alone.open_loop['tiny#1'].predicted, first)
    np.testing.assert_array_equal(
        alone.deployed['tiny#1'].commanded, one.deployed['tiny#1'].commanded
    )


def test_time_of_the_model_is_told_apart(trained, arm_bag):
    policy, robot = trained
    settings = Settings(every=10, prompt='wave')
    timing = evaluate(arm_bag, robot, policy, 'tiny', settings, baselines=False).timing
    assert {'preprocess', 'observe', 'denoise', 'postprocess'} <= set(timing.phases_s)
    assert all(len(seconds) == timing.chunks for seconds in timing.phases_s.values())
    assert 0.0 < timing.inference_s < timing.total_s


def test_baselines_can_be_left_out(trained, arm_bag):
    policy, robot = trained
    settings = Settings(every=10, prompt='wave')
    found = evaluate(arm_bag, robot, policy, 'tiny', settings, baselines=False)
    assert tuple(found.open_loop) == tuple(found.deployed) == ('tiny#0',)


def test_rate_of_the_demonstration_is_that_of_the_robot(robot):
    assert robot.rate_hz == RATE_HZ


@pytest.mark.parametrize('faster', [1, 4])
def test_queries_are_as_far_apart_in_time_whatever_the_rate_of_the_actions(
    tmp_path, robot, faster
):
    def denser():
        types = Types()
        for topic, msgtype, time_ns, message in demonstration(STEPS):
            if topic != '/demo/action':
                yield topic, msgtype, time_ns, message
                continue
            step = (time_ns - START_NS) // PERIOD_NS
            for part in range(faster):
                now_ns = time_ns + part * PERIOD_NS // faster
                values = commanded(step + part / faster)
                yield topic, msgtype, now_ns, types.joints(now_ns, message.name, values)

    path = write(tmp_path / 'bag', sorted(denser(), key=lambda each: each[2]))
    found = evaluate(path, robot, None, 'none', Settings(modes=('open_loop',)))
    apart = np.diff(found.open_loop['hold'].asked_ns)
    np.testing.assert_array_equal(apart, robot.executed_steps * PERIOD_NS)
