"""What a run found, as values: one file's worth of facts per robot, ready for JSON and HTML."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 1

LATENCY_PHASES = (
    'ros',
    'resize',
    'preprocess',
    'observe',
    'denoise',
    'postprocess',
    'publish',
    'stamp_to_command',
    'overhead',
    'ros_only',
)


@dataclass(frozen=True)
class GroupResult:
    """What one action group was told, and what its controller made of it.

    ``sent`` counts commands on the topic, ``holds`` those of them that are one-point trajectories
    of an arm. Points are those of trajectories that are not holds. ``seam`` is the largest
    difference, over joints, replacements and times, between the plan that is replaced and the
    waypoints of the new one while both last.
    """

    group: str
    output: str
    topic: str
    sent: int
    accepted: int
    rejected: int
    rejections: Mapping[str, int]
    holds: int = 0
    points: tuple[int, ...] = ()
    seam: float | None = None
    seam_joint: str = ''


@dataclass(frozen=True)
class StreamResult:
    """One input of the policy node.

    ``received`` counts the messages that reached its subscription, ``sent`` those that were sent
    in the same stretch; ``counted_by`` says how that stretch was bounded: ``stamps`` (exact, by
    the sender's own list of header stamps), ``total`` (exact, everything from first to last) or
    ``gaps`` (``received`` plus what the gaps between stamps say at the nominal rate). ``faults``
    maps fault → number of status messages that showed it.
    """

    topic: str
    kind: str
    slot: str
    required: bool
    sent: int
    received: int
    counted_by: str
    rate_hz: float
    faults: Mapping[str, int]
    counters: Mapping[str, int]

    @property
    def lost(self) -> int:
        """Number of messages that did not arrive."""
        return self.sent - self.received


@dataclass(frozen=True)
class JointResult:
    """One joint or base axis: how far it moved and how well it followed.

    ``motion`` is largest minus smallest measured value, ``rms_error`` that of commanded minus
    measured at the same time, None where there is nothing to compare.
    """

    name: str
    group: str
    unit: str
    motion: float
    max_speed: float | None
    rms_error: float | None


@dataclass(frozen=True)
class ProcessResult:
    """How a process ended; ``cpu_percent`` is of one core, during the measured window."""

    name: str
    exit_code: int
    ended_by: str
    cpu_percent: float | None = None


@dataclass(frozen=True)
class TopicResult:
    """One topic of a bag: messages in it, sent by the replay, and received by the observer."""

    topic: str
    in_bag: int
    sent: int
    received: int


@dataclass(frozen=True)
class RobotResult:
    """Everything that the report says about one robot.

    Attributes:
        embodiment: Its name.
        description: Its description.
        mode: ``simulated`` or ``recorded``.
        error: Why the run ended early, empty if it did not.
        log_tail: Last lines of the log that explains ``error``.
        chunk_horizon: Steps of a chunk, None if there was none.
        latency_ms: Phase → ``p50`` and ``p95``.
        after_stop_speed: Largest measured speed half a second after the policy node's exit.
        configuration: What was run, for the reader.
    """

    embodiment: str
    description: str
    mode: str
    error: str = ''
    log_tail: str = ''
    horizon_expected: int = 50
    chunk_horizon: int | None = None
    chunks: int = 0
    chunks_sent: int = 0
    groups: tuple[GroupResult, ...] = ()
    streams: tuple[StreamResult, ...] = ()
    joints: tuple[JointResult, ...] = ()
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    interventions: Mapping[str, int] = field(default_factory=dict)
    policy_state: str = ''
    policy_reason: str = ''
    processes: tuple[ProcessResult, ...] = ()
    bag_topics: tuple[TopicResult, ...] = ()
    startup_s: float | None = None
    measured_s: float | None = None
    after_stop_speed: float | None = None
    simulator: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[GroupResult, ...]:
        """Groups that are told by trajectories of many points."""
        return tuple(group for group in self.groups if group.output == 'joint_trajectory')

    @property
    def cameras(self) -> tuple[StreamResult, ...]:
        """Inputs that are cameras."""
        return tuple(stream for stream in self.streams if stream.kind == 'camera')

    @property
    def trajectories(self) -> tuple[int, int, int]:
        """Number of arm trajectories sent, accepted and rejected, holds included."""
        arms = self.arms
        return (
            sum(group.sent for group in arms),
            sum(group.accepted for group in arms),
            sum(group.rejected for group in arms),
        )

    @property
    def rejections(self) -> Mapping[str, int]:
        """Reason → rejected arm trajectories."""
        total: Counter[str] = Counter()
        for group in self.arms:
            total.update(group.rejections)
        return dict(total)

    @property
    def points(self) -> tuple[int, ...]:
        """Number of points of every arm trajectory that is not a hold, sorted."""
        return tuple(sorted(n for group in self.arms for n in group.points))

    @property
    def points_per_trajectory(self) -> float | None:
        """Median number of points."""
        return percentile(self.points, 50) if self.points else None

    @property
    def frames(self) -> tuple[int, int]:
        """Frames sent and received, over all cameras."""
        cameras = self.cameras
        return sum(each.sent for each in cameras), sum(each.received for each in cameras)

    @property
    def motion(self) -> float:
        """The largest motion of a joint, rad or m."""
        return max(
            (joint.motion for joint in self.joints if not joint.unit.endswith('/s')), default=0
        )

    @property
    def worst_tracking(self) -> JointResult | None:
        """The joint that followed its command worst."""
        followed = [joint for joint in self.joints if joint.rms_error is not None]
        return max(followed, key=lambda joint: joint.rms_error or 0.0, default=None)

    @property
    def seam(self) -> float | None:
        """The largest seam of any arm."""
        return max((arm.seam for arm in self.arms if arm.seam is not None), default=None)


def percentile(values: tuple[int, ...], q: float) -> float:
    """Return the percentile of sorted whole numbers, interpolated."""
    position = (len(values) - 1) * q / 100
    low = int(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (position - low)


def robot_json(result: RobotResult, failures: tuple[str, ...], warnings: tuple[str, ...]) -> Any:
    """Return one entry of ``robots`` in ``report.json``."""
    sent, accepted, rejected = result.trajectories
    points, (frames_sent, frames_received) = result.points, result.frames
    plain = asdict(result)
    groups = [
        {**group, 'points': None, 'points_per_trajectory': _spread(group['points'])}
        for group in plain.pop('groups')
    ]
    for group in groups:
        del group['points']
    streams = plain.pop('streams')
    for stream, each in zip(streams, result.streams, strict=True):
        stream['lost'] = each.lost
    return {
        'embodiment': plain.pop('embodiment'),
        'description': plain.pop('description'),
        'mode': plain.pop('mode'),
        'passed': not failures,
        'failures': list(failures),
        'warnings': list(warnings),
        'trajectories_sent': sent,
        'trajectories_accepted': accepted,
        'trajectories_rejected': rejected,
        'rejections': dict(result.rejections),
        'points_per_trajectory': result.points_per_trajectory,
        'points_per_trajectory_min': points[0] if points else None,
        'points_per_trajectory_max': points[-1] if points else None,
        'frames_sent': frames_sent,
        'frames_received': frames_received,
        'latency_ms': {phase: dict(p) for phase, p in plain.pop('latency_ms').items()},
        'largest_motion': result.motion,
        'seam': result.seam,
        'groups': groups,
        'streams': streams,
        **plain,
    }


def _spread(points: tuple[int, ...]) -> dict[str, float] | None:
    if not points:
        return None
    ordered = tuple(sorted(points))
    return {'median': percentile(ordered, 50), 'min': ordered[0], 'max': ordered[-1]}
