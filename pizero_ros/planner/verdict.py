"""The text of a verdict: ``succeeded`` or ``failed``, and optionally on which prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pizero_ros.planner.plan import Outcome

_OUTCOMES: dict[str, Outcome] = {'succeeded': 'succeeded', 'failed': 'failed'}


class Verdict(NamedTuple):
    """What somebody says about a subtask.

    Attributes:
        outcome: How it ended.
        prompt: Which subtask is meant, empty for whichever is under way.
    """

    outcome: Outcome
    prompt: str


def read_verdict(text: str) -> Verdict | None:
    """Read ``succeeded`` or ``succeeded: touch the red cube``; None if it is neither."""
    word, colon, prompt = text.partition(':')
    outcome = _OUTCOMES.get(word.strip())
    prompt = prompt.strip()
    if outcome is None or bool(colon) != bool(prompt):
        return None
    return Verdict(outcome, prompt)
