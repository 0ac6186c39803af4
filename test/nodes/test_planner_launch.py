"""The planner under the real launch, beside a policy and alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pizero_ros.msg import PolicyStatus

from pizero_ros.embodiment.load import load_embodiment

pytest.importorskip(
    'launch_ros', reason='launch_ros is no wheel; these tests run where ROS 2 is installed'
)

from ament_index_python.packages import get_package_share_directory
from launch.launch_description_sources import get_launch_description_from_python_launch_file

LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
path, *arguments = sys.argv[1:]
pairs = [tuple(argument.split(':=', 1)) for argument in arguments]
service = LaunchService(argv=arguments)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(path, launch_arguments=pairs)])
)
sys.exit(service.run())
"""
BOTH = 'touch the red cube, then touch the blue cube'


def launch_file(name):
    return str(Path(get_package_share_directory('pizero_ros'), 'launch', f'{name}.launch.py'))


@pytest.fixture
def launch(robot, tmp_path):
    """Launch in a process group of its own; end what a failed test left."""
    started, log = [], (tmp_path / 'launch.log').open('w+')

    def start(name, **arguments):
        command = [sys.executable, '-c', LAUNCH, launch_file(name)]
        domain = str(robot.context.get_domain_id())
        process = subprocess.Popen(
            command + [f'{key}:={value}' for key, value in arguments.items()],
            cwd=tmp_path, env=os.environ | {'ROS_DOMAIN_ID': domain},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    log.close()


def test_arguments_are_there_and_described():
    description = get_launch_description_from_python_launch_file(launch_file('planner'))
    told = {each.name: each.description for each in description.get_launch_arguments()}
    assert set(told) >= {'planner', 'script', 'instruction', 'vlm_url', 'namespace', 'log_level'}
    assert [key for key, text in told.items() if text == 'no description given'] == []


def test_policy_follows_the_planner_from_its_first_prompt_on(
    robot, launch, tiny_bundle, embodiment_file, tmp_path
):
    path = embodiment_file(tmp_path)
    robot.wear(load_embodiment(str(path)))
    process = launch(
        'single_arm', embodiment=path, bundle=tiny_bundle, prompt='wave',
        planner='script', script='sim_single_arm', instruction=BOTH,
    )  # fmt: skip
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    robot.until(lambda: any(chunk.sent for chunk in robot.chunks))
    assert {chunk.prompt for chunk in robot.chunks if chunk.sent} == {'touch the red cube'}
    os.killpg(process.pid, signal.SIGINT)
    robot.until(lambda: process.poll() is not None)
    assert process.returncode == 0
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)


def test_planner_that_cannot_plan_ends_the_launch_with_the_reason(launch, robot, tmp_path):
    process = launch('planner', script='sim_mobil')
    robot.until(lambda: process.poll() is not None)
    log = (tmp_path / 'launch.log').read_text()
    assert "Did you mean 'sim_mobile'?" in log
    assert 'Caught exception in launch' not in log
