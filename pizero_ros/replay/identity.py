"""What the result of a job depends on, as a key: the same key, the same result."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.replay.episode import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(__file__).parents[1]
_COMPUTED_BY = ('embodiment', 'observation', 'processing', 'policy', 'control', 'replay')
"""Modules whose code has a part in an episode."""


def job_key(bag: Path, determined_by: Mapping[str, Any]) -> str:
    """Return the key of one recording through one policy.

    Args:
        bag: The recording. Its files count by resolved path, size and time of last change: hashing
            gigabytes would take longer than many an evaluation.
        determined_by: Whatever else the result depends on, as JSON values.

    Returns:
        32 hexadecimal digits. They depend on the code of this package too.
    """
    content = {
        'schema': SCHEMA,
        'code': code_digest(),
        'bag': _files_of(bag),
        'determined_by': determined_by,
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 of the modules that compute an episode."""
    digest = hashlib.sha256()
    for folder in _COMPUTED_BY:
        for path in sorted((_PACKAGE / folder).rglob('*.py')):
            name = path.relative_to(_PACKAGE).as_posix()
            digest.update(f'{name}\0'.encode() + path.read_bytes() + b'\0')
    return digest.hexdigest()


def _files_of(bag: Path) -> list[tuple[str, int, int]]:
    """Return path, size and time of last change of each file, sorted."""
    resolved = bag.resolve()
    paths = resolved.rglob('*') if resolved.is_dir() else [resolved]
    return sorted(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
        if path.is_file()
    )
