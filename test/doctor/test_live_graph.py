"""``pizero doctor`` on real graphs: the simulated robot, an empty domain, a robot with faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path

import pytest
import rclpy
import yaml
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.cli.main import main
from pizero_ros.embodiment.load import load_embodiment

# Above the ephemeral ports of Linux (7400 + 250 * domain), where no other test is.
DOMAINS = (215 + os.getpid() % 9, 224 + os.getpid() % 9)
ROBOT = 'from pizero_ros.nodes.sim_robot import main; raise SystemExit(main())'
DOCTOR = """
import sys
from pizero_ros.cli.main import main
status = main(sys.argv[1:])
assert 'torch' not in sys.modules, 'the robot has no torch'
raise SystemExit(status)
"""
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def _environment(domain):
    return os.environ | {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


@pytest.fixture
def write_robot(tmp_path):
    """Write ``sim_single_arm`` with a change, and with time limits for a busy machine."""

    def write(change=lambda content: None):
        content = yaml.safe_load(Path(load_embodiment('sim_single_arm').source).read_text())
        content['staleness'] = {'image_max_age_s': 3.0, 'state_max_age_s': 3.0, 'max_skew_s': 3.0}
        change(content)
        path = tmp_path / 'robot.yaml'
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


@pytest.fixture(scope='module')
def sim_robot(tmp_path_factory):
    """Run the simulated robot, as a process; give its domain."""
    pytest.importorskip('mujoco', reason='the simulation extra is not installed')
    domain = DOMAINS[0]
    command = [sys.executable, '-c', ROBOT, '--ros-args']
    for parameter in ('width:=64', 'height:=64', 'camera_rate_hz:=10.0'):
        command += ['-p', parameter]
    # Elsewhere than in the source tree, which has no messages.
    folder = tmp_path_factory.mktemp('robot')
    process = subprocess.Popen(
        command, cwd=folder, env=_environment(domain), stderr=subprocess.PIPE, text=True
    )
    assert any('running' in line for line in process.stderr)
    yield domain
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 0, text


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """Look at a domain; return the exit status and the JSON result."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

    def look(domain, *words):
        monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
        out = tmp_path / 'doctor.json'
        status = main(['doctor', *words, '--json', str(out)])
        return status, json.loads(out.read_text())

    return look


def _of(result, subject, severity=None):
    """Check → finding about a subject."""
    return {
        each['check']: each
        for each in result['findings']
        if each['subject'] == subject and severity in (None, each['severity'])
    }


def test_simulated_robot_has_no_errors(sim_robot, write_robot, tmp_path):
    out = tmp_path / 'doctor.json'
    words = ['doctor', '--embodiment', write_robot(), '--seconds', '2', '--json', str(out)]
    run = subprocess.run(
        [sys.executable, '-c', DOCTOR, *words],
        cwd=tmp_path,
        env=_environment(sim_robot),
        capture_output=True,
        text=True,
        timeout=60,
    )
    result = json.loads(out.read_text())
    errors = [each for each in result['findings'] if each['severity'] == 'error']
    assert (run.returncode, errors) == (0, []), run.stderr
    assert (result['schema'], result['passed'], result['policy_node']) == (1, True, None)
    assert result['domain'] == sim_robot
    arm = _of(result, '/arm_controller/joint_trajectory')
    assert arm['controller']['found'] == '/arm_controller listens'
    assert arm['joints']['found'].startswith('/arm_controller moves joint_1, joint_2, ')
    assert arm['desired state']['severity'] == 'ok'
    assert _of(result, '/joint_states')['joints']['found'].startswith('all 7 values')
    assert _of(result, '/side_camera/image_raw')['picture']['found'] == '64x64 rgb8, 0.01 MB'
    assert _of(result, '/side_camera/image_raw')['rate']['expected'] == '30 Hz'
    assert '0 errors' in run.stdout


def test_missing_camera_and_mistyped_joint_are_errors(sim_robot, write_robot, doctor):
    def change(content):
        content['cameras'][1]['topic'] = '/wrist_cam/image_raw'
        content['state'][0]['joints'][2]['name'] = 'joint3'

    status, result = doctor(sim_robot, '--embodiment', write_robot(change), '--seconds', '1')
    assert (status, result['passed']) == (1, False)
    camera = _of(result, '/wrist_cam/image_raw', 'error')['publisher']
    assert "Did you mean '/wrist_camera/image_raw'?" in camera['remedy']
    joint = _of(result, '/joint_states', 'error')['joint']
    assert joint['found'].startswith('joint joint3 is not in gripper_joint, joint_1')
    assert "Did you mean 'joint_3'?" in joint['remedy']


def test_empty_domain_says_that_nobody_is_there(doctor, capsys):
    words = ['--embodiment', 'ur5e', '--seconds', '0.5', '--node', 'arm/policy_node']
    status, result = doctor(DOMAINS[1], *words)
    assert status == 1
    assert _of(result, '/arm/policy_node', 'error')['node']['found'] == 'does not run'
    errors = {each['subject']: each for each in result['findings'] if each['severity'] == 'error'}
    robot = load_embodiment('ur5e')
    streams = (*robot.cameras, *robot.state)
    assert {*errors} >= {*(s.topic for s in streams), *(g.topic for g in robot.actions)}
    assert errors['/scaled_joint_trajectory_controller/joint_trajectory']['found'] == (
        'nobody subscribes'
    )
    assert 'fail' in capsys.readouterr().out


