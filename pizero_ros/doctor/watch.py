"""The policy's own observation buffers, and beside them a record of what went into them."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

from pizero_ros.doctor.facts import Looks, Picture, Timing
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import Camera, Embodiment, StateSource
    from pizero_ros.observation.observation import Frame
    from pizero_ros.observation.refusal import Reason

_BY_JOINT = ('joint', 'field', 'nonfinite', 'range')
"""Reasons that stand once for each joint."""


def streams(embodiment: Embodiment) -> tuple[Camera | StateSource, ...]:
    """Return every input, cameras first."""
    return (*embodiment.cameras, *embodiment.state)


class Record:
    """Arrivals and stamps of one topic, in ns of the node's clock."""

    def __init__(self, stream: Camera | StateSource) -> None:
        """Start empty."""
        self._max_age_ns = round(stream.max_age_s * 1e9)
        self._by_header = stream.stamp == 'header'
        self._arrivals: list[int] = []
        self._ages: list[int] = []
        self._unstamped = 0
        self._newest_ns: int | None = None
        self._since_ns = self._stale_ns = 0

    @property
    def received(self) -> int:
        """Number of messages so far."""
        return len(self._arrivals)

    def add(self, stamp_ns: int, received_ns: int) -> None:
        """Take in a message; ``stamp_ns`` is 0 if it has none."""
        self._arrivals.append(received_ns)
        if stamp_ns > 0:
            self._ages.append(received_ns - stamp_ns)
        else:
            self._unstamped += 1
        stamp = stamp_ns if self._by_header else received_ns
        if stamp <= 0:
            return
        if self._newest_ns is None:
            self._newest_ns, self._since_ns = stamp, received_ns
            return
        self._stale_ns += self._stale_until(received_ns)
        self._newest_ns, self._since_ns = max(self._newest_ns, stamp), received_ns

    def timing(self, now_ns: int) -> Timing | None:
        """Return what the record says by now, None if nothing came."""
        if not self._arrivals:
            return None
        arrivals = self._arrivals
        span_ns = arrivals[-1] - arrivals[0]
        gaps = [b - a for a, b in zip(arrivals, [*arrivals[1:], now_ns], strict=True)]
        held_ns = max(now_ns - arrivals[0], 1)
        ages = self._ages
        return Timing(
            received=len(arrivals),
            unstamped=self._unstamped,
            rate_hz=(len(arrivals) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0,
            age_s=(min(ages) * 1e-9, median(ages) * 1e-9, max(ages) * 1e-9) if ages else None,
            stale_share=min((self._stale_ns + self._stale_until(now_ns)) / held_ns, 1.0),
            longest_gap_s=max(gaps) * 1e-9,
        )

    def _stale_until(self, now_ns: int) -> int:
        """Return for how long since the last arrival what is held has been too old."""
        if self._newest_ns is None:
            return 0
        return max(now_ns - max(self._since_ns, self._newest_ns + self._max_age_ns), 0)


class WatchedAssembler(ObservationAssembler):
    """Judges messages exactly as the policy does, and remembers when they came."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Start empty."""
        super().__init__(embodiment)
        self.records = {s.topic: Record(s) for s in streams(embodiment)}
        self.pictures: dict[str, Picture] = {}
        self.names: dict[str, dict[str, None]] = {each.topic: {} for each in embodiment.state}
        self._looks = self._fit = 0
        self._reasons: Counter[tuple[str, str, str]] = Counter()
        self._last: dict[tuple[str, str, str], Reason] = {}

    @property
    def complete(self) -> bool:
        """Whether every stream has delivered."""
        return all(record.received for record in self.records.values())

    def image(self, topic: str, message: Any, stamp_ns: int, received_ns: int) -> Frame | None:
        """Record a picture, and take it in."""
        self.records[topic].add(stamp_ns, received_ns)
        compressed = hasattr(message, 'format')
        self.pictures[topic] = Picture(
            encoding=message.format if compressed else message.encoding,
            width=0 if compressed else message.width,
            height=0 if compressed else message.height,
            size_bytes=len(message.data),
        )
        return super().image(topic, message, stamp_ns, received_ns)

    def joint_state(
        self,
        topic: str,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float],
        efforts: Sequence[float],
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Record joint states, and take them in."""
        self.records[topic].add(stamp_ns, received_ns)
        self.names[topic].update(dict.fromkeys(names))
        super().joint_state(topic, names, positions, velocities, efforts, stamp_ns, received_ns)

    def odometry(
        self, topic: str, values: Mapping[str, float], stamp_ns: int, received_ns: int
    ) -> None:
        """Record odometry, and take it in."""
        self.records[topic].add(stamp_ns, received_ns)
        self.names[topic].update(dict.fromkeys(values))
        super().odometry(topic, values, stamp_ns, received_ns)

    def look(self, now_ns: int) -> None:
        """Ask for an observation as the policy would, and count what stands against it."""
        result = self.observe(now_ns, 'doctor')
        self._looks += 1
        if not isinstance(result, Refusal):
            self._fit += 1
            return
        for reason in result.reasons:
            joint = reason.detail.split()[1] if reason.kind in _BY_JOINT else ''
            key = (reason.kind, reason.topic, joint)
            self._reasons[key] += 1
            self._last[key] = reason

    def looks(self) -> Looks:
        """Return the count so far."""
        reasons = {self._last[key]: count for key, count in self._reasons.items()}
        return Looks(self._looks, self._fit, reasons)
