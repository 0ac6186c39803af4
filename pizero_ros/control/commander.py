"""Chunks in, commands out, for a whole embodiment: schedule, trim, gate, stream, hold."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pizero_ros.control.base import BaseStream
from pizero_ros.control.decision import CommanderStatus, Decision
from pizero_ros.control.executing import ExecutingTrajectory
from pizero_ros.control.gripper import GripperStream
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.safety import CHUNK, NO_POSITION, OBSERVATION, Intervention, SafetyGate
from pizero_ros.control.seam import SeamFade, align
from pizero_ros.control.speed import SPEED, Blocked, TrajectoryClock
from pizero_ros.control.trajectory import build, steps_ns
from pizero_ros.control.workspace import PlanarPose, WorkspaceGuard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pizero_ros.control.commands import Command, TrajectoryCommand
    from pizero_ros.control.executing import CurrentCommand
    from pizero_ros.control.schedule import Request, Scheduler
    from pizero_ros.embodiment.schema import ActionGroup, Embodiment
    from pizero_ros.policy.chunk import ActionChunk


class Commander:
    """Owns everything between a chunk and the publishers of one robot.

    All methods may be called from any thread and take less than a millisecond: the inference
    thread calls ``begin``, ``accept`` and ``refuse``, the executor ``tick``, ``hold``, ``stop``
    and ``status``. Every command comes from the safety gate. Commands must be published in the
    order in which they were returned, or a trajectory could overtake the hold that was to end it:
    make the call and publish its result inside ``with commander.in_order():``.

    ``measured`` maps joint name to raw position; it counts for groups that were never commanded.

    Times given and returned are the node's. Inside, all but the stamps of commands is on the
    controllers' clock, which runs slower while their speed is scaled down; without scaling the
    two are the same.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        scheduler: Scheduler,
        *,
        base_timeout_ns: int | None = None,
        fade: SeamFade | None = None,
    ) -> None:
        """Build the control layer of a robot.

        Args:
            embodiment: The robot.
            scheduler: A fresh one; nothing else may call it.
            base_timeout_ns: The base is stopped when no chunk was accepted for so long, None to
                stop it only at the end of the published steps.
            fade: How a new chunk takes over from the trajectory that is executed, None for
                at once.
        """
        self._lock = threading.RLock()
        self._scheduler = scheduler
        self._gate = SafetyGate(embodiment)
        self._fade = fade or SeamFade(0)
        self._clock = TrajectoryClock(embodiment.speed_scaling)
        self._blocked: Blocked | None = None
        self._arms: list[tuple[JointValues, ExecutingTrajectory]] = []
        self._bases: list[BaseStream] = []
        self._grippers: list[GripperStream] = []
        for group in embodiment.actions:
            values = JointValues(group)
            if group.output == 'twist':
                self._bases.append(
                    BaseStream(
                        values,
                        self._gate,
                        embodiment.rate_hz,
                        base_timeout_ns,
                        _guard(embodiment, group, values),
                    )
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
            if self._stopped or self._clock.blocked(now_ns) is not None:
                return False
            return self._scheduler.wants_inference(self._clock.at(now_ns))

    def next_request_ns(self) -> int | None:
        """Return when inference is wanted next: 0 for at once, None if unknown (in flight)."""
        with self._lock:
            due_ns = None if self._stopped else self._scheduler.next_request_ns()
            return self._clock.node_ns(due_ns) if due_ns else due_ns

    def begin(self, now_ns: int) -> Request:
        """Note that an inference starts; end it with ``accept``, ``refuse`` or ``fail``."""
        with self._lock:
            return self._scheduler.begin(self._clock.at(now_ns))

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

    def overdue(
        self, text: str, now_ns: int, measured: Mapping[str, float]
    ) -> list[TrajectoryCommand]:
        """Give up an inference that does not return: hold, and discard its chunk if it comes.

        Args:
            text: One line for the log.
            now_ns: The node's time.
            measured: Joint name → raw position.

        Returns:
            Holds to be published.
        """
        with self._lock:
            self._gate.note(CHUNK, 'overdue', text)
            self._scheduler.advance_epoch()
            return self._halt(self._clock.at(now_ns), measured)

    def locate(self, topic: str, pose: PlanarPose) -> None:
        """Take in where the base is, from an odometry topic; it counts for workspaces."""
        with self._lock:
            for base in self._bases:
                base.locate(topic, pose)

    def scale_speed(self, factor: float, now_ns: int) -> None:
        """Take in how fast the controllers run: 1 is full speed, 0 a standstill."""
        with self._lock:
            self._clock.update(factor, now_ns)

    def controller_ns(self, now_ns: int) -> int:
        """Return the controllers' time at a time of the node."""
        with self._lock:
            return self._clock.at(now_ns)

    def note(self, group: str, reason: str, text: str) -> None:
        """Count an intervention that was none of the gate's, such as a goal that was rejected."""
        with self._lock:
            self._gate.note(group, reason, text)

    def resend(self, group: str) -> None:
        """Send the goal of a gripper again at the next tick: nobody was there to take it."""
        with self._lock:
            for gripper in self._grippers:
                if gripper.name == group:
                    gripper.resend()

    def tick(self, now_ns: int) -> list[Command]:
        """Return what is due at this control tick: twists, gripper goals, holds on starvation."""
        with self._lock:
            at_ns = self._clock.at(now_ns)
            commands: list[Command] = [*self._yield_to_speed(now_ns, at_ns)]
            starved = not self._stopped and self._scheduler.starved(at_ns)
            if starved and not self._starved:
                self._gate.note(CHUNK, 'starved', 'the published horizon has run out')
                commands += self._hold(at_ns, {})
            self._starved = starved
            for base in self._bases:
                twist = base.tick(now_ns, controller_ns=at_ns, factor=self._clock.factor)
                if twist is not None:
                    commands.append(twist)
            for gripper in self._grippers:
                goal = gripper.tick(at_ns)
                if goal is not None:
                    commands.append(replace(goal, stamp_ns=now_ns))
            return commands

    def hold(self, now_ns: int, measured: Mapping[str, float]) -> list[TrajectoryCommand]:
        """Stop where the robot is: holds for all arms, zeros from the base from the next tick.

        The inference under way may start the robot again; use ``stop`` to prevent that.
        """
        with self._lock:
            return self._halt(self._clock.at(now_ns), measured)

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
            if self._holding:
                self._scheduler.held()  # After starvation it does not know yet.
                return []
            return self._halt(self._clock.at(now_ns), measured)

    def stop(self, now_ns: int, measured: Mapping[str, float]) -> list[Command]:
        """Hold, zero the base, and ignore chunks until ``reset``."""
        with self._lock:
            commands: list[Command] = [*self._halt(self._clock.at(now_ns), measured)]
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
            self._clock.reset()
            self._blocked = None
            self._starved = self._holding = self._stopped = False
            return self._scheduler.reset()

    def current(self, now_ns: int, measured: Mapping[str, float]) -> dict[str, float]:
        """Return joint name → commanded raw position of the arms that are known."""
        with self._lock:
            at_ns = self._clock.at(now_ns)
            known: dict[str, float] = {}
            for values, executing in self._arms:
                command = executing.current(at_ns, measured)
                if command is not None:
                    known.update(zip(values.names, command.positions.tolist(), strict=True))
            return known

    def status(self) -> CommanderStatus:
        """Return a snapshot."""
        with self._lock:
            executing, end_ns = self._scheduler.executing, self._scheduler.end_ns
            return CommanderStatus(
                mode=self._scheduler.mode,
                epoch=self._scheduler.epoch,
                sequence=None if executing is None else executing.sequence,
                end_ns=None if end_ns is None else self._clock.node_ns(end_ns),
                delay_ns=self._scheduler.delay_ns,
                starved=self._starved,
                holding=self._holding,
                stopped=self._stopped,
                decisions=dict(self._decisions),
                interventions=dict(self._gate.interventions),
                last_intervention=self._gate.last,
                blocked=self._blocked,
                speed=self._clock.received,
            )

    def _accept(self, chunk: ActionChunk, now_ns: int, measured: Mapping[str, float]) -> Decision:
        if self._stopped:
            self._scheduler.fail()
            return Decision('stopped')
        if self._clock.blocked(now_ns) is not None:
            self._scheduler.fail()
            return Decision(SPEED)
        at_ns = self._clock.at(now_ns)
        observed_ns = self._clock.at(chunk.observed_ns)
        if observed_ns != chunk.observed_ns:
            chunk = replace(chunk, observed_ns=observed_ns)
        acceptance = self._scheduler.accept(chunk, at_ns)
        if not acceptance.accepted:
            return Decision(acceptance.reason)
        chunk, steps = acceptance.chunk, acceptance.steps
        refusal = self._gate.chunk(chunk.actions)
        if refusal is not None:
            return self._refused((refusal,), at_ns, measured)
        commands: list[TrajectoryCommand] = []
        starts: list[CurrentCommand] = []
        interventions: list[Intervention] = []
        refused = False
        for values, executing in self._arms:
            current = executing.current(at_ns, measured)
            if current is None:
                # Counted by the hold that follows.
                interventions.append(Intervention(values.group.name, *NO_POSITION))
                refused = True
                continue
            built = build(values, chunk, steps, at_ns, current=current.positions)
            aligned = align(
                built,
                chunk,
                steps,
                values=values,
                executing=executing,
                current=current,
                fade=self._fade,
            )
            result = self._gate.trajectory(aligned, current)
            interventions += result.interventions
            if result.command is None:
                refused = True
                continue
            commands.append(result.command)
            starts.append(current)
        if refused:
            return self._refused(tuple(interventions), at_ns, measured)
        for (_, executing), command, start in zip(self._arms, commands, starts, strict=True):
            executing.replace(command, at_ns, start)
        for base in self._bases:
            interventions += base.start(chunk, steps, at_ns)
        for gripper in self._grippers:
            interventions += gripper.start(chunk, steps)
        self._holding = self._starved = False
        # Else a standstill that ends and comes back between two ticks would not hold again.
        self._blocked = None
        sent = tuple(replace(command, stamp_ns=now_ns) for command in commands)
        start_ns = self._clock.node_ns(chunk.start_ns)
        return Decision('accepted', sent, steps, tuple(interventions), start_ns)

    def _yield_to_speed(self, now_ns: int, at_ns: int) -> list[TrajectoryCommand]:
        """Hold once when the controllers' speed begins to forbid motion, and discard the plan.

        After a pause, what is left of the plan would be about a scene of before.
        """
        before, blocked = self._blocked, self._clock.blocked(now_ns)
        self._blocked = blocked
        if self._stopped or blocked is None or (before and before.reason == blocked.reason):
            return []
        self._gate.note(SPEED, *blocked)
        self._scheduler.advance_epoch()
        return [] if self._scheduler.executing is None else self._halt(at_ns, {})

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
            result = self._gate.hold(executing.hold(current, measured), current)
            if result.command is not None:
                executing.replace(result.command, now_ns, current)
                commands.append(result.command)
        self._holding = True
        return commands


def _guard(
    embodiment: Embodiment, group: ActionGroup, values: JointValues
) -> WorkspaceGuard | None:
    """Build what keeps a base inside its workspace, None if it has none."""
    if group.workspace is None:
        return None
    (max_age_s,) = (s.max_age_s for s in embodiment.state if s.topic == group.workspace.topic)
    step_ns = steps_ns(1, embodiment.rate_hz)
    return WorkspaceGuard(group.workspace, values, round(max_age_s * 1e9), step_ns)
