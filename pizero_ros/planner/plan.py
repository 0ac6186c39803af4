"""What a planner is asked and what it may answer, and the Protocol that all planners fulfil."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Rgb = npt.NDArray[np.uint8]
    """A picture, upright: uint8 [H, W, 3] RGB."""

Until = Literal['time', 'verdict', 'planner']
Outcome = Literal['succeeded', 'failed']


@dataclass(frozen=True)
class Subtask:
    """One prompt, and when it ends.

    Attributes:
        prompt: What the policy is told.
        limit_s: After so long the robot is stopped, whatever else is said.
        until: What ends it: ``time``: the policy has followed it for ``seconds``; ``verdict``:
            a message says so; ``planner``: the planner's judgement.
        seconds: For ``time`` alone.
    """

    prompt: str
    limit_s: float
    until: Until = 'planner'
    seconds: float = 0.0


class Finished(NamedTuple):
    """A subtask that is over.

    Attributes:
        prompt: What the policy was told.
        outcome: How it ended.
        elapsed_s: How long it took.
    """

    prompt: str
    outcome: Outcome
    elapsed_s: float


@dataclass(frozen=True)
class Situation:
    """What a planner is asked with.

    Attributes:
        generation: Number of the instruction; another number is another task.
        instruction: The long instruction; may be empty if a person gives the steps.
        finished: What was done so far, in order.
        current: What the policy is told now, None between subtasks.
        elapsed_s: Time since ``current`` began.
        verdict: What the verdict topic last said about ``current``, empty if nothing.
        said: The person's message that is to be answered, None if there is none.
        pictures: Camera slot → picture, for planners that see; taken when the question is put.
    """

    generation: int
    instruction: str
    finished: tuple[Finished, ...] = ()
    current: Subtask | None = None
    elapsed_s: float = 0.0
    verdict: str = ''
    said: str | None = None
    pictures: Mapping[str, Rgb] = field(default_factory=dict)


class Next(NamedTuple):
    """The current subtask, if any, succeeded; this one follows."""

    subtask: Subtask
    reason: str = ''


class GoOn(NamedTuple):
    """The current subtask goes on."""

    reason: str = ''


class Done(NamedTuple):
    """The current subtask, if any, succeeded, and with it the instruction."""

    reason: str = ''


class Failed(NamedTuple):
    """The instruction cannot be carried out, or not any further."""

    reason: str


class NoAnswer(NamedTuple):
    """Nothing that can be acted on: the current subtask goes on until its limit.

    Attributes:
        reason: Why.
        permanent: Whether asking again makes no sense for this instruction.
    """

    reason: str
    permanent: bool = False


Answer = Next | GoOn | Done | Failed | NoAnswer


class Planner(Protocol):
    """Decides which subtask comes next.

    ``decide`` is called by the planning thread alone, one call at a time, and may block there;
    ``counts`` and ``close`` are called by the executor's thread meanwhile, and must not.
    """

    @property
    def looks_every_s(self) -> float | None:
        """Pause between two questions [s]; None: asked only when a person has said something."""
        ...

    @property
    def sees(self) -> bool:
        """Whether it needs pictures."""
        ...

    def decide(self, situation: Situation) -> Answer:
        """Return what is to be done now.

        Raises nothing that a server, a file or a person can cause: those are ``NoAnswer`` or
        ``Failed``.
        """
        ...

    def counts(self) -> Mapping[str, int]:
        """Return event → how often since the start, for diagnostics."""
        ...

    def close(self) -> None:
        """End a ``decide`` that is under way, soon, and refuse further ones."""
        ...


class Judgement(NamedTuple):
    """Whether the current subtask is over.

    Attributes:
        outcome: ``going_on`` or how it ended.
        reason: Why, in a sentence.
    """

    outcome: Literal['going_on', 'succeeded', 'failed']
    reason: str


class Judge(Protocol):
    """Says from pictures whether a subtask of a script is over; threads as for ``Planner``."""

    def judge(self, situation: Situation) -> Judgement | NoAnswer:
        """Return the judgement on ``situation.current``."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Return event → how often since the start."""
        ...

    def close(self) -> None:
        """End a ``judge`` that is under way, soon."""
        ...
