"""Tasks: words, scenes by seed, and what the judge makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError, EmbodimentError, ObservationError
from pizero_ros.sim.demonstrations import Index, Order
from pizero_ros.sim.layout import FLOOR, TABLE, layout_of
from pizero_ros.sim.seeds import SEEDS, require_demonstrable, set_of
from pizero_ros.sim.tasks.judge import Approach, Judge
from pizero_ros.sim.tasks.task import task_named, tasks_of, two_step_tasks_of
from pizero_ros.sim.truth import CubePose, Truth, truth_from_json

pytest.importorskip('mujoco')

from pizero_ros.sim.grounding import ground_truth_images
from pizero_ros.sim.scene import APART_M, sample_scene
from pizero_ros.sim.staging import Stage
from pizero_ros.sim.truth import TruthReader

UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def truth(seconds=0.0, left=(0.3, 0.2, 0.2), right=(0.3, -0.2, 0.2), contacts=(), base=None):
    """Three cubes in a row, two hands and two posts."""
    return Truth(
        stamp_ns=round(seconds * 1e9),
        seed=0,
        start=TABLE,
        episode=1,
        cubes={
            colour: CubePose((0.4, y, 0.02), UPRIGHT, 0.02)
            for colour, y in (('red', 0.12), ('green', 0.0), ('blue', -0.12))
        },
        posts={'red': (-0.4, 0.5), 'green': (-0.4, -0.5)},
        standoffs={'red': (-0.9, 0.3), 'green': (-0.9, -0.3)},
        tips={'left': left, 'right': right},
        contacts=contacts,
        base=base,
    )


@pytest.fixture(scope='module')
def mobile():
    return load_embodiment('sim_mobile')


def run(task, states):
    judge = Judge(task, states[0])
    for state in states[1:]:
        judge.update(state)
    return judge.score


def test_each_robot_has_its_tasks_and_their_words_are_all_different(mobile):
    single = tasks_of(load_embodiment('sim_single_arm'))
    assert [task.name for task in single[:2]] == ['touch_red', 'touch_green']
    assert len(single) == 6
    assert len(tasks_of(load_embodiment('sim_dual_arm'))) == 12
    assert len(tasks_of(mobile)) == 14
    assert task_named(mobile, 'touch_red_left').instruction == (
        'touch the red cube with the left arm'
    )
    assert task_named(mobile, 'drive to the green post').name == 'drive_green'
    for tasks in (single, tasks_of(mobile)):
        said = [w for task in tasks for s in task.steps for w in (s.instruction, *s.paraphrases)]
        assert len(said) == len(set(said))
    both = {task.name: task for task in two_step_tasks_of(mobile)}
    assert both['touch_red_left_then_hover_blue_right'].instruction == (
        'touch the red cube with the left arm, then hover over the blue cube with the right arm'
    )
    assert both['drive_red_then_drive_green'].start == FLOOR
    assert 'touch_red_left_then_drive_green' not in both


def test_training_words_repeat_by_seed_and_are_the_canonical_ones_half_of_the_time(mobile):
    task = task_named(mobile, 'touch_red_left')
    said = [task.say(np.random.default_rng(seed)) for seed in range(200)]
    assert said == [task.say(np.random.default_rng(seed)) for seed in range(200)]
    assert 70 < said.count(task.instruction) < 130
    assert len(set(said)) > 10
    assert all('red cube' in words and 'left' in words for words in said)


def test_unknown_task_names_a_similar_one(mobile):
    with pytest.raises(DatasetError, match=r"found 'touch_red_lift'.*touch_red_left"):
        task_named(mobile, 'touch_red_lift')
    with pytest.raises(EmbodimentError, match='sim_single_arm, sim_dual_arm, sim_mobile'):
        tasks_of(load_embodiment('ur5e'))


def test_seeds_of_evaluation_are_refused_for_demonstrations():
    assert not set(SEEDS['train']) & set(SEEDS['evaluation'])
    assert (set_of(999_999), set_of(1_000_000)) == ('train', 'evaluation')
    assert require_demonstrable(999_999) == 999_999
    with pytest.raises(DatasetError, match='1000000, a scene that is kept for evaluation'):
        require_demonstrable(1_000_000)
    for seed in (-1, 2_000_000):
        with pytest.raises(DatasetError, match='expected a seed from 0 to'):
            set_of(seed)


@pytest.mark.parametrize('name', ['sim_single_arm', 'sim_dual_arm', 'sim_mobile'])
def test_scenes_repeat_by_seed_and_keep_their_distances(name):
    embodiment = load_embodiment(name)
    layout = layout_of(embodiment)
    scenes = [sample_scene(embodiment, seed) for seed in range(60)]
    assert scenes == [sample_scene(embodiment, seed) for seed in range(60)]
    assert len({scene.cubes['red'].x for scene in scenes}) == 60
    for scene in scenes:
        at = np.array([(cube.x, cube.y) for cube in scene.cubes.values()])
        for i in range(3):
            for j in range(i):
                assert np.hypot(*(at[i] - at[j])) >= APART_M
            for arm in layout.arms:
                low, high = layout.reach
                assert low <= np.hypot(*(at[i] - arm.shoulder)) <= high


def test_only_a_robot_that_drives_starts_on_the_floor(mobile):
    floor = sample_scene(mobile, 3, FLOOR)
    assert floor.base[0] < -1.0
    assert floor.cubes == sample_scene(mobile, 3).cubes
    with pytest.raises(DatasetError, match="found 'floor', expected table"):
        sample_scene(load_embodiment('sim_single_arm'), 3, FLOOR)


def test_stage_puts_a_scene_up_and_the_model_back(make_robot):
    robot = make_robot('sim_mobile')
    names = ('cam_pos', 'cam_quat', 'light_dir', 'mat_rgba', 'geom_size', 'body_pos')
    before = {name: getattr(robot.model, name).copy() for name in names}
    neutral = robot.data.qpos.copy()
    stage, reader = Stage(robot), TruthReader(robot)
    scene = sample_scene(robot.embodiment, 7, FLOOR)
    stage.set(scene, time_s=12.0)
    assert robot.time_s == 12.0
    for name, value in before.items():
        assert (getattr(robot.model, name) != value).any(), name
    robot.step_to(12.5)
    found = reader.read(5, seed=7, start=FLOOR, episode=2)
    assert truth_from_json(found.to_json()) == found
    for colour, cube in scene.cubes.items():
        at = found.cubes[colour].position
        assert at == pytest.approx((cube.x, cube.y, cube.half), abs=0.002)
    for colour, post in scene.posts.items():
        assert found.posts[colour] == pytest.approx(post)
        apart = np.hypot(*(np.array(post) - found.standoffs[colour]))
        assert apart == pytest.approx(0.6)
    assert found.base == pytest.approx((scene.base[0] - 0.19, *scene.base[1:]), abs=0.005)
    joints = list(scene.joints)
    assert robot.positions(joints) == pytest.approx(list(scene.joints.values()), abs=0.02)
    stage.set(None)
    for name, value in before.items():
        assert (getattr(robot.model, name) == value).all(), name
    assert (robot.data.qpos == neutral).all()


def test_text_that_is_no_truth_is_refused():
    with pytest.raises(ObservationError, match='expected the truth of a scene'):
        truth_from_json('{"seed": 1}')


def test_distance_to_a_cube_counts_from_its_surface_however_it_lies():
    half_turn = (np.cos(np.pi / 8), 0.0, 0.0, np.sin(np.pi / 8))
    flat = CubePose((0.0, 0.0, 0.02), UPRIGHT, 0.02)
    turned = CubePose((0.0, 0.0, 0.02), half_turn, 0.02)
    assert flat.distance((0.05, 0.0, 0.02)) == pytest.approx(0.03)
    assert turned.distance((0.05, 0.0, 0.02)) == pytest.approx(0.05 - 0.02 * np.sqrt(2), abs=1e-9)
    assert flat.distance((0.0, 0.01, 0.03)) == 0.0


def test_touch_has_to_be_the_right_cube_with_the_right_arm(mobile):
    task = task_named(mobile, 'touch_red_left')
    at_red = (0.4, 0.12, 0.06)
    score = run(task, [truth(t, left=at_red) if t else truth() for t in (0.0, 0.5, 0.6)])
    assert score.success
    assert (score.progress, score.done_s, score.followed) == (1.0, 0.6, True)
    assert score.approached == (Approach('red', 'left'),)
    other_arm = run(task, [truth(t, right=at_red) if t else truth() for t in (0.0, 0.5, 0.6)])
    assert not other_arm.success
    assert not other_arm.followed
    assert other_arm.approached == (Approach('red', 'right'),)
    at_blue = (0.4, -0.12, 0.06)
    wrong = run(task, [truth(t, left=at_blue) if t else truth() for t in (0.0, 0.5, 0.6)])
    assert (wrong.success, wrong.followed) == (False, False)
    assert wrong.approached == (Approach('blue', 'left'),)


def test_contact_counts_as_touch_and_passing_by_does_not(mobile):
    task = task_named(mobile, 'touch_green_right')
    far, contact = (0.4, -0.1, 0.1), (('right', 'green'),)
    states = [truth(), truth(0.1, right=far, contacts=contact), truth(0.15, right=far)]
    assert not run(task, states).success
    states[2] = truth(0.2, right=far, contacts=contact)
    assert run(task, states).success


@pytest.mark.parametrize(
    ('aside', 'above', 'seconds', 'done'),
    [
        (0.0, 0.10, 0.5, True),
        (0.039, 0.061, 0.5, True),
        (0.0, 0.10, 0.4, False),
        (0.05, 0.10, 0.9, False),
        (0.0, 0.15, 0.9, False),
        (0.0, 0.05, 0.9, False),
    ],
)
def test_hover_is_held_in_its_region(mobile, aside, above, seconds, done):
    task = task_named(mobile, 'hover_green_right')
    tip = (0.4 + aside, 0.0, 0.04 + above)
    score = run(task, [truth(), truth(1.0, right=tip), truth(1.0 + seconds, right=tip)])
    assert score.success is done
    assert done or 0.0 < score.progress < 1.0


def test_progress_grows_on_the_way_and_standing_still_makes_none(mobile):
    task = task_named(mobile, 'touch_red_left')
    still = run(task, [truth(t) for t in (0.0, 1.0, 2.0)])
    assert (still.progress, still.approached, still.followed) == (0.0, (None,), False)
    half = run(task, [truth(), truth(1.0, left=(0.35, 0.16, 0.12))])
    nearer = run(task, [truth(), truth(1.0, left=(0.38, 0.14, 0.08))])
    assert 0.2 < half.progress < nearer.progress < 1.0


def test_driving_arrives_at_the_post_that_was_named(mobile):
    task = task_named(mobile, 'drive_green')
    bases = [(-1.6, 0.0, 0.0), (-1.0, -0.2, 0.0), (-1.0, -0.2, 0.0)]
    states = [truth(t, base=base) for t, base in zip((0.0, 2.0, 2.3), bases, strict=True)]
    assert run(task, states).success
    red = [truth(t, base=(x, -y, a)) for t, (x, y, a) in zip((0.0, 2.0, 2.3), bases, strict=True)]
    score = run(task, red)
    assert (score.success, score.approached) == (False, (Approach('red', None),))


def test_two_steps_count_in_their_order(mobile):
    task = task_named(mobile, 'touch_red_left_then_touch_blue_right')
    red, blue = (0.4, 0.12, 0.06), (0.4, -0.12, 0.06)
    first = [truth(), truth(1.0, left=red), truth(1.1, left=red)]
    half = run(task, first)
    assert (half.success, half.steps_done, half.progress) == (False, 1, 0.5)
    both = run(task, [*first, truth(2.0, right=blue), truth(2.1, right=blue)])
    assert (both.success, both.progress, both.followed, both.done_s) == (True, 1.0, True, 2.1)
    reverse = [truth(), truth(1.0, right=blue), truth(1.1, right=blue), truth(2.0, left=red)]
    assert run(task, [*reverse, truth(2.1, left=red)]).steps_done == 1


def test_pictures_repeat_by_seed_and_objects_are_where_they_are_said_to_be():
    embodiment = load_embodiment('sim_mobile')
    found = ground_truth_images(embodiment, range(12), width=112, height=112)
    again = ground_truth_images(embodiment, 5, width=112, height=112)
    assert found.objects == ('red cube', 'green cube', 'blue cube', 'red post', 'green post')
    channel = {'red': 0, 'green': 1, 'blue': 2}
    seen = dict.fromkeys(found.objects, 0)
    for slot, images in found.images.items():
        assert images.shape == (12, 112, 112, 3)
        assert (again.images[slot][0] == images[5]).all()
        for number, picture in enumerate(images):
            for place, name in enumerate(found.objects):
                if found.visible[slot][number, place] < 1.0:
                    continue
                u, v = np.rint(found.pixels[slot][number, place]).astype(int)
                colour = picture[v, u].astype(int)
                others = np.delete(colour, channel[name.split()[0]])
                assert colour[channel[name.split()[0]]] > 1.2 * others.max(), (slot, number, name)
                seen[name] += 1
    assert min(seen.values()) >= 1
    assert seen['red cube'] > 8


def test_index_goes_on_where_it_was_and_refuses_another_order(tmp_path):
    embodiment = load_embodiment('sim_single_arm')
    order = Order('sim_single_arm', ('touch_red', 'hover_blue'), 10, 0.5, 64, 64)
    index = Index(tmp_path, order)
    assert list(index.missing(3)) == [0, 1, 2]
    made = [order.assignment(number, embodiment) for number in range(20)]
    assert made == [order.assignment(number, embodiment) for number in range(20)]
    assert [each.task.name for each in made[:3]] == ['touch_red', 'hover_blue', 'touch_red']
    assert [each.seed for each in made[:2]] == [10, 11]
    assert {each.kind for each in made} == {'curated', 'imperfect'}
    index.add({'number': 1, 'task': 'hover_blue', 'success': True})
    index.add({'number': 0, 'task': 'touch_red', 'success': False})
    again = Index(tmp_path, order)
    assert list(again.missing(3)) == [2]
    assert again.successes() == {'hover_blue': (1, 1), 'touch_red': (0, 1)}
    with pytest.raises(DatasetError, match=r'imperfect: found 0.5, expected 0.0, as it is asked'):
        Index(tmp_path, dataclasses.replace(order, imperfect=0.0))
    with pytest.raises(DatasetError, match='kept for evaluation'):
        dataclasses.replace(order, seed=999_999).assignment(1, embodiment)
