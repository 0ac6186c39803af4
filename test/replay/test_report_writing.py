"""What a report says and which files it leaves, without a browser."""

import gc
import re
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from episodes import COLUMNS, make_episode
from reports import content, entry, pictures, report, robot, two_policies

from pizero_ros.errors import BagError
from pizero_ros.page.numbers import degrees, figures, percent
from pizero_ros.replay.report import writing
from pizero_ros.replay.report.averages import over_episodes
from pizero_ros.replay.report.details import joints_table, motion_table, step_shares
from pizero_ros.replay.report.figures import joints_figure
from pizero_ros.replay.report.horizon_figures import horizon_figure
from pizero_ros.replay.report.overview import comparison_table, episodes_table
from pizero_ros.replay.report.source_tables import overview_table


def short(bag='/bags/episode_0', policy='tiny', **changes):
    """An episode of two open-loop queries: quick to draw."""
    return make_episode(bag, policy, **({'seeds': (0,), 'steps': 10} | changes))


def cells(table):
    """First entry of each row → heading (with what stands above it) → entry."""
    names = [f'{heading.over} {heading.title}'.strip() for heading in table.headings]
    return {row.cells[0].text: dict(zip(names, row.cells, strict=True)) for row in table.rows}


@pytest.fixture(scope='module')
def entries():
    return [entry(episode) for episode in two_policies()]


def test_overview_has_the_figures_of_the_comparison(entries):
    said = content(entries)
    measures = said['comparison']['measures']
    rows = cells(overview_table(said))
    assert list(rows) == ['good', 'worse-2', 'recording', 'hold', 'last action', 'linear']
    for label, name in (('good', 'good'), ('hold', 'hold'), ('last_action', 'last action')):
        known = measures['open_loop.mae_share']['sources'][label]
        cell = rows[name]['open loop MAE %']
        assert cell.sort == known['mean']
        assert cell.beside == f'[{percent(known["low"])}, {percent(known["high"])}]'
    assert rows['recording']['open loop MAE %'].text == '0'
    assert rows['good']['episodes'].text == '2'
    assert rows['linear']['as deployed MAE %'].text == '–'


def test_overview_takes_means_over_seeds_then_over_episodes(entries):
    expected = np.mean(
        [
            np.mean(
                [
                    each['summary']['sources'][f'good#{seed}']['deployed']['seams']['arm'][
                        'asked'
                    ]['p95']
                    for seed in (0, 1)
                ]
            )
            for each in entries
            if each['policy'] == 'good'
        ]
    )
    rows = cells(overview_table(content(entries)))
    assert rows['good']['as deployed seam p95'].sort == pytest.approx(expected, rel=1e-12)


def test_baselines_count_once_for_each_recording(entries):
    rows = cells(overview_table(content(entries)))
    assert rows['hold']['episodes'].text == '2'


def test_best_of_a_column_is_never_the_recording(entries):
    rows = cells(overview_table(content(entries)))
    best = {name for name, row in rows.items() if row['open loop MAE %'].best}
    values = {name: row['open loop MAE %'].sort for name, row in rows.items()}
    del values['recording']
    assert best == {min(values, key=values.get)}
    assert not any(row['as deployed jerk ratio'].best for row in rows.values())


def test_standing_still_is_not_the_best_motion(entries):
    rows = cells(overview_table(content(entries)))
    best = {name for name, row in rows.items() if row['open loop consistency %'].best}
    assert best == {'good'}


def test_comparison_says_which_is_better_in_words(entries):
    table = comparison_table(content(entries))
    words = {tuple(cell.text for cell in row.cells[:3]): row.cells[6].text for row in table.rows}
    assert words['MAE, % of range, open loop', 'good', 'worse-2'] == 'good is better'
    single = comparison_table(content(entries[:2]))
    assert {row.cells[6].text for row in single.rows} == {'one recording, no interval'}


