"""How verbs talk: tables for people on stdout, progress on stderr, results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pizero_ros.cli.exit_codes import UsageError

if TYPE_CHECKING:
    import argparse

console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument('--json', metavar='FILE', type=Path, help='also write the result as JSON')


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result to the file of ``--json``, if one was given.

    Raises:
        UsageError: The file cannot be written.
    """
    if path is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text}\n', encoding='utf-8')
    except OSError as error:
        raise UsageError.at(
            path, '', found=error.strerror, expected='a file that can be written'
        ) from None
