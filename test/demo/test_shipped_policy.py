"""The policy that ships with the package: whole, small, and of the robots that it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pizero_ros.cli.default_policy import shipped_for, shipped_scores
from pizero_ros.cli.demo import ROBOTS
from pizero_ros.cli.evaluate_arguments import identity_of
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.predictor import prompt_encoder
from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline
from pizero_ros.resources import shipped_policy
from pizero_ros.sim.tasks.task import tasks_of, two_step_tasks_of


@pytest.fixture(scope='module')
def bundle() -> Bundle:
    return Bundle.open(shipped_policy())


def test_it_is_trained_and_at_most_15_mb(bundle: Bundle) -> None:
    assert not bundle.manifest.untrained
    assert sum(each.stat().st_size for each in bundle.path.iterdir()) < 15e6


def test_it_names_no_machine_and_its_words_are_those_of_its_training(bundle: Bundle) -> None:
    for path in bundle.path.iterdir():
        assert b'stack_trace' not in path.read_bytes(), path
    words = Path(__file__).parents[2] / 'config/tokenizers/demo.model'
    assert (bundle.path / 'tokenizer.model').read_bytes() == words.read_bytes()


@pytest.mark.parametrize('name', ROBOTS)
def test_it_knows_the_robot_and_every_instruction(bundle: Bundle, name: str) -> None:
    robot = load_embodiment(name)
    model, semantics = bundle.manifest.model, bundle.semantics(name)
    prompt = prompt_encoder(bundle)
    InputPipeline(model, semantics, prompt, robot)
    OutputPipeline(model, semantics, robot)
    for task in (*tasks_of(robot), *two_step_tasks_of(robot)):
        assert 3 < len(prompt(task.instruction)) <= model.prompt.max_tokens


def test_it_is_the_default_of_its_robots_only() -> None:
    known = [load_embodiment(name) for name in ROBOTS]
    assert shipped_for(known) == shipped_policy()
    assert shipped_for([*known, load_embodiment('ur5e')]) is None
    assert shipped_for([replace(known[0], rate_hz=known[0].rate_hz / 2)]) is None


def test_its_scores_are_its_own(bundle: Bundle) -> None:
    scores = shipped_scores()
    assert scores['policies']['demo']['identity'] == identity_of(bundle.path)
    told = {each['embodiment'] for each in scores['scores'] if each['policy'] == 'demo'}
    assert told == set(ROBOTS)
    for each in scores['scores']:
        if each['task'] is not None and each['steps'] == 1:
            assert each['success']['n'] >= 10
