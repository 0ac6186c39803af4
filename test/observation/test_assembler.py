from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.observation import Observation
from pizero_ros.observation.refusal import Refusal

MS = 1_000_000
BAGS = (Path(__file__).resolve().parents[2] / '../shared/data/bags').resolve()


def joints(assembler, positions, ms, names='abc', topic='/joint_states', received=None):
    received = ms if received is None else received
    assembler.joint_state(topic, list(names), positions, [], [], ms * MS, received * MS)


def image(assembler, message, ms, topic='/base', received=None):
    received = ms if received is None else received
    return assembler.image(topic, message, ms * MS, received * MS)


def refused(result):
    assert isinstance(result, Refusal), result
    return [(reason.kind, reason.topic) for reason in result.reasons]


def observed(result):
    assert isinstance(result, Observation), str(result)
    return result


@pytest.fixture
def fed(robot, raw, picture):
    """One camera and three joints, all at 1000 ms."""
    assembler = ObservationAssembler(robot())
    image(assembler, raw(picture()), 980)
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    return assembler


def test_an_observation_has_everything(fed, picture):
    seen = observed(fed.observe(1010 * MS, 'fold'))
    assert (seen.stamp_ns, seen.oldest_ns) == (1000 * MS, 980 * MS)
    assert seen.skew_s == pytest.approx(0.02)
    assert seen.state.tolist() == [0.1, 0.2, 0.3] + [0.0] * 15
    assert seen.state_mapped.tolist() == [True] * 3 + [False] * 15
    assert seen.prompt == 'fold'
    assert seen.stamps_ns == {'/joint_states': 1000 * MS, '/base': 980 * MS}
    assert seen.ages_s == {
        '/base': pytest.approx(0.03),
        '/joint_states': pytest.approx(0.01),
    }
    assert seen.faults == {}
    assert np.array_equal(seen.images['base'].rgb(), picture())


def test_nothing_yet_names_every_stream(robot, camera):
    cameras = [camera('base'), camera('wrist', required=False)]
    result = ObservationAssembler(robot(cameras)).observe(0, '')
    assert refused(result) == [('missing', '/joint_states'), ('missing', '/base')]
    assert str(result) == '/joint_states: no message yet; /base: no message yet'


def test_a_stale_stream_is_refused_with_age_and_limit(fed, raw, picture):
    result = fed.observe(1190 * MS, '')
    assert refused(result) == [('stale', '/base')]
    assert result.reasons[0].detail == '0.210 s old, limit 0.2 s'
    image(fed, raw(picture()), 1195)
    assert refused(fed.observe(1210 * MS, '')) == [('stale', '/joint_states')]


def test_skew_between_required_streams_is_refused(fed, raw, picture):
    image(fed, raw(picture()), 1110)
    result = fed.observe(1110 * MS, '')
    assert refused(result) == [('skew', '/joint_states')]
    assert result.reasons[0].detail == '0.110 s behind /base, limit 0.1 s'


def test_a_publisher_with_a_fast_clock_is_refused(fed, raw, picture):
    image(fed, raw(picture()), 6000, received=1000)
    assert refused(fed.observe(1010 * MS, '')) == [('future', '/base')]


def test_all_reasons_come_at_once(robot, camera, raw, picture):
    assembler = ObservationAssembler(robot([camera('base'), camera('top')]))
    image(assembler, raw(np.zeros((48, 64, 3), np.uint8)), 1000)
    joints(assembler, [0.1, float('nan'), 0.3], 1000)
    result = assembler.observe(1000 * MS, '')
    assert refused(result) == [
        ('nonfinite', '/joint_states'),
        ('black', '/base'),
        ('missing', '/top'),
    ]


def test_state_comes_from_several_topics_by_name(robot, joint, source, raw, picture):
    left = source([joint('l', 0), joint('g', 6, scale=10.0)], '/left')
    right = source([joint('r', 7, sign=-1)], '/right')
    base = source([joint('linear.x', 14)], '/odom', interface='odometry')
    assembler = ObservationAssembler(robot(state=[left, right, base]))
    image(assembler, raw(picture()), 1000)
    joints(assembler, [0.5, 0.04], 1000, 'lg', '/left')
    joints(assembler, [0.25], 980, 'r', '/right')
    assembler.odometry('/odom', {'linear.x': 0.7, 'angular.z': 0.1}, 990 * MS, 1000 * MS)
    seen = observed(assembler.observe(1000 * MS, ''))
    assert seen.state[[0, 6, 7, 14]] == pytest.approx([0.5, 0.4, -0.25, 0.7])
    assert np.flatnonzero(seen.state_mapped).tolist() == [0, 6, 7, 14]
    assert seen.oldest_ns == 980 * MS
    assert assembler.measured() == {'l': 0.5, 'g': 0.04, 'r': 0.25}


