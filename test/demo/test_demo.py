"""The demo through its command line: wrong usage, and real processes."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pizero_ros.cli.demo import ROBOTS
from pizero_ros.cli.main import main
from pizero_ros.demo.installation import executables
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from pathlib import Path

TYPES = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND
BAG_S = 2


@pytest.fixture(scope='module')
def pizero() -> Path:
    try:
        return executables()['pizero']
    except EnvironmentFault as error:
        pytest.skip(f'needs the built and sourced ROS package: {error}')


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a robot at rest: three cameras at 30 Hz, joints at 100 Hz."""
    robot = load_embodiment('sim_single_arm')
    path = tmp_path_factory.mktemp('bag') / 'rest'
    rng = np.random.default_rng(0)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        rows: list[tuple[int, Any, Any]] = []
        for camera in robot.cameras:
            topic = writer.add_connection(camera.topic, 'sensor_msgs/msg/Image', typestore=TYPES)
            # Sorted, because noise alone would be refused.
            picture = np.sort(rng.integers(0, 255, 48 * 64 * 3, np.uint8))
            for k in range(BAG_S * 30):
                stamp = START_NS + k * SECOND // 30
                rows.append((stamp, topic, image(stamp, np.roll(picture, k))))
        names = [joint.name for joint in robot.state_joints]
        joints = writer.add_connection(
            robot.state[0].topic, 'sensor_msgs/msg/JointState', typestore=TYPES
        )
        parked = np.array([robot.neutral[name] for name in names])
        for k in range(BAG_S * 100):
            stamp = START_NS + k * SECOND // 100
            rows.append((stamp, joints, joint_state(stamp, names, parked)))
        for stamp, topic, message in sorted(rows, key=lambda row: row[0]):
            raw = TYPES.serialize_cdr(message, message.__msgtype__)
            writer.write(topic, stamp, raw)
    return path


