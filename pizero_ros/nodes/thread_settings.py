"""CPUs and scheduling of threads: inference where it may be, control and reception first."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar('Result')

SLICE_NS = 100_000
"""The shortest time slice that Linux gives: who asks for less at a time gets it sooner."""

_SCHED_SETATTR = {'x86_64': 314, 'aarch64': 274}
"""Numbers of the system call, which no library of Python has."""

_RESET_ON_FORK = 1


def pin(cpus: Iterable[int]) -> None:
    """Let the calling thread, and those that it starts, use some CPUs only.

    Args:
        cpus: The CPUs; none for those of the process.

    Raises:
        EnvironmentFault: The process may not use one of them, or the system cannot do it.
    """
    wanted = set(cpus)
    if not wanted:
        return
    if not hasattr(os, 'sched_setaffinity'):
        raise _refused('cpu_affinity', 'an operating system without it', 'Linux', '[-1]')
    usable = os.sched_getaffinity(0)
    if not wanted <= usable:
        raise _refused(
            'cpu_affinity', _listed(wanted), f'CPUs of this process, {_listed(usable)}', '[-1]'
        )
    os.sched_setaffinity(0, wanted)


def call_pinned(cpus: Iterable[int], function: Callable[[], Result]) -> Result:
    """Call a function so that the threads it starts may use some CPUs only.

    Args:
        cpus: The CPUs; none for those of the process.
        function: What to call, such as what opens a session of ONNX Runtime.

    Raises:
        EnvironmentFault: As ``pin``.
    """
    wanted = tuple(cpus)
    if not wanted:
        return function()

    def run() -> Result:
        pin(wanted)
        return function()

    with ThreadPoolExecutor(1, 'pizero_pinned') as pool:
        return pool.submit(run).result()


def go_first(priority: int) -> None:
    """Let the calling thread run as soon as it has something to do; not those that it starts.

    Inference keeps all cores busy, and a thread that wakes up then waits for the end of a time
    slice, milliseconds. One with a real-time priority does not wait. Without, it asks for short
    slices, for which Linux from 6.12 on lets it go before; older ones take no notice.

    Args:
        priority: Of ``SCHED_FIFO``, 1 to 99; 0 for the usual scheduling.

    Raises:
        EnvironmentFault: The system does not permit the priority.
    """
    if priority == 0:
        _ask_for_short_slices()
        return
    if not hasattr(os, 'sched_setscheduler'):
        raise _refused('realtime_priority', 'an operating system without it', 'Linux', '0')
    try:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        raise _refused(
            'realtime_priority',
            f'{priority}, and the system says: {error.strerror}',
            "a priority that this user may give ('USER - rtprio 99' in /etc/security/limits.conf "
            'and a new login; for a container --cap-add SYS_NICE --ulimit rtprio=99)',
            '0',
        ) from None


def _ask_for_short_slices() -> None:
    """Set the usual scheduling with short slices; nobody has asked, so a refusal is no error."""
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != 'Linux' or number is None:
        return
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack('=IIQiIQQQ', 48, 0, _RESET_ON_FORK, nice, 0, SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def _refused(key: str, found: str, expected: str, off: str) -> Exception:
    return EnvironmentFault.at(
        'parameters',
        key,
        found=found,
        expected=expected,
        remedy=f'Start the node with -p {key}:={off} to do without.',
    )


def _listed(cpus: Iterable[int]) -> str:
    return ', '.join(map(str, sorted(cpus)))
