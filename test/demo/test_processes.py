"""Processes are always ended, by their own id, and what they said is kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from pizero_ros.demo import processes as module
from pizero_ros.demo.processes import Processes, ros_arguments

if TYPE_CHECKING:
    from pathlib import Path

POLITE = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print('up', flush=True)
time.sleep(60)
"""
STUBBORN = POLITE.replace('lambda *_: sys.exit(0)', 'signal.SIG_IGN')


def script(text: str) -> list[str]:
    return [sys.executable, '-c', text]


def wait_for(log: Path) -> None:
    deadline = time.monotonic() + 20
    while 'up' not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sigint_ends_a_process_that_obeys(tmp_path: Path) -> None:
    with Processes(os.environ, tmp_path) as processes:
        node = processes.start('node', script(POLITE), 'node')
        wait_for(node.log)
        assert node.stop() == ('node', 0, 'SIGINT')
        assert processes.died() is None


def test_process_that_ignores_sigint_is_terminated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, 'STOPPING', ((signal.SIGINT, 0.2), (signal.SIGTERM, 10.0)))
    with Processes(os.environ, tmp_path) as processes:
        node = processes.start('node', script(STUBBORN), 'node')
        wait_for(node.log)
        assert node.stop() == ('node', -signal.SIGTERM, 'SIGTERM')


def test_leaving_the_block_by_an_exception_ends_everything(tmp_path: Path) -> None:
    started = []

    def interrupted() -> None:
        with Processes(os.environ, tmp_path) as processes:
            started.append(processes.start('node', script(POLITE), 'node'))
            wait_for(started[0].log)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].exit() == ('node', 0, 'SIGINT')


def test_death_is_noticed_and_the_log_says_why(tmp_path: Path) -> None:
    with Processes(os.environ, tmp_path) as processes:
        node = processes.start('node', script('raise SystemExit("no bundle")'), 'node')
        while node.running:
            time.sleep(0.01)
        assert processes.died() is node
        assert node.exit() == ('node', 1, '')
        assert processes.tail('node') == 'no bundle'


def test_process_that_ends_by_nature_has_not_died(tmp_path: Path) -> None:
    with Processes(os.environ, tmp_path) as processes:
        bag = processes.start('bag', script('pass'), 'bag', finite=True)
        node = processes.start('node', script('pass'), 'node')
        while bag.running or node.running:
            time.sleep(0.01)
        assert processes.died() is node


@pytest.mark.parametrize(
    'value', ['', "it's: a {test} # no", 'true', '12', 3, 0.5, True, ['/a', "b'c"], []]
)
def test_parameters_survive_the_command_line(value: object) -> None:
    _, _, word = ros_arguments({'name': value})
    assert word.startswith('name:=')
    assert yaml.safe_load(word.removeprefix('name:=')) == value


def test_remaps_follow_the_parameters() -> None:
    assert ros_arguments({'a': 1}, {'~/prompt': '/instruction'}) == [
        '--ros-args',
        '-p',
        'a:=1',
        '-r',
        '~/prompt:=/instruction',
    ]
