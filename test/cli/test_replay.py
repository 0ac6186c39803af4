"""``pizero replay`` as a user runs it: real recordings, a real bundle, real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from bags import demonstration, write, write_embodiment
from bundles import refit

from pizero_ros.cli.main import main
from pizero_ros.embodiment.load import load_embodiment

SLACK = {'image_max_age_s': 0.3, 'state_max_age_s': 0.3, 'max_skew_s': 0.3}
BAGS = {'one': 20, 'three': 25, 'two': 120}
"""Name → steps, in the order of the report: while the last one is evaluated, there is time."""


@pytest.fixture(scope='module')
def robot(tmp_path_factory):
    """The file of a robot whose chunks are as long as those of the smallest architecture."""
    return write_embodiment(tmp_path_factory.mktemp('robot'), horizon=50, staleness=SLACK)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory, tiny_bundle, robot):
    return refit(tiny_bundle, tmp_path_factory.mktemp('bundle') / 'mini', [load_embodiment(robot)])


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    """A folder of recordings."""
    folder = tmp_path_factory.mktemp('bags')
    for name, steps in BAGS.items():
        write(folder / name, demonstration(steps))
    return folder


@pytest.fixture
def words(bags, robot, bundle, tmp_path):
    """The command line that everything else is added to."""
    given = [str(bags), '--bundle', f'mini={bundle}', '--embodiment', str(robot)]
    return ['replay', *given, '--out', str(tmp_path / 'out'), '--every', '10']


def report(out):
    """The content of a strict ``report.json``, without what may differ from run to run."""

    def refuse(constant):
        raise AssertionError(constant)

    def same(value):
        if isinstance(value, dict):
            differing = ('created', 'command', 'versions', 'timing')
            return {key: same(each) for key, each in value.items() if key not in differing}
        return list(map(same, value)) if isinstance(value, list) else value

    return same(json.loads((out / 'report.json').read_text(), parse_constant=refuse))


def keys(out):
    return {each.name for each in (out / 'episodes').iterdir()}


def start(words):
    """Run a command in a process group of its own, with SIGINT as a terminal's shell leaves it.

    A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
    """
    return subprocess.Popen(
        [sys.executable, '-m', 'pizero_ros.cli.main', *words],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_an_episode(out, process):
    deadline = time.monotonic() + 60
    while not (out / 'episodes').is_dir() or all(name[0] == '.' for name in keys(out)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_report_does_not_depend_on_the_number_of_processes(words, tmp_path, capsys):
    assert main([*words, '--seeds', '2', '--jobs', '1', '--json', str(tmp_path / 'copy')]) == 0
    printed = capsys.readouterr().out
    assert 'mini' in printed
    assert 'last_action' in printed
    assert f'{tmp_path}/out/report.html' in printed
    words[words.index('--out') + 1] = str(tmp_path / 'other')
    assert main([*words, '--seeds', '0,1', '--jobs', '2']) == 0
    one, two = report(tmp_path / 'out'), report(tmp_path / 'other')
    assert one == two
    assert [each['bag'].rsplit('/', 1)[-1] for each in one['episodes']] == list(BAGS)
    assert [each['policy'] for each in one['episodes']] == ['mini'] * 3
    for each in one['episodes']:
        sources = each['summary']['sources']
        assert {'mini#0', 'mini#1', 'hold', 'recording'} <= set(sources)
        assert sources['recording']['open_loop']['overall']['mae_share'] == 0.0
        assert sources['mini#0']['open_loop']['overall']['mae_share'] > 0.0
    assert one['failed'] == []
    assert json.loads((tmp_path / 'copy').read_text()) == json.loads(
        (tmp_path / 'out/report.json').read_text()
    )
    page = (tmp_path / 'out/report.html').read_text()
    assert all(name in page for name in BAGS)


def test_killed_run_goes_on_where_it_was(words, tmp_path):
    out = tmp_path / 'out'
    process = start([*words, '--jobs', '1'])
    try:
        wait_for_an_episode(out, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished = {name for name in keys(out) if name[0] != '.'}
    assert 1 <= len(finished) < 3
    assert not (out / 'report.json').exists()
    times = {name: (out / 'episodes' / name).stat().st_mtime_ns for name in finished}

    again = start([*words, '--jobs', '1'])
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert f'{len(finished)} of 3 episodes were finished before' in said
    assert len(keys(out)) == 3
    assert {name: (out / 'episodes' / name).stat().st_mtime_ns for name in finished} == times
    words[words.index('--out') + 1] = str(tmp_path / 'whole')
    assert main(words) == 0
    assert report(out) == report(tmp_path / 'whole')


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_says_what_to_do_and_exits_130(words, tmp_path, how):
    out = tmp_path / 'out'
    # Many chunks an episode: whoever is to be interrupted must still be at work.
    words[words.index('--every') + 1] = '2'
    process = start([*words, '--jobs', '1'])
    try:
        wait_for_an_episode(out, process)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert 'the same command goes on' in said
    assert 'Traceback' not in said
    assert all(name[0] != '.' for name in keys(out))


def test_changed_inputs_are_computed_anew(words, bags, robot, tmp_path, capsys):
    words[1] = str(bags / 'one')
    words += ['--mode', 'open_loop']

    def resumed(*more):
        assert main([*words, *more]) == 0
        return '1 of 1 episodes were finished before' in capsys.readouterr().err

    assert not resumed()
    assert not resumed('--seeds', '3,')
    assert resumed()
    other = tmp_path / 'other.yaml'
    other.write_text(robot.read_text().replace('velocity: 3.0', 'velocity: 2.0'))
    words[words.index('--embodiment') + 1] = str(other)
    assert not resumed()
    assert not resumed('--fresh')
    assert len(keys(tmp_path / 'out')) == 3


def test_bad_recordings_among_good_ones_are_listed(words, bags, robot, tmp_path, capsys):
    for name in ('three', 'two'):
        shutil.copytree(bags / name, tmp_path / 'bags' / name)
    storage = next(each for each in (tmp_path / 'bags/two').iterdir() if each.suffix != '.yaml')
    storage.write_bytes(storage.read_bytes()[:5000])
    write(tmp_path / 'bags/blind', demonstration(20, skip=['/front/image_raw']))
    write(tmp_path / 'bags/still', demonstration(20, skip=['/demo/action']))
    words[1] = str(tmp_path / 'bags')
    assert main([*words, '--jobs', '2']) == 1
    result = report(tmp_path / 'out')
    assert [each['bag'].rsplit('/', 1)[-1] for each in result['episodes']] == ['three']
    errors = {each['bag'].rsplit('/', 1)[-1]: each['error'] for each in result['failed']}
    assert set(errors) == {'blind', 'still', 'two'}
    assert '/front/image_raw: found no such topic' in errors['blind']
    assert '--actions' in errors['still']
    assert 'recording' in errors['two']
    said = capsys.readouterr()
    assert said.err.count('failed') >= 3
    assert 'Traceback' not in said.err

    shutil.rmtree(tmp_path / 'bags/three')
    shutil.rmtree(tmp_path / 'bags/still')
    assert main(words) == 2
    assert '/front/image_raw' in capsys.readouterr().err


def test_run_in_which_every_job_fails_leaves_a_list_and_no_page(words, bags, tmp_path, capsys):
    """The last picture that the index promises is not there, which is seen at the end."""
    words[1] = str(bags / 'one')
    words += ['--mode', 'open_loop']
    assert main(words) == 0
    assert (tmp_path / 'out/report.html').exists()
    assert len(list((tmp_path / 'out/commands').iterdir())) == 1

    bag = shutil.copytree(bags / 'one', tmp_path / 'bag')
    index = yaml.safe_load((bag / 'metadata.yaml').read_text())
    topics = index['rosbag2_bagfile_information']['topics_with_message_count']
    for each in topics:
        each['message_count'] += each['topic_metadata']['name'] == '/front/image_raw'
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(index))
    words[1] = str(bag)
    assert main(words) == 1
    result = report(tmp_path / 'out')
    assert result['episodes'] == []
    assert '20 messages, expected 21' in result['failed'][0]['error']
    assert '20 messages, expected 21' in capsys.readouterr().err
    assert not (tmp_path / 'out/report.html').exists()
    assert not list((tmp_path / 'out/commands').iterdir())


def test_two_policies_and_no_baselines(words, bags, bundle, tmp_path):
    words[1] = str(bags / 'one')
    words += ['--bundle', str(bundle), '--no-baselines', '--mode', 'open_loop']
    words[3] = f'again={bundle}'
    assert main(words) == 0
    result = report(tmp_path / 'out')
    assert [each['policy'] for each in result['episodes']] == ['again', 'mini']
    assert [each['label'] for each in result['policies']] == ['again', 'mini']
    figures = [each['summary']['sources'] for each in result['episodes']]
    assert figures[0]['again#0'] == figures[1]['mini#0']
    assert set(figures[0]) == {'again#0'}
    assert 'deployed' not in figures[0]['again#0']


def test_baselines_alone_need_no_policy(bags, robot, tmp_path, capsys):
    words = ['replay', str(bags / 'one'), '--embodiment', str(robot), '--out', str(tmp_path / 'o')]
    assert main(words) == 0
    assert 'only the baselines' in capsys.readouterr().err
    result = report(tmp_path / 'o')
    assert result['policies'] == []
    assert set(result['episodes'][0]['summary']['sources']) == {
        *('recording', 'hold', 'last_action', 'linear')
    }


def test_latencies_of_an_earlier_report_can_be_drawn_from(words, bags, tmp_path, capsys):
    words[1] = str(bags / 'one')
    assert main([*words, '--mode', 'open_loop']) == 0
    measured = tmp_path / 'earlier.json'
    shutil.move(tmp_path / 'out/report.json', measured)
    assert json.loads(measured.read_text())['episodes'][0]['timing']['chunks_s']
    assert main([*words, '--latency', str(measured)]) == 0


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--bundle', 'mini=elsewhere'], "the label 'mini', which"),
        (['--bundle', 'hold=elsewhere'], 'which a baseline has'),
        (['--bundle', 'a b=elsewhere'], "the label 'a b'"),
        (['--bundle', 'other=/nonexistent'], 'found nothing, expected a bundle folder'),
        (['--latency', 'soon'], "'soon', expected 80ms"),
        (['--actions', '/demo/actoin'], "Did you mean '/demo/action'"),
        (['--seeds', '1,1'], '--seeds'),
        (['--seeds', '0'], '--seeds'),
        (['--seeds', ','], '--seeds'),
        (['--scheduling', 'soon'], '--scheduling'),
        (['--every', '0'], '--every'),
        (['/nonexistent'], '/nonexistent: found nothing, expected a rosbag2 folder'),
    ],
)
def test_wrong_words_exit_2_and_compute_nothing(words, tmp_path, capsys, more, said):
    if more[0][0] != '-':
        words[1:2] = [words[1], *more]
        more = []
    assert main([*words, *more]) == 2
    error = ' '.join(capsys.readouterr().err.split())
    assert said in error
    assert not (tmp_path / 'out').exists()


def test_folder_with_other_things_is_not_written_to(words, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/thesis.tex').touch()
    assert main(words) == 2
    assert 'a folder with other things in it' in capsys.readouterr().err
    assert [each.name for each in (tmp_path / 'out').iterdir()] == ['thesis.tex']


def test_two_runs_do_not_share_a_folder(words, bags, tmp_path, capsys):
    from pizero_ros.replay.folder import locked

    with locked(tmp_path / 'out'):
        assert main(words) == 2
    assert 'another evaluation that writes here' in capsys.readouterr().err


def test_bundle_of_another_robot_is_a_finding(words, tmp_path, capsys):
    words[words.index('--embodiment') + 1] = 'ur5e'
    assert main(words) == 1
    assert 'found small, expected ur5e' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_recordings_given_twice_count_once(words, bags, tmp_path):
    words[1:2] = [str(bags / 'one'), str(bags / '../' / bags.name / 'one')]
    assert main([*words, '--mode', 'open_loop']) == 0
    assert len(report(tmp_path / 'out')['episodes']) == 1
