"""The recorder: raw messages with their types and the times of the node's clock."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from pizero_ros.msg import ActionChunk, PolicyStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pizero_ros.replay.bag import open_bag

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START_NS = 1_700_000_000_123_456_789
LATER_NS = START_NS + 2_000_000_000


@pytest.fixture
def record(robot, tmp_path):
    """Starts recorders; kills those that a failed test left."""
    processes = []
    program = Path(get_package_prefix('pizero_ros'), 'lib', 'pizero_ros', 'record_node')

    def run(**parameters):
        command = [str(program), '--ros-args']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={value}']
        environment = os.environ | {'ROS_DOMAIN_ID': str(robot.context.get_domain_id())}
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def messages():
    """One message of each default topic, and one of a topic that is asked for besides."""
    point = JointTrajectoryPoint(positions=[0.1] * 6)
    chunk = ActionChunk(prompt='wave', horizon=1, width=2, actions=[0.5, 1.5], streams=['/a'])
    chunk.stream_stamps = [chunk.header.stamp]
    return {
        '/policy_node/chunk': chunk,
        '/policy_node/status': PolicyStatus(state=PolicyStatus.STATE_DRY_RUN, prompt='wave'),
        '/policy_node/prompt': String(data='wave'),
        '/arm_controller/joint_trajectory': JointTrajectory(points=[point]),
        '/gripper_controller/commands': Float64MultiArray(data=[0.04]),
        '/more': JointState(name=['a'], position=[0.25]),
    }


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_recording_reads_back_with_types_times_and_qos(robot, record, tmp_path, number):
    process = record(
        folder='said', embodiment='sim_single_arm', topics='[/more, /never]', use_sim_time='true'
    )
    qos = {'/policy_node/status': LATCHED, '/more': qos_profile_sensor_data}
    publishers = {
        topic: robot.node.create_publisher(type(message), topic, qos.get(topic, 10))
        for topic, message in messages().items()
    }
    robot.until(lambda: all(each.get_subscription_count() for each in publishers.values()))
    # Before the clock has begun; it is on the record with the clock's beginning.
    publishers['/policy_node/status'].publish(messages()['/policy_node/status'])
    robot.until(robot._clock.get_subscription_count)
    time_ns = [START_NS]
    robot._every(0.01, lambda: robot.set_time(time_ns[0]))
    robot.until(lambda: robot.time_ns == START_NS)
    for topic, message in messages().items():
        if topic != '/policy_node/status':
            publishers[topic].publish(message)
    time_ns[0] = LATER_NS
    robot.until(lambda: robot.time_ns == LATER_NS)
    publishers['/policy_node/chunk'].publish(messages()['/policy_node/chunk'])
    process.send_signal(number)
    robot.until(lambda: process.poll() is not None)
    log = process.stderr.read()
    assert process.returncode == 0, log
    assert '/never: nobody published it' in log
    assert f'recorded {len(publishers) + 1} messages in said' in log

    with open_bag(tmp_path / 'said') as bag:
        found = list(bag.messages())
        assert {each.topic for each in found} == set(publishers)
        for each in found:
            sent = messages()[each.topic]
            assert deserialize_message(each.raw, type(sent)) == sent
            assert each.time_ns in (START_NS, LATER_NS)
        assert [each.topic for each in found if bag.topics[each.topic].latched] == [
            '/policy_node/status'
        ]
        decoded = {each.topic: bag.decode(each) for each in found}
        chunk = decoded['/policy_node/chunk']
        assert (chunk.prompt, chunk.actions.tolist(), chunk.streams) == (
            'wave',
            [0.5, 1.5],
            ['/a'],
        )
        assert decoded['/policy_node/status'].state == PolicyStatus.STATE_DRY_RUN
        assert decoded['/more'].position.tolist() == [0.25]
        arm = decoded['/arm_controller/joint_trajectory']
        assert arm.points[0].positions.tolist() == [0.1] * 6
        assert bag.start_ns == START_NS


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'folder': '.', 'embodiment': 'franka'}, 'Name another one; recordings are never'),
        ({'embodiment': 'franka'}, 'record_node: folder: found nothing'),
        ({'folder': 'said'}, 'record_node: embodiment: found nothing'),
        ({'folder': 'said', 'embodiment': 'frank'}, "Did you mean 'franka'"),
    ],
)
def test_recorder_that_cannot_record_says_why(record, parameters, reason):
    process = record(**parameters)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 1
    assert reason in log
    assert 'Traceback' not in log
