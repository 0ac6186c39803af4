"""Jobs on a real Ray cluster of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from bags import demonstration, write, write_embodiment
from bundles import refit
from episodes import make_episode
from job_work import Diary, Seen, jobs_of
from test_saved import identical

from pizero_ros.cli.main import main
from pizero_ros.cli.replay import ENGINES
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EnvironmentFault
from pizero_ros.replay.jobs import run_jobs
from pizero_ros.replay.ray_engine import RayEngine
from pizero_ros.replay.saved import load

try:
    import ray
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(ray is None, reason='Ray is not installed (extra `ray`)')


@pytest.fixture(scope='module')
def cluster():
    """Start a cluster of two cores, and say its address to this process."""
    # Sockets lie in it, and their paths may have 107 characters.
    folder = tempfile.mkdtemp(prefix='ray-', dir='/tmp')
    log = Path(folder) / 'start.log'
    command = [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block']
    command += ['--port=0', '--num-cpus=2', '--include-dashboard=false', '--disable-usage-stats']
    command += [f'--temp-dir={folder}', '--object-store-memory=100000000']
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    with log.open('w') as output:
        head = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
    address = Path(folder) / 'ray_current_cluster'
    try:
        _until(address.exists, head, log)
        yield address.read_text()
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _until(condition, head, log):
    deadline = time.monotonic() + 60
    while not condition():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.fixture
def engine(cluster):
    engine = RayEngine(cluster)
    yield engine
    engine.close()


@needs_ray
def test_cluster_does_what_processes_do(engine, tmp_path):
    assert engine.jobs == 2
    bad = ['corrupt', 'exits', 'killed', 'large', 'mistaken']
    jobs = jobs_of([name for pair in zip(bad, 'abcde', strict=True) for name in pair])
    folder, seen = tmp_path / 'episodes', Seen()
    results = run_jobs(jobs, Diary(tmp_path), folder, engine, seen)
    assert [job.bag for job in results.finished] == ['a', 'b', 'c', 'd', 'e']
    for job in results.finished:
        assert identical(load(folder / job.key), make_episode(job.bag, 'tiny'))
    errors = {outcome.job.bag: outcome.error for outcome in results.failed}
    assert list(errors) == bad
    assert errors['corrupt'] == 'corrupt: found rubbish, expected a recording.'
    assert errors['exits'].startswith('Its worker was lost: ')
    assert errors['killed'].startswith('Its worker was lost: ')
    assert errors['large'].startswith('Out of memory')
    assert 'episodes.py:' in errors['mistaken']
    assert len(Diary(tmp_path).entries()) == 10, 'a job was done twice'
    assert run_jobs(jobs[1:2], Diary(tmp_path), folder, engine, seen).resumed == 1


@needs_ray
def test_report_does_not_depend_on_the_engine(cluster, tmp_path, monkeypatch, tiny_bundle):
    limits = {'image_max_age_s': 0.3, 'state_max_age_s': 0.3, 'max_skew_s': 0.3}
    robot = write_embodiment(tmp_path, horizon=50, staleness=limits)
    bundle = refit(tiny_bundle, tmp_path / 'mini', [load_embodiment(robot)])
    write(tmp_path / 'bags/a', demonstration(20))
    write(tmp_path / 'bags/b', demonstration(25))
    write(tmp_path / 'bags/still', demonstration(20, skip=['/demo/action']))
    words = ['replay', str(tmp_path / 'bags'), '--bundle', str(bundle), '--embodiment', str(robot)]
    monkeypatch.setenv('RAY_ADDRESS', cluster)
    contents = []
    for engine in ENGINES:
        out = tmp_path / engine
        assert main([*words, '--engine', engine, '--out', str(out)]) == 1
        content = json.loads((out / 'report.json').read_text())
        assert content['timing']['engine'] == engine
        assert content['timing']['resumed'] == 0
        contents.append(_without_timing(content))
    assert contents[0] == contents[1]
    assert len(contents[0]['episodes']) == 2
    assert len(contents[0]['failed']) == 1
    assert not ray.is_initialized()


def _without_timing(value):
    if isinstance(value, dict):
        differing = ('created', 'command', 'versions', 'timing')
        return {key: _without_timing(each) for key, each in value.items() if key not in differing}
    return list(map(_without_timing, value)) if isinstance(value, list) else value


@needs_ray
def test_interrupt_ends_the_tasks(engine, tmp_path):
    class Interrupting(Seen):
        def ended(self, outcome):
            raise KeyboardInterrupt

    jobs = jobs_of(['endless', 'a'])
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, Diary(tmp_path), tmp_path / 'episodes', engine, Interrupting())
    again = run_jobs(
        jobs_of(['waits-1', 'a']),
        Diary(tmp_path),
        tmp_path / 'episodes',
        engine,
        _Releasing(tmp_path / 'go'),
    )
    assert again.resumed == 1
    assert len(again.finished) == 2


class _Releasing(Seen):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def share(self, share, /):
        self.path.touch()


@needs_ray
def test_what_happens_on_sigterm_stays_the_callers(engine):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@needs_ray
def test_job_that_fits_no_machine_is_refused(cluster):
    with pytest.raises(EnvironmentFault, match='3 cores and 0 GPUs'):
        RayEngine(cluster, cores=3)
    assert not ray.is_initialized()


@needs_ray
def test_address_without_a_cluster_is_an_error_with_a_remedy():
    with pytest.raises(EnvironmentFault, match=r'127\.0\.0\.1:9: .*ray start --head'):
        RayEngine('127.0.0.1:9')


def test_no_ray_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'pizero_ros\[ray\]'"):
        RayEngine()