def test_a_dead_arm_topic_is_refused_while_the_other_lives(robot, joint, source, raw, picture):
    state = [source([joint('l', 0)], '/left'), source([joint('r', 7)], '/right')]
    assembler = ObservationAssembler(robot(state=state))
    image(assembler, raw(picture()), 1000)
    joints(assembler, [0.5], 1000, 'l', '/left')
    assert refused(assembler.observe(1000 * MS, '')) == [('missing', '/right')]


@pytest.mark.parametrize(
    ('fault', 'what'),
    [
        ('missing', None),
        ('stale', 700),
        ('skewed', 880),
        ('future', 2000),
        ('black', 1000),
        ('undecodable', 1000),
    ],
)
def test_an_optional_camera_is_left_out_and_reported(robot, camera, raw, picture, fault, what):
    cameras = [camera('base'), camera('wrist', required=False)]
    assembler = ObservationAssembler(robot(cameras))
    image(assembler, raw(picture()), 1000)
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    message = raw(np.zeros((48, 64, 3), np.uint8) if fault == 'black' else picture())
    if fault == 'undecodable':
        message.encoding = 'nonsense'
    if what is not None:
        image(assembler, message, what, '/wrist', received=1000)
    seen = observed(assembler.observe(1000 * MS, ''))
    assert list(seen.images) == ['base']
    assert seen.faults == {'/wrist': fault}
    assert (seen.stamp_ns, seen.oldest_ns) == (1000 * MS, 1000 * MS)


def test_a_required_camera_with_an_impossible_encoding_is_refused(fed, raw, picture):
    message = raw(picture())
    message.encoding = 'rgb99'
    image(fed, message, 1000)
    result = fed.observe(1000 * MS, '')
    assert refused(result) == [('undecodable', '/base')]
    assert "found 'rgb99'" in str(result)
    fed.observe(1001 * MS, '')
    assert fed.status(1001 * MS)[0].counters.undecodable == 1


def test_a_frozen_required_camera_is_refused_once_the_robot_moves(fed, raw, picture):
    results = []
    for n in range(10):
        ms = 1000 + 100 * n
        image(fed, raw(picture()), ms)
        joints(fed, [0.1 + 0.05 * n, 0.2, 0.3], ms)
        results.append(fed.observe(ms * MS, ''))
    kinds = [refused(r) if isinstance(r, Refusal) else [] for r in results]
    assert kinds == [[]] * 5 + [[('frozen', '/base')]] * 5
    assert fed.status(1900 * MS)[0].fault == 'frozen'
    assert fed.status(1900 * MS)[0].counters.frozen == 5
    image(fed, raw(picture(7)), 1950)
    assert observed(fed.observe(1950 * MS, '')).faults == {}


def test_a_still_scene_before_a_still_robot_is_observed(fed, raw, picture):
    for n in range(20):
        image(fed, raw(picture()), 1000 + 100 * n)
        joints(fed, [0.1, 0.2, 0.3], 1000 + 100 * n)
        observed(fed.observe((1000 + 100 * n) * MS, ''))


def test_inspecting_finds_a_black_camera_without_an_observation(fed, raw):
    image(fed, raw(np.zeros((48, 64, 3), np.uint8)), 1000)
    fed.inspect(1000 * MS)
    assert fed.status(1000 * MS)[0].fault == 'black'
    assert fed.status(1000 * MS)[0].counters.black == 1


def test_nothing_is_decoded_before_somebody_looks(fed, raw, picture):
    message = raw(picture())
    message.encoding = 'nonsense'
    frame = image(fed, message, 1000)
    assert frame is fed.frames()['/base']
    assert fed.stale(1000 * MS) == ()
    assert fed.newest_stamps() == {'/base': 1000 * MS, '/joint_states': 1000 * MS}
    assert fed.status(1000 * MS)[0].counters.undecodable == 0


def test_a_picture_looked_at_ahead_is_counted_when_it_is_observed(fed, raw):
    frame = image(fed, raw(np.zeros((48, 64, 3), np.uint8)), 1000)
    fed.prepare('/base', frame)
    assert fed.status(1000 * MS)[0].counters.black == 0
    assert fed.status(1000 * MS)[0].fault == ''
    assert refused(fed.observe(1000 * MS, '')) == [('black', '/base')]
    assert fed.status(1000 * MS)[0].counters.black == 1


