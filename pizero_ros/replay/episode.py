"""What is kept of one recording that went through one policy: arrays and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.replay.columns import Columns

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

SCHEMA = 1
"""Of the files of an episode; another one is computed anew."""

BASELINES = ('recording', 'hold', 'last_action', 'linear')
"""Sources that need no policy, in the order of tables."""


@dataclass(frozen=True)
class OpenLoop:
    """Chunks of one source, each beside what the demonstrator did from that moment on.

    Q queries, H steps, J columns; raw units.

    Attributes:
        asked_ns: int64 [Q], when the source was asked, on the clock of the recording.
        observed_ns: int64 [Q], stamp of the observation: step k belongs to this + k / rate.
        predicted: float64 [Q, H, J].
        recorded: float64 [Q, H, J]; NaN after the end of the recorded actions.
    """

    asked_ns: Integers
    observed_ns: Integers
    predicted: Floats
    recorded: Floats


@dataclass(frozen=True)
class ChunkFate:
    """What became of one inference of an evaluation as deployed.

    Attributes:
        requested_ns: When the scheduler wanted it.
        observed_ns: Stamp of its observation.
        arrived_ns: When its chunk arrived: the observation was taken a latency before.
        reason: ``accepted``, or why it was not executed (``Decision.reason``).
        first_step: First step of it that was published, -1 if none was; steps are the robot's,
            whatever the policy's rate.
        steps: Number of steps that were published.
        start_ns: When its action 0 was due, -1 if nothing was published.
    """

    requested_ns: int
    observed_ns: int
    arrived_ns: int
    reason: str
    first_step: int = -1
    steps: int = 0
    start_ns: int = -1


@dataclass(frozen=True)
class Seam:
    """A place where a new trajectory of a group took over from the one that was executed.

    Attributes:
        at_ns: When.
        group: Action group.
        position: Joint name → new minus old path at the first new waypoint, raw.
        speed: Joint name → speed of the new path after that waypoint minus that of the old one
            before it, raw per second.
    """

    at_ns: int
    group: str
    position: Mapping[str, float]
    speed: Mapping[str, float]


@dataclass(frozen=True)
class Happening:
    """An intervention of the safety gate, a refused observation, a rejected message.

    Attributes:
        at_ns: When, on the clock of the recording.
        group: Action group, or ``chunk``, ``observation``, ``controller``.
        reason: Kind, as it is counted.
        text: One line.
    """

    at_ns: int
    group: str
    reason: str
    text: str


@dataclass(frozen=True)
class Deployed:
    """The command stream that the controllers would have followed.

    T moments, one action period apart, from the first message to the last; N chunks.

    Attributes:
        time_ns: int64 [T].
        commanded: float64 [T, J], raw; NaN while nothing was commanded and nothing measured. An
            arm stands where it was first measured until its first trajectory.
        recorded: float64 [T, J], what the demonstrator commanded at these moments, NaN where
            unknown.
        moving: bool [T], whether a chunk was being executed (not before the first, not in a hold).
        chunks: The chunks, in order.
        actions: float64 [N, H, J], raw, of the chunks.
        seams: Where arm trajectories replaced each other.
        happenings: What the gate and the controllers objected to.
        gate_counts: ``group.reason`` → number of the gate's interventions.
        trajectories_sent: Arm trajectories that were sent to the controllers' model.
        trajectories_rejected: Reason → number of those that its rules refuse.
        starvations: How often the published horizon ran out.
        observations_refused: How often there was no observation fit for inference.
        deadlines_missed: Inferences that took longer than the executed steps last, those that were
            still under way at the end included.
        unanswered: Inferences under way at the end.
        restarts: Holds for which the recording's own sensors were to blame, and after which the
            robot was put where that of the recording was: it cannot have gone on without them.
    """

    time_ns: Integers
    commanded: Floats
    recorded: Floats
    moving: npt.NDArray[np.bool_]
    chunks: tuple[ChunkFate, ...]
    actions: Floats
    seams: tuple[Seam, ...]
    happenings: tuple[Happening, ...]
    gate_counts: Mapping[str, int]
    trajectories_sent: int
    trajectories_rejected: Mapping[str, int]
    starvations: int
    observations_refused: int
    deadlines_missed: int
    unanswered: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class StreamInput:
    """What a sensor stream brought, from beginning to end.

    Attributes:
        topic: Its name.
        kind: ``camera`` or ``state``.
        received: Messages.
        missing: Messages that its rate promises and that did not come.
        late: Messages that were older than they may be when they came.
        out_of_order: Messages that were older than the one before.
        black: Pictures looked at that were black.
        frozen: Pictures looked at that stood still while the robot moved.
        fault: What was wrong with it when it was last looked at, empty if nothing.
    """

    topic: str
    kind: str
    received: int
    missing: int
    late: int
    out_of_order: int
    black: int
    frozen: int
    fault: str


@dataclass(frozen=True)
class Inputs:
    """What the recording gave to the policy.

    Attributes:
        streams: Each sensor stream.
        newest_age_s: float64 [Q], age of the newest stamp of each open-loop observation.
        oldest_age_s: float64 [Q], age of the oldest.
        skew_s: float64 [Q], newest minus oldest.
        refused: Why an open-loop query got no observation → how often.
    """

    streams: tuple[StreamInput, ...]
    newest_age_s: Floats
    oldest_age_s: Floats
    skew_s: Floats
    refused: Mapping[str, int]


@dataclass(frozen=True)
class Timing:
    """Seconds of this run on this machine: the only part that differs from run to run.

    Attributes:
        total_s: From opening the bag to the finished result.
        inference_s: Sum of the model's own phases (observe, denoise) over all chunks.
        phases_s: Phase → float64 [chunks], of ``ActionChunk.durations_s``.
        chunks: Number of chunks that the policy made.
    """

    total_s: float
    inference_s: float
    phases_s: Mapping[str, Floats]
    chunks: int


@dataclass(frozen=True)
class Episode:
    """One recording through one policy, with all its noise seeds, and the baselines beside it.

    Attributes:
        bag: Path of the recording as it was given.
        embodiment: Name of the robot.
        policy: Label of the policy.
        rate_hz: Actions per second.
        horizon: Steps of a chunk.
        prompt: Instruction.
        start_ns: Time of the first message.
        end_ns: Time of the last message.
        columns: What the last axis of every array is.
        action_source: Where the recorded actions came from, in words.
        open_loop: Source → its chunks. Sources are ``policy#SEED`` and ``BASELINES``.
        deployed: Source → its command stream.
        inputs: What the sensors brought.
        timing: What it cost.
    """

    bag: str
    embodiment: str
    policy: str
    rate_hz: float
    horizon: int
    prompt: str
    start_ns: int
    end_ns: int
    columns: Columns
    action_source: str
    open_loop: Mapping[str, OpenLoop]
    deployed: Mapping[str, Deployed]
    inputs: Inputs
    timing: Timing = field(compare=False)

    @property
    def name(self) -> str:
        """Last part of the recording's path."""
        return self.bag.rstrip('/').rsplit('/', 1)[-1]

    @property
    def policy_sources(self) -> tuple[str, ...]:
        """The sources that are the policy, one for each seed."""
        return tuple(name for name in self.open_loop or self.deployed if '#' in name)
