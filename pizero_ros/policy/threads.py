"""How many threads an inference takes: the cores that this process may use, and no more.

Left to itself, ONNX Runtime counts the cores of the whole machine and pins a thread to each,
whatever ``taskset``, a container's set of CPUs or its quota say: threads then wait for each other
on shared cores, are stopped for the rest of a period of the quota, or run where they may not.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path('/')

SMALL_BYTES = 16 << 20
"""Largest graphs of a small policy, with their weights; measured with 5 and 10 MiB."""


class Cpus(NamedTuple):
    """What this process may use of the machine.

    Attributes:
        allowed: Logical CPUs that it may run on.
        siblings: Logical CPU → those that share its core, itself included; without an entry it
            has a core of its own.
        quota: CPUs' worth of time that its control groups grant; None for no limit.
    """

    allowed: frozenset[int]
    siblings: Mapping[int, frozenset[int]]
    quota: float | None


class Threads(NamedTuple):
    """A number of threads, and why it was chosen.

    Attributes:
        number: At least 1.
        reason: For people.
    """

    number: int
    reason: str


def choose_threads(cpus: Cpus) -> Threads:
    """Choose one thread for each core, and fewer where a quota would stop them.

    The hardware threads of one core share its arithmetic units, which a matrix product keeps
    busy: a second thread on a core makes both wait. Parts of a CPU that a quota grants are left:
    one thread too many is stopped for whole periods of 100 ms.

    Args:
        cpus: What the process may use.
    """
    cores = len({min(cpus.siblings.get(cpu, {cpu})) for cpu in cpus.allowed})
    allowed = f'{_count(cores, "core")} ({_count(len(cpus.allowed), "CPU")})'
    if cpus.quota is None or math.floor(cpus.quota) >= cores:
        return Threads(max(cores, 1), f'{allowed} for this process')
    return Threads(
        max(math.floor(cpus.quota), 1), f'quota of {cpus.quota:g} CPUs, {allowed} for this process'
    )


def threads_beside_sensors(machine: Threads, graph_bytes: int) -> Threads:
    """Choose for a process that receives sensors and controls a robot while it infers.

    A small policy leaves a core to these. With all cores it is up to half as fast again by
    itself, but not while pictures arrive: then a thread that was interrupted keeps the others
    waiting, and spinning, at the end of every operator. A large policy needs every core.

    Args:
        machine: What ``machine_threads`` chooses.
        graph_bytes: Size of the graphs that run, with their weights.
    """
    if machine.number == 1 or graph_bytes > SMALL_BYTES:
        return machine
    left = 'less one that a small policy leaves to sensors and control'
    return Threads(machine.number - 1, f'{machine.reason}, {left}')


def machine_threads() -> Threads:
    """Choose for this process on this machine."""
    return choose_threads(read_cpus())


def read_cpus(root: Path = _ROOT) -> Cpus:
    """Read what this process may use.

    Args:
        root: Where ``sys`` and ``proc`` are.
    """
    allowed = frozenset(os.sched_getaffinity(0))
    siblings = {}
    for cpu in allowed:
        place = root / f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list'
        listed = _read(place)
        if listed:
            siblings[cpu] = parse_list(listed)
    return Cpus(allowed, siblings, read_quota(root))


def parse_list(text: str) -> frozenset[int]:
    """Parse the kernel's list of CPUs: ``0,4`` or ``0-3,8``."""
    cpus: set[int] = set()
    for part in text.strip().split(','):
        first, _, last = part.partition('-')
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def read_quota(root: Path = _ROOT) -> float | None:
    """Read how much time the control groups of this process grant it, of both versions.

    A group cannot use more than any of those above it.

    Args:
        root: Where ``sys`` and ``proc`` are.

    Returns:
        CPUs' worth of time; None for no limit.
    """
    granted: list[float] = []
    for line in _read(root / 'proc/self/cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        mount = root / 'sys/fs/cgroup'
        if not controllers:
            for group in _upwards(mount, path):
                words = _read(group / 'cpu.max').split()
                if len(words) == 2 and words[0] != 'max':
                    granted.append(int(words[0]) / int(words[1]))
        elif 'cpu' in controllers.split(','):
            # The folder bears all names, and one is linked to it.
            for group in _upwards(mount / 'cpu', path):
                quota = _read(group / 'cpu.cfs_quota_us').strip()
                period = _read(group / 'cpu.cfs_period_us').strip()
                if quota and period and int(quota) > 0:
                    granted.append(int(quota) / int(period))
    return min(granted, default=None)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield a group's folder and those above it, up to the mount.

    In a container the path may be the host's, and then its own group is at the mount.
    """
    group = mount / path.strip('/')
    while group != mount and mount in group.parents:
        yield group
        group = group.parent
    yield mount


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''


def _count(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'
