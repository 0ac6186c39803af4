"""Real-time chunking: infer while executing, with chunks that go on from the committed steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.leftover import Commitment
from pizero_ros.control.trajectory import steps_ns

if TYPE_CHECKING:
    from pizero_ros.control.schedule import Reason, Request
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.chunk import ActionChunk


class RealTime(Asynchronous):
    """Asks when ``async`` does, and says what the new chunk has to agree with.

    While one chunk is executed the next is inferred; until it takes over, the robot goes on with
    the steps it has. These steps are committed, ``delay`` of them: what is due before the
    expected arrival (95th percentile of the latest delays, counted from the observation) plus the
    lead. The new chunk is to repeat them, and to agree less and less up to step ``H - s``.

    * Nothing is executed, or it has run out: nothing is committed, the chunk is free.
    * A new prompt: only the committed steps count, the rest of the old plan does not.
    * The chunk comes later than expected: a guided one is used, for it agrees softly also behind
      the committed steps. One with a trained prefix is discarded (``beyond_prefix``): behind its
      prefix it goes its own way, and the robot has gone on by the old one. The delay counts all
      the same, so that the estimate rises.
    * The limits ``d <= s <= H - d`` of the papers: if inference lasts longer than the executed
      steps, it is asked for at once, so ``s`` grows to ``d``; and no more steps are committed
      than the executing chunk has left. When it has run out the next chunk is free.
    """

    mode = 'rtc'

    def __init__(self, embodiment: Embodiment, *, trained_prefix: bool = False) -> None:
        """Build the scheduler.

        Args:
            embodiment: The robot.
            trained_prefix: Whether chunks repeat the committed steps exactly and those only.
        """
        super().__init__(embodiment)
        self._trained_prefix = trained_prefix
        self._commitment: Commitment | None = None

    def begin(self, now_ns: int) -> Request:
        """Note that inference starts, and tell what is committed meanwhile."""
        request = super().begin(now_ns)
        self._commitment = None
        executing = self._executing
        if executing is not None and not self._at_rest:
            lead_ns = max(steps_ns(self._embodiment.lead_steps, executing.rate_hz), 1)
            self._commitment = Commitment(
                executing,
                takeover_ns=now_ns + request.delay_ns + lead_ns,
                executed_steps=self._embodiment.executed_steps,
                same_task=executing.epoch == self._epoch,
            )
        return request._replace(commitment=self._commitment)

    def _judge(self, chunk: ActionChunk, now_ns: int, steps: range) -> Reason:
        reason = super()._judge(chunk, now_ns, steps)
        if reason == 'accepted' and self._trained_prefix and self._beyond_prefix(chunk, steps):
            return 'beyond_prefix'
        return reason

    def _beyond_prefix(self, chunk: ActionChunk, steps: range) -> bool:
        """Tell whether the robot is beyond the steps that a chunk was made to repeat."""
        if self._commitment is None or self._executing is not self._commitment.chunk:
            return False  # Nothing was committed, or the robot has been stopped since.
        leftover = self._commitment.leftover(chunk.observed_ns)
        return leftover is not None and steps.start > leftover.delay