def test_joints_have_their_unit_and_degrees_beside(entries):
    good = [each['summary'] for each in entries if each['policy'] == 'good']
    rows = cells(joints_table({'good': good}))
    mae = over_episodes(
        good, 'good', 'open_loop', lambda figures: figures['joints']['elbow']['mae']
    )
    cell = rows['elbow']['open loop MAE']
    assert cell.sort == mae
    assert (cell.text, cell.beside) == (figures(mae), degrees(mae, 'rad'))
    assert rows['finger']['unit'].text == 'm'
    assert rows['finger']['open loop MAE'].beside == ''
    assert rows['linear.x']['open loop hold: MAE'].text == '–'


def test_numbers_have_sensible_digits():
    assert [figures(v) for v in (None, 0, 0.12345, 12.0, 1234.5, 0.00012, 1e-16)] == [
        *('–', '0', '0.123', '12.0', '1234', '0.00012', '<1e-6')
    ]
    assert [percent(v) for v in (0.0, 1e-9, 0.012345, 0.5)] == ['0', '<0.01', '1.23', '50.0']
    assert [degrees(np.pi, u) for u in ('rad', 'rad/s', 'm', None)] == ['180.0°', '180.0°', '', '']


def test_heat_map_shows_shares_of_the_range(entries):
    summary = entries[0]['summary']
    shares = step_shares({'good': [summary]}, 'good')
    steps = [
        summary['sources'][f'good#{seed}']['open_loop']['by_step']['joints']['elbow']
        for seed in (0, 1)
    ]
    np.testing.assert_allclose(shares['elbow'], np.mean(steps, axis=0) / 2.0)
    (image,) = horizon_figure(shares, 20.0).axes[0].images
    row = [column.name for column in COLUMNS.columns].index('elbow')
    np.testing.assert_allclose(image.get_array()[row], 100 * np.array(shares['elbow']))


def test_plot_has_recorded_and_commanded_values_and_where_chunks_begin():
    episode = make_episode()
    panel = joints_figure(episode, 'tiny#0').axes[1]
    assert panel.get_title(loc='left') == 'elbow'
    lines = [line.get_ydata() for line in panel.lines]
    deployed, asked = episode.deployed['tiny#0'], episode.open_loop['tiny#0']

    def drawn(values):
        return any(len(y) == len(values) and np.array_equal(y, values) for y in lines)

    assert drawn(deployed.recorded[:, 1])
    assert drawn(deployed.commanded[:, 1])
    assert drawn(asked.predicted[:, 0, 1])


def test_files_of_every_episode_are_there_and_are_pictures(tmp_path):
    written = report(tmp_path, [short(policy='good'), short(policy='worse-2')])
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.*'))
    assert names == [
        'commands/episode_0_good.mcap',
        'commands/episode_0_worse-2.mcap',
        'plots/episode_0_good_horizon.png',
        'plots/episode_0_good_joints.png',
        'plots/episode_0_worse-2_horizon.png',
        'plots/episode_0_worse-2_joints.png',
        'report.html',
        'test_robot.yaml',
    ]
    for path in (tmp_path / 'plots').iterdir():
        height, width, _ = cv2.imread(str(path)).shape
        assert width > 1000
        assert height > 150
    assert written.size_bytes == written.page.stat().st_size


def test_recordings_of_the_same_name_have_files_of_their_own(tmp_path):
    episodes = [short(f'/{day}/run') for day in ('monday', 'tuesday')]
    entries = [entry(each) | {'key': str(n)} for n, each in enumerate(episodes)]
    loaders = [(str(n), lambda each=each: each) for n, each in enumerate(episodes)]
    writing.write_report(tmp_path, content(entries), loaders, robot(tmp_path), pictures=pictures)
    names = sorted(path.name for path in (tmp_path / 'commands').iterdir())
    assert names == ['run_tiny.2.mcap', 'run_tiny.mcap']


def test_of_many_episodes_only_the_worst_are_shown_in_full(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, 'SECTIONS', 2)
    episodes = [
        short(f'/bags/run_{n}', error=error) for n, error in enumerate((0.03, 0.09, 0.01, 0.06))
    ]
    written = report(tmp_path, episodes)
    page = written.page.read_text()
    assert written.sections == 2
    assert re.findall(r'<section id="(episode-\d+)"', page) == ['episode-2', 'episode-4']
    assert 'The 2 of 4 episodes with the largest errors have a section below' in page
    assert '<a href="plots/run_0_tiny_joints.png">run_0</a>' in page
    assert len(list((tmp_path / 'plots').iterdir())) == 8


