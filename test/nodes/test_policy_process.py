"""The policy node as a process: what it imports, how it ends, and that it holds before it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from pizero_ros.embodiment.load import load_embodiment

CODE = """
import json, sys
from pizero_ros.nodes.policy_node import main
code = main()
print(json.dumps(sorted(sys.modules)))
sys.exit(code)
"""
NOT_ON_A_ROBOT = {
    'torch',
    'onnx',
    'onnxscript',
    'mujoco',
    'matplotlib',
    'rosbags',
    'jinja2',
    'rich',
}


@pytest.fixture
def launch(robot, tmp_path):
    """Start policy processes, and end those that a failed test left behind."""
    started, domain = [], str(robot.context.get_domain_id())

    def start(**parameters):
        command = [sys.executable, '-c', CODE, '--ros-args']
        for name, value in parameters.items():
            command += ['-p', f'{name}:={value}']
        # Not in the root of the sources, whose pizero_ros has no messages.
        process = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {'ROS_DOMAIN_ID': domain},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_in_motion_holds_and_exits_0_without_torch(
    robot, launch, tiny_bundle, embodiment_file, tmp_path, number
):
    path = embodiment_file(tmp_path)
    robot.wear(load_embodiment(str(path)))
    process = launch(
        embodiment=path, bundle=tiny_bundle, prompt='wave', noise='continuous', autostart='true'
    )
    robot.until(lambda: len(robot.motions()) >= 2)
    process.send_signal(number)
    robot.until(lambda: process.poll() is not None)
    output, log = process.communicate()
    assert process.returncode == 0, log
    assert 'Traceback' not in log
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    hold, motion = robot.of('arm')[-1].message, robot.motions()[-1]
    assert hold.joint_names == motion.joint_names
    before, after = robot.chunks[-1].header.stamp, hold.header.stamp
    assert before.sec > 0
    assert (after.sec, after.nanosec) == (0, 0)

    modules = {name.partition('.')[0] for name in json.loads(output.splitlines()[-1])}
    assert {'onnxruntime', 'numpy', 'rclpy', 'pizero_ros'} <= modules
    assert modules & NOT_ON_A_ROBOT == set()


def test_start_that_fails_exits_1_with_the_reason(launch, tiny_bundle):
    wrong = [
        ({'embodiment': 'sim_singel_arm', 'bundle': tiny_bundle}, 'sim_single_arm'),
        ({'embodiment': 'sim_single_arm', 'bundle': '/nowhere'}, 'expected a bundle folder'),
        ({'embodiment': 'sim_single_arm'}, 'the launch argument bundle:='),
        ({'threads': 'many'}, 'threads'),
        ({'noise_seed': -1}, 'noise_seed'),
    ]
    for process, fragment in [(launch(autostart='true', **p), text) for p, text in wrong]:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 1
        assert fragment in log
        assert 'Traceback' not in log


def test_process_without_autostart_waits_for_another_configure(robot, launch, tiny_bundle):
    process = launch(embodiment='sim_single_arm', prompt='wave')
    assert not robot.configure()
    assert robot.set_parameters(bundle=str(tiny_bundle)).successful
    assert robot.configure()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    robot.until(lambda: process.poll() is not None)
    assert process.returncode == 0
