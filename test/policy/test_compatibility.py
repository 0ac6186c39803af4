from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.compatibility import check_embodiment, examine, require_embodiment

NAME = 'sim_single_arm'


@pytest.fixture
def bundle(tiny_bundle):
    return Bundle.open(tiny_bundle)


@pytest.fixture
def robot():
    return load_embodiment(NAME)


def with_semantics(bundle, **changes):
    semantics = replace(bundle.manifest.embodiments[NAME], **changes)
    manifest = replace(bundle.manifest, embodiments={NAME: semantics})
    return replace(bundle, manifest=manifest)


def with_action(robot, group, **changes):
    groups = [
        replace(each, joints=tuple(replace(joint, **changes) for joint in each.joints))
        if each.name == group
        else each
        for each in robot.actions
    ]
    return replace(robot, actions=tuple(groups))


@pytest.mark.parametrize('name', ['sim_single_arm', 'sim_dual_arm', 'sim_mobile'])
def test_bundle_fits_the_robots_it_was_made_for(bundle, name):
    robot = load_embodiment(name)
    assert check_embodiment(bundle, robot) == []
    assert require_embodiment(bundle, robot) == []
    assert {each.severity for each in examine(bundle, robot)} == {'ok'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'rate_hz': 20.0}, r'rate_hz: found 20, expected 50'),
        ({'horizon': 25}, r'horizon: found 25, expected 50'),
        ({'name': 'other'}, r'found sim_single_arm, sim_dual_arm, sim_mobile, expected other'),
        ({'cameras': ()}, r'found no camera'),
    ],
)
def test_wrong_robot_is_an_error(bundle, robot, change, message):
    with pytest.raises(BundleError, match=message):
        require_embodiment(bundle, replace(robot, **change))


def test_slot_that_the_bundle_does_not_have_is_an_error(bundle, robot):
    cameras = (replace(robot.cameras[0], slot='head'), *robot.cameras[1:])
    with pytest.raises(BundleError, match='slot head, expected one of base_0_rgb'):
        require_embodiment(bundle, replace(robot, cameras=cameras))


def test_slot_without_camera_is_a_warning(bundle, robot):
    findings = check_embodiment(bundle, replace(robot, cameras=robot.cameras[:2]))
    assert [each.severity for each in findings] == ['warning']
    assert 'right_wrist_0_rgb' in findings[0].message


def test_robot_that_requires_no_camera_is_a_warning(bundle, robot):
    cameras = tuple(replace(each, required=False) for each in robot.cameras)
    findings = check_embodiment(bundle, replace(robot, cameras=cameras))
    assert [each.subject for each in findings] == ['cameras']
    assert findings[0].severity == 'warning'


@pytest.mark.parametrize('key', ['state', 'action'])
def test_statistics_of_another_width_are_an_error(bundle, robot, key):
    statistics = getattr(bundle.manifest.embodiments[NAME], key)
    shorter = replace(
        statistics,
        mean=statistics.mean[:6],
        std=statistics.std[:6],
        q01=statistics.q01[:6],
        q99=statistics.q99[:6],
    )
    with pytest.raises(BundleError, match=f'uses 7 {key} values, the bundle has statistics of 6'):
        require_embodiment(with_semantics(bundle, **{key: shorter}), robot)


def test_robot_wider_than_the_model_is_an_error(bundle, robot):
    model = replace(bundle.manifest.model, state_dim=6)
    narrow = replace(bundle, manifest=replace(bundle.manifest, model=model))
    with pytest.raises(BundleError, match='uses 7 state values, the model takes 6'):
        require_embodiment(narrow, robot)


def test_mask_of_another_length_is_an_error(bundle, robot):
    with pytest.raises(BundleError, match='mask of 6 for 7 action values'):
        require_embodiment(with_semantics(bundle, relative=np.zeros(6, bool)), robot)


def test_action_relative_to_a_value_no_position_fills_is_an_error(bundle, robot):
    source = robot.state[0]
    velocities = tuple(replace(joint, field='velocity') for joint in source.joints)
    moving = replace(robot, state=(replace(source, joints=velocities),))
    relative = with_semantics(bundle, relative=np.array([True] + [False] * 6))
    with pytest.raises(BundleError, match='action value 0 is relative to state value 0'):
        require_embodiment(relative, moving)
    require_embodiment(relative, robot)


def test_degrees_instead_of_radians_are_a_warning(bundle, robot):
    semantics = bundle.manifest.embodiments[NAME]
    degrees = replace(
        semantics.action,
        mean=np.rad2deg(semantics.action.mean),
        std=np.rad2deg(semantics.action.std),
    )
    findings = check_embodiment(with_semantics(bundle, action=degrees), robot)
    assert {each.severity for each in findings} == {'warning'}
    assert {each.subject for each in findings} == {'action limits'}
    assert any('joint_2' in each.message and 'check unit' in each.message for each in findings)


def test_limits_are_compared_in_the_controllers_own_unit(bundle, robot):
    flipped = with_action(robot, 'arm', sign=-1, offset=0.1)
    assert [each for each in check_embodiment(bundle, flipped) if each.severity == 'error'] == []
    shifted = with_action(robot, 'arm', offset=30.0)
    assert {each.subject for each in check_embodiment(bundle, shifted)} == {'action limits'}


def test_model_only_bundle_is_refused_for_any_robot(bundle, robot):
    manifest = replace(bundle.manifest, model_only=True, embodiments={})
    with pytest.raises(BundleError, match='without action semantics'):
        require_embodiment(replace(bundle, manifest=manifest), robot)


def test_every_error_is_in_one_message(bundle, robot):
    with pytest.raises(BundleError, match=r'(?s)rate_hz.*horizon'):
        require_embodiment(bundle, replace(robot, rate_hz=20.0, horizon=25))
