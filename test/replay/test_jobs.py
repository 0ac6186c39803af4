"""Jobs in processes: nothing that happens to one of them costs another."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from episodes import make_episode
from job_work import Diary, Seen, jobs_of
from test_saved import identical

from pizero_ros.replay.jobs import run_jobs
from pizero_ros.replay.process_engine import ProcessEngine
from pizero_ros.replay.saved import load, save


def run(jobs, folder, work, processes=2, **options):
    seen = Seen()
    results = run_jobs(jobs, work, folder, ProcessEngine(processes), seen, **options)
    return results, seen


def gone(pid):
    """Tell whether a process has ended, or will be no more once its parent asks."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == 'Z'


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(0.02)


def test_every_job_is_saved_and_told(tmp_path):
    jobs = jobs_of(['a', 'b', 'c', 'd', 'e'])
    results, seen = run(jobs, tmp_path / 'episodes', Diary(tmp_path))
    assert results.finished == tuple(jobs)
    assert not results.failed
    assert not results.resumed
    assert seen.began == (5, 0)
    assert sorted(outcome.job.bag for outcome in seen.outcomes) == ['a', 'b', 'c', 'd', 'e']
    for job in jobs:
        assert identical(load(tmp_path / 'episodes' / job.key), make_episode(job.bag, 'tiny'))


def test_whatever_happens_to_a_job_the_others_are_done(tmp_path):
    bad = ['corrupt', 'exits', 'killed', 'large', 'mistaken']
    jobs = jobs_of([name for pair in zip(bad, 'abcde', strict=True) for name in pair])
    results, seen = run(jobs, tmp_path / 'episodes', Diary(tmp_path))
    assert [job.bag for job in results.finished] == ['a', 'b', 'c', 'd', 'e']
    errors = {outcome.job.bag: outcome.error for outcome in results.failed}
    assert list(errors) == bad
    assert errors['corrupt'] == 'corrupt: found rubbish, expected a recording.'
    assert errors['exits'] == 'Its process exited with 7.'
    assert 'SIGKILL' in errors['killed']
    assert '--jobs' in errors['killed']
    assert errors['large'].startswith('Out of memory')
    assert 'episodes.py:' in errors['mistaken']
    assert len(seen.outcomes) == 10
    assert len(Diary(tmp_path).entries()) == 10, 'a job was done twice'
    assert sorted(each.name for each in (tmp_path / 'episodes').iterdir()) == sorted(
        f'key_tiny_{bag}' for bag in 'abcde'
    )


def test_finished_episodes_are_not_done_again_and_damaged_ones_are(tmp_path):
    folder = tmp_path / 'episodes'
    jobs = jobs_of(['a', 'b', 'corrupt'])
    run(jobs, folder, Diary(tmp_path), processes=1)
    (folder / 'key_tiny_b/episode.npz').write_bytes(b'PK')
    (tmp_path / 'diary').unlink()
    results, seen = run([*jobs, *jobs_of(['c'])], folder, Diary(tmp_path))
    assert results.resumed == 1
    assert seen.began == (3, 1)
    assert [job.bag for job in results.finished] == ['a', 'b', 'c']
    assert sorted(bag for _, _, bag in Diary(tmp_path).entries()) == ['b', 'c', 'corrupt']
    assert identical(load(folder / 'key_tiny_b'), make_episode('b', 'tiny'))


def test_nothing_to_do_starts_no_process(tmp_path):
    jobs = jobs_of(['a'])
    save(make_episode(), tmp_path / 'key_tiny_a')
    results, seen = run(jobs, tmp_path, Diary(tmp_path))
    assert (results.resumed, seen.began) == (1, (0, 1))
    assert not Diary(tmp_path).entries()


def test_fresh_does_all_anew(tmp_path):
    save(make_episode(bag='old'), tmp_path / 'episodes/key_tiny_a')
    results, _ = run(jobs_of(['a']), tmp_path / 'episodes', Diary(tmp_path), fresh=True)
    assert not results.resumed
    assert load(tmp_path / 'episodes/key_tiny_a').bag == 'a'


def test_fresh_leaves_no_old_episode_where_the_new_one_fails(tmp_path):
    save(make_episode(), tmp_path / 'episodes/key_tiny_corrupt')
    results, _ = run(jobs_of(['corrupt']), tmp_path / 'episodes', Diary(tmp_path), fresh=True)
    assert not results.finished
    assert not (tmp_path / 'episodes/key_tiny_corrupt').exists()


def test_a_process_keeps_to_the_policy_that_it_has_open(tmp_path):
    bags = [f'waits-{number}' for number in range(4)]
    (tmp_path / 'go').touch()
    mixed = sorted(jobs_of(bags, ['one', 'two']))
    run(mixed, tmp_path / 'episodes', Diary(tmp_path))
    entries = Diary(tmp_path).entries()
    changes = 0
    for process in {process for process, _, _ in entries}:
        policies = [policy for each, policy, _ in entries if each == process]
        changes += sum(one != other for one, other in itertools.pairwise(policies))
    assert len(entries) == 8
    assert changes <= 1


def test_shares_of_running_jobs_are_told(tmp_path):
    class Releasing(Seen):
        def share(self, share, /):
            super().share(share)
            if share == 1.0:  # Both are half done.
                (tmp_path / 'go').touch()

    seen = Releasing()
    jobs = jobs_of(['waits-1', 'waits-2'])
    run_jobs(jobs, Diary(tmp_path), tmp_path / 'episodes', ProcessEngine(2), seen)
    assert 1.0 in seen.shares
    assert (tmp_path / 'go').exists()


def test_interrupt_ends_the_processes_and_keeps_what_is_finished(tmp_path):
    class Interrupting(Seen):
        def ended(self, outcome):
            super().ended(outcome)
            until(lambda: len(Diary(tmp_path).entries()) == 2)
            raise KeyboardInterrupt

    jobs = jobs_of(['endless', 'a'])
    folder = tmp_path / 'episodes'
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, Diary(tmp_path), folder, ProcessEngine(2), Interrupting())
    assert [each.name for each in folder.iterdir()] == ['key_tiny_a']
    assert all(gone(pid) for pid, _, _ in Diary(tmp_path).entries())


_DRIVER = """
import sys
from pathlib import Path
from job_work import Diary, Seen, jobs_of
from pizero_ros.replay.jobs import run_jobs
from pizero_ros.replay.process_engine import ProcessEngine
if __name__ == '__main__':
    folder = Path(sys.argv[1])
    jobs = jobs_of(['a', 'endless'])
    run_jobs(jobs, Diary(folder), folder / 'episodes', ProcessEngine(2), Seen())
"""


def test_processes_end_with_a_driver_that_is_killed(tmp_path):
    program = tmp_path / 'driver.py'
    program.write_text(_DRIVER)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    driver = subprocess.Popen([sys.executable, program, tmp_path], env=env)
    try:
        until(lambda: len(Diary(tmp_path).entries()) == 2)
        until((tmp_path / 'episodes/key_tiny_a').exists)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        until(lambda: all(gone(pid) for pid, _, _ in Diary(tmp_path).entries()))
    finally:
        driver.kill()
        driver.wait()
    results, _ = run(jobs_of(['a', 'b']), tmp_path / 'episodes', Diary(tmp_path))
    assert results.resumed == 1
