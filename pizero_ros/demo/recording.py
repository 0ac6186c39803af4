"""What was observed of one robot as plain time series: the observer fills it, others read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.control.commands import TrajectoryCommand

Floats = npt.NDArray[np.float64]
Stamps = npt.NDArray[np.int64]


class Series:
    """Samples of named values over time; a name that a sample lacks is NaN there."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, tuple[str, ...], Floats]] = []

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    def add(self, stamp_ns: int, names: Sequence[str], values: Sequence[float]) -> None:
        """Add one sample; ``values`` may be empty, and the sample is then left out."""
        if len(values) == len(names):
            self._samples.append((stamp_ns, tuple(names), np.array(values, np.float64)))

    def latest(self, names: Sequence[str]) -> Floats:
        """Return the newest value of each name, float64 [len(names)], NaN where there is none."""
        wanted = dict.fromkeys(names, np.nan)
        missing = set(wanted)
        for _, given, values in reversed(self._samples):
            for name, value in zip(given, values.tolist(), strict=True):
                if name in missing:
                    wanted[name] = value
                    missing.discard(name)
            if not missing:
                break
        return np.array([wanted[name] for name in names])

    def of(self, name: str) -> tuple[Stamps, Floats]:
        """Return the times in ns, int64 [N], and values, float64 [N], of one name, in order."""
        found = [
            (stamp_ns, values[names.index(name)])
            for stamp_ns, names, values in list(self._samples)
            if name in names
        ]
        if not found:
            return np.empty(0, np.int64), np.empty(0)
        stamps = np.array([stamp_ns for stamp_ns, _ in found], np.int64)
        order = np.argsort(stamps, kind='stable')
        return stamps[order], np.array([value for _, value in found])[order]


class SentTrajectory(NamedTuple):
    """One JointTrajectory as it was seen on its topic.

    ``command`` is None if the message could not be read, and ``fault`` then says why.
    """

    group: str
    received_ns: int
    command: TrajectoryCommand | None
    fault: str

    @property
    def is_hold(self) -> bool:
        """Whether it is a hold: one point, where a chunk has many."""
        return self.command is not None and len(self.command) == 1


class SentChunk(NamedTuple):
    """One ActionChunk; ``sent`` as the policy node says."""

    stamp_ns: int
    horizon: int
    sent: bool


class StreamCount(NamedTuple):
    """One input topic of the policy node at the time of a status."""

    received: int
    missing: int
    rate_hz: float
    age_s: float
    fault: str


@dataclass(frozen=True)
class Status:
    """One PolicyStatus; latencies map phase → (p50, p95) in ms."""

    stamp_ns: int
    state: int
    reason: str
    provider: str
    scheduling: str
    prompt: str
    counters: dict[str, int]
    interventions: dict[str, int]
    streams: dict[str, StreamCount]
    latency_ms: dict[str, tuple[float, float]]


@dataclass
class Recording:
    """Everything that was observed; times are those of the robot's clock, in ns.

    Attributes:
        positions: Measured joint positions.
        velocities: Measured joint velocities, and base velocities by axis.
        desired: Where the controllers are sending the joints.
        base_commands: Base velocities by axis.
        gripper_commands: Gripper goals by joint.
        trajectories: Every trajectory, holds and gripper goals included.
        sent: Action group → number of commands seen on its topic.
        chunks: Every chunk.
        statuses: Every status.
        state_stamps: State topic → header stamp of every message.
        stream_counters: Topic → counter → value, from the policy node's last diagnostics.
        pictures: Camera slot → (time, RGB uint8 [H, W, 3]).
        messages: Topic of a bag → messages received.
    """

    positions: Series = field(default_factory=Series)
    velocities: Series = field(default_factory=Series)
    desired: Series = field(default_factory=Series)
    base_commands: Series = field(default_factory=Series)
    gripper_commands: Series = field(default_factory=Series)
    trajectories: list[SentTrajectory] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    chunks: list[SentChunk] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    state_stamps: dict[str, list[int]] = field(default_factory=dict)
    stream_counters: dict[str, dict[str, int]] = field(default_factory=dict)
    pictures: dict[str, list[tuple[int, npt.NDArray[np.uint8]]]] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
