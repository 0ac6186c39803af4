"""Chunks in, commands out, for a whole embodiment: schedule, trim, gate, stream, hold."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pizero_ros.control.base import BaseStream
from pizero_ros.control.decision import CommanderStatus, Decision
from pizero_ros.control.executing import ExecutingTrajectory
from pizero_ros.control.gripper import GripperStream
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.safety import CHUNK, NO_POSITION, OBSERVATION, Intervention, SafetyGate
from pizero_ros.control.trajectory import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pizero_ros.control.commands import Command, TrajectoryCommand
    from pizero_ros.control.executing import CurrentCommand
    from pizero_ros.control.schedule import Request, Scheduler
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.chunk import ActionChunk


class Commander:
    """Owns everything between a chunk and the publishers of one robot.

    All methods may be called from any thread and take less than a millisecond: the inference
    thread calls ``begin``, ``accept`` and ``refuse``, the executor ``tick``, ``hold``, ``stop``
    and ``status``. Every command comes from the safety gate. Commands must be published in the
    order in which they were returned, or a trajectory could overtake the hold that was to end it:
    make the call and publish its result inside ``with commander.in_order():``.

    ``measured`` maps joint name to raw position; it counts for groups that were never commanded.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        scheduler: Scheduler,
        *,
        base_timeout_ns: int | None = None,
    ) -> None:
        """Build the control layer of a robot.

        Args:
            embodiment: The robot.
            scheduler: A fresh one; nothing else may call it.
            base_timeout_ns: The base is stopped when no chunk was accepted for so long, None to
                stop it only at the end of the published steps.
        """
        self._lock = threading.RLock()
        self._scheduler = scheduler
        self._gate = SafetyGate(embodiment)
        self._arms: list[tuple[JointValues, ExecutingTrajectory]] = []
        self._bases: list[BaseStream] = []
        self._grippers: list[GripperStream] = []
        for group in embodiment.actions:
            values = JointValues(group)
            if group.output == 'twist':
                self._bases.append(
                    BaseStream(values, self._gate, embodiment.rate_hz, base_timeout_ns)
                )
            elif group.output == 'gripper':
                self._grippers.append(GripperStream(values, self._gate, embodiment.lead_steps))
            else:
                self._arms.append((values, ExecutingTrajectory(values, embodiment.rate_hz)))
        self._width = embodiment.action_width
        self._decisions: Counter[str] = Counter()
        self._starved = False
        self._holding = False
        self._stopped = False

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Keep other threads out between a call and the publication of what it returned."""
        with self._lock:
            yield

    def wants_inference(self, now_ns: int) -> bool:
        """Return whether an inference should be started now."""
        with self._lock:
            return not self._stopped and self._scheduler.wants_inference(now_ns)

    def next_request_ns(self) -> int | None:
        """Return when inference is wanted next: 0 for at once, None if unknown (in flight)."""
        with self._lock:
            return None if self._stopped else self._scheduler.next_request_ns()

    def begin(self, now_ns: int) -> Request:
        """Note that an inference starts; end it with ``accept``, ``refuse`` or ``fail``."""
        with self._lock:
            return self._scheduler.begin(now_ns)

    def fail(self) -> None:
        """Note that the inference under way has ended without a chunk; nothing else changes."""
        with self._lock:
            self._scheduler.fail()

    def accept(self, chunk: ActionChunk, now_ns: int, measured: Mapping[str, float]) -> Decision:
        """Take a chunk that has arrived.

        All groups move or none does: if one is refused, all hold. A chunk that the scheduler
        discards changes nothing, what was published goes on.

        Args:
            chunk: The chunk, in robot space.
            now_ns: The node's time; becomes the stamp of the commands.
            measured: Joint name → raw position.

        Returns:
            What to publish, and why.
        """
        if chunk.actions.ndim != 2 or chunk.actions.shape[1] < self._width:
            msg = f'chunk of shape {chunk.actions.shape}, expected [H, {self._width}]'
            raise ValueError(msg)
        with self._lock:
            decision = self._accept(chunk, now_ns, measured)
            self._decisions[decision.reason] += 1
            return decision

    def tick(self, now_ns: int) -> list[Command]:
        """Return what is due at this control tick: twists, gripper goals, holds on starvation."""
        with self._lock:
            commands: list[Command] = []
            starved = not self._stopped and self._scheduler.starved(now_ns)
            if starved and not self._starved:
                self._gate.note(CHUNK, 'starved', 'the published horizon has run out')
                commands += self._hold(now_ns, {})
            self._starved = starved
            for base in self._bases:
                twist = base.tick(now_ns)
                if twist is not None:
                    commands.append(twist)
            for gripper in self._grippers:
                goal = gripper.tick(now_ns)
                if goal is not None:
                    commands.append(goal)
            return commands

    def hold(self, now_ns: int, measured: Mapping[str, float]) -> list[TrajectoryCommand]:
        """Stop where the robot is: holds for all arms, zeros from the base from the next tick.

        The inference under way may start the robot again; use ``stop`` to prevent that.
        """
        with self._lock:
            return self._halt(now_ns, measured)

    def refuse(
        self, reason: str, text: str, now_ns: int, measured: Mapping[str, float]
    ) -> list[TrajectoryCommand]:
        """Take an observation that was refused (stale, black, impossible) instead of a chunk.

        It ends the inference under way, if one was begun. The holds are returned once; while the
        robot holds already, repeated refusals are only counted.

        Args:
            reason: Counted under (``observation``, reason).
            text: One line for the log.
            now_ns: The node's time.
            measured: Joint name → raw position.

        Returns:
            Holds to be published, empty if the robot holds already.
        """
        with self._lock:
            self._scheduler.fail()
            self._gate.note(OBSERVATION, reason, text)
            return [] if self._holding else self._halt(now_ns, measured)

    def stop(self, now_ns: int, measured: Mapping[str, float]) -> list[Command]:
        """Hold, zero the base, and ignore chunks until ``reset``."""
        with self._lock:
            commands: list[Command] = list(self._halt(now_ns, measured))
            self._stopped = True
            self._scheduler.reset()
            for base in self._bases:
                twist = base.stop(now_ns)
                if twist is not None:
                    commands.append(twist)
            return commands

    def advance_epoch(self) -> int:
        """Discard the inference under way and ask anew (a new prompt); motion goes on."""
        with self._lock:
            return self._scheduler.advance_epoch()

    def reset(self) -> int:
        """Forget what was commanded (activation, a clock that jumped, output re-enabled).

        Returns:
            The new epoch. Counters are kept.
        """
        with self._lock:
            for _, executing in self._arms:
                executing.reset()
            for base in self._bases:
                base.reset()
            for gripper in self._grippers:
                gripper.reset()
            self._starved = self._holding = self._stopped = False
            return self._scheduler.reset()

    def current(self, now_ns: int, measured: Mapping[str, float]) -> dict[str, float]:
        """Return joint name → commanded raw position of the arms that are known."""
        with self._lock:
            known: dict[str, float] = {}
            for values, executing in self._arms:
                command = executing.current(now_ns, measured)
                if command is not None:
                    known.update(zip(values.names, command.positions.tolist(), strict=True))
            return known

    def status(self) -> CommanderStatus:
        """Return a snapshot."""
        with self._lock:
            executing = self._scheduler.executing
            return CommanderStatus(
                mode=self._scheduler.mode,
                epoch=self._scheduler.epoch,
                sequence=None if executing is None else executing.sequence,
                end_ns=self._scheduler.end_ns,
                delay_ns=self._scheduler.delay_ns,
                starved=self._starved,
                holding=self._holding,
                stopped=self._stopped,
                decisions=dict(self._decisions),
                interventions=dict(self._gate.interventions),
                last_intervention=self._gate.last,
            )

    def _accept(self, chunk: ActionChunk, now_ns: int, measured: Mapping[str, float]) -> Decision:
        if self._stopped:
            self._scheduler.fail()
            return Decision('stopped')
        acceptance = self._scheduler.accept(chunk, now_ns)
        if not acceptance.accepted:
            return Decision(acceptance.reason)
        chunk, steps = acceptance.chunk, acceptance.steps
        refusal = self._gate.chunk(chunk.actions)
        if refusal is not None:
            return self._refused((refusal,), now_ns, measured)
        commands: list[TrajectoryCommand] = []
        starts: list[CurrentCommand] = []
        interventions: list[Intervention] = []
        refused = False
        for values, executing in self._arms:
            current = executing.current(now_ns, measured)
            if current is None:
                # Counted by the hold that follows.
                interventions.append(Intervention(values.group.name, *NO_POSITION))
                refused = True
                continue
            built = build(values, chunk, steps, now_ns, current=current.positions)
            result = self._gate.trajectory(built, current)
            interventions += result.interventions
            if result.command is None:
                refused = True
                continue
            commands.append(result.command)
            starts.append(current)
        if refused:
            return self._refused(tuple(interventions), now_ns, measured)
        for (_, executing), command, start in zip(self._arms, commands, starts, strict=True):
            executing.replace(command, now_ns, start)
        for base in self._bases:
            interventions += base.start(chunk, steps, now_ns)
        for gripper in self._grippers:
            interventions += gripper.start(chunk, steps)
        self._holding = self._starved = False
        return Decision('accepted', tuple(commands), steps, tuple(interventions), chunk.start_ns)

    def _refused(
        self, interventions: tuple[Intervention, ...], now_ns: int, measured: Mapping[str, float]
    ) -> Decision:
        holds = tuple(self._halt(now_ns, measured))
        return Decision('refused', holds, range(0), interventions)

    def _halt(self, now_ns: int, measured: Mapping[str, float]) -> list[TrajectoryCommand]:
        """Hold, and tell scheduler and streams that nothing is executed any more."""
        self._scheduler.held()
        for base in self._bases:
            base.halt()
        for gripper in self._grippers:
            gripper.halt()
        return self._hold(now_ns, measured)

    def _hold(self, now_ns: int, measured: Mapping[str, float]) -> list[TrajectoryCommand]:
        """Build one hold per arm whose position is known."""
        commands: list[TrajectoryCommand] = []
        for values, executing in self._arms:
            current = executing.current(now_ns, measured)
            if current is None:
                self._gate.note(values.group.name, *NO_POSITION)
                continue
            result = self._gate.hold(executing.hold(current))
            if result.command is not None:
                executing.replace(result.command, now_ns, current)
                commands.append(result.command)
        self._holding = True
        return commands
