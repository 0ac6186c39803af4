"""The safety gate: the last thing before a publisher; no setting turns it off."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.limits import change_s, follow, speeds
from pizero_ros.control.spline import cubic_range
from pizero_ros.control.trajectory import changes, durations_s, waypoint_velocities

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.executing import CurrentCommand
    from pizero_ros.embodiment.schema import Embodiment

CHUNK = 'chunk'
"""Group name under which interventions on a whole chunk are counted."""

OBSERVATION = 'observation'
"""Group name under which refused observations are counted."""

REASONS = (
    'non_finite', 'position', 'velocity', 'acceleration', 'max_step', 'workspace', 'no_position',
    'starved', 'overdue', 'paused', 'missing', 'out_of_range', 'no_server', 'goal_rejected',
    'goal_aborted',
)  # fmt: skip
"""Everything but refused observations that an intervention can be about."""

NO_POSITION = ('no_position', 'no command was sent yet and not every joint is measured')
"""Reason and text for a group of which nobody knows where it is."""

_ROUNDING = 1.0 + 1e-9
"""Slack on speeds, which are differences: a trajectory at its limit is not an intervention."""

_SWING = 1e-9
"""Rounding of positions between waypoints, in raw units."""

CommandT = TypeVar('CommandT', TrajectoryCommand, TwistCommand, GripperGoal)


class Intervention(NamedTuple):
    """One thing the gate changed, refused or noticed.

    Attributes:
        group: Action group, or ``chunk`` or ``observation``.
        reason: One of ``REASONS``, or what a refused observation suffers from.
        text: One line for the log, with joint and numbers.
    """

    group: str
    reason: str
    text: str


@dataclass(frozen=True)
class GateResult(Generic[CommandT]):
    """What the gate lets through.

    Attributes:
        command: The command to send, None if it is refused.
        interventions: What happened to it; may be non-empty for a command that is let through.
    """

    command: CommandT | None
    interventions: tuple[Intervention, ...] = ()

    @property
    def hold(self) -> bool:
        """Whether the robot must hold instead."""
        return self.command is None


class SafetyGate:
    """Checks every command of one embodiment and counts what it had to do.

    A command is refused if it is not finite or if it starts too far from the current command.
    It is altered if it leaves the position limits (clamped), or asks for more speed or more
    acceleration than a joint has (followed as closely as ``limits.follow`` allows). A hold is not
    moved: it stops within two periods. Where the controller's cubic from the current command to
    the first waypoint would swing out over a position limit, the command goes without velocities,
    which makes the way straight. Inputs are never changed. One intervention is counted per
    command and reason, however many waypoints it touches; its text says how many.

    Not thread-safe; the ``Commander`` that owns it holds a lock.

    Attributes:
        interventions: Number of interventions by (group, reason).
        last: The latest one, None if there was none.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._values = {group.name: JointValues(group) for group in embodiment.actions}
        self.interventions: Counter[tuple[str, str]] = Counter()
        self.last: Intervention | None = None

    def note(self, group: str, reason: str, text: str) -> Intervention:
        """Count an intervention that was decided elsewhere, such as a refused observation."""
        self.last = Intervention(group, reason, text)
        self.interventions[group, reason] += 1
        return self.last

    def chunk(self, actions: npt.NDArray[np.float64]) -> Intervention | None:
        """Refuse a chunk (float64 [H, action width]) that holds any non-finite value."""
        finite = np.isfinite(actions)
        if finite.all():
            return None
        step, column = np.argwhere(~finite)[0]
        count = finite.size - np.count_nonzero(finite)
        text = f'{count} of {finite.size} actions not finite, first at step {step} value {column}'
        return self.note(CHUNK, 'non_finite', text)

    def trajectory(
        self, command: TrajectoryCommand, current: CurrentCommand
    ) -> GateResult[TrajectoryCommand]:
        """Check a trajectory that starts from the current command.

        Args:
            command: The trajectory; its ``time_from_start_ns`` are above 0.
            current: Command of its group at its stamp.

        Returns:
            The trajectory within limits, or a refusal.
        """
        values = self._values[command.group]
        notes: list[Intervention] = []
        asked = command.positions
        if not self._finite(command, current.positions, asked, command.velocities, notes):
            return GateResult(None, tuple(notes))
        step = np.abs(asked[0] - current.positions)
        if (step > values.max_step * _ROUNDING).any():
            joint = int(np.argmax(step - values.max_step))
            text = (
                f'{values.names[joint]}: first waypoint is {step[joint]:.4g} from the current '
                f'command, at most {values.max_step[joint]:.4g} is allowed'
            )
            return GateResult(None, (self.note(command.group, 'max_step', text),))
        positions = self._within(values, asked, 'position', values.lower, values.upper, notes)
        step_s = durations_s(command.time_from_start_ns)
        positions = self._followed(values, positions, step_s, current, notes)
        velocities = command.velocities
        if positions is asked:
            if velocities is None or (np.abs(velocities) <= values.velocity * _ROUNDING).all():
                return GateResult(self._straightened(command, current, notes), tuple(notes))
            notes.append(self.note(command.group, 'velocity', 'waypoint velocities too high'))
        if velocities is not None:
            velocities = waypoint_velocities(
                positions, command.time_from_start_ns, current.positions
            )
        altered = replace(command, positions=positions, velocities=velocities)
        return GateResult(self._straightened(altered, current, notes), tuple(notes))

    def hold(
        self, command: TrajectoryCommand, current: CurrentCommand
    ) -> GateResult[TrajectoryCommand]:
        """Check a hold: it is not moved into the limits, because that would not be holding.

        Args:
            command: The hold.
            current: Command of its group now.
        """
        notes: list[Intervention] = []
        if not self._finite(command, current.positions, command.positions, None, notes):
            return GateResult(None, tuple(notes))
        return GateResult(self._straightened(command, current, notes), tuple(notes))

    def limited(
        self, group: str, asked: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], tuple[Intervention, ...]]:
        """Clamp what a stream will send of a chunk, so that it is counted once and not per tick.

        Args:
            group: A twist group (clamped to its velocities) or a gripper group (to its positions).
            asked: float64 [N, J], raw units, finite.

        Returns:
            float64 [N, J] within limits (the same array if it already was), and interventions.
        """
        values = self._values[group]
        notes: list[Intervention] = []
        return self._clamped(values, asked, notes), tuple(notes)

    def twist(
        self,
        command: TwistCommand,
        previous: npt.NDArray[np.float64],
        elapsed_ns: int,
    ) -> GateResult[TwistCommand]:
        """Check a base command: finite, velocity limit, and acceleration ramp where given.

        Args:
            command: The command.
            previous: float64 [J], what was sent last, zeros if nothing was.
            elapsed_ns: Time since then.

        Returns:
            The command within limits, or a refusal. Zero for a stop is never ramped: build it
            with ``stop``.
        """
        values = self._values[command.group]
        notes: list[Intervention] = []
        if not self._finite(command, previous, command.values, None, notes):
            return GateResult(None, tuple(notes))
        sent = self._clamped(values, command.values[None], notes)[0]
        # At least 1 ns, because no limit (inf) times no time is not a number.
        change = values.acceleration * (max(elapsed_ns, 1) * 1e-9)
        if (np.abs(sent - previous) > change * _ROUNDING).any():
            joint = int(np.argmax(np.abs(sent - previous) - change))
            text = (
                f'{values.names[joint]}: change from {previous[joint]:.4g} to {sent[joint]:.4g} '
                f'ramped by {change[joint]:.4g}'
            )
            notes.append(self.note(command.group, 'acceleration', text))
            sent = np.clip(sent, previous - change, previous + change)
        return GateResult(replace(command, values=sent), tuple(notes))

    def stop(self, group: str, now_ns: int) -> TwistCommand:
        """Return the command that stops a base at once."""
        names = self._values[group].names
        return TwistCommand(group, now_ns, names, np.zeros(len(names)))

    def gripper(self, goal: GripperGoal) -> GateResult[GripperGoal]:
        """Check a gripper goal: finite, and within the position limits."""
        notes: list[Intervention] = []
        if not self._finite(goal, goal.positions, goal.positions, None, notes):
            return GateResult(None, tuple(notes))
        positions = self._clamped(self._values[goal.group], goal.positions[None], notes)[0]
        return GateResult(replace(goal, positions=positions), tuple(notes))

    def _straightened(
        self, command: TrajectoryCommand, current: CurrentCommand, notes: list[Intervention]
    ) -> TrajectoryCommand:
        """Leave out velocities with which the first cubic would leave the position limits.

        The others cannot: ``waypoint_velocities`` sees to it.
        """
        if command.velocities is None or not current.velocities.any():
            return command
        values = self._values[command.group]
        lowest, highest = cubic_range(
            current,
            (command.positions[0], command.velocities[0]),
            int(command.time_from_start_ns[0]) * 1e-9,
        )
        below = np.minimum(values.lower, current.positions) - lowest
        above = highest - np.maximum(values.upper, current.positions)
        beyond = np.maximum(below, above)
        if not (beyond > _SWING).any():
            return command
        joint = int(np.argmax(beyond))
        text = (
            f'{values.names[joint]}: the way to the first waypoint swings {beyond[joint]:.4g} out '
            'over a position limit; sent without velocities'
        )
        notes.append(self.note(command.group, 'position', text))
        return replace(command, velocities=None)

    def _finite(
        self,
        command: TrajectoryCommand | TwistCommand | GripperGoal,
        start: npt.NDArray[np.float64],
        asked: npt.NDArray[np.float64],
        velocities: npt.NDArray[np.float64] | None,
        notes: list[Intervention],
    ) -> bool:
        """Note and return False if any number of a command is not finite."""
        parts = (start, asked) if velocities is None else (start, asked, velocities)
        if all(np.isfinite(part).all() for part in parts):
            return True
        notes.append(self.note(command.group, 'non_finite', 'a command that is not finite'))
        return False

    def _clamped(
        self,
        values: JointValues,
        asked: npt.NDArray[np.float64],
        notes: list[Intervention],
    ) -> npt.NDArray[np.float64]:
        """Clamp streamed values [N, J] to the limits of their kind of output."""
        if values.group.output == 'twist':
            speed = values.velocity
            return self._within(values, asked, 'velocity', -speed, speed, notes)
        return self._within(values, asked, 'position', values.lower, values.upper, notes)

    def _within(
        self,
        values: JointValues,
        asked: npt.NDArray[np.float64],
        reason: str,
        lower: npt.NDArray[np.float64],
        upper: npt.NDArray[np.float64],
        notes: list[Intervention],
    ) -> npt.NDArray[np.float64]:
        """Clamp [N, J] values; the same array comes back if nothing was outside."""
        outside = (asked < lower) | (asked > upper)
        if not outside.any():
            return asked
        clamped = np.clip(asked, lower, upper)
        step, joint = np.unravel_index(np.argmax(np.abs(asked - clamped)), asked.shape)
        text = (
            f'{values.names[joint]}: {reason} {asked[step, joint]:.4g} clamped to '
            f'{clamped[step, joint]:.4g}, {int(outside.any(axis=1).sum())} of {len(asked)} steps'
        )
        notes.append(self.note(values.group.name, reason, text))
        return clamped

    def _followed(
        self,
        values: JointValues,
        asked: npt.NDArray[np.float64],
        step_s: npt.NDArray[np.float64],
        current: CurrentCommand,
        notes: list[Intervention],
    ) -> npt.NDArray[np.float64]:
        """Follow a path [N, J] within the limits; the same array if it respects them."""
        speed = speeds(asked, step_s, current)
        change = changes(speed, current.velocities) / change_s(step_s)
        altered = False
        for reason, found, limit, unit in (
            ('velocity', np.abs(speed), values.velocity, 'per second'),
            ('acceleration', np.abs(change), values.acceleration, 'per second squared'),
        ):
            beyond = found > limit * _ROUNDING
            if not beyond.any():
                continue
            altered = True
            step, joint = np.unravel_index(np.argmax(found / limit), found.shape)
            text = (
                f'{values.names[joint]}: {found[step, joint]:.4g} {unit}, at most '
                f'{limit[joint]:.4g} is allowed, {int(beyond.any(axis=1).sum())} of '
                f'{len(asked)} steps'
            )
            notes.append(self.note(values.group.name, reason, text))
        # From far outside the position limits, clamping has moved the first waypoint further.
        first = np.abs(asked[0] - current.positions)
        if altered or (first > values.max_step * _ROUNDING).any():
            return follow(values, asked, step_s, current)
        return asked
