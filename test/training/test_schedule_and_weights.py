from __future__ import annotations

import math

import pytest
import torch
from synthetic import BINS, Synthetic, SyntheticQuestions

from pizero_ros.errors import TrainingConfigError
from pizero_ros.training.average import Average
from pizero_ros.training.config import OptimizerConfig
from pizero_ros.training.flow import FlowMatching, draw_flow
from pizero_ros.training.grounding import Grounding
from pizero_ros.training.schedule import learning_rate
from pizero_ros.training.trainable import choose_trainable, learning, unanswering, unreached

OPTIMIZER = OptimizerConfig(2.5e-5, 1000, 2.5e-6, 30_000, 1e-10, (0.9, 0.95), 1e-8, 1.0)


def test_learning_rate_rises_to_the_peak_and_falls_to_the_end():
    assert learning_rate(0, OPTIMIZER) == pytest.approx(2.5e-5 / 1001)
    assert learning_rate(500, OPTIMIZER) == pytest.approx(2.5e-5 * (1 / 1001 + 1000 / 1001 / 2))
    assert learning_rate(1000, OPTIMIZER) == 2.5e-5
    quarter = 1000 + 29_000 // 4
    expected = 2.5e-6 + 2.25e-5 * (1 + math.cos(math.pi / 4)) / 2
    assert learning_rate(quarter, OPTIMIZER) == pytest.approx(expected)
    assert learning_rate(30_000, OPTIMIZER) == pytest.approx(2.5e-6)
    assert learning_rate(99_000, OPTIMIZER) == pytest.approx(2.5e-6)
    rates = [learning_rate(step, OPTIMIZER) for step in range(0, 30_000, 250)]
    assert max(rates) == 2.5e-5
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_without_warm_up_the_first_step_has_the_peak():
    config = OptimizerConfig(1e-3, 0, 0.0, 10, 0.0, (0.9, 0.95), 1e-8, 1.0)
    assert learning_rate(0, config) == 1e-3
    assert learning_rate(10, config) == 0.0


def test_weights_that_no_action_depends_on_are_exactly_those_without_gradient(policy):
    batch = Synthetic(policy.architecture, 4).batch(0, 0, 1)
    draw = draw_flow((0,), (4, 8, 6), slice(0, 4))
    policy.requires_grad_(True)
    FlowMatching(policy, learn_repeated=True)(batch, draw).sums.sum().backward()
    without = {
        name
        for name, each in policy.named_parameters()
        if each.grad is None or not each.grad.any()
    }
    assert without == unreached(policy)
    assert len(without) == 7


def test_weights_that_no_answer_depends_on_are_exactly_those_without_gradient(policy):
    """Of the VLM's last layer everything learns here, unlike where only actions count."""
    batch = SyntheticQuestions(policy.architecture, 6).batch(0, 0, 1)
    policy.requires_grad_(True)
    Grounding(policy, BINS)(batch, None).sums.sum().backward()
    without = {
        name
        for name, each in policy.named_parameters()
        if each.grad is None or not each.grad.any()
    }
    assert without == unanswering(policy)
    assert not without & unreached(policy)


def test_patterns_freeze_what_they_name(policy):
    choose_trainable(policy, ['*.vision_tower.*', 'state_proj.*'], unreached(policy))
    for name, parameter in policy.named_parameters():
        frozen = 'vision_tower' in name or name.startswith('state_proj')
        assert parameter.requires_grad != (frozen or name in unreached(policy)), name
    choose_trainable(policy, [], unreached(policy))
    assert len(learning(policy)) == len(list(policy.parameters())) - 7


def test_a_pattern_that_fits_nothing_is_a_mistake(policy):
    with pytest.raises(TrainingConfigError, match=r"'state_proj.weights', which fits no weight"):
        choose_trainable(policy, ['state_proj.weights'], ())
    choose_trainable(policy, ['*'], ())
    with pytest.raises(TrainingConfigError, match='every weight frozen'):
        learning(policy)


def test_average_follows_its_formula_and_changes_places_with_the_weights(policy):
    weight = policy.state_proj.weight
    first = weight.detach().clone()
    average = Average({'w': weight}, 0.9)
    with torch.no_grad():
        weight.add_(1.0)
    second = weight.detach().clone()
    average.update()
    average.update()
    expected = 0.81 * first + 0.19 * second
    torch.testing.assert_close(average.tensors['w'], expected)
    with average.in_place():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight, second)
    torch.testing.assert_close(average.tensors['w'], expected)


def test_an_average_of_decay_zero_is_the_weights_themselves(policy):
    average = Average({'w': policy.state_proj.weight}, 0.0)
    before = policy.state_proj.weight.detach().clone()
    average.update()
    with average.in_place():
        assert torch.equal(policy.state_proj.weight, before)
    assert not average.tensors
