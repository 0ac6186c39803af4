"""Check and report of ``ros2 doctor``; only ros2doctor imports this, through entry points."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from ros2doctor.api import DoctorCheck, DoctorReport, Report, Result
from ros2doctor.api.format import doctor_error, doctor_warn

from pizero_ros.doctor.examination import judge
from pizero_ros.doctor.probe import Probe
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError

if TYPE_CHECKING:
    from pizero_ros.doctor.finding import Finding

CATEGORY = 'pizero_ros'
LISTEN_S = 2.0


class Look(NamedTuple):
    """What one look found.

    Attributes:
        embodiment: Robot that the running policy node says it is, empty if none runs.
        problem: Why nothing was checked, empty if it was.
        findings: Of everything.
    """

    embodiment: str
    problem: str
    findings: tuple[Finding, ...] = ()


class PolicyGraphCheck(DoctorCheck):  # type: ignore[misc]
    """The robot of the running policy node, as ``pizero doctor`` judges it."""

    def category(self) -> str:
        """Return what links check and report."""
        return CATEGORY

    def check(self) -> Result:
        """Count errors and warnings, and print each with its remedy."""
        result = Result()
        look = examine()
        if look.problem:
            doctor_warn(look.problem)
            if look.embodiment:
                result.add_warning()
        for each in look.findings:
            if each.severity == 'error':
                result.add_error()
                doctor_error(sentence(each))
            elif each.severity == 'warning':
                result.add_warning()
                doctor_warn(sentence(each))
        return result


class PolicyGraphReport(DoctorReport):  # type: ignore[misc]
    """Everything that the check looked at, what is right too."""

    def category(self) -> str:
        """Return what links check and report."""
        return CATEGORY

    def report(self) -> Report:
        """List the findings."""
        look = examine()
        report = Report('PIZERO_ROS POLICY GRAPH')
        report.add_to_report('embodiment', look.embodiment or 'no policy node runs')
        if look.problem:
            report.add_to_report('checked', look.problem)
        for each in look.findings:
            report.add_to_report(f'{each.severity}: {each.subject}', sentence(each))
        return report


@functools.cache
def examine() -> Look:
    """Look once a process: check and report tell of the same moment."""
    with Probe() as probe:
        probe.discover()
        if not probe.policies:
            return Look(
                '',
                'pizero_ros: no policy node runs, nothing was checked. Start one, or name the '
                'robot: `pizero doctor --embodiment E`.',
            )
        node = probe.policies[0]
        name = str((probe.policy_parameters or {}).get('embodiment') or '')
        if not name:
            return Look(
                node,
                f'pizero_ros: {node} does not say which embodiment it runs, nothing was checked. '
                f'Ask it: `ros2 param get {node} embodiment`.',
            )
        try:
            embodiment = load_embodiment(name)
        except PizeroError as error:
            return Look(name, f'pizero_ros: nothing was checked: {error}')
        facts = probe.gather(embodiment, LISTEN_S)
    return Look(embodiment.name, '', tuple(judge(embodiment, facts)))


def sentence(each: Finding) -> str:
    """Return a finding as one line."""
    expected = f'; expected {each.expected}' if each.expected else ''
    remedy = f'. {each.remedy}' if each.remedy else ''
    return f'{each.subject}: {each.check}: {each.found}{expected}{remedy}'
