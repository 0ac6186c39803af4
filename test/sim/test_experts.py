"""Scripted experts: they succeed under the real controllers' model, within the robot's limits."""

from __future__ import annotations

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.sim.demonstrations import CURATED, IMPERFECT
from pizero_ros.sim.experts.legs import Pause, Reach
from pizero_ros.sim.experts.motion import PACE, BaseMotion, follow
from pizero_ros.sim.layout import layout_of
from pizero_ros.sim.tasks.task import task_named, tasks_of

pytest.importorskip('mujoco')

from pizero_ros.sim.controllers import SimulatedControllers
from pizero_ros.sim.episodes import Episodes
from pizero_ros.sim.experts.expert import Expert
from pizero_ros.sim.experts.profile import FLAWS, perform
from pizero_ros.sim.kinematics import ArmKinematics
from pizero_ros.sim.robot import SimulatedRobot
from pizero_ros.sim.scene import sample_scene
from pizero_ros.sim.staging import Stage
from pizero_ros.sim.truth import TruthReader

SEEDS = range(20)
KINDS = [
    ('sim_single_arm', 'touch'),
    ('sim_single_arm', 'hover'),
    ('sim_dual_arm', 'touch'),
    ('sim_dual_arm', 'hover'),
    ('sim_mobile', 'touch'),
    ('sim_mobile', 'hover'),
    ('sim_mobile', 'drive'),
]


@pytest.fixture(scope='module')
def stages():
    """Gives the episodes of a robot by its name, made once."""
    made: dict[str, Episodes] = {}

    def stage(name):
        if name not in made:
            made[name] = Episodes(SimulatedRobot(load_embodiment(name)))
        return made[name]

    yield stage
    for episodes in made.values():
        episodes.robot.close()


def tasks(name, kind):
    return [t for t in tasks_of(load_embodiment(name)) if t.steps[0].kind == kind]


def neutral(embodiment, arm):
    return np.array([embodiment.neutral[name] for name in arm.joints])


def within_limits(embodiment, labels):
    values = np.array([label.values for label in labels])
    step_s = 1.0 / embodiment.rate_hz
    for column, joint in enumerate(embodiment.action_joints):
        speed = np.diff(values[:, column]) / step_s
        if 'gripper' in joint.name:
            assert values[:, column].min() >= joint.position[0]
            assert values[:, column].max() <= joint.position[1]
        elif joint.position is None:
            assert np.abs(values[:, column]).max() <= joint.velocity
            assert np.abs(speed).max() <= joint.acceleration * 1.001
        else:
            assert values[:, column].min() >= joint.position[0]
            assert values[:, column].max() <= joint.position[1]
            assert np.abs(speed).max() <= joint.velocity
            assert np.abs(np.diff(speed)).max() / step_s <= joint.acceleration


@pytest.mark.parametrize(('name', 'kind'), KINDS)
def test_expert_succeeds_within_the_limits(stages, name, kind):
    episodes = stages(name)
    of_kind = tasks(name, kind)
    successes = 0
    for seed in SEEDS:
        episode = episodes.run(of_kind[seed % len(of_kind)], seed, replan_steps=20)
        successes += episode.score.success and episode.score.followed
        assert episode.interventions == {}
        assert episode.refused == []
        within_limits(episodes.robot.embodiment, episode.labels)
    assert successes >= 19


@pytest.mark.parametrize('name', ['sim_dual_arm', 'sim_mobile'])
def test_imperfect_demonstrations_recover_and_are_different_every_time(stages, name):
    episodes = stages(name)
    every = tasks_of(episodes.robot.embodiment)
    found = [episodes.run(every[seed % len(every)], seed, IMPERFECT) for seed in range(16)]
    assert sum(episode.score.success for episode in found) >= 15
    assert {episode.flaw for episode in found} == set(FLAWS)


def test_two_steps_are_done_in_order(stages):
    episodes = stages('sim_single_arm')
    task = task_named(episodes.robot.embodiment, 'touch_red_then_hover_blue')
    for seed in range(5):
        episode = episodes.run(task, seed)
        assert episode.score.success
        assert [each.colour for each in episode.score.approached] == ['red', 'blue']


