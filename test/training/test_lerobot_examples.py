"""LeRobot datasets of both layouts give the samples that a bag of the same motion gives."""

import json
import sys

import numpy as np
import pytest
from bags import commanded, demonstration, measured, picture, write, write_embodiment

pytest.importorskip('pyarrow', reason='LeRobot datasets need pyarrow (extra `lerobot`)')
pytest.importorskip('av', reason='LeRobot datasets need PyAV (extra `lerobot`)')

import lerobot_sets
from data_sizes import SIZES
from lerobot_sets import FRONT, WRIST, film, lines, write_v3, write_v21

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError, EnvironmentFault
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.training.bag_examples import Reading, read_bag
from pizero_ros.training.config import DataConfig, SourceConfig
from pizero_ros.training.data import prepare
from pizero_ros.training.lerobot_examples import LerobotReading, read_lerobot

LENGTHS, TASKS = (14, 9, 12), ('push', 'pick', 'push')
SIZE = (32, 32)
READING = LerobotReading(SIZE, 'antialias', cameras={WRIST: 'left_wrist_0_rgb'})
LAYOUTS = [
    pytest.param(write_v21, 'video', id='v2.1-video'),
    pytest.param(write_v21, 'image', id='v2.1-image'),
    pytest.param(write_v3, 'video', id='v3.0-video'),
    pytest.param(write_v3, 'image', id='v3.0-image'),
]


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    return load_embodiment(write_embodiment(tmp_path_factory.mktemp('robot')))


def vector(raw):
    return np.asarray(raw) * [1.0, 1.0, 10.0]


def silent(_line):
    pass


def read(root, robot, cache, reading=READING, **changes):
    return read_lerobot(root, robot, reading, cache, tell=changes.pop('tell', silent), **changes)


@pytest.mark.parametrize(('make', 'kind'), LAYOUTS)
def test_every_frame_is_a_sample_with_its_values_and_pictures(robot, tmp_path, make, kind):
    episodes = read(make(tmp_path / 'set', LENGTHS, TASKS, kind), robot, tmp_path / 'cache')
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    resize = ResizeWithPad(SIZE, 'antialias')
    for number, episode in enumerate(episodes):
        assert {episode[n].prompt for n in range(len(episode))} == {TASKS[number]}
        for step in (0, 3, len(episode) - 1):
            example, real = episode[step], 100 * number + step
            np.testing.assert_allclose(example.state[:3], vector(measured(real)), atol=1e-6)
            left = min(10, len(episode) - step)
            expected = [vector(commanded(real + k)) for k in range(left)]
            np.testing.assert_allclose(example.actions[:left], expected, atol=1e-5)
            assert example.actions_valid.sum() == left
            for slot, shift in (('base_0_rgb', 0), ('left_wrist_0_rgb', 1000)):
                found, wanted = resize(example.images[slot]), resize(picture(real + shift))
                apart = np.abs(found - wanted).max() * 127.5
                assert apart == 0 if kind == 'image' else apart < 12


def test_pictures_of_neighbours_differ_by_more_than_a_video_loses():
    """So that the tolerance of the test above finds a picture that belongs to the next frame."""
    resize = ResizeWithPad(SIZE, 'antialias')
    for step in range(36):
        moved = np.abs(resize(picture(step)) - resize(picture(step + 1))).max() * 127.5
        assert moved > 20


def test_dataset_and_bag_of_the_same_motion_give_the_same_samples(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (20,), ('pick the cube',), 'image')
    (episode,) = read(root, robot, tmp_path / 'cache')
    bag = write(tmp_path / 'bag', demonstration(20))
    recorded = read_bag(bag, robot, Reading(SIZE, 'antialias'), tmp_path / 'cache')
    assert len(episode) == len(recorded)
    for number in range(20):
        one, two = episode[number], recorded[number]
        assert one.prompt == two.prompt
        np.testing.assert_allclose(one.state, two.state, atol=1e-6)
        np.testing.assert_allclose(one.actions, two.actions, atol=1e-5)
        np.testing.assert_array_equal(one.actions_valid, two.actions_valid)
        front = 'base_0_rgb'
        np.testing.assert_array_equal(one.images[front], two.images[front])


@pytest.mark.parametrize('column', ['task', '__index_level_0__'])
def test_tasks_are_found_whatever_pandas_called_their_column(robot, tmp_path, column):
    root = write_v3(tmp_path / 'set', (8,), ('lift',), 'image', column)
    assert read(root, robot, tmp_path / 'cache')[0][0].prompt == 'lift'


def test_second_reading_comes_from_the_cache(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8, 9), ('a', 'b'), 'image')
    first = read(root, robot, tmp_path / 'cache')
    times = [(each.folder / 'samples.npy').stat().st_mtime_ns for each in first]
    second = read(root, robot, tmp_path / 'cache')
    assert [(e.folder / 'samples.npy').stat().st_mtime_ns for e in second] == times


def change(root, **keys):
    path = root / 'meta/info.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_other_version_is_refused(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    change(root, codebase_version='v1.6')
    with pytest.raises(DatasetError, match=r'codebase_version: found v1.6, expected v2.1 or v3.0'):
        read(root, robot, tmp_path / 'cache')


