"""Speed scaling: factors that the policy follows, and those that it does not know of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.doctor.facts import Endpoint, SpeedFacts
from pizero_ros.doctor.judge_speed import judge_speed
from pizero_ros.embodiment.schema import SpeedScaling

TOPIC = '/speed_scaling_state_broadcaster/speed_scaling'
FLOAT = 'std_msgs/msg/Float64'
SOURCE = SpeedScaling(TOPIC, 'float64', 'percent', required=True, max_age_s=0.5)
BROADCASTER = (Endpoint('/speed_scaling_state_broadcaster', FLOAT),)
GOOD = SpeedFacts(SOURCE, FLOAT, BROADCASTER, rate_hz=100.0, factor=0.5)


def test_factor_that_is_followed_is_right(arm, facts):
    (finding,) = judge_speed(arm, replace(facts, speed=GOOD))
    assert (finding.severity, finding.found) == ('ok', 'factor 0.50, followed')


@pytest.mark.parametrize(
    ('changes', 'severity', 'text'),
    [
        ({'publishers': (), 'factor': None}, 'error', 'nobody publishes it'),
        ({'factor': None}, 'error', 'std_msgs/msg/Float64, no factor'),
        ({'factor': 64.0}, 'error', 'factor 64'),
        ({'factor': 0.0}, 'warning', 'paused'),
        ({'rate_hz': 1.0}, 'error', '1.0 Hz'),
    ],
)
def test_factor_that_holds_the_robot(arm, facts, wrong, changes, severity, text):
    (finding,) = wrong(judge_speed(arm, replace(facts, speed=replace(GOOD, **changes))))
    assert finding.severity == severity
    assert text in finding.found
    assert finding.remedy


def test_optional_factor_that_does_not_come_is_a_warning(arm, facts, wrong):
    optional = replace(GOOD, source=replace(SOURCE, required=False), factor=None)
    (finding,) = wrong(judge_speed(arm, replace(facts, speed=optional)))
    assert finding.severity == 'warning'


def test_slowed_controller_of_an_embodiment_without_speed_scaling(arm, spoil_group, wrong):
    (finding,) = wrong(judge_speed(arm, spoil_group('arm', speed=0.5)))
    assert finding.severity == 'warning'
    assert 'topic: /arm_controller/controller_state' in finding.remedy
    (finding,) = judge_speed(arm, spoil_group('arm', speed=1.0))
    assert finding.severity == 'ok'
    (finding,) = judge_speed(arm, spoil_group('arm', speed_problem='no module'))
    assert finding.severity == 'unknown'
