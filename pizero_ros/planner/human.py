"""The planner that is a person: every message is the next step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pizero_ros.planner.plan import Done, Failed, GoOn, Next, NoAnswer, Subtask
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.planner.plan import Answer, Situation

DONE = 'done'
STOP = 'stop'


class HumanPlanner:
    """Takes a person's messages for prompts, but for ``done``, and ``stop`` or an empty one."""

    looks_every_s = None
    sees = False

    def __init__(self, limit_s: float, prompts: Sequence[str] = ()) -> None:
        """Know what may be said.

        Args:
            limit_s: The robot is stopped if no other step has come after so long [s].
            prompts: Prompts that the policy knows; empty: the policy takes any.
        """
        self._limit_s = limit_s
        self._prompts = tuple(prompts)
        self._counts: Counter[str] = Counter()

    def decide(self, situation: Situation) -> Answer:
        """See ``Planner``."""
        if situation.said is None:
            return GoOn('nobody said anything')
        said = situation.said.strip()
        word = said.casefold()
        if word in ('', STOP):
            return Failed('stopped by a person')
        if word == DONE:
            return Done('a person said so')
        if self._prompts and said not in self._prompts:
            self._counts['unknown prompts refused'] += 1
            hint = suggestion(said, self._prompts) or f'It knows {", ".join(self._prompts)}.'
            return NoAnswer(f'{said!r} is no prompt that the policy knows. {hint}')
        return Next(Subtask(said, self._limit_s), 'a person said so')

    def counts(self) -> Mapping[str, int]:
        """See ``Planner``."""
        return dict(self._counts)

    def close(self) -> None:
        """See ``Planner``."""
