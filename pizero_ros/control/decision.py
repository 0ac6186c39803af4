"""What the commander tells about itself: the fate of a chunk, and a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.control.commands import TrajectoryCommand
    from pizero_ros.control.safety import Intervention
    from pizero_ros.control.speed import Blocked


@dataclass(frozen=True)
class Decision:
    """What became of a chunk.

    Attributes:
        reason: ``accepted``; ``refused`` by the safety gate; ``stopped``; ``speed_scaling``,
            because the controllers' speed forbids motion; or why the scheduler discarded it
            (a ``schedule.Reason``).
        commands: To be published, in this order: trajectories, or holds if it was refused.
        steps: Steps of the chunk that they hold, empty unless accepted.
        interventions: What the safety gate did.
        start_ns: When action 0 of the chunk is due, None unless accepted.
    """

    reason: str
    commands: tuple[TrajectoryCommand, ...] = ()
    steps: range = range(0)
    interventions: tuple[Intervention, ...] = ()
    start_ns: int | None = None


@dataclass(frozen=True)
class CommanderStatus:
    """A snapshot for status messages and diagnostics.

    Attributes:
        mode: Scheduling mode.
        epoch: Current epoch.
        sequence: Sequence number of the executing chunk, None if there is none.
        end_ns: When its last published waypoint is due, None if there is none.
        delay_ns: Estimated delay from request to arrival.
        starved: Whether the published horizon has run out with no successor.
        holding: Whether the last thing sent was a hold.
        stopped: Whether chunks are ignored until ``reset``.
        decisions: Number of chunks by the reason of their ``Decision``.
        interventions: Number of safety interventions by (group, reason).
        last_intervention: The latest one.
        blocked: Why the speed of the controllers forbids motion, None if it does not.
        speed: Speed factor that the controllers reported last, None if none was.
    """

    mode: str
    epoch: int
    sequence: int | None
    end_ns: int | None
    delay_ns: int
    starved: bool
    holding: bool
    stopped: bool
    decisions: Mapping[str, int]
    interventions: Mapping[tuple[str, str], int]
    last_intervention: Intervention | None
    blocked: Blocked | None = None
    speed: float | None = None
