"""What fault_injection of the policy node asks for, and what its predictor then does."""

from __future__ import annotations

import pytest

from pizero_ros.errors import PizeroError
from pizero_ros.nodes.fault_injection import FaultInjection, parse_injection


def test_nothing_is_injected_by_default():
    assert not parse_injection([''], 'node')
    assert FaultInjection().latency(0) == 0.0


def test_latency_holds_for_the_inferences_that_were_asked_for():
    faults = parse_injection(['latency=0.3', 'latency_after=2', 'latency_count=3'], 'node')
    assert faults
    slow = [faults.latency(index) for index in range(7)]
    assert slow == [0.0, 0.0, 0.3, 0.3, 0.3, 0.0, 0.0]
    assert parse_injection(['latency=0.3'], 'node').latency(1000) == 0.3


def test_one_inference_raises():
    faults = parse_injection(['raise_after=5'], 'node')
    assert faults == FaultInjection(raise_after=5)


@pytest.mark.parametrize(
    'text',
    ['late=1', 'latency', 'latency=soon', 'latency=0', 'latency=6', 'latency=nan',
     'raise_after=-1', 'raise_after=1.5', 'latency_after=2'],
)  # fmt: skip
def test_wrong_text_is_refused_with_the_parameter(text):
    with pytest.raises(PizeroError, match='node: fault_injection: found'):
        parse_injection([text], 'node')


def test_key_that_is_given_twice_is_refused():
    with pytest.raises(PizeroError, match='at most once'):
        parse_injection(['latency=1', 'latency=2'], 'node')