def header(stamp_ns: int) -> Any:
    stamp = TYPES.types['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND)
    return TYPES.types['std_msgs/msg/Header'](stamp, '')


def image(stamp_ns: int, pixels: Any) -> Any:
    kind = TYPES.types['sensor_msgs/msg/Image']
    return kind(header(stamp_ns), 48, 64, 'rgb8', 0, 64 * 3, pixels)


def joint_state(stamp_ns: int, names: list[str], positions: Any) -> Any:
    kind = TYPES.types['sensor_msgs/msg/JointState']
    return kind(header(stamp_ns), names, positions, np.zeros(0), np.zeros(0))


def demo(pizero: Path, out: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [pizero, 'demo', '--embodiment', 'sim_single_arm', '--out', out, *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    logs = '\n'.join(path.read_text() for path in sorted((out / 'logs').glob('*.log')))
    assert (out / 'report.json').is_file(), f'{done.stdout}{done.stderr}\n{logs}'
    report = json.loads((out / 'report.json').read_text())
    assert done.returncode == 0, f'{done.stdout}{done.stderr}\n{logs}'
    return done.returncode, report


def test_unknown_embodiment_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['demo', '--embodiment', 'sim_single_armm']) == 2
    assert 'sim_single_arm' in capsys.readouterr().err


def test_missing_bag_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = str(tmp_path / 'absent')
    assert main(['demo', '--bag', bag, '--embodiment', 'unitree_g1']) == 2
    assert 'absent' in capsys.readouterr().err


def test_bag_without_a_robot_is_wrong_usage(bag: Path) -> None:
    assert main(['demo', '--bag', str(bag)]) == 2


def test_bag_of_another_robot_is_wrong_usage(
    bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['demo', '--bag', str(bag), '--embodiment', 'unitree_g1']) == 2
    assert '/head_camera/image_raw/compressed' in capsys.readouterr().err


def test_folder_that_is_no_bundle_is_wrong_usage(tmp_path: Path) -> None:
    assert main(['demo', '--bundle', str(tmp_path)]) == 2


def test_length_out_of_range_is_wrong_usage() -> None:
    assert main(['demo', '--seconds', '0']) == 2
    assert main(['demo', '--trials', '-1']) == 2


def test_trials_on_a_recording_are_wrong_usage(
    bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['--bag', str(bag), '--embodiment', 'sim_single_arm', '--trials', '1']
    assert main(['demo', *words]) == 2
    assert 'a recording has no tasks' in capsys.readouterr().err


def test_trials_of_who_knows_no_task_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['demo', '--embodiment', 'ur5e', '--trials', '1']) == 2
    assert 'an untrained policy knows no task' in capsys.readouterr().err


def test_an_evaluation_that_is_not_of_a_demo_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'evaluation').mkdir()
    mine = tmp_path / 'evaluation' / '.pizero_evaluate'
    mine.write_text('')
    assert main(['demo', '--embodiment', 'sim_single_arm', '--out', str(tmp_path)]) == 2
    assert 'not of a demo' in capsys.readouterr().err
    assert mine.is_file()


def test_simulated_robot_moves_under_accepted_trajectories(pizero: Path, tmp_path: Path) -> None:
    """Slow: three seconds of a real robot process and a real policy process, and its tasks."""
    copy = tmp_path / 'copy.json'
    older = tmp_path / 'evaluation'
    older.mkdir()
    for name in ('.pizero_demo', '.pizero_evaluate', 'trials.jsonl'):
        (older / name).write_text('of an earlier demo')
    _, report = demo(pizero, tmp_path, '--seconds', '3', '--json', str(copy))
    (robot,) = report['robots']
    assert robot['configuration']['prompt'] == 'touch the red cube'
    score = report['scores'][0]
    assert (score['embodiment'], score['success']['n']) == ('sim_single_arm', 6)
    assert score['success']['hits'] >= 4
    assert {each['embodiment'] for each in report['scores_shipped']} == set(ROBOTS)
    assert len((older / 'trials.jsonl').read_text().splitlines()) == 6
    assert robot['chunk_horizon'] == 50
    assert robot['trajectories_accepted'] == robot['trajectories_sent'] >= 3
    assert robot['trajectories_rejected'] == 0
    assert 40 <= robot['points_per_trajectory'] <= 50
    assert robot['frames_received'] > 100
    assert robot['largest_motion'] > 0.01
    assert robot['after_stop_speed'] < 0.01
    assert {'ros', 'preprocess', 'observe', 'denoise', 'publish', 'stamp_to_command'} <= set(
        robot['latency_ms']
    )
    assert [(each['name'], each['exit_code']) for each in robot['processes']] == [
        ('sim_robot', 0),
        ('policy_node', 0),
    ]
    assert json.loads(copy.read_text()) == report
    page = (tmp_path / 'report.html').read_text()
    assert page.count('data:image/jpeg;base64,') == 6


def test_every_message_of_a_bag_is_sent_and_received(
    pizero: Path, bag: Path, tmp_path: Path
) -> None:
    """Slow: two seconds of a recording through real processes.

    The observer is reliable and misses nothing; the policy subscribes best effort, as to a camera,
    and on a busy machine a frame may be gone before its subscription has seen the publisher.
    """
    _, report = demo(pizero, tmp_path, '--bag', str(bag))
    (robot,) = report['robots']
    assert {
        topic['topic']: (topic['in_bag'], topic['sent'], topic['received'])
        for topic in robot['bag_topics']
    } == {
        '/base_camera/image_raw': (60, 60, 60),
        '/wrist_camera/image_raw': (60, 60, 60),
        '/side_camera/image_raw': (60, 60, 60),
        '/joint_states': (200, 200, 200),
    }
    assert robot['frames_sent'] == 180
    assert 160 <= robot['frames_received'] <= 180
    assert robot['trajectories_accepted'] >= 2
    assert robot['mode'] == 'recorded'
