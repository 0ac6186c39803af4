"""Demonstrations through real nodes: recorded, indexed, and read back as training samples."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from pizero_ros.demo.installation import free_domain
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.expert_recorder import ACTIONS, DemonstrationRecorder
from pizero_ros.nodes.sim_clock import JOINTS, PacedClock
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import INSTRUCTION
from pizero_ros.training.bag_examples import Reading, read_bag

pytest.importorskip('mujoco', reason='the simulation extra is not installed')

PIZERO = Path(get_package_prefix('pizero_ros'), 'lib', 'pizero_ros', 'pizero')


def pizero(*words):
    environment = os.environ | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    return subprocess.run(
        [str(PIZERO), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """Two episodes on the robot that has everything: arms, grippers, torso and base."""
    folder = tmp_path_factory.mktemp('demonstrations')
    result = pizero(
        *('demonstrate', '--embodiment', 'sim_mobile', '--task', 'touch_red_left'),
        *('--task', 'drive_green', '--episodes', 2, '--size', 48, '--seed', 40),
        *('--out', folder / 'out', '--json', folder / 'result.json'),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result


def test_episodes_are_recorded_and_indexed(recorded):
    folder, result = recorded
    assert '2 recordings' in result.stdout
    summary = json.loads((folder / 'result.json').read_text())
    assert (summary['episodes'], summary['succeeded'], summary['made']) == (2, 2, 2)
    index = json.loads((folder / 'out' / 'episodes.json').read_text())
    assert (index['embodiment'], index['seed'], index['width']) == ('sim_mobile', 40, 48)
    first, second = index['episodes']
    assert (first['seed'], first['task'], first['kind']) == (40, 'touch_red_left', 'curated')
    assert (second['seed'], second['task']) == (41, 'drive_green')
    for episode in (first, second):
        assert episode['success']
        assert episode['followed']
        # How often a base's step is ramped depends on the machine; nothing else may happen.
        assert set(episode['interventions']) <= {'base.acceleration'}
        assert 1.0 < episode['duration_s'] < 9.0
        expected = {
            '/head_camera/image_raw': 30,
            '/joint_states': 80,
            '/base_controller/odom': 40,
            '/expert_node/actions': 50,
        }
        for topic, rate_hz in expected.items():
            assert episode['messages'][topic] >= 0.9 * rate_hz * episode['duration_s'], topic
        with open_bag(folder / 'out' / episode['bag']) as bag:
            counts = {topic.name: topic.count for topic in bag.topics.values()}
            assert counts == episode['messages']


def test_recordings_are_training_samples_with_their_instruction(recorded, tmp_path):
    folder, _ = recorded
    embodiment = load_embodiment('sim_mobile')
    index = json.loads((folder / 'out' / 'episodes.json').read_text())
    reading = Reading((48, 48), 'antialias')
    told = []
    read = [
        read_bag(folder / 'out' / episode['bag'], embodiment, reading, tmp_path, tell=told.append)
        for episode in index['episodes']
    ]
    for episode, samples in zip(index['episodes'], read, strict=True):
        assert len(samples) >= 0.9 * episode['messages']['/expert_node/actions']
        for number in (0, len(samples) // 2, len(samples) - 1):
            example = samples[number]
            assert [example.prompt] == episode['instructions']
            assert set(example.images) == {'base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb'}
            assert all(picture.std() > 5.0 for picture in example.images.values())
            assert example.actions.shape == (50, 18)
            assert example.actions[0, :14] == pytest.approx(example.state[:14], abs=0.06)
    touch, drive = read
    middle = touch[len(touch) // 3]
    assert middle.actions_valid.all()
    assert np.ptp(middle.actions[:, :6], axis=0).max() > 0.1
    assert np.ptp(middle.actions[:, 14:17], axis=0).max() < 1e-6
    assert touch[0].actions[0, 6] == pytest.approx(0.0)
    assert np.abs(drive[len(drive) // 3].actions[:, 14:16]).max() > 0.2


def test_steps_told_one_by_one_are_samples_of_their_own(tmp_path):
    result = pizero(
        *('demonstrate', '--embodiment', 'sim_single_arm', '--episodes', 1, '--size', 48),
        *('--task', 'touch_red_then_hover_blue', '--stepwise', '--out', tmp_path / 'out'),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (episode,) = json.loads((tmp_path / 'out' / 'episodes.json').read_text())['episodes']
    first, second = episode['instructions']
    assert 'red' in first
    assert 'blue' in second
    samples = read_bag(
        tmp_path / 'out' / episode['bag'],
        load_embodiment('sim_single_arm'),
        Reading((48, 48), 'antialias'),
        tmp_path / 'cache',
        tell=lambda _: None,
    )
    prompts = [samples[number].prompt for number in range(len(samples))]
    change = prompts.index(second)
    assert prompts == [first] * change + [second] * (len(prompts) - change)
    assert 25 < change < len(prompts) - 25
    # What belongs to the first step stays with the touched cube: nothing of the way to the other.
    last = samples[change - 1]
    assert np.ptp(last.actions[:, :6], axis=0).max() < 0.02
    assert last.actions[0, 6] == pytest.approx(0.0)
    assert samples[change + 5].actions[0, 6] == pytest.approx(0.03)


def test_instruction_that_comes_after_the_first_action_is_recorded_before_it(robot, tmp_path):
    embodiment = load_embodiment('sim_single_arm')
    recorder = DemonstrationRecorder(robot.node, embodiment)
    actions = robot.node.create_publisher(JointState, ACTIONS, 10)
    states = robot.node.create_publisher(JointState, '/joint_states', 10)
    told = robot.node.create_publisher(String, INSTRUCTION, LATCHED)
    robot.until(lambda: actions.get_subscription_count() and states.get_subscription_count())

    def send(publisher, seconds):
        message = JointState(name=['joint_1'], position=[0.1])
        message.header.stamp.sec = seconds
        publisher.publish(message)

    told.publish(String(data='the one before'))
    robot.until(lambda: recorder.instruction == 'the one before')
    recorder.forget_instruction()
    recorder.begin(tmp_path / 'bag', 10_000_000_000)
    for seconds in (9, 10, 11):
        send(states, seconds)
        send(actions, seconds)
    robot.until(lambda: len(recorder._early) == 4)
    assert recorder.counts == {}
    told.publish(String(data='touch the red cube'))
    robot.until(lambda: recorder.counts['/joint_states'])
    told.publish(String(data='hover over it'))
    robot.until(lambda: recorder.counts[INSTRUCTION] == 2)
    send(actions, 12)
    robot.until(lambda: recorder.counts[ACTIONS] == 3)
    assert recorder.end(keep=True) > 0
    with open_bag(tmp_path / 'bag') as bag:
        found = [(each.topic, each.time_ns, bag.decode(each)) for each in bag.messages()]
    said = [(time_ns, each.data) for topic, time_ns, each in found if topic == INSTRUCTION]
    assert said == [(10_000_000_000, 'touch the red cube'), (11_000_000_001, 'hover over it')]
    acted = [time_ns for topic, time_ns, _ in found if topic == ACTIONS]
    assert acted == [10_000_000_000, 11_000_000_000, 12_000_000_000]


def test_asked_again_it_makes_what_is_missing_only(recorded):
    folder, _ = recorded
    before = (folder / 'out' / 'episodes.json').read_text()
    same = (
        *('demonstrate', '--embodiment', 'sim_mobile', '--task', 'touch_red_left'),
        *('--task', 'drive_green', '--size', 48, '--seed', 40, '--out', folder / 'out'),
    )
    result = pizero(*same, '--episodes', 2)
    assert result.returncode == 0
    assert '0 made now' in result.stdout
    assert (folder / 'out' / 'episodes.json').read_text() == before
    other = pizero(*same, '--episodes', 2, '--imperfect', 0.5)
    assert other.returncode == 1
    assert 'imperfect: found 0.0, expected 0.5' in other.stderr


def test_scenes_of_evaluation_are_refused(tmp_path):
    result = pizero(
        *('demonstrate', '--embodiment', 'sim_single_arm', '--out', tmp_path / 'out'),
        *('--seed', 999_990, '--episodes', 20),
    )
    assert result.returncode == 1
    assert 'kept for evaluation' in result.stderr
    assert not (tmp_path / 'out').exists()


def test_robot_without_tasks_is_refused(tmp_path):
    result = pizero('demonstrate', '--embodiment', 'ur5e', '--out', tmp_path / 'out')
    assert result.returncode == 2
    assert 'Only these robots have tasks in simulation' in result.stderr


def test_speed_needs_a_clock_of_its_own():
    program = PIZERO.with_name('sim_robot')
    result = subprocess.run(
        [str(program), '--ros-args', '-p', 'speed:=2.0'],
        env=os.environ | {'ROS_DOMAIN_ID': str(free_domain())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert 'publish_clock: found false, expected true with speed 2' in result.stderr


def test_paced_clock_waits_and_never_goes_back():
    clock = PacedClock(1000.0, waits=True)
    start = clock.now_ns()
    clock.wait_at(JOINTS, start + 5_000_000)
    seen = [clock.now_ns() for _ in range(2000)]
    assert seen == sorted(seen)
    assert seen[-1] == start + 5_000_000
    clock.wait_at(JOINTS, start + 1_000_000)
    assert clock.now_ns() == start + 5_000_000
    clock.wait_at(JOINTS, start + 6_000_000)
    while clock.now_ns() < start + 6_000_000:
        pass
    assert clock.now_ns() == start + 6_000_000
