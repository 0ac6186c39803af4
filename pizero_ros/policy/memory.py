"""Is there memory for a bundle? Said before it is loaded, since an overcommitting kernel kills."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUP = Path('/sys/fs/cgroup')
_SIGNS = ('bad_alloc', 'bad allocation', 'Failed to allocate memory', 'Cannot allocate memory')
"""By these an exception of ONNX Runtime, whose classes do not say, is one of lacking memory."""

_REMEDY = 'Stop other programs, or take a machine with more memory.'


def graph_bytes(folder: Path, *, jacobian: bool = False) -> int:
    """Return the size of a bundle's graphs with their weights, all of which every chunk reads.

    Args:
        folder: The bundle.
        jacobian: Whether its third graph is loaded too.
    """
    files = [path for path in folder.glob('*') if '.onnx' in path.name]
    used = [path for path in files if jacobian or not path.name.startswith('jacobian.')]
    return sum(path.stat().st_size for path in used)


def available_bytes() -> int | None:
    """Return what this process may still take: of the machine, its container and its own limit.

    None where the system does not say.
    """
    found = [each for each in (_of_machine(), _of_container(), _of_process()) if each is not None]
    return max(min(found), 0) if found else None


def require_memory(folder: Path, *, jacobian: bool = False) -> None:
    """Refuse a bundle that cannot fit.

    Args:
        folder: The bundle.
        jacobian: Whether its third graph is loaded too.

    Raises:
        EnvironmentFault: Its graphs alone are larger than the memory available.
    """
    needed, available = graph_bytes(folder, jacobian=jacobian), available_bytes()
    if available is not None and needed > available:
        raise EnvironmentFault.at(
            folder,
            'memory',
            found=f'{_megabytes(available)} available',
            expected=f'at least {_megabytes(needed)} for its graphs',
            remedy=_REMEDY,
        )


@contextmanager
def naming_memory(folder: Path) -> Iterator[None]:
    """Turn what is raised for lack of memory into an error that names the bundle.

    Args:
        folder: The bundle that is being loaded.

    Raises:
        EnvironmentFault: In place of ``MemoryError`` and of what ONNX Runtime raises then.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        available = available_bytes()
        left = 'an unknown amount' if available is None else _megabytes(available)
        raise EnvironmentFault.at(
            folder,
            'memory',
            found=f'not enough to load it, {left} left ({str(error) or type(error).__name__})',
            expected=f'several times the {_megabytes(graph_bytes(folder))} of its graphs',
            remedy=_REMEDY,
        ) from None


def _of_machine() -> int | None:
    try:
        lines = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines)
    return next((int(f[1]) * 1024 for f in fields if f[0] == 'MemAvailable:'), None)


def _of_container() -> int | None:
    """Return what is left of a limit of cgroup v2; its page cache can be taken back."""
    try:
        limit = (_CGROUP / 'memory.max').read_text(encoding='ascii').strip()
        used = int((_CGROUP / 'memory.current').read_text(encoding='ascii'))
        stat = (_CGROUP / 'memory.stat').read_text(encoding='ascii').splitlines()
    except (OSError, ValueError):
        return None
    if limit == 'max':
        return None
    cache = next((int(line.split()[1]) for line in stat if line.startswith('inactive_file ')), 0)
    return int(limit) - used + cache


def _of_process() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[0])
    except OSError:
        return None
    return limit - pages * os.sysconf('SC_PAGE_SIZE')


def _megabytes(size: int) -> str:
    return f'{size / 1e6:.0f} MB'
