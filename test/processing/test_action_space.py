from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.errors import BundleError
from pizero_ros.processing.grippers import AlohaActionGripper, AlohaStateGripper, Grippers
from pizero_ros.processing.relative import RelativeActions
from pizero_ros.processing.signs import ALOHA_SIGNS, Signs
from pizero_ros.processing.spec import GripperMap


def test_relative_actions_are_openpis(openpi):
    relative = RelativeActions(openpi['delta_mask'])
    actions, state = openpi['norm_in_actions'], openpi['norm_in_state']
    assert np.abs(relative(actions, state) - openpi['delta_actions']).max() < 1e-12
    back = relative.inverse(openpi['delta_actions'], state)
    assert np.abs(back - openpi['absolute_actions']).max() < 1e-12
    assert np.abs(back - actions).max() < 1e-12


def test_relative_actions_have_one_base_for_the_whole_chunk():
    relative = RelativeActions(np.array([True, False, True]))
    actions = np.arange(12.0).reshape(4, 3)
    moved = relative(actions, np.array([10.0, 20.0, 30.0]))
    assert np.array_equal(moved, actions - [10, 0, 30])


def test_state_may_be_narrower_or_wider_than_the_actions():
    """A mobile base is in the actions and not in the state."""
    relative = RelativeActions(np.array([True, True, False, False]))
    assert relative.needed == 2
    actions = np.ones((2, 4))
    assert np.array_equal(relative(actions, np.array([1.0, 2.0]))[0], [0, -1, 1, 1])
    assert np.array_equal(relative(actions, np.arange(18.0))[0], [1, 0, 1, 1])
    with pytest.raises(ValueError, match='state of 1 values'):
        relative(actions, np.array([1.0]))


def test_aloha_gripper_maps_are_openpis(openpi):
    values = openpi['gripper_in']
    state, action = AlohaStateGripper(), AlohaActionGripper()
    assert np.abs(state(values) - openpi['gripper_to_angular']).max() < 1e-12
    assert np.abs(action(values) - openpi['gripper_from_angular_inv']).max() < 1e-12
    assert np.abs(action.inverse(values) - openpi['gripper_from_angular']).max() < 1e-12


@pytest.mark.parametrize(
    ('opening', 'angle'), [(0.0, -1.08), (0.5, -0.14), (0.6, 0.0), (0.9, 0.50), (1.0, 0.946)]
)
def test_aloha_open_is_one_on_the_robot_and_large_in_the_policy(opening, angle):
    assert AlohaStateGripper()(np.array(opening)) == pytest.approx(angle, abs=0.005)


def test_aloha_state_gripper_inverse_undoes_within_the_linkage():
    opening = np.linspace(0.0, 1.0, 101)
    state = AlohaStateGripper()
    assert np.abs(state.inverse(state(opening)) - opening).max() < 1e-7
    # Past the end of the linkage the angle stands still, and so does the way back.
    assert state.inverse(state(np.array([1.2])))[0] == pytest.approx(1.0, abs=1e-6)


def test_aloha_action_gripper_is_the_published_formula():
    policy = np.linspace(-1.5, 1.5, 7)
    expected = (policy + 0.5476 + 0.6213) / 2.1123
    assert np.abs(AlohaActionGripper().inverse(policy) - expected).max() < 1e-12


def test_linear_map_states_polarity():
    """A robot whose 0 is open, a policy whose 0 is closed."""
    grippers = Grippers.of((GripperMap(1, 'linear', -1.0, 1.0),), 'action', 3, 'x')
    chunk = np.array([[0.3, 0.0, 0.7], [0.3, 1.0, 0.7]])
    assert np.array_equal(grippers(chunk), [[0.3, 1.0, 0.7], [0.3, 0.0, 0.7]])
    assert np.array_equal(grippers.inverse(grippers(chunk)), chunk)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('role', ['state', 'action'])
def test_gripper_maps_leave_joints_alone_and_undo(seed, role):
    rng = np.random.default_rng(seed)
    maps = (GripperMap(6, 'aloha'), GripperMap(13, 'linear', 0.04, 0.01))
    grippers = Grippers.of(maps, role, 14, 'x')
    values = rng.uniform(0, 1, (50, 14))
    before = values.copy()
    mapped = grippers(values)
    assert np.array_equal(values, before)
    assert np.array_equal(np.delete(mapped, [6, 13], 1), np.delete(values, [6, 13], 1))
    assert not np.isclose(mapped[:, [6, 13]], values[:, [6, 13]]).all()
    assert np.abs(grippers.inverse(mapped) - values).max() < 1e-6


@pytest.mark.parametrize(
    ('maps', 'message'),
    [
        ((GripperMap(14, 'aloha'),), r'\[0\].index: found 14, expected 0 to 13'),
        ((GripperMap(6, 'aloha'), GripperMap(6, 'linear')), r'\[1\].index: found 6 again'),
        ((GripperMap(6, 'linear', 0.0),), r'\[0\].scale: found 0'),
        ((GripperMap(6, 'linear', float('nan')),), r'\[0\].scale: found nan'),
    ],
)
def test_gripper_maps_that_cannot_be_inverted_are_refused(maps, message):
    with pytest.raises(BundleError, match=message):
        Grippers.of(maps, 'state', 14, 'policy.yaml')


def test_signs_are_their_own_inverse_and_openpis(openpi):
    signs = Signs.of(np.array(ALOHA_SIGNS, float), 14, 'x')
    state = openpi['aloha_in_state']
    joints = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    assert np.allclose(signs(state)[joints], openpi['aloha_piTrue_state'][joints])
    assert np.array_equal(signs.inverse(signs(state)), state)


def test_signs_other_than_one_are_refused():
    with pytest.raises(BundleError, match=r'\[2\]: found 0.5, expected 1 or -1'):
        Signs.of(np.array([1, -1, 0.5]), 3, 'signs')
    with pytest.raises(BundleError, match='found 3 signs, expected 4'):
        Signs.of(np.ones(3), 4, 'signs')
    assert np.array_equal(Signs.of(None, 2, 'signs')(np.array([1.0, 2.0])), [1, 2])