def test_demonstration_repeats_by_seed(stages):
    episodes = stages('sim_dual_arm')
    task = tasks('sim_dual_arm', 'hover')[1]
    first, second, other = (episodes.run(task, seed, IMPERFECT) for seed in (3, 3, 4))
    for a, b in zip(first.labels, second.labels, strict=True):
        assert a.stamp_ns == b.stamp_ns
        assert (a.values == b.values).all()
    assert first.score == second.score
    assert other.score.done_s != first.score.done_s


def test_labels_are_one_step_apart_and_go_on_after_success(stages):
    episodes = stages('sim_single_arm')
    task = tasks('sim_single_arm', 'touch')[0]
    episode = episodes.run(task, 0, dwell_s=0.5)
    stamps = np.array([label.stamp_ns for label in episode.labels])
    assert set(np.diff(stamps).tolist()) == {20_000_000}
    assert stamps[-1] >= (episode.score.done_s + 0.45) * 1e9
    last = np.array([label.values for label in episode.labels[-5:]])
    assert np.abs(np.diff(last, axis=0)).max() < 0.003


def test_way_to_a_wrong_cube_is_not_to_be_learnt_but_the_way_back_is(stages):
    """Labels of a recovery begin late, near another cube, and are those of a clean motion."""
    episodes = stages('sim_single_arm')
    every = tasks('sim_single_arm', 'touch')
    found = [(episodes.run(every[seed % 3], seed, IMPERFECT), seed) for seed in range(14)]
    recoveries = [episode for episode, _ in found if episode.flaw == 'recovery']
    others = [episode for episode, _ in found if episode.flaw == 'none']
    assert len(recoveries) >= 1
    assert min(each.labels[0].stamp_ns for each in recoveries) > 300_000_000
    assert max(each.labels[0].stamp_ns for each in others) < 100_000_000


def test_noise_is_executed_and_not_recorded(stages):
    episodes = stages('sim_single_arm')
    embodiment = episodes.robot.embodiment
    every = tasks('sim_single_arm', 'hover')
    noisy = 0
    for seed in range(12):
        scene = sample_scene(embodiment, seed)
        Stage(episodes.robot).set(scene)
        truth = TruthReader(episodes.robot).read(0, seed=seed)
        task = every[seed % 3]
        performance = perform(embodiment, task, IMPERFECT, seed, truth)
        again = perform(embodiment, task, IMPERFECT, seed, truth)
        assert (performance.noise is None) == (again.noise is None)
        assert perform(embodiment, task, CURATED, seed, truth).noise is None
        if performance.noise is None or performance.flaw != 'none':
            continue
        noisy += 1
        noise = performance.noise
        assert (noise[0] == 0.0).all()
        assert 0.002 < noise[50:, :6].std() < 0.03
        assert (noise[:, 6] == 0.0).all()
        sent = []
        episode = episodes.run(
            task, seed, IMPERFECT, look=lambda _, commands, sent=sent: sent.extend(commands)
        )
        clean = np.array([label.values[:6] for label in episode.labels])
        assert np.abs(np.diff(clean, 2, axis=0)).max() < 0.003
        trajectories = [each for each in sent if each.group == 'arm']
        assert len(trajectories) > 2
    assert noisy >= 1


