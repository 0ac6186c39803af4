"""CPUs and priorities of threads are set or refused with a reason; no ROS."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pizero_ros.errors import EnvironmentFault
from pizero_ros.nodes.thread_settings import call_pinned, go_first, pin

if not hasattr(os, 'sched_setaffinity'):
    pytest.skip('this system has no CPU affinity', allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def affinity():
    return os.sched_getaffinity(0)


def test_threads_that_a_pinned_call_starts_are_pinned_and_nobody_else_is():
    before = affinity()
    one = min(before)
    assert call_pinned([one], lambda: (affinity(), in_a_thread(affinity))) == ({one}, {one})
    assert affinity() == before


def test_no_cpus_leave_everything_as_it_is():
    before = affinity()
    caller = threading.get_ident()
    assert call_pinned((), threading.get_ident) == caller
    pin(())
    assert affinity() == before


@pytest.mark.parametrize('cpus', [[4095], [-1, 0]])
def test_cpu_that_the_process_may_not_use_is_an_error(cpus):
    with pytest.raises(EnvironmentFault, match=r'cpu_affinity: found .* CPUs of this process'):
        call_pinned(cpus, lambda: pytest.fail('was called'))
    with pytest.raises(EnvironmentFault, match=re.escape('-p cpu_affinity:=[-1]')):
        pin(cpus)


def test_usual_scheduling_stays_usual_and_is_not_handed_on():
    def scheduling():
        go_first(0)
        own = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        return own, in_a_thread(lambda: os.sched_getscheduler(0))

    assert in_a_thread(scheduling) == (os.SCHED_OTHER, os.SCHED_OTHER)


def test_real_time_priority_is_set_or_refused_with_what_would_allow_it():
    def scheduling():
        try:
            go_first(7)
        except EnvironmentFault as error:
            return str(error)
        found = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        started = in_a_thread(lambda: os.sched_getscheduler(0))
        go_first(0)
        return found, started, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK

    found = in_a_thread(scheduling)
    if isinstance(found, str):
        assert re.search('realtime_priority: found 7, .* rtprio', found)
    else:
        fifo = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        assert found == ((fifo, 7), os.SCHED_OTHER, os.SCHED_OTHER)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be somebody without permission')
def test_user_without_permission_is_told_how_to_get_it():
    code = f"""
import os, resource
from pizero_ros.errors import EnvironmentFault
from pizero_ros.nodes.thread_settings import go_first
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
os.setuid({NOBODY})
try:
    go_first(7)
except EnvironmentFault as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'parameters: realtime_priority: found 7, and the system says:' in done.stdout
    assert 'limits.conf' in done.stdout
    assert '-p realtime_priority:=0' in done.stdout
