"""Statistics make normalised data unit-sized, count only real values, and say what stood still."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from bags import EMBODIMENT, write_embodiment

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError
from pizero_ros.policy.manifest_write import robot_mapping
from pizero_ros.policy.semantics_read import check_semantics, read_semantics
from pizero_ros.processing.pipeline import OutputPipeline
from pizero_ros.processing.spec import GripperMap, ModelSpec, PromptSpec
from pizero_ros.processing.state import StateTransform
from pizero_ros.strict_yaml import read_yaml
from pizero_ros.training import statistics
from pizero_ros.training.example import Example
from pizero_ros.training.statistics import fit, meaning

HORIZON = 10
MODEL = ModelSpec(
    slots=('base_0_rgb', 'left_wrist_0_rgb'),
    image_size=(28, 28),
    resize='antialias',
    prompt=PromptSpec('bytes', 32, True, True, {}),
    state_dim=18,
    action_dim=18,
    horizon=HORIZON,
    steps=10,
    vocabulary=300,
)


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    return load_embodiment(write_embodiment(tmp_path_factory.mktemp('robot')))


class Drawn:
    """Samples from a seed: states and actions of different size, the last ones cut short."""

    def __init__(self, robot, count=400, seed=0, still=None, still_action=None, width=3):
        rng = np.random.default_rng(seed)
        self.name = 'drawn'
        self.embodiment = robot
        self.states = np.zeros((count, 18))
        self.states[:, :width] = rng.normal([1.0, -2.0, 0.3], [0.5, 0.01, 0.1], (count, 3))
        self.actions = self.states[:, None, :width] + rng.normal(
            0.1, [0.2, 0.3, 0.05], (count, HORIZON, width)
        )
        if still is not None:
            self.states[:, still] = 0.7
        if still_action is not None:
            self.actions[..., still_action] = 0.4
        self.valid = np.arange(HORIZON)[None] < rng.integers(1, HORIZON + 1, (count, 1))
        self.actions[~self.valid] = 1e3

    def __len__(self):
        return len(self.states)

    def __getitem__(self, number):
        return Example(
            embodiment=self.embodiment.name,
            prompt='x',
            images={},
            state=self.states[number],
            state_mapped=np.arange(18) < 3,
            actions=self.actions[number],
            actions_valid=self.valid[number],
        )


def test_statistics_are_numpys_over_the_real_values(robot):
    pairs = [Drawn(robot, 400, 0), Drawn(robot, 37, 1)]
    fitted = fit(pairs, meaning(robot))
    states = np.concatenate([each.states[:, :3] for each in pairs])
    actions = np.concatenate([each.actions[each.valid] for each in pairs])
    assert fitted.samples == 437
    for found, data in ((fitted.semantics.state, states), (fitted.semantics.action, actions)):
        np.testing.assert_allclose(found.mean, data.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.std, data.std(0), rtol=1e-12)
        np.testing.assert_allclose(found.q01, np.quantile(data, 0.01, axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.q99, np.quantile(data, 0.99, axis=0), rtol=1e-12)


@pytest.mark.parametrize('mode', ['absolute', 'relative'])
@pytest.mark.parametrize('adapted', [False, True])
def test_what_the_pipelines_normalise_has_mean_0_and_deviation_1(robot, mode, adapted):
    means = meaning(robot, mode)
    if adapted:
        means = replace(
            means,
            signs=np.array([1.0, -1.0, 1.0]),
            state_grippers=(GripperMap(2, 'linear', 3.0, 0.5),),
            action_grippers=(GripperMap(2, 'linear', -2.0, 1.0),),
        )
    drawn = Drawn(robot)
    semantics = fit([drawn], means).semantics
    outputs, state = OutputPipeline(MODEL, semantics, robot), StateTransform(MODEL, semantics)
    actions = np.concatenate(
        [
            outputs.inverse(e.actions[e.actions_valid], e.state)
            for e in map(drawn.__getitem__, range(400))
        ]
    )
    states = np.stack([state(e.state, e.state_mapped) for e in map(drawn.__getitem__, range(400))])
    for values in (actions, states):
        np.testing.assert_allclose(values[:, :3].mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(values[:, :3].std(0), 1, atol=2e-4)
        assert not values[:, 3:].any()


def test_relative_is_every_arm_joint_that_the_state_holds_and_no_gripper(robot):
    assert meaning(robot, 'relative').relative.tolist() == [True, True, False]
    assert meaning(robot).relative.tolist() == [False, False, False]
    base = load_embodiment('mobile_aloha')
    relative = meaning(base, 'relative').relative
    twist = [j.index for g in base.actions if g.output != 'joint_trajectory' for j in g.joints]
    assert not relative[twist].any()
    assert relative.sum() == 18 - len(twist)


def test_quantile_mode_maps_the_middle_98_percent_to_minus_one_and_one(robot):
    drawn = Drawn(robot)
    semantics = fit([drawn], meaning(robot, normalization='quantile')).semantics
    outputs = OutputPipeline(MODEL, semantics, robot)
    values = np.concatenate(
        [outputs.inverse(drawn.actions[n][drawn.valid[n]], drawn.states[n]) for n in range(400)]
    )[:, :3]
    inside = (np.abs(values) <= 1).mean(0)
    np.testing.assert_allclose(inside, 0.98, atol=0.002)


def test_joint_that_never_moved_is_refused_by_name(robot):
    with pytest.raises(DatasetError) as caught:
        fit([Drawn(robot, still=1)], meaning(robot))
    for part in ('drawn', 'small state elbow (index 1)', 'never moved', 'under `still`'):
        assert part in str(caught.value)


def test_action_that_never_moved_is_refused_by_name(robot):
    with pytest.raises(DatasetError, match=r'small action finger \(index 2\).*never moved'):
        fit([Drawn(robot, still_action=2)], meaning(robot))


def test_joint_known_to_stand_still_is_widened_and_reported(robot):
    drawn = Drawn(robot, still=2, still_action=2)
    fitted = fit([drawn], meaning(robot), still=['finger'])
    assert [(each.role, each.joint, each.known) for each in fitted.still] == [
        ('state', 'finger', True),
        ('action', 'finger', True),
    ]
    assert 'state finger (index 2)' in str(fitted.still[0])
    assert 'known to stand still' in str(fitted.still[0])
    state = StateTransform(MODEL, fitted.semantics)
    elsewhere = drawn.states[0] + [0.0, 0.0, 0.2, *[0.0] * 15]
    assert abs(state(elsewhere, np.arange(18) < 3)[2]) < 0.25
    outputs = OutputPipeline(MODEL, fitted.semantics, robot)
    noisy = outputs(np.full((1, HORIZON, 18), 0.5, np.float32), drawn.states[0])
    np.testing.assert_allclose(noisy[..., 2], 0.4, atol=1e-3)


def test_joint_that_hardly_moved_is_reported_and_left_as_it_is(robot):
    drawn = Drawn(robot)
    drawn.states[:, 1] = 0.5 + 1e-4 * np.sin(np.arange(400))
    fitted = fit([drawn], meaning(robot))
    assert [(each.role, each.joint, each.known) for each in fitted.still] == [
        ('state', 'elbow', False)
    ]
    assert fitted.semantics.state.std[1] == pytest.approx(drawn.states[:, 1].std())


@pytest.mark.parametrize('still', [None, 2])
@pytest.mark.parametrize('normalization', ['zscore', 'quantile'])
def test_statistics_are_what_a_manifest_takes(robot, tmp_path, still, normalization):
    drawn = Drawn(robot, still=still, still_action=still)
    semantics = fit(
        [drawn], meaning(robot, normalization=normalization), still=['finger']
    ).semantics
    path = tmp_path / 'robot.yaml'
    path.write_text(yaml.safe_dump(robot_mapping(semantics)))
    fields = read_yaml(path, DatasetError)
    found = read_semantics(fields, 'small')
    check_semantics(found, MODEL, fields.document)
    fields.document.finish()
    np.testing.assert_array_equal(found.action.std, semantics.action.std)


def test_rare_gripper_has_a_deviation_and_no_quantiles(robot):
    drawn = Drawn(robot)
    drawn.actions[..., 2] = 0.0
    drawn.actions[:2, :, 2] = 0.4
    action = fit([drawn], meaning(robot)).semantics.action
    assert action.std[2] > 1e-3
    assert action.q01 is None
    with pytest.raises(DatasetError, match='or use normalization: zscore'):
        fit([drawn], meaning(robot, normalization='quantile'))


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_value_that_is_not_finite_is_named(robot, value):
    drawn = Drawn(robot)
    drawn.actions[33, 0, 1] = value
    with pytest.raises(DatasetError, match=f'drawn: sample 33: action 0 of elbow: found {value}'):
        fit([drawn], meaning(robot))
    drawn = Drawn(robot)
    drawn.states[12, 1] = value
    with pytest.raises(DatasetError, match='drawn: sample 12: state'):
        fit([drawn], meaning(robot))


def test_quantiles_of_many_samples_come_from_every_nth(robot, monkeypatch):
    drawn = Drawn(robot)
    exact = fit([drawn], meaning(robot)).semantics
    monkeypatch.setattr(statistics, 'MOST_FOR_QUANTILES', 100)
    fewer = fit([drawn], meaning(robot)).semantics
    np.testing.assert_array_equal(fewer.state.std, exact.state.std)
    expected = np.quantile(drawn.states[::4, :3], 0.99, axis=0)
    np.testing.assert_allclose(fewer.state.q99, expected, rtol=1e-12)


def test_unused_values_of_the_vector_stay_zero(tmp_path):
    """A gap between an arm and its gripper has no data; zero has to stay zero in model space."""
    content = yaml.safe_load(EMBODIMENT)
    content['state'][1]['joints'][0]['index'] = content['actions'][1]['joints'][0]['index'] = 5
    apart = load_embodiment(
        write_embodiment(tmp_path, state=content['state'], actions=content['actions'])
    )

    class Apart(Drawn):
        def __getitem__(self, number):
            example = super().__getitem__(number)
            state = np.zeros(18)
            state[[0, 1, 5]] = self.states[number, :3]
            actions = np.zeros((HORIZON, 6))
            actions[:, [0, 1, 5]] = self.actions[number]
            mapped = np.isin(np.arange(18), [0, 1, 5])
            return replace(example, state=state, state_mapped=mapped, actions=actions)

    drawn = Apart(apart)
    for mode in ('absolute', 'relative'):
        semantics = fit([drawn], meaning(apart, mode)).semantics
        outputs = OutputPipeline(MODEL, semantics, apart)
        values = outputs.inverse(drawn[0].actions, drawn[0].state)
        assert not values[:, [2, 3, 4]].any()
        assert values[:, [0, 1, 5]].all()
