"""When is a set of camera frames as fresh as it can be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import Embodiment

_PATIENCE = 1.5
"""Periods of the slowest camera that a request waits for its frames at most."""

_LONGEST_WAIT_NS = 250_000_000
"""A camera slower than 6 Hz is not waited for: its held frame is what there is."""


_SAME_MOMENT = 0.75
"""Periods that a frame may be older than the newest one and still belong to its set."""


class FrameSet:
    """Decides when inference should start after it has become wanted.

    A frame that lies there when inference becomes wanted is on average half a period old. Waiting
    for the next one costs nothing, since the robot executes the previous chunk meanwhile, and
    makes observation and command that much younger.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Take rates and ages of the cameras from the embodiment."""
        self._period_ns = {c.topic: round(1e9 / c.rate_hz) for c in embodiment.cameras}
        self._max_age_ns = {c.topic: round(c.max_age_s * 1e9) for c in embodiment.cameras}
        slowest = max(self._period_ns.values())
        self.longest_wait_ns = min(round(_PATIENCE * slowest), _LONGEST_WAIT_NS)

    def complete(self, stamps_ns: Mapping[str, int], since_ns: int) -> bool:
        """Tell whether every live camera has delivered its frame of the newest moment.

        Args:
            stamps_ns: Topic → newest stamp; topics that are no cameras are ignored.
            since_ns: Newest camera stamp at the moment when inference became wanted.

        Returns:
            True once a frame newer than ``since_ns`` is there and no camera that is alive lags
            behind it by a period.
        """
        cameras = {topic: s for topic, s in stamps_ns.items() if topic in self._period_ns}
        newest = max(cameras.values(), default=since_ns)
        if newest <= since_ns:
            return False
        return all(
            newest - stamp < _SAME_MOMENT * self._period_ns[topic]
            or newest - stamp > self._max_age_ns[topic]
            for topic, stamp in cameras.items()
        )

    def staying(self, stamps_ns: Mapping[str, int]) -> frozenset[str]:
        """Tell which held frames will be part of the next set, if all cameras keep their pace.

        Cameras without a common trigger deliver one after the other, so that a set ends with the
        frame of one of them; what the others hold by then can be prepared before it comes.

        Args:
            stamps_ns: Topic → newest stamp; topics that are no cameras are ignored.

        Returns:
            Topics of cameras; none, if all deliver in the same moment.
        """
        cameras = {topic: s for topic, s in stamps_ns.items() if topic in self._period_ns}
        newest = max(cameras.values(), default=0)
        coming = [
            stamp + self._period_ns[topic]
            for topic, stamp in cameras.items()
            if newest - stamp <= self._max_age_ns[topic]
        ]
        following = min(coming, default=0)
        return frozenset(
            topic
            for topic, stamp in cameras.items()
            if following - stamp < _SAME_MOMENT * self._period_ns[topic]
        )

    def newest(self, stamps_ns: Mapping[str, int]) -> int:
        """Return the newest camera stamp, 0 if there is none."""
        return max((s for topic, s in stamps_ns.items() if topic in self._period_ns), default=0)