def test_names_of_another_robot_are_refused_with_both_lists(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    other = load_embodiment('sim_single_arm')
    with pytest.raises(DatasetError) as caught:
        read(root, other, tmp_path / 'cache')
    for part in ('observation.state.names', 'shoulder.pos', 'under `names`'):
        assert part in str(caught.value)


def test_names_can_be_translated(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    info = json.loads((root / 'meta/info.json').read_text())
    for feature in ('observation.state', 'action'):
        info['features'][feature]['names'] = ['finger', 'joint_2', 'shoulder']
    change(root, features=info['features'])
    names = {'finger': 'shoulder', 'joint_2': 'elbow', 'shoulder': 'finger'}
    reading = LerobotReading(SIZE, 'antialias', None, {WRIST: 'left_wrist_0_rgb'}, names)
    (episode,) = read(root, robot, tmp_path / 'cache', reading)
    np.testing.assert_allclose(episode[2].state[:3], vector(measured(2)), atol=1e-6)


def test_required_camera_without_pictures_is_refused(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    info = json.loads((root / 'meta/info.json').read_text())
    del info['features'][FRONT]
    change(root, features=info['features'])
    with pytest.raises(DatasetError, match=r'cameras: found observation.images.wrist.*base_0_rgb'):
        read(root, robot, tmp_path / 'cache')


def test_camera_setting_for_nothing_is_refused(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    reading = LerobotReading(SIZE, 'antialias', cameras={'observation.images.top': 'base_0_rgb'})
    with pytest.raises(DatasetError, match='cameras'):
        read(root, robot, tmp_path / 'cache', reading)


def test_episode_without_instruction_is_refused(robot, tmp_path):
    root = write_v21(tmp_path / 'set', (8,), ('a',), 'image')
    lines(root / 'meta/tasks.jsonl', [{'task_index': 0, 'task': ''}])
    with pytest.raises(DatasetError, match='episode 0: task: found no instruction'):
        read(root, robot, tmp_path / 'cache')
    given = LerobotReading(SIZE, 'antialias', 'lift', READING.cameras)
    assert read(root, robot, tmp_path / 'cache', given)[0][0].prompt == 'lift'


def test_value_that_is_not_finite_is_refused(robot, tmp_path, monkeypatch):
    for name in ('commanded', 'measured'):
        real = getattr(lerobot_sets, name)
        with monkeypatch.context() as patch:
            patch.setattr(
                lerobot_sets, name, lambda s, real=real: real(s) * (np.nan if s == 5 else 1)
            )
            root = write_v3(tmp_path / name, (12,), ('a',), 'image')
        with pytest.raises(DatasetError, match=r'shoulder is nan at 0.25'):
            read(root, robot, tmp_path / 'cache')


def test_video_that_is_too_short_is_refused(robot, tmp_path):
    root = write_v21(tmp_path / 'set', (12,), ('a',))
    video = root / f'videos/chunk-000/{FRONT}/episode_000000.mp4'
    film(video, [picture(step) for step in range(8)])
    with pytest.raises(DatasetError, match='the end of the video'):
        read(root, robot, tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []


@pytest.mark.parametrize(
    'name', ['meta/episodes/chunk-000/file-000.parquet', 'data/chunk-000/file-000.parquet']
)
def test_damaged_file_is_named(robot, tmp_path, name):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match='complete LeRobot dataset'):
        read(root, robot, tmp_path / 'cache')


def test_damaged_video_is_named(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (8,), ('a',))
    video = root / f'videos/{FRONT}/chunk-000/file-000.mp4'
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r'file-000.mp4'):
        read(root, robot, tmp_path / 'cache')


def test_missing_library_is_told(robot, tmp_path, monkeypatch):
    root = write_v3(tmp_path / 'set', (8,), ('a',), 'image')
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(EnvironmentFault, match=r'pizero_ros\[lerobot\]'):
        read(root, robot, tmp_path / 'cache')


def test_dataset_is_a_source_of_a_run_beside_bags(robot, tmp_path):
    root = write_v3(tmp_path / 'set', (30, 31, 32), ('push',) * 3, 'image')
    bag = write(tmp_path / 'bag', demonstration(30))
    cameras = ((WRIST, 'left_wrist_0_rgb'),)
    sources = (
        SourceConfig(root, robot.source, 'push', cameras=cameras),
        SourceConfig(bag, robot.source, 'pick'),
    )
    config = DataConfig(sources, 0.43, 0.34, 'relative', 'zscore', None, None)
    data = prepare(config, SIZES, tmp_path / 'cache', 0, tell=silent)
    assert [len(pair.episodes) for pair in data.learn] == [2, 1]
    assert [len(pair.episodes) for pair in data.held_out] == [1]
    assert data.source(8, 0, 0.43).batch(0).actions.shape == (8, 10, 18)
    wrong = (SourceConfig(bag, robot.source, 'pick', cameras=cameras),)
    config = DataConfig(wrong, 0.43, 0.0, 'relative', 'zscore', None, None)
    with pytest.raises(DatasetError, match='cameras: found a setting'):
        prepare(config, SIZES, tmp_path / 'cache', 0, tell=silent)
