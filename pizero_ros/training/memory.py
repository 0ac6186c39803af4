"""The C library's memory, for a process that makes and drops the same large arrays each step."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of glibc's mallopt (malloc.h)."""

_LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Let the C library keep what is freed instead of giving it back to the system.

    Else each step of a small model on the CPU gets its activations as fresh pages, which the
    kernel first fills with zeros: 40 % of the time of a grounding run was spent there. To be
    called before the first large allocation; the process keeps its peak.

    Returns:
        Whether the C library is glibc, which has such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 1 << 26))
    done = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(done)
