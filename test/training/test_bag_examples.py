"""Recordings become the samples that the robot would have seen, each with what was done then."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from bags import (
    EMBODIMENT,
    JOINTS,
    PERIOD_NS,
    START_NS,
    Types,
    commanded,
    demonstration,
    measured,
    picture,
    write,
    write_embodiment,
)

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BagError, DatasetError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.columns import RawActions
from pizero_ros.replay.recording import INSTRUCTION, Recording
from pizero_ros.training.bag_examples import Reading, read_bag

SHARED = Path(__file__).resolve().parents[2] / '../shared/data/bags'
STEPS = 40
HORIZON = 10
SIZE = (32, 32)
READING = Reading(SIZE, 'antialias')


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    return load_embodiment(write_embodiment(tmp_path_factory.mktemp('robot')))


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write(tmp_path_factory.mktemp('bag') / 'bag', demonstration(STEPS))


@pytest.fixture(scope='module')
def episode(bag, robot, tmp_path_factory):
    return read_bag(bag, robot, READING, tmp_path_factory.mktemp('cache'))


def silent(_line):
    pass


def vector(raw):
    return np.asarray(raw) * [1.0, 1.0, 10.0]


def test_every_recorded_step_is_a_sample(episode):
    assert len(episode) == STEPS
    assert episode.left_out == {}
    stamps = episode.samples()['observed_ns']
    np.testing.assert_array_equal(stamps, START_NS + np.arange(STEPS) * PERIOD_NS)


def test_state_is_the_robot_vector_at_the_observation(episode):
    for step in (0, 7, STEPS - 1):
        example = episode[step]
        np.testing.assert_allclose(example.state[:3], vector(measured(step)), atol=1e-12)
        assert not example.state[3:].any()
        np.testing.assert_array_equal(example.state_mapped, [True] * 3 + [False] * 15)


def test_actions_are_what_was_commanded_from_the_observation_on(episode):
    for step in (0, 13, STEPS - HORIZON):
        expected = [vector(commanded(step + k)) for k in range(HORIZON)]
        np.testing.assert_allclose(episode[step].actions, expected, atol=1e-9)
        assert episode[step].actions_valid.all()


def test_last_action_is_repeated_behind_the_end_and_marked(episode):
    last = vector(commanded(STEPS - 1))
    for left in range(1, HORIZON):
        example = episode[STEPS - left]
        np.testing.assert_array_equal(example.actions_valid, np.arange(HORIZON) < left)
        np.testing.assert_allclose(example.actions[left - 1 :], [last] * (HORIZON - left + 1))


def test_pictures_are_the_models_to_the_last_grey_level(bag, robot, episode):
    resize = ResizeWithPad(SIZE, 'antialias')
    assert set(episode[5].images) == {'base_0_rgb', 'left_wrist_0_rgb'}
    for step in (0, 5, 39):
        levels = episode[step].images['base_0_rgb']
        assert (levels.dtype, levels.shape) == (np.uint8, (*SIZE, 3))
        np.testing.assert_array_equal(resize(levels), resize(picture(step)))


def test_pictures_of_the_two_tap_rule_are_rounded_to_half_a_level(bag, robot, tmp_path):
    resize = ResizeWithPad(SIZE, 'lerobot')
    episode = read_bag(bag, robot, Reading(SIZE, 'lerobot'), tmp_path)
    kept = resize(episode[3].images['base_0_rgb'])
    np.testing.assert_allclose(kept, resize(picture(3)), atol=0.5 * 2 / 255 + 1e-6)


def test_samples_are_what_the_robot_would_have_observed(bag, robot, episode):
    assembler = ObservationAssembler(robot)
    intake = Intake(robot, assembler)
    resize = ResizeWithPad(SIZE, 'antialias')
    step = 0
    with open_bag(bag) as opened:
        messages = [m for m in Recording(opened, robot).messages() if m.topic != INSTRUCTION]
    for number, sensed in enumerate(messages):
        intake.take(sensed.topic, sensed.message, sensed.header_ns, sensed.time_ns)
        if number + 1 < len(messages) and messages[number + 1].time_ns == sensed.time_ns:
            continue
        observed = assembler.observe(sensed.time_ns, 'pick the cube')
        example = episode[step]
        np.testing.assert_array_equal(example.state, observed.state)
        assert set(example.images) == set(observed.images)
        for slot, frame in observed.images.items():
            np.testing.assert_array_equal(resize(example.images[slot]), resize(frame.rgb()))
        step += 1
    assert step == STEPS


def test_slow_camera_is_stored_once_a_picture(robot, tmp_path):
    def slow():
        last = -1
        for topic, kind, now_ns, message in demonstration(STEPS):
            step = (now_ns - START_NS) // PERIOD_NS
            if topic == '/front/image_raw':
                if step % 2:
                    continue
                last = step
            yield topic, kind, now_ns, message
        assert last == STEPS - 2

    episode = read_bag(write(tmp_path / 'bag', slow()), robot, READING, tmp_path / 'cache')
    assert len(np.load(episode.folder / 'pictures-base_0_rgb.npy')) == STEPS // 2
    for step in (6, 7):
        shown = ResizeWithPad(SIZE, 'antialias')(picture(6))
        kept = ResizeWithPad(SIZE, 'antialias')(episode[step].images['base_0_rgb'])
        np.testing.assert_array_equal(kept, shown)


def test_absent_optional_camera_is_absent(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(12, skip=('/wrist/image_raw/compressed',)))
    episode = read_bag(bag, robot, READING, tmp_path / 'cache')
    assert set(episode[3].images) == {'base_0_rgb'}


def instructed(steps, change, second):
    types = Types()
    for item in demonstration(steps, instruction='reach'):
        yield item
        if item[0] == '/demo/action' and item[2] == START_NS + (change - 1) * PERIOD_NS:
            time_ns = START_NS + change * PERIOD_NS - PERIOD_NS // 2
            yield INSTRUCTION, 'std_msgs/msg/String', time_ns, types.text(second)


def ordered(messages):
    return sorted(messages, key=lambda item: item[2])


def test_another_instruction_ends_the_demonstration_of_the_first(robot, tmp_path):
    bag = write(tmp_path / 'bag', ordered(instructed(30, 12, 'grasp')))
    episode = read_bag(bag, robot, READING, tmp_path / 'cache')
    prompts = [episode[step].prompt for step in range(30)]
    assert prompts == ['reach'] * 12 + ['grasp'] * 18
    example = episode[9]
    np.testing.assert_array_equal(example.actions_valid, np.arange(HORIZON) < 3)
    np.testing.assert_allclose(example.actions[3:], [vector(commanded(11))] * 7, atol=1e-9)
    assert episode[12].actions_valid.all()


def test_same_instruction_again_ends_nothing(robot, tmp_path):
    bag = write(tmp_path / 'bag', ordered(instructed(30, 12, 'reach')))
    episode = read_bag(bag, robot, READING, tmp_path / 'cache')
    assert episode[9].actions_valid.all()


def test_given_prompt_overrides_the_recorded_one(bag, robot, tmp_path):
    reading = replace(READING, prompt='push')
    assert read_bag(bag, robot, reading, tmp_path)[0].prompt == 'push'


def test_recording_without_instruction_is_refused(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(6, instruction=''))
    with pytest.raises(DatasetError, match=r'/instruction: found no instruction.*give `prompt`'):
        read_bag(bag, robot, READING, tmp_path / 'cache')
    assert len(read_bag(bag, robot, replace(READING, prompt='x'), tmp_path / 'cache')) == 6


def test_blank_instruction_is_refused(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(6, instruction='  '))
    with pytest.raises(DatasetError, match='an empty instruction'):
        read_bag(bag, robot, READING, tmp_path / 'cache')


def altered(change, steps=20):
    for topic, kind, now_ns, message in demonstration(steps):
        yield topic, kind, now_ns, change(topic, (now_ns - START_NS) // PERIOD_NS, message)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_action_that_is_not_finite_is_named(robot, tmp_path, value):
    def change(topic, step, message):
        if topic == '/demo/action' and step == 7:
            message.position[1] = value
        return message

    bag = write(tmp_path / 'bag', altered(change))
    with pytest.raises(DatasetError) as caught:
        read_bag(bag, robot, READING, tmp_path / 'cache')
    text = str(caught.value)
    for part in (str(bag), '/demo/action', f'elbow is {value}', '0.350 s', 'Mend'):
        assert part in text


def test_state_that_is_not_finite_is_named(robot, tmp_path):
    def change(topic, step, message):
        if topic == '/arm/joint_states' and step == 7:
            message.position[0] = np.nan
        return message

    bag = write(tmp_path / 'bag', altered(change))
    with pytest.raises(DatasetError) as caught:
        read_bag(bag, robot, READING, tmp_path / 'cache')
    for part in (str(bag), '/arm/joint_states', 'joint shoulder is nan', 'finite'):
        assert part in str(caught.value)
    assert list((tmp_path / 'cache').iterdir()) == []


def test_steps_without_observation_are_left_out_and_told(robot, tmp_path):
    def late(item):
        topic, _, now_ns, _ = item
        step = (now_ns - START_NS) // PERIOD_NS
        return topic == '/arm/joint_states' and step < 5

    bag = write(tmp_path / 'bag', [item for item in demonstration(20) if not late(item)])
    told = []
    episode = read_bag(bag, robot, READING, tmp_path / 'cache', tell=told.append)
    assert len(episode) == 15
    assert episode.left_out == {'/arm/joint_states missing': 5}
    assert len(told) == 1
    assert '5 of 20 steps' in told[0]
    np.testing.assert_allclose(episode[0].state[:3], vector(measured(5)), atol=1e-12)


def test_recording_of_another_robot_is_refused(bag, robot, tmp_path):
    other = load_embodiment('unitree_g1')
    with pytest.raises(BagError, match='/head_camera/image_raw/compressed'):
        read_bag(bag, other, READING, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_recording_without_a_fit_observation_is_refused_with_the_reason(robot, tmp_path):
    def change(topic, _step, message):
        if topic == '/arm/joint_states':
            message.name[0] = 'waist'
        return message

    bag = write(tmp_path / 'bag', altered(change))
    with pytest.raises(DatasetError, match=r'no sample .*joint: 20.*shoulder is not in'):
        read_bag(bag, robot, READING, tmp_path / 'cache', tell=silent)
    assert list((tmp_path / 'cache').iterdir()) == []


def test_commands_that_look_like_steps_are_refused_unless_named(robot, tmp_path):
    def change(topic, step, message):
        if topic == '/demo/action':
            message.position[:] = measured(step + 1) - measured(step)
        return message

    bag = write(tmp_path / 'bag', altered(change))
    with pytest.raises(DatasetError, match='look like steps'):
        read_bag(bag, robot, READING, tmp_path / 'cache')
    told = []
    read_bag(
        bag, robot, replace(READING, actions='/demo/action'), tmp_path / 'cache', tell=told.append
    )
    assert 'look like steps' in told[0]


def test_measured_motion_can_be_the_action(bag, robot, tmp_path):
    episode = read_bag(bag, robot, replace(READING, actions='state'), tmp_path)
    expected = [vector(measured(4 + k)) for k in range(HORIZON)]
    np.testing.assert_allclose(episode[4].actions, expected, atol=1e-9)


def test_truncated_recording_is_refused_and_leaves_nothing(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(20))
    storage = next(bag.glob('*.db3'))
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    with pytest.raises(BagError, match='bag'):
        read_bag(bag, robot, READING, tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists() or list((tmp_path / 'cache').iterdir()) == []


def test_second_reading_comes_from_the_cache(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(10))
    first = read_bag(bag, robot, READING, tmp_path / 'cache')
    before = (first.folder / 'samples.npy').stat().st_mtime_ns
    shares = []
    second = read_bag(bag, robot, READING, tmp_path / 'cache', progress=shares.append)
    assert shares == [1.0]
    assert (second.folder / 'samples.npy').stat().st_mtime_ns == before
    np.testing.assert_array_equal(second[4].actions, first[4].actions)


@pytest.mark.parametrize(
    'other',
    [
        Reading((28, 28), 'antialias'),
        Reading(SIZE, 'lerobot'),
        Reading(SIZE, 'antialias', prompt='push'),
        Reading(SIZE, 'antialias', actions='state'),
    ],
)
def test_other_settings_have_a_cache_of_their_own(bag, robot, tmp_path, other):
    first = read_bag(bag, robot, READING, tmp_path)
    assert read_bag(bag, robot, other, tmp_path).folder != first.folder


def test_another_embodiment_has_a_cache_of_its_own_wherever_its_file_lies(bag, robot, tmp_path):
    first = read_bag(bag, robot, READING, tmp_path / 'cache')
    moved = replace(robot, source='elsewhere.yaml')
    assert read_bag(bag, moved, READING, tmp_path / 'cache').folder == first.folder
    wider = load_embodiment(write_embodiment(tmp_path, horizon=12, executed_steps=5))
    assert read_bag(bag, wider, READING, tmp_path / 'cache').folder != first.folder


def cut(folder):
    path = folder / 'pictures-base_0_rgb.npy'
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / 'samples.npy'
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def foreign(folder):
    path = folder / 'episode.json'
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {'key': 'f' * 32}))


def garbage(folder):
    (folder / 'episode.json').write_text('{')


def emptied(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize('damage', [cut, flip, foreign, garbage, emptied])
def test_damaged_or_foreign_cache_is_made_anew_and_told(robot, tmp_path, damage):
    bag = write(tmp_path / 'bag', demonstration(8))
    first = read_bag(bag, robot, READING, tmp_path / 'cache')
    expected = [(first[n].actions, dict(first[n].images)) for n in range(8)]
    damage(first.folder)
    told = []
    second = read_bag(bag, robot, READING, tmp_path / 'cache', tell=told.append)
    assert len(told) == 1
    assert 'made anew' in told[0]
    for number, (actions, images) in enumerate(expected):
        np.testing.assert_array_equal(second[number].actions, actions)
        for slot, shown in images.items():
            np.testing.assert_array_equal(second[number].images[slot], shown)
    read_bag(bag, robot, READING, tmp_path / 'cache', tell=told.append)
    assert len(told) == 1


def test_picture_file_cut_off_under_a_running_training_is_told(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(8))
    episode = read_bag(bag, robot, READING, tmp_path / 'cache')
    cut(episode.folder)
    with pytest.raises(DatasetError, match=r'pictures-base_0_rgb.npy: found the end of the file'):
        episode[7].images['base_0_rgb']


def test_full_disk_is_told_and_leaves_nothing_half_written(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(STEPS))
    cache = tmp_path / 'cache'
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(DatasetError, match=r'File too large.*room to write.*nothing half'):
            read_bag(bag, robot, READING, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.iterdir()) == []
    assert len(read_bag(bag, robot, READING, cache)) == STEPS


def test_cache_that_cannot_be_made_is_told(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(4))
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match='room to write'):
        read_bag(bag, robot, READING, tmp_path / 'file' / 'cache')


def test_interrupted_reading_leaves_nothing(robot, tmp_path):
    bag = write(tmp_path / 'bag', demonstration(STEPS))

    def interrupt(share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_bag(bag, robot, READING, tmp_path / 'cache', progress=interrupt)
    assert list((tmp_path / 'cache').iterdir()) == []


BASE = {
    'group': 'base',
    'output': 'twist',
    'topic': '/cmd_vel',
    'message': 'twist',
    'joints': [{'name': 'linear.x', 'index': 3, 'velocity': 0.5, 'max_step': 0.5}],
}


def test_base_stands_still_behind_the_end(robot, tmp_path):
    groups = yaml.safe_load(EMBODIMENT)['actions']
    driving = load_embodiment(write_embodiment(tmp_path, actions=[*groups, BASE]))
    types = Types()

    def driven():
        for item in demonstration(30):
            yield item
            if item[0] == '/demo/action':
                yield '/cmd_vel', 'geometry_msgs/msg/Twist', item[2], _twist(types, 0.3)

    bag = write(tmp_path / 'bag', driven())
    episode = read_bag(bag, driving, READING, tmp_path / 'cache')
    example = episode[27]
    np.testing.assert_array_equal(example.actions_valid, np.arange(HORIZON) < 3)
    np.testing.assert_allclose(example.actions[:, 3], [0.3] * 3 + [0.0] * 7)
    np.testing.assert_allclose(example.actions[3:, :3], [vector(commanded(29))] * 7)


def _twist(types, speed):
    vector3 = types.store.types['geometry_msgs/msg/Vector3']
    return types.store.types['geometry_msgs/msg/Twist'](
        linear=vector3(x=speed, y=0.0, z=0.0), angular=vector3(x=0.0, y=0.0, z=0.0)
    )


@pytest.mark.parametrize(('late', 'lines'), [(6, 1), (1, 0)])
def test_gripper_without_any_command_yet_is_no_sample(robot, tmp_path, late, lines):
    """A recording that begins between the commands of two groups is not worth a word."""
    types = Types()

    def told_late():
        for topic, kind, now_ns, message in demonstration(20):
            step = (now_ns - START_NS) // PERIOD_NS
            if topic == '/demo/action':
                message = types.joints(now_ns, JOINTS[:2], commanded(step)[:2])
                if step in (late, 12):
                    goal = types.values([0.02 if step == 12 else 0.01])
                    layout = 'std_msgs/msg/Float64MultiArray'
                    yield '/gripper_controller/commands', layout, now_ns, goal
            yield topic, kind, now_ns, message

    bag = write(tmp_path / 'bag', told_late())
    told = []
    episode = read_bag(bag, robot, READING, tmp_path / 'cache', tell=told.append)
    assert episode.left_out == {'no action known': late}
    assert len(told) == lines
    before = min(12 - late, HORIZON)
    expected = [0.1] * before + [0.2] * (HORIZON - before)
    np.testing.assert_allclose(episode[0].actions[:, 2], expected)


def test_recorded_humanoid_becomes_samples(tmp_path):
    path = SHARED / 'unitree_g1_ep010'
    if not path.exists():
        pytest.skip('the shared recordings are not here')
    robot = load_embodiment('unitree_g1')
    episode = read_bag(path, robot, Reading((56, 56), 'antialias', 'wave'), tmp_path, tell=silent)
    assert len(episode) == 290
    first = episode[0]
    vector_of = RawActions(robot)
    np.testing.assert_allclose(
        vector_of.vector(vector_of.raw(first.actions)), first.actions, atol=1e-12
    )
    assert np.abs(first.actions[0] - first.state[:14]).max() < 0.2
    assert first.images['base_0_rgb'].std() > 10