def test_page_stops_growing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, 'LARGEST_BYTES', 1)
    written = report(tmp_path, [short('/bags/a'), short('/bags/b')])
    assert written.sections == 1


def test_one_episode_is_in_memory_at_a_time(tmp_path):
    bags = [f'/bags/run_{n}' for n in range(3)]
    entries = [entry(short(bag)) for bag in bags]
    loaded, alive = [], []

    def load(bag):
        gc.collect()
        alive.append(sum(each() is not None for each in loaded))
        episode = short(bag)
        loaded.append(weakref.ref(episode))
        return episode

    loaders = [
        (each['key'], lambda bag=bag: load(bag)) for each, bag in zip(entries, bags, strict=True)
    ]
    writing.write_report(tmp_path, content(entries), loaders, robot(tmp_path), pictures=pictures)
    assert alive == [0, 0, 0]


def test_recording_that_is_gone_leaves_a_section_without_pictures(tmp_path):
    def gone(path, _robot, _moments):
        raise BagError.at(path, '', found='nothing', expected='a recording')

    written = report(tmp_path, [short()], look=gone)
    page = written.page.read_text()
    assert 'No pictures: /bags/episode_0: found nothing' in page
    assert 'data:image/jpeg' not in page
    assert page.count('class="moment"') == 2


def test_strip_has_a_picture_of_each_camera_at_four_moments(tmp_path):
    asked = []

    def look(path, robot, moments_ns):
        asked.extend(moments_ns)
        return pictures(path, robot, moments_ns)

    episode = short()
    written = report(tmp_path, [episode], look=look)
    worst = entry(episode)['summary']['worst']
    assert {each['asked_ns'] for each in worst} <= set(asked)
    assert max(asked) <= episode.end_ns
    page = written.page.read_text()
    assert 0 < page.count('data:image/jpeg') <= 2 * 4 * 2
    assert page.count('alt="base_0_rgb at') == page.count('alt="left_wrist_0_rgb at')


@pytest.mark.parametrize(
    'missing',
    [
        {'deployed': {}},
        {'open_loop': {}},
        {'open_loop': {}, 'deployed': {}},
    ],
)
def test_evaluation_that_was_not_made_leaves_no_gap_that_hurts(tmp_path, missing):
    written = report(tmp_path, [replace(short(), **missing)])
    assert written.sections == 1
    page = written.page.read_text()
    assert ('Worst moments' in page) == ('open_loop' not in missing)
    assert ('Interventions, holds and refusals' in page) == ('deployed' not in missing)
    assert 'nan' not in re.sub(r'base64,[^"]*', '', page).lower().split()


def test_baselines_alone_make_a_page(tmp_path):
    episode = short(policy='', seeds=())
    written = report(tmp_path, [episode])
    assert written.sections == 1
    assert 'Joints over time: recording' in written.page.read_text()
    table = episodes_table(content([entry(episode)]), [('#a', 'b.png', 'c.mcap')])
    assert [cell.text for cell in table.rows[0].cells] == [
        'episode_0',
        '–',
        '0.450',
        'plot',
        'commands',
    ]


def test_text_from_outside_is_escaped(tmp_path):
    episode = short('/bags/<script>alert(1)</script>', '"><script>alert(2)</script>')
    page = report(tmp_path, [episode]).page.read_text()
    assert page.count('<script>') == 1
    assert 'alert(' in page


def test_page_is_the_same_for_the_same_episodes(tmp_path):
    pages = []
    for name in 'ab':
        (tmp_path / name).mkdir()
        pages.append(report(tmp_path / name, [short()]).page.read_text())
    assert pages[0] == pages[1]