def test_an_older_image_is_dropped_and_counted(fed, raw, picture):
    held = fed.frames()['/base']
    assert image(fed, raw(picture(1)), 970) is None
    assert image(fed, raw(picture(1)), 980) is None
    assert fed.frames()['/base'] is held
    assert fed.status(1000 * MS)[0].counters.out_of_order == 2


def test_images_without_stamp_are_dropped_and_the_refusal_says_what_to_do(
    robot, camera, raw, picture
):
    assembler = ObservationAssembler(robot())
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    assert image(assembler, raw(picture()), 0, received=1000) is None
    result = assembler.observe(1000 * MS, '')
    assert refused(result) == [('missing', '/base')]
    assert 'stamp: receive' in str(result)
    assembler = ObservationAssembler(robot([camera(stamp='receive')]))
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    image(assembler, raw(picture()), 0, received=1000)
    assert observed(assembler.observe(1000 * MS, '')).ages_s['/base'] == 0


def test_rotation_flip_and_transport_follow_the_embodiment(robot, camera, compressed, picture):
    turned = camera(transport='compressed', rotation_deg=90, flip='horizontal')
    assembler = ObservationAssembler(robot([turned]))
    image(assembler, compressed(picture()), 1000)
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    seen = observed(assembler.observe(1000 * MS, ''))
    assert np.array_equal(seen.images['base'].rgb(), np.rot90(picture(), -1)[:, ::-1])


def test_stale_tells_what_is_wrong_without_looking_at_pictures(fed):
    assert fed.stale(1010 * MS) == ()
    assert [r.kind for r in fed.stale(1300 * MS)] == ['stale', 'stale']
    assert fed.measured() == {}
    joints(fed, [0.1, float('nan'), 0.3], 1300)
    assert [r.kind for r in fed.stale(1300 * MS)] == ['nonfinite', 'stale']
    assert fed.measured() == {'a': 0.1, 'c': 0.3}


def test_optional_cameras_are_not_in_stale(robot, camera):
    assembler = ObservationAssembler(robot([camera('wrist', required=False)]))
    joints(assembler, [0.1, 0.2, 0.3], 1000)
    assert assembler.stale(1000 * MS) == ()


def test_a_looped_bag_resets_everything_once(fed, raw, picture):
    """The bag starts again: stamps go back while the node's clock runs on."""
    before = fed.status(1000 * MS)
    image(fed, raw(picture()), 20_000, received=20_000)
    joints(fed, [0.1, 0.2, 0.3], 20_000)
    image(fed, raw(picture(1)), 1000, received=20_010)
    assert fed.epoch == 1
    assert 'stamps went back by 19.000 s' in fed.last_reset
    assert fed.newest_stamps() == {'/base': 1000 * MS}
    joints(fed, [0.4, 0.5, 0.6], 1000, received=20_020)
    assert fed.epoch == 1
    seen = fed.observe(20_030 * MS, '')
    assert refused(seen) == [('stale', '/joint_states'), ('stale', '/base')]
    status = {s.topic: s.counters for s in fed.status(20_030 * MS)}
    assert status['/base'].received == before[0].counters.received + 2
    assert status['/base'].out_of_order == 0
    # 19.02 s without a message is a gap of 571 periods; the way back is none.
    assert status['/base'].missing == 570


def test_a_clock_that_is_set_back_resets_and_goes_on(fed, raw, picture):
    """use_sim_time with a looped bag: the node's clock goes back too."""
    observed(fed.observe(1000 * MS, ''))
    joints(fed, [0.4, 0.5, 0.6], 10)
    assert fed.epoch == 1
    assert "the node's clock went back by 0.990 s" in fed.last_reset
    assert refused(fed.observe(12 * MS, '')) == [('missing', '/base')]
    image(fed, raw(picture(1)), 15)
    seen = observed(fed.observe(20 * MS, ''))
    assert seen.epoch == 1
    assert seen.state[:3].tolist() == [0.4, 0.5, 0.6]
    assert np.array_equal(seen.images['base'].rgb(), picture(1))


def test_observing_alone_notices_a_clock_that_is_set_back(fed):
    fed.observe(5000 * MS, '')
    fed.observe(100 * MS, '')
    assert fed.epoch == 1


