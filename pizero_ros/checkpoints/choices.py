"""What a user says about a checkpoint that does not say it itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pizero_ros.errors import UnstatedError

if TYPE_CHECKING:
    from pathlib import Path

ActionMode = Literal['absolute', 'relative']
Adaptation = Literal['aloha', 'none']
Role = Literal['state', 'action']

MEANINGS = {
    '--actions': 'absolute: actions are joint positions; relative: joints of arms and torso are '
    'differences to the state at the observation (openpi: DeltaActions), grippers and base '
    'commands stay absolute. --relative-mask 6,-1,6,-1 says it value by value (openpi: '
    'make_bool_mask)',
    '--normalization': "zscore: (x − mean) / std, openpi's rule for π0; quantile: 1 % … 99 % "
    'become −1 … 1, its rule for π0.5 and π0-FAST (openpi: use_quantile_norm)',
    '--adapt': "aloha: openpi's adapt_to_pi, which flips joints and maps grippers of 14-value "
    'ALOHA data, and makes --gripper needless; none: state and actions are used as recorded',
    '--gripper': 'as-is: the policy counts grippers as the embodiment file does; inverted: '
    "1 − that; SCALE,OFFSET: policy = SCALE · robot + OFFSET; aloha: ALOHA's linkage. state:… or "
    'action:… in front restricts it',
    '--slots': 'names of the cameras in the order in which the model was trained to see them',
    '--asset': 'whose statistics normalise this robot',
    '--tokenizer': "the tokenizer's file, SentencePiece .model or Hugging Face tokenizer.json",
}
"""Option → what its values mean."""


@dataclass(frozen=True)
class GripperChoice:
    """How gripper values of robot and policy relate; ``roles`` says in which vectors."""

    roles: tuple[Role, ...]
    kind: Literal['as-is', 'linear', 'aloha']
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Choices:
    """The user's word; None and empty where nothing was said.

    Attributes:
        actions: Whether actions are relative to the state.
        relative_mask: The same value by value, True where relative.
        normalization: Which formula.
        adapt: Which adaptation surrounds the policy.
        grippers: Gripper maps.
        asset: Asset id of openpi's statistics.
        slots: Names of the cameras in the model's order.
        tokenizer: The tokenizer's file.
        min_spread: Spread to which statistics of values that hardly moved are widened.
        accept_statistics: Whether strange statistics have been looked at.
    """

    actions: ActionMode | None = None
    relative_mask: tuple[bool, ...] | None = None
    normalization: Literal['zscore', 'quantile'] | None = None
    adapt: Adaptation | None = None
    grippers: tuple[GripperChoice, ...] = ()
    asset: str | None = None
    slots: tuple[str, ...] | None = None
    tokenizer: Path | None = None
    min_spread: float | None = None
    accept_statistics: bool = False


def missing(where: str, options: list[str], found: str) -> UnstatedError:
    """Build the error that lists everything that must still be said.

    Args:
        where: The checkpoint.
        options: Names in ``MEANINGS``.
        found: What does not say it.

    Returns:
        The error, with what each choice means.
    """
    lines = '\n'.join(f'  {option}: {MEANINGS[option]}.' for option in options)
    msg = (
        f'{where}: {found} does not say what follows, and a guess would move metal wrongly:\n'
        f'{lines}\n'
        'The training configuration has the answers; the rate of its data must be rate_hz of the '
        'embodiment file. --model-only exports without them, for `pizero infer` in model space.'
    )
    return UnstatedError(msg)


def parse_relative_mask(text: str) -> tuple[bool, ...]:
    """Read openpi's short form of a mask: ``6,-1`` is six values that are relative, one not.

    Raises:
        ValueError: It is not a list of whole numbers other than 0.
    """
    mask: list[bool] = []
    for part in text.split(','):
        count = int(part)
        if not count:
            msg = '0 values are neither relative nor absolute'
            raise ValueError(msg)
        mask += [count > 0] * abs(count)
    return tuple(mask)


def parse_gripper(text: str) -> GripperChoice:
    """Read a gripper map as ``--gripper`` takes it.

    Raises:
        ValueError: It is none.
    """
    role, colon, rest = text.partition(':')
    roles: tuple[Role, ...] = ('state', 'action')
    if colon:
        if role not in roles:
            msg = f'{role!r} is neither state nor action'
            raise ValueError(msg)
        roles = ('state',) if role == 'state' else ('action',)
    word = rest if colon else text
    if word == 'as-is':
        return GripperChoice(roles, 'as-is')
    if word == 'aloha':
        return GripperChoice(roles, 'aloha')
    if word == 'inverted':
        return GripperChoice(roles, 'linear', -1.0, 1.0)
    scale, offset = (float(part) for part in word.split(','))
    if not scale or abs(scale) == float('inf') or abs(offset) == float('inf') or scale != scale:
        msg = 'the scale must be a number other than 0'
        raise ValueError(msg)
    return GripperChoice(roles, 'linear', scale, offset)
