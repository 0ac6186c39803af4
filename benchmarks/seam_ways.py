"""Ways of publishing chunks: ours, by the real Commander, and those of other packages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from seam_replay import BLEND, DISCARD, FROM_MEASURED
from seam_task import START_NS

from pizero_ros.control.commander import Commander
from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.modes import SCHEDULERS
from pizero_ros.control.seam import SeamFade

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from seam_replay import Controller, Publisher
    from seam_task import Array, Setting, Task

    from pizero_ros.policy.chunk import ActionChunk

CONTINUOUS = ('async', 'rtc')
"""Modes that exist for motion without a rest; the targets are about these."""

FOREVER = 10**9
"""Steps: the robot never rests."""


class _UnderWay(NamedTuple):
    arrives_ns: int
    phase_ns: int
    chunk: ActionChunk


class Scheduled:
    """The real Commander with one of its scheduling modes."""

    def __init__(self, setting: Setting, task: Task, *, mode: str, fade: SeamFade) -> None:
        self._setting, self._task = setting, task
        robot = setting.embodiment
        self._commander = Commander(robot, SCHEDULERS[mode](robot), fade=fade)
        self._mode = mode
        self._under_way: _UnderWay | None = None

    def step(self, now_ns: int, measured: Array) -> list[TrajectoryCommand]:
        """Infer, take what has arrived, and tick, as the policy node does."""
        commands: list[TrajectoryCommand] = []
        if self._under_way is not None and now_ns >= self._under_way.arrives_ns:
            commands += self._take(self._under_way, now_ns, measured)
            self._under_way = None
        if self._commander.wants_inference(now_ns):
            request = self._commander.begin(now_ns)
            chunk = self._task.observe(now_ns, request.epoch, request.leftover(now_ns))
            self._under_way = _UnderWay(
                now_ns + self._setting.latency_ns, self._task.phase_ns(now_ns), chunk
            )
        if (now_ns - START_NS) % self._setting.step_ns == 0:
            held = self._commander.tick(now_ns)
            if held:
                msg = f'{self._mode}: the robot starves'
                raise RuntimeError(msg)
        return commands

    def _take(
        self, under_way: _UnderWay, now_ns: int, measured: Array
    ) -> tuple[TrajectoryCommand, ...]:
        """Accept a chunk; one that is not, or that the gate alters, ends the benchmark."""
        joints = dict(zip(self._setting.names, measured.tolist(), strict=True))
        decision = self._commander.accept(under_way.chunk, now_ns, joints)
        if decision.start_ns is None or decision.interventions:
            msg = f'{self._mode}: {decision.reason}, {decision.interventions}'
            raise RuntimeError(msg)
        self._task.execute(under_way.phase_ns, decision.start_ns, decision.steps[-1])
        return decision.commands


class Unscheduled:
    """A chunk every ``executed_steps``; subclasses say what is sent of it."""

    def __init__(self, setting: Setting, task: Task) -> None:
        task.execute(0, START_NS, FOREVER)
        self._setting, self._task = setting, task
        self._under_way: ActionChunk | None = None
        self._chunk: ActionChunk | None = None

    def step(self, now_ns: int, measured: Array) -> list[TrajectoryCommand]:
        """Infer at a fixed rate, and send what the subclass makes of it."""
        setting, chunk = self._setting, self._under_way
        commands: list[TrajectoryCommand] = []
        if chunk is not None and now_ns >= chunk.observed_ns + setting.latency_ns:
            self._chunk, self._under_way = chunk, None
            commands += self._on_arrival(chunk)
        if (now_ns - START_NS) % (setting.executed_steps * setting.step_ns) == 0:
            self._under_way = self._task.observe(now_ns)
        if self._chunk is not None and (now_ns - START_NS) % setting.step_ns == 0:
            step = (now_ns - self._chunk.observed_ns) // setting.step_ns
            commands += self._on_step(self._chunk.actions[step : step + 1])
        return commands

    def _on_arrival(self, chunk: ActionChunk) -> list[TrajectoryCommand]:
        return []

    def _on_step(self, action: Array) -> list[TrajectoryCommand]:
        return []

    def _whole(self, chunk: ActionChunk, stamp_ns: int) -> list[TrajectoryCommand]:
        times_ns = np.arange(chunk.horizon, dtype=np.int64) * self._setting.step_ns
        return [self._command(chunk.actions, times_ns, stamp_ns=stamp_ns)]

    def _command(
        self,
        positions: Array,
        times_ns: npt.NDArray[np.int64],
        velocities: Array | None = None,
        stamp_ns: int = 0,
    ) -> TrajectoryCommand:
        return TrajectoryCommand(
            'arm', stamp_ns, self._setting.names, positions, velocities, times_ns
        )


class PointAtOnce(Unscheduled):
    """The action that is due now, ``time_from_start`` 0: the command jumps to it."""

    def _on_step(self, action: Array) -> list[TrajectoryCommand]:
        return [self._command(action, np.zeros(1, np.int64))]


class PointWithinStep(Unscheduled):
    """The action that is due now, to be reached and stopped at within one step."""

    def _on_step(self, action: Array) -> list[TrajectoryCommand]:
        times_ns = np.array([self._setting.step_ns], np.int64)
        return [self._command(action, times_ns, velocities=np.zeros_like(action))]


class WholeOnArrival(Unscheduled):
    """All actions, stamp 0: the chunk is played from its beginning when it has arrived."""

    def _on_arrival(self, chunk: ActionChunk) -> list[TrajectoryCommand]:
        return self._whole(chunk, 0)


class WholeAtObservation(Unscheduled):
    """All actions, stamped when they were observed: in the past, for the controller to skip."""

    def _on_arrival(self, chunk: ActionChunk) -> list[TrajectoryCommand]:
        return self._whole(chunk, chunk.observed_ns)


@dataclass(frozen=True)
class Way:
    """One row of the table for each of its controllers.

    Attributes:
        name: As it is printed.
        make: Constructor of the publisher.
        controllers: What it is sent to.
        velocities: Whether waypoints carry velocities.
        judged: Whether the targets apply, with the controllers that streams need.
    """

    name: str
    make: Callable[[Setting, Task], Publisher]
    controllers: tuple[Controller, ...] = (DISCARD, BLEND)
    velocities: bool = False
    judged: bool = False


def ways() -> list[Way]:
    """Return all ways: every scheduling mode without and with the shipped fade, then others."""
    shipped = SeamFade()
    rows = []
    for mode in SCHEDULERS:
        rows.append(Way(f'{mode}, no fade', partial(Scheduled, mode=mode, fade=SeamFade(0))))
        default = mode == 'async'
        rows.append(
            Way(
                f'{mode}, fade {shipped.steps} steps',
                partial(Scheduled, mode=mode, fade=shipped),
                (DISCARD, BLEND, FROM_MEASURED) if default else (DISCARD, BLEND),
                judged=mode in CONTINUOUS,
            )
        )
    rows.append(
        Way(
            'async, fade, with velocities',
            partial(Scheduled, mode='async', fade=shipped),
            velocities=True,
        )
    )
    others: dict[str, type[Unscheduled]] = {
        'one point per step, at once': PointAtOnce,
        'one point per step, to stop at': PointWithinStep,
        'whole chunk, stamp 0': WholeOnArrival,
        'whole chunk, observation stamp': WholeAtObservation,
    }
    for name, make in others.items():
        rows.append(Way(name, make))
    return rows