def test_wrong_usage_is_told_apart_from_findings(capsys, tmp_path):
    assert main(['doctor', '--embodiment', 'nobody']) == 2
    assert main(['doctor', '--embodiment', 'ur5e', '--seconds', '0']) == 2
    assert main(['doctor', '--embodiment', 'ur5e', '--bundle', str(tmp_path / 'absent')]) == 2
    assert main(['doctor']) == 2
    assert '--embodiment' in capsys.readouterr().err


class FaultyRobot:
    """Drivers, controllers and an idle policy node, each with faults of its own."""

    def __init__(self, domain):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.drivers = self.node('drivers')
        self.black = self.drivers.create_publisher(Image, '/base_camera/image_raw', 5)
        self.depth = self.drivers.create_publisher(Image, '/wrist_camera/image_raw', BEST_EFFORT)
        self.jpeg = self.drivers.create_publisher(CompressedImage, '/side_camera/image_raw', 5)
        self.joints = self.drivers.create_publisher(JointState, '/joint_states', 5)
        self.drivers.create_timer(0.05, self.publish)
        recorder = self.node('recorder')
        recorder.create_subscription(Image, '/wrist_camera/image_raw', lambda m: None, 5)
        arm = self.node('arm_controller')
        arm.declare_parameter('joints', [f'joint_{k}' for k in range(1, 8)])
        arm.declare_parameter('allow_partial_joints_goal', False)
        arm.declare_parameter('interpolate_from_desired_state', False)
        self.told = []
        arm.create_subscription(
            JointTrajectory, '/arm_controller/joint_trajectory', self.told.append, 5
        )
        gripper = self.node('gripper_controller', start_parameter_services=False)
        gripper.create_subscription(
            Float64MultiArray, '/gripper_controller/commands', self.told.append, LATCHED
        )
        sliders = self.node('sliders')
        self.sliders = sliders.create_publisher(
            Float64MultiArray, '/gripper_controller/commands', LATCHED
        )
        policy = self.node('policy_node')
        policy.set_parameters([rclpy.Parameter('use_sim_time', value=True)])
        policy.create_service(GetState, '/policy_node/get_state', self.answer)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()

    def node(self, name, **options):
        node = Node(name, context=self.context, **options)
        self.executor.add_node(node)
        return node

    def publish(self):
        # Time of this machine: policy_node, which goes by a /clock that is not there, is wrong.
        now = time.time_ns()
        image = Image(height=8, width=8, step=24, encoding='rgb8', data=array('B', bytes(192)))
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 1_000_000_000)
        self.black.publish(image)
        image.encoding, image.step = '32FC1', 32
        self.depth.publish(image)
        self.jpeg.publish(CompressedImage(format='jpeg'))
        names = [f'joint_{k}' for k in range(1, 7)]
        message = JointState(name=[*names, 'gripper_joint'], position=[90.0, *[0.0] * 6])
        self.joints.publish(message)
        self.sliders.publish(Float64MultiArray(data=[0.01]))

    def answer(self, request, response):
        response.current_state.label = 'unconfigured'
        return response

    def spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.ended.set()
        self.thread.join()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


def test_every_fault_of_a_robot_is_found_in_one_look(doctor, write_robot):
    robot = FaultyRobot(DOMAINS[1])

    def by_arrival(content):
        # Its time stands still, so that header stamps could not be looked behind.
        for stream in content['cameras']:
            stream['stamp'] = 'receive'

    try:
        words = ['--embodiment', write_robot(by_arrival), '--seconds', '2']
        status, result = doctor(DOMAINS[1], *words)
        # Its own commands are the sliders'.
        assert all(isinstance(message, Float64MultiArray) for message in robot.told)
    finally:
        robot.close()
    assert status == 1
    assert result['policy_node'] == '/policy_node'
    assert 'no bundle is loaded' in _of(result, '/policy_node', 'warning')['state']['found']
    assert 'time stands still' in _of(result, '/clock', 'error')['use_sim_time']['found']
    assert 'black' in _of(result, '/base_camera/image_raw', 'error')
    wrist = _of(result, '/wrist_camera/image_raw')
    assert wrist['undecodable']['found'].startswith("encoding: found '32FC1'")
    assert wrist['qos']['found'].startswith('/recorder gets nothing: Best effort publisher')
    side = _of(result, '/side_camera/image_raw', 'error')
    assert side['type']['found'] == '/drivers publishes sensor_msgs/msg/CompressedImage'
    joints = _of(result, '/joint_states', 'error')
    assert 'zero stamp' in joints['stamp']['found']
    arm = _of(result, '/arm_controller/joint_trajectory', 'error')
    assert 'joint_7 is not commanded' in arm['joints']['found']
    assert arm['desired state']['expected'] == 'interpolate_from_desired_state: true'
    gripper = _of(result, '/gripper_controller/commands')
    assert gripper['parameters']['severity'] == 'unknown'
    assert gripper['qos']['severity'] == 'error'
    assert gripper['source']['severity'] == 'error'
    assert '/sliders publishes commands too' in gripper['source']['found']