def test_callbacks_that_overtake_each_other_do_not_reset(fed, raw, picture):
    image(fed, raw(picture(1)), 1000, received=1050)
    joints(fed, [0.1, 0.2, 0.3], 1010, received=1040)
    joints(fed, [0.1, 0.2, 0.3], 990, received=1041)
    assert fed.epoch == 0
    assert fed.status(1050 * MS)[1].counters.out_of_order == 1


def test_status_reports_ages_rates_and_requirements(robot, camera, raw, picture):
    assembler = ObservationAssembler(robot([camera(), camera('wrist', required=False)]))
    for ms in range(1000, 2000, 20):
        joints(assembler, [0.1, 0.2, 0.3], ms)
    image(assembler, raw(picture()), 1900)
    base, wrist, state = assembler.status(1980 * MS)
    assert (base.topic, base.required, base.age_s) == ('/base', True, pytest.approx(0.08))
    assert (wrist.required, wrist.age_s, wrist.rate_hz) == (False, None, 0.0)
    assert (state.rate_hz, state.nominal_hz) == (pytest.approx(50), 100)
    assert state.counters.missing == 49


def test_two_streams_on_one_topic_are_a_broken_invariant(robot, camera):
    with pytest.raises(ValueError, match='share a topic'):
        ObservationAssembler(robot([camera('base'), camera('wrist', topic='/base')]))


def test_threads_feed_and_observe_together(robot, camera, raw, picture):
    slots = ('base', 'left', 'right')
    assembler = ObservationAssembler(robot([camera(slot) for slot in slots]))
    messages = [raw(picture(n)) for n in range(4)]
    clock, done, failures = [1000], threading.Event(), []

    def feed(slot):
        for n in range(300):
            image(assembler, messages[n % 4], 1000 + n, f'/{slot}', received=clock[0])

    def move():
        for n in range(300):
            clock[0] = 1000 + n
            joints(assembler, [n / 300, 0.0, 0.0], 1000 + n)

    def look():
        while not done.is_set():
            result = assembler.observe(clock[0] * MS, '')
            if isinstance(result, Observation) and set(result.images) != set(slots):
                failures.append(result)
            assembler.status(clock[0] * MS)
            assembler.inspect(clock[0] * MS)

    feeders = [threading.Thread(target=feed, args=(slot,)) for slot in slots]
    feeders.append(threading.Thread(target=move))
    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in (*feeders, *lookers):
        thread.start()
    for thread in feeders:
        thread.join()
    done.set()
    for thread in lookers:
        thread.join()
    assert failures == []
    seen = observed(assembler.observe(1299 * MS, ''))
    assert seen.state[0] == pytest.approx(299 / 300)
    assert [s.counters.received for s in assembler.status(1299 * MS)] == [300] * 4


def test_a_real_recording_with_a_black_camera(robot, camera, joint, source):
    """BridgeData: four cameras, one of them black in the whole episode."""
    bag = BAGS / 'bridge_widowx_ep004'
    if not bag.exists():
        pytest.skip('shared/data/bags is not here')
    from rosbags.highlevel import AnyReader

    names = ('ee_x', 'ee_y', 'ee_z', 'ee_roll', 'ee_pitch', 'ee_yaw', 'gripper')
    cameras = [
        camera(
            f'camera_{n}',
            topic=f'/camera_{n}/image_raw/compressed',
            transport='compressed',
            required=n == 0,
            rate_hz=5.0,
            max_age_s=0.5,
        )
        for n in range(4)
    ]
    state = [source([joint(name, i) for i, name in enumerate(names)], rate_hz=5, max_age_s=0.5)]
    assembler = ObservationAssembler(robot(cameras, state, [], max_skew_s=0.3))
    topics = {'/joint_states', *(c.topic for c in cameras)}
    results = []
    with AnyReader([bag]) as reader:
        for connection, now, data in reader.messages():
            if connection.topic not in topics:
                continue
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if connection.topic == '/joint_states':
                assembler.joint_state(
                    connection.topic,
                    message.name,
                    message.position,
                    message.velocity,
                    message.effort,
                    stamp,
                    now,
                )
            else:
                assembler.image(connection.topic, message, stamp, now)
            results.append(assembler.observe(now, 'put carrot on plate'))
    seen = observed(results[-1])
    black = [topic for topic, fault in seen.faults.items() if fault == 'black']
    assert len(black) == 1
    assert len(seen.images) == 3
    assert {f.rgb().shape for f in seen.images.values()} == {(64, 64, 3)}
    counters = {s.topic: s.counters for s in assembler.status(now)}
    assert counters[black[0]].black == counters[black[0]].received == 10
