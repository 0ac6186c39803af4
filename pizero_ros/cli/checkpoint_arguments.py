"""The options with which a user says what a checkpoint does not say itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.choices import (
    MEANINGS,
    Choices,
    parse_gripper,
    parse_relative_mask,
)
from pizero_ros.cli.exit_codes import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS_ONLY = (
    *('relative_mask', 'normalization', 'adapt', 'gripper', 'asset'),
    *('min_spread', 'accept_statistics'),
)
"""Destinations of options that make no sense in a bundle without action semantics."""
CHECKPOINT_ONLY = (
    *ACTIONS_ONLY,
    *('architecture', 'slots', 'tokenizer', 'prompts_only', 'sha256'),
)
"""Destinations of options that make no sense for random weights."""


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the options, in a group of their own."""
    group = parser.add_argument_group(
        'for a checkpoint',
        'An openpi checkpoint says nothing about its actions, so --actions, --normalization, '
        '--adapt and --gripper must; lerobot from 0.4 on says all of it. Nothing is guessed: what '
        'is missing is listed.',
    )
    group.add_argument(
        '--architecture',
        metavar='FILE',
        help='sizes that no tensor shows, if it is not the published π0: a YAML file as '
        'config/architectures/pi0.yaml, or the size.json of a reference model',
    )
    _add(group, '--normalization', choices=('zscore', 'quantile'))
    _add(group, '--adapt', choices=('aloha', 'none'))
    _add(
        group, '--gripper', metavar='MAP', action='append', default=[], type=_typed(parse_gripper)
    )
    group.add_argument(
        '--relative-mask',
        metavar='N,-N,…',
        type=_typed(parse_relative_mask),
        help='as --actions, value by value: 6,-1 is six that are relative and one that is not',
    )
    _add(group, '--asset', metavar='ID')
    _add(group, '--slots', metavar='A,B,…', type=_names)
    _add(group, '--tokenizer', metavar='FILE', type=Path)
    group.add_argument(
        '--prompts-only',
        action='store_true',
        default=None,
        help='carry the ids of every --prompt and no tokenizer: the robot needs no library',
    )
    group.add_argument(
        '--min-spread',
        metavar='S',
        type=_spread,
        help='widen statistics of values that hardly moved to a spread of S',
    )
    group.add_argument(
        '--accept-statistics',
        action='store_true',
        default=None,
        help='you have looked at the statistics that export doubts',
    )
    group.add_argument(
        '--sha256',
        metavar='HEX',
        help='digest that model.safetensors must have, from where it was downloaded',
    )


def choices_of(arguments: argparse.Namespace) -> Choices:
    """Collect the user's word."""
    return Choices(
        actions=arguments.actions,
        relative_mask=arguments.relative_mask,
        normalization=arguments.normalization,
        adapt=arguments.adapt,
        grippers=tuple(arguments.gripper),
        asset=arguments.asset,
        slots=arguments.slots,
        tokenizer=arguments.tokenizer,
        min_spread=arguments.min_spread,
        accept_statistics=bool(arguments.accept_statistics),
    )


def refuse(arguments: argparse.Namespace, names: tuple[str, ...], beside: str) -> None:
    """Refuse options that would have no effect.

    Args:
        arguments: The command line.
        names: Destinations of those options.
        beside: The option beside which they have none.

    Raises:
        UsageError: With every such option that is given.
    """
    given = [
        f'--{name.replace("_", "-")}'
        for name in names
        if getattr(arguments, name) not in (None, [])
    ]
    if given:
        raise UsageError.at(beside, '', found=', '.join(given), expected='no such option')


def _add(group: argparse._ArgumentGroup, option: str, **how: object) -> None:
    # argparse takes a % for a format.
    group.add_argument(option, help=MEANINGS[option].replace('%', '%%'), **how)  # type: ignore[arg-type]


def _typed(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Let argparse show why an argument is refused."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f'{text!r}: {error}') from None

    return convert


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    if not all(names):
        msg = f'{text!r} is no list of names'
        raise argparse.ArgumentTypeError(msg)
    return names


def _spread(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        msg = f'{text} is not above 0'
        raise argparse.ArgumentTypeError(msg)
    return value
