"""The report of an evaluation: what is on the page, and what it says of failures."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.evaluation.planner_script import write_script
from pizero_ros.evaluation.report.writing import write_report
from pizero_ros.evaluation.scores import scores_of
from pizero_ros.evaluation.video import write_video
from pizero_ros.planner.script_file import load_script
from pizero_ros.sim.tasks.task import task_named

RUN = {
    'created': '2026-01-01',
    'command': 'pizero evaluate --bundle <B>',
    'settings': {'first seed': 1_000_000},
    'policies': {'ours': {'bundle': 'a/bundle', 'identity': 'abc'}},
    'versions': {'python': '3.10', 'mujoco': None},
    'machine': {'processor': 'a processor', 'cores': 2, 'system': 'Linux'},
}


def written(out, records):
    write_report(out, scores_of(records), records, RUN)
    return (out / 'report.html').read_text()


def test_page_has_scores_differences_and_every_trial(tmp_path, record):
    task = 'touch_red_then_hover_blue'
    records = [record(k, success=k < 9) for k in range(10)]
    records += [record(k, 'hold', success=False, approached=None) for k in range(10)]
    records += [record(k, condition=how, task=task) for k in range(2) for how in ('flat', 'human')]
    records[0]['video'] = 'videos/a.webp'
    page = written(tmp_path, records)
    assert '90 <span class="beside">[60, 98]</span>' in page
    assert '+90 <span class="beside">[+70, +100]</span>' in page
    assert page.count('<figure class="yes') == 13
    assert page.count('<figure class="no wrong"') == 10
    assert '<img src="videos/a.webp" loading="lazy"' in page
    assert 'pizero evaluate --bundle &lt;B&gt;' in page
    for name in ('scores_single_step', 'scores_sim_single_arm_two_step'):
        assert cv2.imread(str(tmp_path / f'{name}.png')) is not None
    content = json.loads((tmp_path / 'report.json').read_text())
    assert len(content['trials_run']) == content['trials'] == 24
    assert content['policies'] == RUN['policies']


def test_page_tells_what_failed_and_that_the_machine_was_busy(tmp_path, record):
    fault = record(1_000_007, success=False, ended='fault', holds=['a camera is <stale>'])
    fault['frames_skipped'] = 12
    page = written(tmp_path, [fault, record()])
    assert '1000007</strong>: fault, counted as a failure. inference failed' in page
    assert 'left out 12 pictures' in page
    assert 'a camera is &lt;stale&gt;' in page


def test_page_of_no_trials_says_so(tmp_path):
    assert 'No trial was run' in written(tmp_path, [])


def test_videos_play_at_their_rate_and_stay_small(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(16)]
    path = tmp_path / 'videos' / 'one.webp'
    write_video(path, frames, 8.0)
    with Image.open(path) as film:
        assert (film.size, film.n_frames) == ((64, 48), 16)
        film.load()
        assert film.info['duration'] == 125
    monkeypatch.setattr('pizero_ros.evaluation.video.LARGEST_BYTES', path.stat().st_size - 1)
    write_video(path, frames, 8.0)
    with Image.open(path) as film:
        assert film.n_frames == 8


@pytest.mark.parametrize('robot', ['sim_single_arm', 'sim_dual_arm', 'sim_mobile'])
def test_planner_reads_the_script_and_waits_for_verdicts(tmp_path, robot):
    embodiment = load_embodiment(robot)
    arm = '' if robot == 'sim_single_arm' else '_left'
    task = task_named(embodiment, f'touch_red{arm}_then_hover_blue{arm}')
    write_script(tmp_path / 'planner' / 'script.yaml', [task])
    script = load_script(tmp_path / 'planner' / 'script.yaml')
    planned = script.task(task.instruction)
    assert [each.prompt for each in planned.subtasks] == [s.instruction for s in task.steps]
    assert {(each.until, each.limit_s) for each in planned.subtasks} == {('verdict', 16.0)}
