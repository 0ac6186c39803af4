"""The ROS latency benchmark counts frames exactly, and runs end to end; nothing is timed here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from pizero_ros.msg import PolicyStatus
from rclpy.serialization import deserialize_message

from pizero_ros.control.commander import Commander
from pizero_ros.control.modes import make_scheduler
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.lateness import LatePercentiles
from pizero_ros.nodes.reporting import Snapshot, Tally, diagnostics_message

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / 'benchmarks'
TOPIC = '/base_camera/image_raw'
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_333_333
ROBOT = load_embodiment('sim_single_arm')


def benchmark(name):
    specification = importlib.util.spec_from_file_location(name, BENCHMARKS / f'{name}.py')
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def figures():
    return benchmark('latency_figures')


def status(stamp_ns, received, newest_ns):
    message = PolicyStatus(stream_topics=['/joint_states', TOPIC])
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    message.stream_received = array('Q', [7, received])
    message.stream_age_s = array('d', [0.001, (stamp_ns - newest_ns) * 1e-9])
    return message


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_a_serialised_picture_is_the_picture_at_its_moment(transport):
    publisher = benchmark('camera_publisher')
    (rgb, *_) = publisher.pictures(1, 32, 24)
    message = publisher.message_of(rgb, transport)
    sent = publisher.Serialised(message).at(START_NS + 123)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(START_NS + 123, 1_000_000_000)
    assert deserialize_message(sent, type(message)) == message


def test_every_frame_between_two_marks_was_received_or_lost(figures):
    sent = [START_NS + k * PERIOD_NS for k in range(100)]
    # Frames 0 to 9 before the first mark do not count, whatever became of them; nor 90 to 99.
    statuses = [
        status(sent[9] + 1_234_567, 4, sent[9]),
        status(sent[39] + 17, 34, sent[39]),
        status(sent[69] + 29_999_999, 61, sent[69]),
        status(sent[89], 81, sent[89]),
    ]
    assert figures.frames(statuses, TOPIC, sent) == {
        'sent': 80,
        'received': 77,
        'lost': 3,
        'most_lost': 3,
    }


def test_frames_of_another_publisher_are_noticed(figures):
    sent = [START_NS + k * PERIOD_NS for k in range(10)]
    statuses = [status(sent[1], 1, sent[1]), status(sent[8], 8, sent[8] - 1)]
    with pytest.raises(RuntimeError, match='domain'):
        figures.frames(statuses, TOPIC, sent)


def test_a_short_run_accounts_for_every_frame(tiny_bundle, tmp_path):
    out = tmp_path / 'result.json'
    command = [sys.executable, BENCHMARKS / 'ros_latency.py', '--bundle', tiny_bundle]
    command += ['--seconds', '3', '--size', '160x120', '--json', out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())['shipped']
    assert len(result['frames']) == 3
    for each in result['frames'].values():
        assert each['received'] + each['lost'] == each['sent']
        assert 0 < each['received'] <= each['sent']
        assert each['sent'] == pytest.approx(30 * result['seconds'], abs=15)
    assert result['chunks'] > 0
    assert result['trajectories'] > 0
    latency = result['latency_ms']
    assert set(latency) >= {'ros', 'resize', 'observe', 'denoise', 'publish'}
    assert 0 < latency['ros_only']['p50'] < latency['overhead']['p50']
    assert result['cpu_ms_per_frame'] > 0
    assert result['timer_late_ms']
    for late in result['timer_late_ms'].values():
        assert 0 <= late['p50'] <= late['p95'] <= late['max']


def test_the_nodes_own_words_on_its_timer_are_read_back(figures):
    snapshot = Snapshot(
        now_ns=START_NS,
        state=PolicyStatus.STATE_RUNNING,
        reason='',
        embodiment='sim_single_arm',
        prompt='wave',
        provider='cpu',
        tally=Tally(),
        commander=Commander(ROBOT, make_scheduler('async', ROBOT)).status(),
        streams=(),
        lateness={'inferring': LatePercentiles(0.25e-3, 1.5e-3, 12e-3)},
    )
    found = figures.timer_lateness(diagnostics_message(snapshot, 'policy_node'))
    assert found == {'inferring': {'p50': 0.25, 'p95': 1.5, 'max': 12.0}}


def test_matrix_changes_one_thing_at_a_time(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    case = importlib.import_module('latency_case').Case(cameras=2)
    found = importlib.import_module('latency_matrix').cases(case)
    assert found[0] == case
    assert len({str(each) for each in found}) == len(found)
    for each in found[1:]:
        differing = [name for name in vars(case) if getattr(case, name) != getattr(each, name)]
        assert len(differing) == 1
