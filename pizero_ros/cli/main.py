"""Entry point of ``pizero``: finds the verb and imports nothing that the verb does not need."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import os
import sys
from typing import TYPE_CHECKING

from pizero_ros.cli.exit_codes import FINDING, INTERRUPTED, USAGE, is_usage
from pizero_ros.errors import PizeroError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    'export': 'write a bundle that a robot can run',
    'infer': 'run a bundle on arrays from a file, for parity tests',
    'check': 'check all that can be known about a bundle before motion',
    'bench': 'measure latency by phase and memory',
    'replay': 'evaluate policies on recordings, with a report',
    'reproduce': 'make the chunks of a live policy again, from what it heard',
    'demonstrate': 'record what scripted experts do on a simulated robot',
    'train': 'train a policy on recordings, or fine-tune a checkpoint',
    'evaluate': 'run policies in closed loop on simulated robots, and score them',
    'doctor': 'look at a live robot, and say what is right and wrong before it moves',
    'demo': 'run the policy on simulated robots or a bag, and report',
}
"""Verb → what it does. A verb lives in the module of its name, which has ``configure(parser)`` and
``run(arguments) -> exit status`` and imports what is slow or optional inside ``run``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        0 on success, 1 on a finding, 2 on wrong usage or unreadable input, 130 on Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    if '_ARGCOMPLETE' in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as stop:  # argparse ends the process; a caller in Python wants the status.
        return stop.code if isinstance(stop.code, int) else USAGE
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    try:
        status: int = arguments.run(arguments)
    except PizeroError as error:
        sys.stderr.write(f'pizero {arguments.verb}: {error}\n')
        return USAGE if is_usage(error) else FINDING
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; flushing at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINDING
    return status


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """Build the parser; only the verb in use, or all for completion, brings its options."""
    parser = argparse.ArgumentParser(
        prog='pizero',
        description='Run π0-family flow policies on ROS 2 robots.',
        epilog='`pizero VERB --help` explains a verb. Exit status: 0 success, 1 a finding, '
        '2 wrong usage or unreadable input.',
    )
    parser.add_argument('--version', action='version', version=f'pizero {_version()}')
    verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
    wanted = next((word for word in words if not word.startswith('-')), None)
    for name, purpose in VERBS.items():
        verb = verbs.add_parser(name, help=purpose, description=_sentence(purpose))
        if name == wanted or '_ARGCOMPLETE' in os.environ:
            module = importlib.import_module(f'pizero_ros.cli.{name}')
            module.configure(verb)
            verb.set_defaults(run=module.run)
    return parser


def _sentence(purpose: str) -> str:
    return f'{purpose[0].upper()}{purpose[1:]}.'


def _version() -> str:
    try:
        return importlib.metadata.version('pizero_ros')
    except importlib.metadata.PackageNotFoundError:
        return 'unknown (not installed)'


if __name__ == '__main__':
    sys.exit(main())
