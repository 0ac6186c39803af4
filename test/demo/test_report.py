"""The two report files, from constructed results."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.demo.metrics import Window
from pizero_ros.demo.recording import Recording
from pizero_ros.demo.report import (
    Facts,
    RobotSection,
    Scores,
    report_html,
    report_json,
    write_report,
)
from pizero_ros.demo.results import RobotResult
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.evaluation.scores import scores_of

if TYPE_CHECKING:
    from pathlib import Path

FACTS = Facts(
    command='pizero demo',
    created='2026-01-01',
    seconds=12.0,
    versions={'python': '3.11', 'ros_distro': 'jazzy', 'mujoco': None},
    machine={'processor': 'x', 'cores': 2, 'load_average': [0.1]},
)


def section(result: RobotResult, embodiment: str = 'sim_single_arm') -> RobotSection:
    robot = load_embodiment(embodiment)
    recording = Recording()
    names = [joint.name for joint in robot.action_joints]
    for k in range(100):
        recording.positions.add(k * 10_000_000, names, np.sin(np.arange(len(names)) + 0.1 * k))
        recording.velocities.add(k * 10_000_000, names, [0.1] * len(names))
    recording.pictures['base_0_rgb'] = [(5, np.full((480, 640, 3), 90, np.uint8))]
    return RobotSection(result, recording, robot, Window(0, 10**9))


def test_json_has_the_promised_keys(good: RobotResult) -> None:
    content = report_json([good], FACTS)
    assert (content['schema_version'], content['passed']) == (1, True)
    (robot,) = content['robots']
    assert robot['embodiment'] == 'sim_single_arm'
    assert robot['trajectories_sent'] == 21
    assert robot['trajectories_accepted'] == 21
    assert robot['trajectories_rejected'] == 0
    assert robot['rejections'] == {}
    assert robot['points_per_trajectory'] == 46
    assert (robot['points_per_trajectory_min'], robot['points_per_trajectory_max']) == (44, 47)
    assert robot['chunk_horizon'] == 50
    assert (robot['frames_sent'], robot['frames_received']) == (599, 599)
    for phase in ('stamp_to_command', 'preprocess', 'observe', 'denoise', 'publish'):
        assert robot['latency_ms'][phase] == {'p50': 10.0, 'p95': 20.0}


def test_failure_of_one_robot_fails_the_report(good: RobotResult) -> None:
    content = report_json([good, replace(good, chunk_horizon=None)], FACTS)
    assert content['passed'] is False
    assert [robot['passed'] for robot in content['robots']] == [True, False]


def test_report_without_robots_has_not_passed() -> None:
    assert report_json([], FACTS)['passed'] is False


def test_page_is_one_file_that_loads_nothing(good: RobotResult, tmp_path: Path) -> None:
    write_report(tmp_path, [section(good), section(good, 'sim_mobile')], FACTS)
    page = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert json.loads((tmp_path / 'report.json').read_text(encoding='utf-8'))['passed']
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(('data:', '#')) for link in links)
    assert '@import' not in page
    assert '<link' not in page
    assert page.count('<svg') == 3
    assert page.count('data:image/jpeg;base64,') == 2
    assert 'linear.x' in page
    assert '#010203' not in page


def test_text_from_outside_is_escaped(good: RobotResult) -> None:
    spoiled = replace(good, error='<script>alert(1)</script>', startup_s=None)
    page = report_html([section(spoiled)], FACTS)
    assert '<script>' not in page
    assert '&lt;script&gt;' in page


def test_run_that_recorded_nothing_still_gives_a_page() -> None:
    empty = RobotResult('sim_mobile', '', 'simulated', error='no trajectory', log_tail='why')
    robot = load_embodiment('sim_mobile')
    page = report_html([RobotSection(empty, Recording(), robot, Window(0, 1))], FACTS)
    assert 'no trajectory' in page
    assert '>why<' in page


def scores(successes: int, trials: int, ended: str = 'time') -> dict[str, object]:
    records = [
        {
            'embodiment': 'sim_single_arm',
            'policy': 'demo',
            'condition': 'flat',
            'steps': 1,
            'task': 'touch_red',
            'seed': k,
            'success': k < successes,
            'progress': 1.0 if k < successes else 0.5,
            'followed': True,
            'approached': ['red cube'],
            'steps_done': int(k < successes),
            'done_s': 2.0 if k < successes else None,
            'ended': 'success' if k < successes else ended,
            'frames_skipped': 0,
        }
        for k in range(trials)
    ]
    return {**scores_of(records), 'created': '2026-01-02T03:04:05'}


def test_scores_are_in_both_files_beside_those_that_ship(good: RobotResult) -> None:
    both = Scores(scores(3, 4), scores(19, 20))
    content = report_json([good], FACTS, both)
    assert content['passed']
    assert content['scores'][0]['success']['hits'] == 3
    assert content['scores_shipped'][0]['success']['n'] == 20
    page = report_html([section(good)], FACTS, both)
    assert '75 ' in page
    assert '95 ' in page
    assert '2026-01-02' in page
    alone = report_html([section(good)], FACTS, Scores(scores(3, 4), None))
    assert '75 ' in alone
    assert 'when this policy was made' not in alone
    without = report_json([good], FACTS)
    assert without['scores'] is None
    assert without['scores_shipped'] is None
    assert 'id="scores"' not in report_html([section(good)], FACTS)


def test_a_failed_trial_is_a_score_and_a_node_that_ended_a_fault(good: RobotResult) -> None:
    assert report_json([good], FACTS, Scores(scores(0, 4), None))['passed']
    broken = Scores(scores(0, 4, ended='crash'), None)
    assert not report_json([good], FACTS, broken)['passed']
    assert '4 trials broken off' in report_html([section(good)], FACTS, broken)
    never = Scores(None, scores(19, 20), 'the robot <ended>')
    content = report_json([good], FACTS, never)
    assert (content['passed'], content['scores_failure']) == (False, 'the robot <ended>')
    page = report_html([section(good)], FACTS, never)
    assert 'the robot &lt;ended&gt;' in page
    assert '95 ' in page