def test_chunk_of_any_moment_follows_from_there(make_robot):
    """From a pose nobody planned the expert goes to the cube, and its chunk starts in the pose."""
    robot = make_robot('sim_single_arm')
    embodiment = robot.embodiment
    Stage(robot).set(sample_scene(embodiment, 11))
    arm = layout_of(embodiment).arms[0]
    reader = TruthReader(robot)
    truth = reader.read(0)
    measured = {name: float(robot.positions([name])[0]) for name in embodiment.neutral}
    legs = [Pause(0.1), Reach('arm', 'green', above=0.1, hold_s=np.inf, limit_s=np.inf)]
    expert = Expert(embodiment, robot.model, legs, truth, measured)
    first = expert.plan(truth, measured)
    assert first.actions.shape == (50, 7)
    assert first.labelled.all()
    assert (first.actions[:5, :6] == first.actions[0, :6]).all()
    expert.advance(10)
    second = expert.plan(truth, measured)
    assert second.actions[:40] == pytest.approx(first.actions[10:], abs=1e-3)
    assert not second.astray
    pushed = measured | {'joint_1': 0.9, 'joint_2': 0.3}
    third = expert.plan(truth, pushed)
    assert third.astray
    assert third.actions[0, :2] == pytest.approx([0.9, 0.3])
    expert.advance(49)
    for _ in range(4):
        there = dict(zip(arm.joints, third.actions[-1, :6].tolist(), strict=True))
        third = expert.plan(truth, measured | there)
        assert not third.astray
        expert.advance(49)
    tip = ArmKinematics(robot.model, arm, neutral(embodiment, arm)).tip(third.actions[-1, :6])
    cube = truth.cubes['green']
    assert tip == pytest.approx([*cube.position[:2], cube.top + 0.1], abs=0.01)


@pytest.mark.parametrize('name', ['sim_single_arm', 'sim_dual_arm', 'sim_mobile'])
def test_every_cube_can_be_reached_from_above_by_every_arm(make_robot, name):
    robot = make_robot(name)
    embodiment = robot.embodiment
    for arm in layout_of(embodiment).arms:
        solver = ArmKinematics(robot.model, arm, neutral(embodiment, arm))
        if robot.has_base:
            solver.carry(('torso_joint',), np.array([embodiment.neutral['torso_joint']]))
        for seed in range(10):
            for cube in sample_scene(embodiment, seed).cubes.values():
                target = np.array([cube.x, cube.y, 2 * cube.half])
                joints = solver.solve(target, neutral(embodiment, arm), 25)
                assert solver.tip(joints) == pytest.approx(target, abs=0.001)
                assert (joints > solver.lower).all()
                assert (joints < solver.upper).all()


def test_following_stops_at_the_goal_without_overshoot():
    position, velocity = np.zeros(2), np.zeros(2)
    found = []
    for _ in range(150):
        position, velocity = follow(position, velocity, np.array([1.0, -0.5]), (0.8, 3.0), 0.02)
        found.append(position)
    path = np.array(found)
    assert path[-1] == pytest.approx([1.0, -0.5], abs=0.01)
    assert path[:, 0].max() <= 1.001
    assert path[:, 1] == pytest.approx(-0.5 * path[:, 0])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.8 * 0.02 + 1e-12


def test_base_drives_to_a_point_and_turns_as_it_is_told():
    base = BaseMotion((0.0, 0.0, 0.3))
    for _ in range(300):
        base = base.driven(np.array([0.5, -0.4]), -0.5, PACE, 0.02)
    assert base.pose == pytest.approx((0.5, -0.4, -0.5), abs=0.01)
    moving = BaseMotion((0.0, 0.0, np.pi / 2), (0.0, 0.3, 0.1))
    assert moving.twist == pytest.approx([0.3, 0.0, 0.1])


def test_controllers_forget_everything_when_the_robot_is_put_somewhere(make_robot):
    robot = make_robot('sim_mobile')
    controllers = SimulatedControllers(robot)
    stage = Stage(robot)
    stage.set(sample_scene(robot.embodiment, 1))
    controllers.reset()
    controllers.update(1_000_000_000)
    controllers.groups['base']._drive({'linear.x': 0.3, 'linear.y': 0.0, 'angular.z': 0.0})
    stage.set(sample_scene(robot.embodiment, 2))
    controllers.reset()
    names = list(robot.neutral)
    before = robot.positions(names)
    controllers.update(2_000_000_000)
    robot.step_to(0.5, lambda time_s: controllers.update(2_000_000_000 + round(time_s * 1e9)))
    assert robot.positions(names) == pytest.approx(before, abs=0.01)
    assert abs(robot.odometry().linear_x) < 1e-3
