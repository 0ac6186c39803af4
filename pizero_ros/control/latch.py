"""Faults after which a robot stays still until somebody calls ~/enable."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pizero_ros.control.safety import REASONS
from pizero_ros.observation.refusal import ReasonKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pizero_ros.control.decision import CommanderStatus

LATCHABLE: tuple[str, ...] = tuple(dict.fromkeys((*REASONS, *get_args(ReasonKind))))
"""Reasons of the safety gate and of refused observations that may be made to latch."""


class Latch:
    """Notices interventions of the chosen kinds; what they do to the command stays as it is.

    Attributes:
        reason: What latched, empty while nothing has.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = frozenset(kinds)
        self._seen: dict[str, int] = {}
        self.reason = ''

    def release(self, status: CommanderStatus) -> None:
        """Forget what latched; interventions up to now do not count again."""
        self.reason = ''
        self._seen = self._counts(status)

    def close(self, kind: str, text: str) -> None:
        """Latch, whatever the chosen kinds."""
        self.reason = f'latched by {kind}: {text}; call ~/enable to go on'

    def latches(self, status: CommanderStatus) -> bool:
        """Tell whether a new intervention of a chosen kind has just latched."""
        if self.reason or not self._kinds:
            return False
        counts = self._counts(status)
        new = [kind for kind, count in counts.items() if count > self._seen.get(kind, 0)]
        self._seen = counts
        if not new:
            return False
        last = status.last_intervention
        text = f': {last.text}' if last is not None and last.reason in new else ''
        self.reason = f'latched by {", ".join(new)}{text}; call ~/enable to go on'
        return True

    def _counts(self, status: CommanderStatus) -> dict[str, int]:
        counts: dict[str, int] = {}
        for (_, kind), count in status.interventions.items():
            if kind in self._kinds:
                counts[kind] = counts.get(kind, 0) + count
        return counts
