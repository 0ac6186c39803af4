"""The controllers' trajectory clock: at a speed factor f it runs f times as fast as the node's.

A scaled controller (a speed slider, reduced mode, a protective stop) keeps to the path of a
trajectory and slows its progress: each update advances the trajectory by ``f * period``
(ros2_controllers, joint_trajectory_controller ``speed_scaling``; UR's
``scaled_joint_trajectory_controller``). By the node's clock the robot would seem further on than
it is, and the next chunk would make it leap. So everything between a chunk and a command is
counted on this clock, and only stamps of messages are the node's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import SpeedScaling

SPEED = 'speed_scaling'
"""Group name under which interventions because of the speed factor are counted."""

PAUSED_BELOW = 0.01
"""A smaller factor counts as a pause: a second of trajectory would last minutes. The lowest
setting of UR's speed slider is 0.01."""

HIGHEST = 1.001
"""A larger factor is not followed, because the safety gate's speed limits hold at 1 only. The
excess over 1 is for factors that were computed, as a percentage in single precision."""

MEMORY_NS = 30_000_000_000
"""How long ago the factor is still known; an observation is never that old."""


class Blocked(NamedTuple):
    """Why the robot must not be sent anywhere.

    Attributes:
        reason: ``paused``, ``missing``, ``stale`` or ``out_of_range``.
        text: One line for people.
    """

    reason: str
    text: str


class TrajectoryClock:
    """Maps times of the node's clock to times of the controllers' and back.

    Both are the same until a factor has been received, and without a source of factors for ever.
    The factor counts from its receipt until the next one. Not thread-safe; the ``Commander`` that
    owns it holds a lock.
    """

    def __init__(self, source: SpeedScaling | None = None) -> None:
        """Start at full speed.

        Args:
            source: Where factors come from, None if the controllers are not scaled.
        """
        self._source = source
        # One entry for each change of the factor, oldest first.
        self._node_ns: list[int] = []
        self._controller_ns: list[int] = []
        self._factors: list[float] = []
        self._latest: float | None = None
        self._received_ns: int | None = None
        self._may_jump = False

    @property
    def factor(self) -> float:
        """Speed at which the controllers run, 1 until it is known."""
        return self._factors[-1] if self._factors else 1.0

    @property
    def received(self) -> float | None:
        """Factor that was received last, whether it is followed or not; None before the first."""
        return self._latest

    def update(self, factor: float, now_ns: int) -> None:
        """Take a factor that was received now; one that is out of range is only noted."""
        jumped_back = bool(self._node_ns) and now_ns < self._node_ns[-1]
        self._latest, self._received_ns = factor, now_ns
        if not _in_range(factor) or (jumped_back and not self._may_jump):
            return
        self._may_jump = False
        # What was commanded since the jump is on the clock as it is now, so it must go on.
        controller_ns = self.at(now_ns)
        if jumped_back:
            self._forget(len(self._node_ns))
        if not self._factors or factor != self._factors[-1]:
            self._node_ns.append(now_ns)
            self._controller_ns.append(controller_ns)
            self._factors.append(min(factor, 1.0))
            self._forget(bisect_right(self._node_ns, now_ns - MEMORY_NS) - 1)

    def at(self, node_ns: int) -> int:
        """Return the controllers' time at a time of the node."""
        entry = bisect_right(self._node_ns, node_ns) - 1
        if not self._node_ns:
            return node_ns
        # Before the first factor the speed was full.
        factor = 1.0 if entry < 0 else self._factors[entry]
        entry = max(entry, 0)
        elapsed_ns = node_ns - self._node_ns[entry]
        # Full speed is exact: no rounding of spans that may be days.
        return self._controller_ns[entry] + (
            elapsed_ns if factor == 1.0 else round(elapsed_ns * factor)
        )

    def node_ns(self, controller_ns: int) -> int | None:
        """Return when the controllers' clock shows a time, None if they are paused before."""
        entry = bisect_right(self._controller_ns, controller_ns) - 1
        if not self._node_ns:
            return controller_ns
        factor = 1.0 if entry < 0 else self._factors[entry]
        entry = max(entry, 0)
        left_ns = controller_ns - self._controller_ns[entry]
        if factor == 1.0:
            return self._node_ns[entry] + left_ns
        if factor < PAUSED_BELOW:
            return None if left_ns else self._node_ns[entry]
        return self._node_ns[entry] + round(left_ns / factor)

    def blocked(self, now_ns: int) -> Blocked | None:
        """Return why the robot must not be sent anywhere now, None if it may be."""
        source, factor = self._source, self._latest
        if source is None:
            return None
        if factor is None:
            return (
                Blocked('missing', f'{source.topic}: no message yet') if source.required else None
            )
        if self._received_ns is None:
            self._received_ns = now_ns
        age_s = (now_ns - self._received_ns) * 1e-9
        if age_s > source.max_age_s:
            text = f'{source.topic}: no speed factor for more than {source.max_age_s:g} s'
            return Blocked('stale', text)
        if not _in_range(factor):
            remedy = '' if source.unit == 'percent' else '; percent needs unit: percent'
            text = f'{source.topic}: found factor {factor:g}, expected 0 to 1{remedy}'
            return Blocked('out_of_range', text)
        if factor < PAUSED_BELOW:
            return Blocked('paused', f'{source.topic}: the controllers stand still')
        return None

    def reset(self) -> None:
        """Expect that the node's clock may have jumped back; the factor is kept."""
        self._may_jump = True
        self._received_ns = None

    def _forget(self, count: int) -> None:
        """Drop the oldest entries."""
        for entries in (self._node_ns, self._controller_ns, self._factors):
            del entries[: max(count, 0)]


def _in_range(factor: float) -> bool:
    return math.isfinite(factor) and 0.0 <= factor <= HIGHEST
