"""Why there is no observation: every reason at once, so that one look mends them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReasonKind = Literal[
    'missing',
    'stale',
    'future',
    'skew',
    'malformed',
    'joint',
    'field',
    'nonfinite',
    'range',
    'unread',
    'undecodable',
    'black',
    'frozen',
    'noisy',
]
"""What can be wrong.

``missing``: nothing usable since start or reset. ``stale``, ``future``: age outside ± max_age.
``malformed``: arrays that contradict each other. ``joint``: no message names it. ``field``: the
messages leave the needed array empty. ``unread``: a whole limb at exactly -1. ``frozen``: the
picture stands still while the robot moves. ``noisy``: noise of more than 25 grey levels."""


@dataclass(frozen=True)
class Reason:
    """One thing that is wrong with one stream."""

    kind: ReasonKind
    topic: str
    detail: str

    def __str__(self) -> str:
        return f'{self.topic}: {self.detail}'


@dataclass(frozen=True)
class Refusal:
    """No observation can be made; the robot holds.

    Attributes:
        now_ns: When it was asked for.
        reasons: All of them, in the order of the embodiment file.
    """

    now_ns: int
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        return '; '.join(str(reason) for reason in self.reasons)
