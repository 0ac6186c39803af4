"""When inference is wanted and which of its answers count: the contract of scheduling modes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from pizero_ros.control.leftover import Commitment, Leftover
    from pizero_ros.policy.chunk import ActionChunk

Reason = Literal['accepted', 'stale_epoch', 'late', 'superseded', 'from_future', 'beyond_prefix']
"""Why a chunk counts or not: asked for under an older prompt, nothing left of it, older than
the chunk that is executed, observed after now (the clock jumped back), arrived when the robot was
beyond its trained prefix (``RealTime``)."""

DELAY_WINDOW = 20
"""Inferences that the delay estimate looks back on: a slow first one is forgotten in seconds."""


class Request(NamedTuple):
    """One inference that a scheduler has asked for.

    Attributes:
        epoch: To be put on the chunk.
        requested_ns: When.
        delay_ns: Delay expected until its chunk arrives, 0 if unknown.
        executing: Chunk that is executed meanwhile, None if there is none.
        commitment: What the new chunk has to agree with, None if it is free.
    """

    epoch: int
    requested_ns: int
    delay_ns: int
    executing: ActionChunk | None
    commitment: Commitment | None = None

    def leftover(self, observed_ns: int) -> Leftover | None:
        """Return what a chunk of this observation has to agree with, None if it is free."""
        return None if self.commitment is None else self.commitment.leftover(observed_ns)


@dataclass(frozen=True)
class Acceptance:
    """What becomes of a chunk.

    Attributes:
        reason: ``accepted``, or why it was discarded.
        chunk: What is to be published; a mode may alter the chunk that arrived.
        steps: Its steps to publish, empty unless accepted.
    """

    reason: Reason
    chunk: ActionChunk
    steps: range

    @property
    def accepted(self) -> bool:
        """Whether the chunk is to be published."""
        return self.reason == 'accepted'


class Scheduler(Protocol):
    """Decides when to infer and what to execute; holds no lock of its own.

    Every call is made under the lock of the ``Commander`` that owns the scheduler. The inference
    thread causes ``wants_inference``, ``next_request_ns``, ``begin``, ``fail``, ``accept`` and
    ``held``; the executor's thread causes ``starved``, ``held``, ``advance_epoch`` and ``reset``.
    All times are of one clock, the node's.
    """

    @property
    def mode(self) -> str:
        """Name by which users choose it."""

    @property
    def epoch(self) -> int:
        """Generation of prompt and reset; a chunk of another one is discarded."""

    @property
    def executing(self) -> ActionChunk | None:
        """Chunk that was last accepted and not held since."""

    @property
    def end_ns(self) -> int | None:
        """When the last published waypoint of it is due."""

    @property
    def delay_ns(self) -> int:
        """Estimated delay from request to arrival, 0 while unknown."""

    def next_request_ns(self) -> int | None:
        """Return when inference is wanted next, 0 for at once, None while one is under way."""

    def wants_inference(self, now_ns: int) -> bool:
        """Return whether inference is wanted now."""

    def begin(self, now_ns: int) -> Request:
        """Note that inference starts; none is wanted until ``accept`` or ``fail``."""

    def fail(self) -> None:
        """Note that the inference under way has ended without a chunk."""

    def accept(self, chunk: ActionChunk, now_ns: int) -> Acceptance:
        """Judge a chunk that has arrived; if accepted, it is executed from now on."""

    def held(self) -> None:
        """Note that nothing is executed any more: a chunk was refused, or the robot stopped."""

    def starved(self, now_ns: int) -> bool:
        """Return whether the published horizon has run out with no successor."""

    def advance_epoch(self) -> int:
        """Discard the inference under way (a new prompt); what was published goes on."""

    def reset(self) -> int:
        """Forget all but the delays, and return the new epoch."""


class DelayEstimate:
    """95th percentile (nearest rank) of the last latencies."""

    def __init__(self, window: int = DELAY_WINDOW) -> None:
        self._latencies_ns: deque[int] = deque(maxlen=window)

    def add(self, latency_ns: int) -> None:
        """Add a latency; the oldest one beyond the window is forgotten."""
        self._latencies_ns.append(latency_ns)

    @property
    def value_ns(self) -> int:
        """The estimate, 0 while there is nothing to estimate from."""
        if not self._latencies_ns:
            return 0
        ordered = sorted(self._latencies_ns)
        return ordered[-(-95 * len(ordered) // 100) - 1]
