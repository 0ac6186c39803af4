"""What scheduling modes with one inference at a time have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pizero_ros.control.schedule import Acceptance, DelayEstimate, Reason, Request
from pizero_ros.control.trajectory import steps_ns, trim

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.chunk import ActionChunk


class SingleFlight:
    """Epochs, the inference under way, the published horizon and the delay estimate.

    A mode adds when to ask (``_due_ns``), how much to publish (``_limit``) and how long after
    the end of the horizon the robot may wait (``_patience_ns``).

    A chunk whose observation was asked for while nothing moved starts when it has arrived: the
    robot waits at the observation. By the chunk's own clock it would leap over the steps that
    inference took, and with slow inference the gate would refuse that leap for ever.
    """

    mode = ''

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self._delay = DelayEstimate()
        self._epoch = 0
        self._requested_ns: int | None = None
        self._at_rest = False
        self._executing: ActionChunk | None = None
        self._accepted_ns = 0
        self._end_ns = 0

    @property
    def epoch(self) -> int:
        """Generation of prompt and reset; a chunk of another one is discarded."""
        return self._epoch

    @property
    def executing(self) -> ActionChunk | None:
        """Chunk that was last accepted and not held since."""
        return self._executing

    @property
    def end_ns(self) -> int | None:
        """When the last published waypoint of it is due."""
        return None if self._executing is None else self._end_ns

    @property
    def delay_ns(self) -> int:
        """Estimated delay from request to arrival, 0 while unknown."""
        return self._delay.value_ns

    def next_request_ns(self) -> int | None:
        """Return when inference is wanted next, 0 for at once, None while one is under way."""
        if self._requested_ns is not None:
            return None
        if self._executing is None or self._executing.epoch != self._epoch:
            return 0
        return self._due_ns()

    def wants_inference(self, now_ns: int) -> bool:
        """Return whether inference is wanted now."""
        due_ns = self.next_request_ns()
        if due_ns is None:
            return False
        # Before the last acceptance: the clock jumped back, and waiting for it would be a stall.
        return now_ns >= due_ns or now_ns < self._accepted_ns

    def begin(self, now_ns: int) -> Request:
        """Note that inference starts; none is wanted until ``accept`` or ``fail``."""
        if self._requested_ns is not None:
            msg = 'an inference is under way; end it with accept() or fail() first'
            raise ValueError(msg)
        self._requested_ns = now_ns
        self._at_rest = self._executing is None or now_ns >= self._end_ns
        return Request(self._epoch, now_ns, self.delay_ns, self._executing)

    def fail(self) -> None:
        """Note that the inference under way has ended without a chunk."""
        self._requested_ns = None

    def accept(self, chunk: ActionChunk, now_ns: int) -> Acceptance:
        """Judge a chunk that has arrived; if accepted, it is executed from now on."""
        if self._requested_ns is not None and now_ns >= self._requested_ns:
            self._delay.add(now_ns - self._requested_ns)
        at_rest, self._at_rest = self._at_rest, False
        self._requested_ns = None
        if at_rest and now_ns >= chunk.observed_ns:
            lead_ns = steps_ns(max(self._embodiment.lead_steps, 1), chunk.rate_hz)
            chunk = replace(chunk, shift_ns=now_ns + lead_ns - chunk.observed_ns)
        steps = trim(chunk, now_ns, lead_steps=self._embodiment.lead_steps, limit=self._limit())
        reason = self._judge(chunk, now_ns, steps)
        if reason != 'accepted':
            return Acceptance(reason, chunk, range(0))
        self._executing = chunk
        self._accepted_ns = now_ns
        self._end_ns = chunk.start_ns + steps_ns(steps[-1], chunk.rate_hz)
        return Acceptance(reason, chunk, steps)

    def held(self) -> None:
        """Note that nothing is executed any more: a chunk was refused, or the robot stopped."""
        self._executing = None
        self._accepted_ns = 0

    def starved(self, now_ns: int) -> bool:
        """Return whether the published horizon has run out with no successor."""
        return self._executing is not None and now_ns > self._end_ns + self._patience_ns()

    def advance_epoch(self) -> int:
        """Discard the inference under way (a new prompt); what was published goes on."""
        self._epoch += 1
        return self._epoch

    def reset(self) -> int:
        """Forget all but the delays, and return the new epoch."""
        self.held()
        return self.advance_epoch()

    def _judge(self, chunk: ActionChunk, now_ns: int, steps: range) -> Reason:
        if chunk.epoch != self._epoch:
            return 'stale_epoch'
        if chunk.observed_ns > now_ns:
            return 'from_future'
        if self._executing is not None and chunk.observed_ns < self._executing.observed_ns:
            return 'superseded'
        return 'accepted' if steps else 'late'

    def _due_ns(self) -> int:
        raise NotImplementedError

    def _limit(self) -> int:
        return self._embodiment.published_steps

    def _patience_ns(self) -> int:
        return 0
