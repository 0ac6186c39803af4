"""The check and the report of ``ros2 doctor``, against the shape of ros2cli's ros2doctor.

ros2doctor is not on the package index, so its abstract classes (ros2cli, ros2doctor/api) stand
here; where it is installed, these are the real ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from configparser import ConfigParser
from pathlib import Path

import pytest

from pizero_ros.doctor.finding import Finding

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = (
    Finding('ok', 'input', '/joint_states', 'rate', '100.0 Hz'),
    Finding('unknown', 'controller', '/arm', 'parameters', 'no answer'),
    Finding('warning', 'input', '/top', 'rate', '20.0 Hz', '30 Hz', 'Let the driver.'),
    Finding('error', 'controller', '/arm', 'controller', 'nobody', 'somebody', 'Start it.'),
)


class DoctorCheck:
    pass


class DoctorReport:
    pass


class Report:
    def __init__(self, name):
        self.name, self.items = name, []

    def add_to_report(self, item_name, item_info):
        self.items.append((item_name, item_info))


class Result:
    def __init__(self):
        self.error = self.warning = 0

    def add_error(self):
        self.error += 1

    def add_warning(self):
        self.warning += 1


@pytest.fixture
def told():
    return []


@pytest.fixture
def check(monkeypatch, told):
    """Import the module that the entry points name."""
    try:
        importlib.import_module('ros2doctor.api')
    except ImportError:
        api = types.ModuleType('ros2doctor.api')
        api.__dict__.update(
            DoctorCheck=DoctorCheck, DoctorReport=DoctorReport, Report=Report, Result=Result
        )
        shape = types.ModuleType('ros2doctor.api.format')
        shape.__dict__.update(doctor_error=None, doctor_warn=None)
        for name, module in (
            ('ros2doctor', types.ModuleType('ros2doctor')),
            ('ros2doctor.api', api),
            ('ros2doctor.api.format', shape),
        ):
            monkeypatch.setitem(sys.modules, name, module)
    module = importlib.import_module('pizero_ros.doctor.ros2doctor_check')
    monkeypatch.setattr(module, 'doctor_error', lambda text: told.append(f'ERROR: {text}'))
    monkeypatch.setattr(module, 'doctor_warn', told.append)
    yield module
    sys.modules.pop(module.__name__, None)


def test_check_counts_and_prints_what_is_wrong(check, told, monkeypatch):
    monkeypatch.setattr(check, 'examine', lambda: check.Look('aloha', '', FINDINGS))
    result = check.PolicyGraphCheck().check()
    assert (result.error, result.warning) == (1, 1)
    assert told == [
        '/top: rate: 20.0 Hz; expected 30 Hz. Let the driver.',
        'ERROR: /arm: controller: nobody; expected somebody. Start it.',
    ]


def test_without_a_policy_node_it_says_that_nothing_was_checked(check, told, monkeypatch):
    monkeypatch.setattr(check, 'examine', lambda: check.Look('', 'nothing was checked'))
    result = check.PolicyGraphCheck().check()
    assert (result.error, result.warning, told) == (0, 0, ['nothing was checked'])
    report = check.PolicyGraphReport().report()
    assert report.items == [
        ('embodiment', 'no policy node runs'),
        ('checked', 'nothing was checked'),
    ]


def test_policy_node_that_cannot_be_checked_is_a_warning(check, told, monkeypatch):
    monkeypatch.setattr(check, 'examine', lambda: check.Look('/policy_node', 'no file'))
    assert check.PolicyGraphCheck().check().warning == 1


def test_report_lists_what_is_right_too(check, monkeypatch):
    monkeypatch.setattr(check, 'examine', lambda: check.Look('aloha', '', FINDINGS))
    report = check.PolicyGraphReport().report()
    assert ('ok: /joint_states', '/joint_states: rate: 100.0 Hz') in report.items
    assert len(report.items) == 1 + len(FINDINGS)
    assert check.PolicyGraphCheck().category() == check.PolicyGraphReport().category()


def test_colcon_and_pip_register_the_same_classes(check):
    parser = ConfigParser()
    parser.optionxform = str
    parser.read(ROOT / 'cmake' / 'entry_points.txt')
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for group in ('ros2doctor.checks', 'ros2doctor.report'):
        ((name, target),) = parser[group].items()
        assert f"'{group}'" in setup
        assert f"'{name} = {target}'" in setup
        module, _, kind = target.partition(':')
        assert module == check.__name__
        assert hasattr(check, kind)
        installed = importlib.metadata.entry_points(group=group)
        assert target in [each.value for each in installed]
