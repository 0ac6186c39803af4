"""The simulated robot over real DDS: sensors out, commands in, counters and a clean end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pizero_ros.embodiment.load import load_embodiment

pytest.importorskip('mujoco', reason='the simulation extra is not installed')

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = 70 + os.getpid() % 30
CODE = 'from pizero_ros.nodes.sim_robot import main; raise SystemExit(main())'
ARM = [f'joint_{k}' for k in range(1, 7)]


class Graph:
    """The other side of the robot's topics: keeps every message with its arrival time."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = Node('tester', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received = defaultdict(list)
        self.processes = []

    def start(self, *parameters, name='sim_robot'):
        command = [sys.executable, '-c', CODE, '--ros-args', '-r', f'__node:={name}']
        for parameter in parameters:
            command += ['-p', parameter]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
        environment = os.environ | {'PYTHONPATH': path, 'ROS_DOMAIN_ID': str(DOMAIN)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def listen(self, kind, topic, qos=qos_profile_sensor_data):
        self.node.create_subscription(kind, topic, self.received[topic].append, qos)
        return self.received[topic]

    def publisher(self, kind, topic):
        publisher = self.node.create_publisher(kind, topic, 10)
        self.until(publisher.get_subscription_count)
        return publisher

    def until(self, condition, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        assert condition()

    def spin(self, duration_s):
        end = time.monotonic() + duration_s
        self.until(lambda: time.monotonic() > end)

    def parameters(self, node, names):
        """Ask a node for parameters; return their values."""
        client = self.node.create_client(GetParameters, f'{node}/get_parameters')
        self.until(client.service_is_ready)
        future = client.call_async(GetParameters.Request(names=names))
        self.until(future.done)
        self.node.destroy_client(client)
        return [_plain(parameter_value_to_python(value)) for value in future.result().values]

    def stop(self, process, number):
        process.send_signal(number)
        self.until(lambda: process.poll() is not None)
        _, text = process.communicate()
        assert process.returncode == 0, text
        assert 'Traceback' not in text

    def now(self):
        return self.node.get_clock().now()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


def _seconds(stamp):
    return stamp.sec + stamp.nanosec * 1e-9


def _plain(value):
    return value if isinstance(value, bool | int | float | str) else list(value)


def _trajectory(graph, names, start, goal):
    """50 points in one second."""
    message = JointTrajectory(joint_names=names)
    message.header.stamp = graph.now().to_msg()
    for k in range(1, 51):
        nanoseconds = k * 20_000_000
        row = np.asarray(start) + (np.asarray(goal) - start) * (k / 50)
        message.points.append(
            JointTrajectoryPoint(
                positions=row.tolist(),
                time_from_start=Duration(
                    sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000
                ),
            )
        )
    return message


def _values(diagnostics, name):
    status = next(s for s in diagnostics[-1].status if s.name == f'sim_robot: {name}')
    return {pair.key: pair.value for pair in status.values}


def test_single_arm_reports_its_sensors_and_follows_trajectories(graph, tmp_path):
    stats = tmp_path / 'stats.json'
    robot = load_embodiment('sim_single_arm')
    process = graph.start('embodiment:=sim_single_arm', f'stats_file:={stats}', 'width:=96')
    states = graph.listen(JointState, '/joint_states')
    commanded = graph.listen(JointState, '/sim_robot/commanded')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics', 10)
    pictures = {c.topic: graph.listen(Image, c.topic) for c in robot.cameras}
    arm = graph.publisher(JointTrajectory, '/arm_controller/joint_trajectory')
    gripper = graph.publisher(Float64MultiArray, '/gripper_controller/commands')
    graph.until(lambda: states and commanded and diagnostics and all(pictures.values()))

    assert states[0].name == [*ARM, 'gripper_joint']
    assert len(states[0].velocity) == len(states[0].effort) == 7
    start = [robot.neutral[name] for name in ARM]
    assert states[-1].position[:6] == pytest.approx(start, abs=0.01)
    assert abs(_seconds(states[-1].header.stamp) - graph.now().nanoseconds * 1e-9) < 1.0
    for topic, images in pictures.items():
        image = images[-1]
        assert (image.width, image.height, image.step) == (96, 224, 288), topic
        assert (image.encoding, len(image.data)) == ('rgb8', 96 * 224 * 3)
        assert image.header.frame_id == f'{topic.split("/")[1]}_optical_frame'
        assert 60 < np.frombuffer(image.data, np.uint8).mean() < 220

    goal = [value + 0.25 for value in start]
    arm.publish(_trajectory(graph, ARM, start, goal))
    gripper.publish(Float64MultiArray(data=[0.035]))
    graph.until(lambda: states[-1].position == pytest.approx([*goal, 0.035], abs=0.01))
    graph.until(lambda: commanded[-1].position == pytest.approx([*goal, 0.035]))
    assert commanded[-1].name == [*ARM, 'gripper_joint']

    arm.publish(_trajectory(graph, [*ARM[:5], 'elbow'], start, goal))
    arm.publish(JointTrajectory(joint_names=ARM))
    graph.until(lambda: _values(diagnostics, 'arm').get('rejected') == '2')
    assert _values(diagnostics, 'arm') == {
        'accepted': '1',
        'rejected': '2',
        'rejected.unknown_joint': '1',
        'rejected.no_points': '1',
    }
    assert int(_values(diagnostics, 'cameras')['/wrist_camera/image_raw']) > 10
    assert 0.0 < float(_values(diagnostics, 'clock')['sim_wall_ratio']) < 1.1

    graph.stop(process, signal.SIGINT)
    report = json.loads(stats.read_text())
    rejections = {'unknown_joint': 1, 'no_points': 1}
    assert report['groups']['arm'] == {'accepted': 1, 'rejected': 2, 'rejections': rejections}
    assert report['groups']['gripper'] == {'accepted': 1, 'rejected': 0, 'rejections': {}}
    for topic, images in pictures.items():
        assert report['frames_sent'][topic] >= len(images)


def test_mobile_robot_drives_until_commands_stop(graph):
    process = graph.start('embodiment:=sim_mobile', 'width:=64', 'height:=64')
    odometry = graph.listen(Odometry, '/base_controller/odom')
    states = graph.listen(JointState, '/joint_states')
    base = graph.publisher(TwistStamped, '/base_controller/cmd_vel')
    torso = graph.publisher(JointTrajectory, '/torso_controller/joint_trajectory')
    graph.until(lambda: odometry and states)
    assert len(states[0].name) == 15
    assert odometry[0].header.frame_id == 'odom'
    assert odometry[0].child_frame_id == 'base_link'

    torso.publish(_trajectory(graph, ['torso_joint'], [0.1], [0.2]))
    for _ in range(10):
        command = TwistStamped()
        command.header.stamp = graph.now().to_msg()
        command.twist.linear.x, command.twist.angular.z = -0.2, 0.3
        base.publish(command)
        graph.spin(0.1)
    moving = odometry[-1].twist.twist
    assert (moving.linear.x, moving.angular.z) == pytest.approx((-0.2, 0.3), abs=0.02)
    graph.until(lambda: abs(odometry[-1].twist.twist.linear.x) < 0.001)
    pose, twist = odometry[-1].pose.pose, odometry[-1].twist.twist
    assert (twist.linear.x, twist.angular.z) == pytest.approx((0.0, 0.0), abs=0.01)
    assert pose.position.x < -0.05
    yaw = 2 * math.atan2(pose.orientation.z, pose.orientation.w)
    assert 0.1 < yaw < 1.0
    lifted = states[-1].name.index('torso_joint')
    graph.until(lambda: states[-1].position[lifted] == pytest.approx(0.2, abs=0.005))
    graph.stop(process, signal.SIGTERM)


def test_faults_appear_at_the_sensors(graph):
    faults = [
        'black:/top_camera/image_raw',
        'missing:/right_wrist_camera/image_raw',
        'nan:left_joint_2',
        'minus_one:/right/joint_states',
    ]
    text = ', '.join(f'"{fault}"' for fault in faults)
    process = graph.start('embodiment:=sim_dual_arm', f'faults:=[{text}]', 'width:=64')
    left = graph.listen(JointState, '/left/joint_states')
    right = graph.listen(JointState, '/right/joint_states')
    top = graph.listen(Image, '/top_camera/image_raw')
    wrist = graph.listen(Image, '/left_wrist_camera/image_raw')
    missing = graph.listen(Image, '/right_wrist_camera/image_raw')
    graph.until(lambda: min(len(left), len(right), len(top), len(wrist)) > 3)
    assert not any(np.frombuffer(image.data, np.uint8).any() for image in top)
    assert np.frombuffer(wrist[-1].data, np.uint8).mean() > 60
    assert missing == []
    assert [math.isnan(value) for value in left[-1].position].index(True) == 1
    assert sum(math.isnan(value) for value in left[-1].position) == 1
    assert list(right[-1].position) == [-1.0] * 7
    graph.stop(process, signal.SIGINT)


def test_own_clock_and_stamps_agree(graph):
    process = graph.start('publish_clock:=true', 'width:=64', 'height:=64')
    clock = graph.listen(Clock, '/clock', 10)
    states = graph.listen(JointState, '/joint_states', 10)
    graph.until(lambda: len(clock) > 50 and len(states) > 50)
    ticks = [_seconds(tick.clock) for tick in clock]
    assert ticks == sorted(ticks)
    stamps = {(s.header.stamp.sec, s.header.stamp.nanosec) for s in states}
    assert len(stamps & {(t.clock.sec, t.clock.nanosec) for t in clock}) >= 40
    graph.stop(process, signal.SIGINT)


def test_controllers_are_nodes_with_the_parameters_of_real_ones(graph):
    # Renamed as by a launch file, which must not rename the controllers.
    process = graph.start(
        'embodiment:=sim_mobile', 'width:=64', 'height:=64', 'replacement:=blend', name='robot'
    )
    arm = graph.parameters(
        '/left_arm_controller',
        ['joints', 'interpolate_from_desired_state', 'allow_partial_joints_goal'],
    )
    assert arm == [[f'left_joint_{k}' for k in range(1, 7)], True, False]
    assert graph.parameters('/torso_controller', ['allow_trajectory_replacement']) == [True]
    base = graph.parameters('/base_controller', ['cmd_vel_timeout', 'use_stamped_vel'])
    assert base == [0.5, True]
    names = {name for name, _ in graph.node.get_node_names_and_namespaces()}
    groups = load_embodiment('sim_mobile').actions
    assert names >= {'robot', *(group.topic.split('/')[1] for group in groups)}
    graph.stop(process, signal.SIGINT)


def test_wrong_parameters_are_named(graph):
    wrong = {
        'embodiment:=no_such_robot': 'no_such_robot',
        'replacement:=maybe': 'discard or blend',
        'faults:=["purple:/x"]': 'purple',
        'width:=3': 'width',
    }
    for process, fragment in [(graph.start(p), fragment) for p, fragment in wrong.items()]:
        _, text = process.communicate(timeout=60)
        assert process.returncode == 1
        assert fragment in text
        assert 'Traceback' not in text
