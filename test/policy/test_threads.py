"""How many threads are chosen, from what a machine and a container say."""

from __future__ import annotations

import os

import pytest

from pizero_ros.policy.threads import (
    Cpus,
    Threads,
    choose_threads,
    machine_threads,
    parse_list,
    read_cpus,
    read_quota,
    threads_beside_sensors,
)

PAIRS = {cpu: frozenset({cpu % 4, cpu % 4 + 4}) for cpu in range(8)}
"""Four cores with two hardware threads each."""


@pytest.mark.parametrize(
    ('allowed', 'siblings', 'quota', 'count'),
    [
        (range(8), PAIRS, None, 4),
        (range(8), {}, None, 8),
        ((0, 4), PAIRS, None, 1),
        ((0, 1, 5), PAIRS, None, 2),
        (range(8), PAIRS, 2.0, 2),
        (range(8), PAIRS, 2.9, 2),
        (range(8), PAIRS, 0.5, 1),
        (range(8), PAIRS, 16.0, 4),
        (range(8), PAIRS, 4.0, 4),
    ],
)
def test_one_thread_for_each_core_within_the_quota(allowed, siblings, quota, count):
    assert choose_threads(Cpus(frozenset(allowed), siblings, quota)).number == count


def test_a_small_policy_leaves_a_core_to_sensors_and_control():
    four = Threads(4, '4 cores')
    small = threads_beside_sensors(four, 10 << 20)
    assert small.number == 3
    assert small.reason == '4 cores, less one that a small policy leaves to sensors and control'
    assert threads_beside_sensors(four, 200 << 20) == four
    one = Threads(1, '1 core')
    assert threads_beside_sensors(one, 10 << 20) == one


def test_the_reason_names_what_decided():
    assert choose_threads(Cpus(frozenset({0, 4}), PAIRS, None)).reason == (
        '1 core (2 CPUs) for this process'
    )
    assert choose_threads(Cpus(frozenset(range(8)), PAIRS, 1.5)).reason == (
        'quota of 1.5 CPUs, 4 cores (8 CPUs) for this process'
    )


def test_lists_of_the_kernel():
    assert parse_list('0,4\n') == {0, 4}
    assert parse_list('0-2,8,10-11') == {0, 1, 2, 8, 10, 11}


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_quota_of_the_strictest_group_above(tmp_path):
    write(
        tmp_path,
        {
            'proc/self/cgroup': '0::/robot.slice/policy.service\n',
            'sys/fs/cgroup/robot.slice/policy.service/cpu.max': '600000 100000\n',
            'sys/fs/cgroup/robot.slice/cpu.max': '250000 100000\n',
        },
    )
    assert read_quota(tmp_path) == 2.5


def test_quota_of_a_container_that_sees_its_own_group_as_the_root(tmp_path):
    write(
        tmp_path,
        {'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '150000 100000\n'},
    )
    assert read_quota(tmp_path) == 1.5


def test_quota_of_the_first_version_of_control_groups(tmp_path):
    write(
        tmp_path,
        {
            'proc/self/cgroup': '5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n',
            'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n',
            'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
        },
    )
    assert read_quota(tmp_path) == 3.0


@pytest.mark.parametrize(
    'files',
    [
        {},
        {'proc/self/cgroup': '0::/a\n', 'sys/fs/cgroup/a/cpu.max': 'max 100000\n'},
        {
            'proc/self/cgroup': '1:cpu:/\n',
            'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
            'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
        },
    ],
)
def test_no_limit(tmp_path, files):
    write(tmp_path, files)
    assert read_quota(tmp_path) is None


def test_siblings_are_read_for_the_cpus_of_this_process(tmp_path):
    allowed = os.sched_getaffinity(0)
    write(
        tmp_path,
        {
            f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list': f'{cpu},{cpu + 500}'
            for cpu in allowed
        },
    )
    assert read_cpus(tmp_path) == Cpus(
        frozenset(allowed), {cpu: frozenset({cpu, cpu + 500}) for cpu in allowed}, None
    )


def test_a_process_on_one_cpu_gets_one_thread():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine_threads().number == 1
    finally:
        os.sched_setaffinity(0, before)
