"""The policy node and the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pizero_ros.doctor.examination import judge, judge_bundle
from pizero_ros.doctor.facts import ClockFacts, PolicyFacts
from pizero_ros.doctor.finding import as_json, failed
from pizero_ros.doctor.judge_policy import judge_clock, judge_policy
from pizero_ros.errors import BundleError

NODE = '/policy_node'
RUNNING = PolicyFacts(NODE, (), 'active', {'use_sim_time': False}, 'running', '', 'sim_single_arm')


def _with(facts, policy=None, **clock):
    return replace(facts, policy=policy, clock=ClockFacts(**clock))


def test_absent_policy_is_no_fault_unless_it_is_named(arm, facts, wrong):
    assert wrong(judge_policy(arm, facts)) == []
    (finding,) = wrong(judge_policy(arm, facts, node='/arm/policy_node'))
    assert (finding.severity, finding.subject) == ('error', '/arm/policy_node')


def test_running_policy_is_right(arm, facts, wrong):
    findings = judge_policy(arm, _with(facts, RUNNING))
    assert wrong(findings) == []
    assert [each.found for each in findings] == ['runs, active', 'running']


@pytest.mark.parametrize(
    ('changes', 'severity', 'text'),
    [
        (
            {'state': 'holding', 'reason': 'stale: /joint_states'},
            'warning',
            'stale: /joint_states',
        ),
        ({'state': 'fault', 'reason': 'inference failed'}, 'error', 'inference failed'),
        ({'state': '', 'lifecycle': 'unconfigured'}, 'warning', 'no bundle is loaded'),
        ({'state': '', 'lifecycle': ''}, 'unknown', 'no status message'),
        ({'others': ('/b/policy_node',)}, 'warning', '/b/policy_node'),
        ({'embodiment': 'aloha'}, 'error', 'aloha'),
        ({'faults': {'/top': 'black'}}, 'warning', '/policy_node says: black'),
    ],
)
def test_what_a_policy_node_says(arm, facts, wrong, changes, severity, text):
    (finding,) = wrong(judge_policy(arm, _with(facts, replace(RUNNING, **changes))))
    assert finding.severity == severity
    assert text in finding.found
    assert finding.remedy


def test_other_bundle_than_runs_is_a_warning(arm, facts, wrong):
    policy = replace(RUNNING, parameters={'bundle': '/bundles/a'})
    assert wrong(judge_policy(arm, _with(facts, policy), Path('/bundles/a'))) == []
    (finding,) = wrong(judge_policy(arm, _with(facts, policy), Path('/bundles/b')))
    assert (finding.severity, finding.found) == ('warning', '/bundles/a')


def test_system_clock_is_right_with_a_clock_topic_that_is_silent(facts, wrong):
    assert wrong(judge_clock(_with(facts, RUNNING))) == []
    assert wrong(judge_clock(_with(facts, RUNNING, publishers=('/sim_robot',)))) == []


def test_simulated_time_without_a_clock_is_an_error(facts, wrong):
    follows = replace(RUNNING, parameters={'use_sim_time': True})
    (finding,) = wrong(judge_clock(_with(facts, follows, used='simulated')))
    assert (finding.severity, finding.check) == ('error', 'use_sim_time')
    assert 'nobody publishes /clock' in finding.found
    assert '`ros2 param set /policy_node use_sim_time false`' in finding.remedy


def test_policy_that_ignores_a_running_clock_is_an_error(facts, wrong):
    bag = {'publishers': ('/rosbag2_player',), 'ticks': 500}
    (finding,) = wrong(judge_clock(_with(facts, RUNNING, **bag)))
    assert finding.severity == 'error'
    assert 'does not follow it' in finding.found
    follows = replace(RUNNING, parameters={'use_sim_time': True})
    (finding,) = judge_clock(_with(facts, follows, used='simulated', **bag))
    assert (finding.severity, finding.found) == ('ok', '100 ticks a second from /rosbag2_player')


def test_two_clocks_are_an_error(facts, wrong):
    clock = {'used': 'simulated', 'publishers': ('/a', '/b'), 'ticks': 9}
    (finding,) = wrong(judge_clock(_with(facts, None, **clock)))
    assert (finding.severity, finding.check) == ('error', 'publisher')


def test_damaged_bundle_is_a_finding_of_its_own(arm, wrong):
    (finding,) = wrong(judge_bundle(arm, BundleError('observe.onnx: cut off')))
    assert (finding.severity, finding.area) == ('error', 'bundle')


def test_every_problem_names_what_was_expected_and_a_remedy(arm, facts, spoil_group):
    robot = spoil_group('arm', listeners=())
    robot = replace(robot, inputs=(replace(facts.inputs[0], publishers=()), *facts.inputs[1:]))
    findings = judge(arm, robot)
    assert failed(findings)
    assert not failed(judge(arm, facts))
    for each in as_json(findings):
        assert set(each) == {
            'severity', 'area', 'subject', 'check', 'found', 'expected', 'remedy',
        }  # fmt: skip
        assert each['severity'] == 'ok' or (each['expected'] and each['remedy']), each
