"""The arguments that every verb on a bundle has, and opening it with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.cli.output import progress_console
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.manifest import PARTS, REFERENCE
from pizero_ros.policy.providers import PROVIDER_NAMES

if TYPE_CHECKING:
    import argparse

_SHOW_PROGRESS = 256 * 1024 * 1024
"""Bytes above which hashing takes long enough for a progress bar."""


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add ``BUNDLE``."""
    parser.add_argument('bundle', metavar='BUNDLE', type=Path, help='folder of the bundle')


def add_runtime(parser: argparse._ActionsContainer, threads: str = 'one per core') -> None:
    """Add ``--provider`` and ``--threads``; ``threads`` says how many there are by default."""
    parser.add_argument(
        '--provider',
        choices=PROVIDER_NAMES,
        default='auto',
        help='ONNX Runtime provider; auto is CUDA where it works, else the CPU (default: auto)',
    )
    parser.add_argument(
        '--threads',
        type=positive,
        metavar='N',
        help=f'threads inside an operator (default: {threads})',
    )


def add_variant(parser: argparse._ActionsContainer) -> None:
    """Add ``--variant``."""
    parser.add_argument(
        '--variant',
        choices=(REFERENCE, *PARTS),
        help='graphs of the bundle to run (default: those made for the provider, else '
        f'{REFERENCE}, which every bundle has); cpu_int8 is not exact',
    )


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = int(text)
    if value < 1:
        msg = f'{value} is less than 1'
        raise ValueError(msg)
    return value


def open_bundle(path: Path) -> Bundle:
    """Check and open a bundle, with a progress bar while a large one is hashed.

    Raises:
        UsageError: There is no such folder.
        BundleError: The bundle cannot be trusted.
    """
    if not path.is_dir():
        raise UsageError.at(
            path,
            '',
            found='a file' if path.exists() else 'nothing',
            expected='a bundle folder',
            remedy='`pizero export` writes one.',
        )
    total = sum(each.stat().st_size for each in path.iterdir() if each.is_file())
    if total < _SHOW_PROGRESS:
        return Bundle.open(path)
    from rich.progress import Progress

    with Progress(console=progress_console, transient=True) as progress:
        task = progress.add_task('hashing', total=total)
        return Bundle.open(path, lambda count: progress.advance(task, count))
