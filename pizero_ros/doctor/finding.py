"""One thing that was looked at: found, expected, and what to type about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal['ok', 'unknown', 'warning', 'error']
Area = Literal['input', 'controller', 'policy', 'bundle', 'time', 'transport']

SCHEMA = 1
"""Of the JSON result; a key is never renamed under the same number."""


@dataclass(frozen=True)
class Finding:
    """A fact and its judgment.

    Attributes:
        severity: ``error``: the policy would hold, or move wrongly. ``warning``: it would run,
            worse than it could. ``unknown``: could not be looked at, so nothing is claimed.
        area: Part of the system.
        subject: Topic, action group or file.
        check: What was looked at; a stable word for machines.
        found: What is there.
        expected: What should be there; empty where that is what was found.
        remedy: What to do about it, as a sentence; empty if nothing need be done.
    """

    severity: Severity
    area: Area
    subject: str
    check: str
    found: str
    expected: str = ''
    remedy: str = ''


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether any finding is an error."""
    return any(each.severity == 'error' for each in findings)


def as_json(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the findings as the JSON result has them."""
    return [asdict(each) for each in findings]
