"""The launch files under the real launch: arguments, and nodes that start, run and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from bags import START_NS, demonstration, write, write_embodiment
from bundles import refit
from pizero_ros.msg import ActionChunk, PolicyStatus

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.intake import stamp_ns
from pizero_ros.policy.opened import open_policy
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import decoded
from pizero_ros.replay.reproduce import reproduce

pytest.importorskip(
    'launch_ros', reason='launch_ros is no wheel; these tests run where ROS 2 is installed'
)

from ament_index_python.packages import get_package_share_directory
from launch.launch_description_sources import get_launch_description_from_python_launch_file

FILES = ('single_arm', 'dual_arm', 'mobile', 'policy', 'sim', 'replay')
COMMON = {
    'embodiment', 'bundle', 'prompt', 'scheduling', 'limit_scale', 'params_file', 'namespace',
    'log_level',
}  # fmt: skip
OWN = {
    'replay': {'bag', 'rate', 'loop', 'start_offset_s', 'start_paused', 'record'},
}
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


def launch_file(name):
    return Path(get_package_share_directory('pizero_ros'), 'launch', f'{name}.launch.py')


@pytest.fixture
def launch(robot, tmp_path):
    """Launch as ``ros2 launch`` does, in a process of its own; end what a failed test left."""
    started, domain = [], str(robot.context.get_domain_id())
    log = (tmp_path / 'launch.log').open('w+')

    def start(name, **arguments):
        command = [sys.executable, '-c', LAUNCH, str(launch_file(name))]
        process = subprocess.Popen(
            command + [f'{key}:={value}' for key, value in arguments.items()],
            cwd=tmp_path, env=os.environ | {'ROS_DOMAIN_ID': domain},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    def stop(process):
        """End it as Ctrl-C does; return what was printed."""
        os.killpg(process.pid, signal.SIGINT)
        robot.until(lambda: process.poll() is not None)
        return (tmp_path / 'launch.log').read_text()

    start.stop = stop
    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    log.close()


@pytest.mark.parametrize('name', FILES)
def test_arguments_are_there_and_described(name):
    description = get_launch_description_from_python_launch_file(str(launch_file(name)))
    arguments = {each.name: each.description for each in description.get_launch_arguments()}
    assert set(arguments) >= COMMON | OWN.get(name, {'dry_run', 'use_sim_time'})
    assert [key for key, text in arguments.items() if text == 'no description given'] == []


@pytest.mark.parametrize(
    ('name', 'embodiment'),
    [('single_arm', 'sim_single_arm'), ('dual_arm', 'sim_dual_arm'), ('mobile', 'sim_mobile')],
)
def test_policy_moves_a_robot_and_leaves_it_holding(
    robot, launch, tiny_bundle, embodiment_file, tmp_path, name, embodiment
):
    path = embodiment_file(tmp_path, embodiment)
    robot.wear(load_embodiment(str(path)))
    process = launch(name, embodiment=path, bundle=tiny_bundle, prompt='wave')
    arms = [g.name for g in robot.embodiment.actions if g.output == 'joint_trajectory']
    robot.until(lambda: all(robot.motions(arm) for arm in arms))
    log = launch.stop(process)
    assert process.returncode == 0
    assert 'process has finished cleanly' in log
    for arm in arms:
        robot.until(lambda arm=arm: len(robot.of(arm)[-1].message.points) == 1)


def test_arguments_reach_the_node(robot, launch, tiny_bundle, embodiment_file, tmp_path):
    path = embodiment_file(tmp_path)
    robot.wear(load_embodiment(str(path)))
    statuses = robot.listen(PolicyStatus, '/left/policy_node/status')
    process = launch(
        'policy', embodiment=path, bundle=tiny_bundle, prompt='wave', scheduling='open_loop',
        dry_run='true', namespace='left', log_level='debug',
    )  # fmt: skip
    robot.until(lambda: statuses and statuses[-1].message.chunks_received)
    status = statuses[-1].message
    assert (status.state, status.scheduling) == (PolicyStatus.STATE_DRY_RUN, 'open_loop')
    assert robot.commands() == 0
    assert '[DEBUG]' in launch.stop(process)


def test_file_of_parameters_is_beaten_by_what_was_given_only(
    robot, launch, tiny_bundle, embodiment_file, tmp_path
):
    path = embodiment_file(tmp_path)
    robot.wear(load_embodiment(str(path)))
    statuses = robot.listen(PolicyStatus, '/policy_node/status')
    file = tmp_path / 'policy.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    dry_run: true\n    scheduling: open_loop\n'
        '    prompt: wave\n'
    )
    launch('policy', embodiment=path, bundle=tiny_bundle, prompt='nod', params_file=file)
    robot.until(lambda: statuses and statuses[-1].message.chunks_received)
    status = statuses[-1].message
    assert (status.state, status.scheduling) == (PolicyStatus.STATE_DRY_RUN, 'open_loop')
    assert status.prompt == 'nod'


def test_bundle_that_is_missing_ends_the_launch_with_the_reason(robot, launch, tmp_path):
    process = launch('single_arm', embodiment='sim_single_arm')
    robot.until(lambda: process.poll() is not None)
    log = (tmp_path / 'launch.log').read_text()
    assert 'bundle: found nothing' in log
    assert 'exit code 1' in log


@pytest.mark.parametrize(
    ('ships', 'use_sim_time'), [(False, 'false'), (False, 'true'), (True, 'false')]
)
def test_simulated_robot_moves(robot, launch, tiny_bundle, ships, use_sim_time):
    pytest.importorskip('mujoco', reason='the simulation extra is not installed')
    robot.embodiment = load_embodiment('sim_single_arm')
    given = {} if ships else {'bundle': tiny_bundle}
    process = launch('sim', **given, use_sim_time=use_sim_time)
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    assert robot.status.prompt == 'touch the red cube'
    log = launch.stop(process)
    assert process.returncode == 0
    assert log.count('process has finished cleanly') == 2
    assert ('policy that ships with the package' in log) == ships


@pytest.fixture(scope='module')
def replayed(tmp_path_factory, tiny_bundle):
    """A recording of two seconds, its robot, and a bundle for it."""
    folder = tmp_path_factory.mktemp('replayed')
    limits = {'image_max_age_s': 0.6, 'state_max_age_s': 0.6, 'max_skew_s': 0.6}
    path = write_embodiment(folder, horizon=50, staleness=limits)
    bundle = refit(tiny_bundle, folder / 'bundle', [load_embodiment(path)])
    return {
        'bag': write(folder / 'bag', demonstration(40)), 'embodiment': path, 'bundle': bundle,
    }  # fmt: skip


def said(folder):
    """Return all chunks, and the last status."""
    with open_bag(folder) as recording:
        topics = ['/left/policy_node/chunk', '/left/policy_node/status']
        messages = list(decoded(recording, topics))
    chunks = [each.message for each in messages if each.topic == topics[0]]
    statuses = [each.message for each in messages if each.topic == topics[1]]
    return chunks, statuses[-1]


def worst_difference(replayed, folder):
    embodiment = load_embodiment(replayed['embodiment'])
    policy = open_policy(replayed['bundle'], embodiment)
    with open_bag(replayed['bag']) as source, open_bag(folder) as recording:
        return max(r.difference for r in reproduce(source, recording, embodiment, policy))


def test_replay_ends_with_the_recording_when_all_that_was_said_is_on_disk(
    robot, launch, replayed, tmp_path
):
    """In a namespace, where only the recorder listens to the policy."""
    process = launch(
        'replay', **replayed, record=tmp_path / 'said', start_offset_s=0.51, rate=2.0,
        namespace='left',
    )  # fmt: skip
    robot.until(lambda: process.poll() is not None, 60.0)
    log = (tmp_path / 'launch.log').read_text()
    assert process.returncode == 0
    assert log.count('process has finished cleanly') == 3, log
    chunks, status = said(tmp_path / 'said')
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) == status.chunks_received >= 3
    assert status.state == PolicyStatus.STATE_INACTIVE
    assert {chunk.prompt for chunk in chunks} == {'pick the cube'}
    assert worst_difference(replayed, tmp_path / 'said') <= 1e-6
    stamps = [stamp_ns(chunk.header.stamp) for chunk in chunks]
    assert START_NS + 510_000_000 <= stamps[0] < START_NS + 700_000_000


def test_looped_replay_runs_until_it_is_stopped_and_its_recording_is_complete(
    robot, launch, replayed, tmp_path
):
    heard = robot.listen(ActionChunk, '/left/policy_node/chunk')

    def loops():
        stamps = [each.message.header.stamp.sec for each in list(heard)]
        return sum(later < earlier for earlier, later in pairwise(stamps))

    process = launch(
        'replay', **replayed, record=tmp_path / 'said', loop='true', rate=4.0, namespace='left',
        prompt='put it down',
    )  # fmt: skip
    robot.until(lambda: loops() >= 2, 60.0)
    log = launch.stop(process)
    assert log.count('process has finished cleanly') == 3, log
    chunks, _ = said(tmp_path / 'said')
    assert {chunk.prompt for chunk in chunks} == {'put it down'}
    assert worst_difference(replayed, tmp_path / 'said') <= 1e-6


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'bag': 'nowhere'}, "nowhere: found nothing, expected a rosbag2 folder"),
        ({'start_offset_s': 7}, 'start_offset_s: found 7 s, expected 0 to 1.950 s'),
        ({'embodiment': 'unitree_g1'}, '/head_camera/image_raw/compressed: found no such topic'),
        ({'record': '.'}, 'record_node: .: found . exists already'),
        ({'bundle': ''}, 'bundle: found nothing'),
    ],
)  # fmt: skip
def test_replay_that_cannot_be_ends_with_the_reason(
    robot, launch, replayed, tmp_path, change, reason
):
    process = launch('replay', **replayed | change)
    robot.until(lambda: process.poll() is not None, 60.0)
    log = (tmp_path / 'launch.log').read_text()
    assert reason in log
    assert 'Traceback' not in log
