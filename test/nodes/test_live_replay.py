"""A recording played through DDS and the same one read offline: equal inputs, equal chunks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from bags import demonstration, write, write_embodiment
from bundles import refit
from pizero_ros.msg import PolicyStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.sensors import Sensors
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.observation import Observation
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.opened import open_policy
from pizero_ros.policy.predictor import prompt_encoder
from pizero_ros.processing.pipeline import InputPipeline
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import INSTRUCTION, Recording
from pizero_ros.replay.reproduce import reproduce

G1 = Path(__file__).resolve().parents[2] / '../shared/data/bags/unitree_g1_ep010'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HORIZON = 50
TOLERANCE = 1e-6


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A robot with a raw and a compressed camera and joints on two topics."""
    folder = tmp_path_factory.mktemp('robot')
    limits = {'image_max_age_s': 0.6, 'state_max_age_s': 0.6, 'max_skew_s': 0.6}
    return write_embodiment(folder, horizon=HORIZON, staleness=limits)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory, tiny_bundle, small):
    """A bundle with random weights for that robot and for the Unitree G1."""
    robots = [load_embodiment(small), load_embodiment('unitree_g1')]
    return refit(tiny_bundle, tmp_path_factory.mktemp('bundles') / 'tiny', robots)


@pytest.fixture(params=['generated', 'unitree_g1'])
def recorded(request, tmp_path, small):
    """A recording, its robot, and a kind of noise."""
    if request.param == 'generated':
        return write(tmp_path / 'bag', demonstration(50), pad=b'trailing'), small, 'continuous'
    if not G1.exists():
        pytest.skip('shared/data/bags is not here')
    return G1, 'unitree_g1', 'gaussian'


@pytest.fixture
def start(robot):
    """Starts nodes of the package beside the robot; ends those that a failed test left."""
    processes = []

    def run(name, remap='', **parameters):
        program = Path(get_package_prefix('pizero_ros'), 'lib', 'pizero_ros', name)
        command = [str(program), '--ros-args']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={value}']
        if remap:
            command += ['-r', remap]
        domain = str(robot.context.get_domain_id())
        environment = os.environ | {'ROS_DOMAIN_ID': domain}
        processes.append(subprocess.Popen(command, env=environment))
        return processes[-1]

    yield run
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGABRT)
        process.wait()


def observed(assembler, now_ns, prompt):
    result = assembler.observe(now_ns, prompt)
    assert isinstance(result, Observation), str(result)
    return result


def test_inputs_through_dds_equal_those_read_offline_byte_for_byte(robot, start, bundle, recorded):
    path, name, _ = recorded
    embodiment = load_embodiment(name)
    opened = Bundle.open(bundle)
    pipeline = InputPipeline(
        opened.manifest.model,
        opened.semantics(embodiment.name),
        prompt_encoder(opened),
        embodiment,
    )
    live, offline = ObservationAssembler(embodiment), ObservationAssembler(embodiment)
    now_ns, compared = 0, 0
    heard, told = ['wave'], ['wave']
    sensors = Sensors(
        robot.node, embodiment, live, now_ns=lambda: now_ns, frame_arrived=lambda _: None
    )
    robot.node.create_subscription(String, INSTRUCTION, lambda m: heard.append(m.data), LATCHED)
    process = start('replay_node', bag=path, embodiment=name, start_paused='true')
    step = robot.node.create_client(Trigger, '/replay_node/step')
    assert step.wait_for_service(timeout_sec=20.0)

    def next_moment():
        """Let the node play one moment; return its time and number of messages."""
        while True:
            answer = step.call_async(Trigger.Request())
            robot.until(answer.done)
            response = answer.result()
            if response.success:
                sec, nanosec, count = re.fullmatch(
                    r'(\d+)\.(\d{9}): (\d+) messages', response.message
                ).groups()
                return int(sec) * 1_000_000_000 + int(nanosec), int(count)
            assert 'has begun' in response.message

    with open_bag(path) as bag:
        intake = Intake(embodiment, offline)
        messages = list(Recording(bag, embodiment).messages())
        while messages and compared < 40:
            now_ns = messages[0].time_ns
            together = [each for each in messages if each.time_ns == now_ns]
            assert next_moment() == (now_ns, len(together))
            for each in together:
                if each.topic == INSTRUCTION:
                    told.append(each.message.data)
                else:
                    intake.take(each.topic, each.message, each.header_ns, each.time_ns)
            del messages[: len(together)]
            robot.until(lambda: live.newest_stamps() == offline.newest_stamps())
            robot.until(lambda: heard == told)
            if len(live.newest_stamps()) < len(embodiment.cameras) + len(embodiment.state):
                continue
            one, other = (
                observed(live, now_ns, heard[-1]),
                observed(offline, now_ns, told[-1]),
            )
            assert one.stamps_ns == other.stamps_ns
            np.testing.assert_array_equal(one.state, other.state)
            ours, theirs = pipeline(one), pipeline(other)
            for field in ('images', 'state', 'tokens'):
                assert getattr(ours, field).dtype == getattr(theirs, field).dtype
                assert np.array_equal(getattr(ours, field), getattr(theirs, field))
            compared += 1
    assert compared == 40
    process.send_signal(signal.SIGINT)
    robot.until(lambda: process.poll() is not None)
    assert process.returncode == 0
    sensors.destroy()


def test_live_chunks_are_those_computed_offline(robot, start, bundle, recorded, tmp_path):
    path, name, noise = recorded
    embodiment = load_embodiment(name)
    robot.embodiment = embodiment
    robot.run_policy(
        embodiment=str(name), bundle=str(bundle), prompt='wave', noise=noise, noise_seed=7,
        use_sim_time=True, dry_run=True, replay=True, autostart=True,
    )  # fmt: skip
    recorder = start('record_node', folder=tmp_path / 'said', embodiment=name, use_sim_time='true')
    # Both the recorder and this robot are to hear the first chunk.
    robot.until(lambda: robot.node.count_subscribers('/policy_node/chunk') == 2)
    player = start(
        'replay_node',
        remap='/instruction:=/policy_node/prompt',
        bag=path,
        embodiment=name,
        rate=3.0,
        wait_for_active='[policy_node]',
        wait_for_listener='[policy_node/chunk]',
        stats_file=tmp_path / 'stats.json',
    )
    robot.until(lambda: player.poll() is not None)
    assert player.returncode == 0
    stats = json.loads((tmp_path / 'stats.json').read_text())
    heard = {topic for topic, count in stats['sent'].items() if count}
    assert stats['in_bag'].keys() - heard == {'/demo/action'}
    assert all(stats['sent'][topic] == stats['in_bag'][topic] for topic in heard)
    assert robot.deactivate()
    robot.wait_for_state(PolicyStatus.STATE_INACTIVE)
    recorder.send_signal(signal.SIGINT)
    robot.until(lambda: recorder.poll() is not None)
    assert recorder.returncode == 0

    with open_bag(path) as source, open_bag(tmp_path / 'said') as said:
        policy = open_policy(bundle, embodiment)
        found = reproduce(source, said, embodiment, policy, noise=noise, noise_seed=7)
        assert [each.sequence for each in found] == list(range(len(found)))
        assert len(found) == robot.status.chunks_received >= 5
        assert max(each.difference for each in found) <= TOLERANCE
        wrong = reproduce(source, said, embodiment, policy, noise=noise, noise_seed=8)
        assert min(each.difference for each in wrong) > 100 * TOLERANCE
        # What the robot said lies on the clock of what it heard.
        assert source.start_ns <= said.start_ns <= said.end_ns <= source.end_ns
    assert robot.commands() == 0