def test_values_that_are_not_finite_are_said_at_the_top(tmp_path):
    episode = short()
    chunks = episode.open_loop['tiny#0']
    predicted = chunks.predicted.copy()
    predicted[0, :3, 1] = np.inf
    spoiled = replace(
        episode,
        open_loop={**episode.open_loop, 'tiny#0': replace(chunks, predicted=predicted)},
        deployed={
            **episode.deployed,
            'tiny#0': replace(
                episode.deployed['tiny#0'], trajectories_rejected={'ends in the past': 2}
            ),
        },
    )
    page = report(tmp_path, [spoiled]).page.read_text()
    top = page[: page.index('class="caveat"')]
    assert 'tiny, seed 0, open loop: 3 values of the policy are not finite' in top
    assert '2 trajectories break a rule of the controllers, ends in the past' in top


def top_of(page):
    return page[: page.index('class="caveat"')]


def test_a_policy_that_stood_still_is_told_at_the_top(tmp_path):
    episode = short()
    stream = episode.deployed['tiny#0']
    fates = tuple(replace(stream.chunks[0], reason=reason) for reason in ('accepted', 'refused'))
    changed = replace(
        stream,
        moving=np.arange(len(stream.moving)) < 2,
        chunks=fates,
        actions=np.repeat(stream.actions[:1], 2, axis=0),
    )
    still = replace(episode, deployed={**episode.deployed, 'tiny#0': changed})
    page = report(tmp_path, [still]).page.read_text()
    assert 'tiny, seed 0 stood still for 80% of /bags/episode_0, as deployed' in top_of(page)
    assert 'its chunks were refused or discarded (refused 1 of 2)' in top_of(page)
    assert 'a robot that has stopped does not catch up with the recording' in top_of(page)
    (tmp_path / 'moving').mkdir()
    moving = report(tmp_path / 'moving', [episode]).page.read_text()
    assert 'stood still' not in top_of(moving)


def test_a_policy_that_is_refused_to_the_end_is_told_at_the_top(tmp_path):
    episode = short()
    stream = episode.deployed['tiny#0']
    fates = tuple(replace(stream.chunks[0], reason='refused') for _ in range(3))
    changed = replace(stream, chunks=fates, actions=np.repeat(stream.actions[:1], 3, axis=0))
    stuck = replace(episode, deployed={**episode.deployed, 'tiny#0': changed})
    page = report(tmp_path, [stuck]).page.read_text()
    assert 'tiny, seed 0 stood still for 30% of' in top_of(page)


def test_share_of_time_in_motion_restarts_and_unanswered_are_shown(entries):
    said = content(entries)
    rows = cells(overview_table(said))
    share = entries[0]['summary']['sources']['good#0']['deployed']['moving_share']
    assert 0.9 < share < 1.0
    assert rows['good']['as deployed moving %'].text.startswith('96')
    episode = short()
    stream = replace(episode.deployed['tiny#0'], restarts=7, unanswered=1)
    summary = entry(replace(episode, deployed={'tiny#0': stream}))['summary']
    row = cells(motion_table({'tiny': [summary]}))['arm']
    assert row['whole robot restarts'].sort == 7
    assert row['whole robot unanswered'].sort == 1


def test_an_untrained_policy_is_marked(tmp_path):
    said = content([entry(short())])
    assert cells(overview_table(said))['tiny'].get('source').beside == ''
    said['policies'][0]['source'] = 'random weights'
    assert cells(overview_table(said))['tiny'].get('source').beside == 'untrained'
    loaders = [(said['episodes'][0]['key'], short)]
    written = writing.write_report(tmp_path, said, loaders, robot(tmp_path), pictures=pictures)
    assert 'tiny is untrained: its weights are random' in top_of(written.page.read_text())


def test_different_horizons_are_said_under_the_overview(tmp_path):
    episode = short(policy='brief')
    chunks = episode.open_loop['brief#0']
    predicted = chunks.predicted.copy()
    predicted[:, 3:] = np.nan
    brief = {**episode.open_loop, 'brief#0': replace(chunks, predicted=predicted)}
    both = [replace(episode, open_loop=brief), short(policy='long')]
    page = report(tmp_path, both).page.read_text()
    assert 'Chunks cover different numbers of steps (brief 3, long 10, baselines 10)' in page
    assert 'the open-loop MAE is over the first 3, which all have' in page
    (tmp_path / 'same').mkdir()
    same = report(tmp_path / 'same', [short()]).page.read_text()
    assert 'different numbers of steps' not in same
