"""Controllers that do not exist: they take commands and say where every joint is told to be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.replay.columns import Columns
from pizero_ros.replay.episode import Happening, Seam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from pizero_ros.control.commands import Command
    from pizero_ros.control.controller import Replacement
    from pizero_ros.embodiment.schema import Embodiment

    Floats = npt.NDArray[np.float64]


class _Arm:
    """One arm's controller; it is activated where the arm is when it is first commanded."""

    def __init__(self, names: tuple[str, ...], replacement: Replacement) -> None:
        self.names = names
        self._replacement: Replacement = replacement
        self.model: JointTrajectoryController | None = None
        self.last: TrajectoryCommand | None = None

    def activate(self, now_ns: int, positions: Floats) -> JointTrajectoryController:
        self.model = JointTrajectoryController(
            self.names, positions, replacement=self._replacement
        )
        self.model.sample(now_ns)
        return self.model


class ImaginedRobot:
    """All controllers of a robot.

    Attributes:
        seams: Where trajectories of arms replaced each other.
        rejections: Messages that the controllers refused.
        sent: Arm trajectories that they were sent.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        replacement: Replacement,
        measured: Callable[[], Mapping[str, float]],
    ) -> None:
        """Build a controller for each action group.

        Args:
            embodiment: The robot.
            replacement: Rule by which arm controllers replace a trajectory.
            measured: Returns joint name → raw position: where those are that were not commanded.
        """
        self._measured = measured
        self._uncommanded = True
        self.seams: list[Seam] = []
        self.rejections: list[Happening] = []
        self.sent = 0
        self._period_ns = round(1e9 / embodiment.rate_hz)
        columns = Columns.of(embodiment)
        self._where = {group: columns.where(group=group) for group in columns.groups}
        self._names = {
            group.name: tuple(joint.name for joint in group.joints) for group in embodiment.actions
        }
        self._arms = {
            group.name: _Arm(self._names[group.name], replacement)
            for group in embodiment.actions
            if group.output == 'joint_trajectory'
        }
        self._held = np.full(len(columns), np.nan)
        self._held[columns.where(kind='twist')] = 0.0
        self._stands = self._held.copy()
        self._grippers = [g.name for g in embodiment.actions if g.output == 'gripper']

    def obey(self, commands: Iterable[Command], now_ns: int) -> None:
        """Take commands at a moment, in the order in which they are published."""
        for command in commands:
            if isinstance(command, TrajectoryCommand):
                self._follow(command, now_ns)
            elif isinstance(command, TwistCommand):
                self._hold(command.group, command.axes, command.values)
            elif isinstance(command, GripperGoal):
                self._hold(command.group, command.joint_names, command.positions)

    def sample(self, now_ns: int) -> Floats:
        """Return where every joint is told to be: float64 [J], raw, NaN where nobody knows.

        What was never commanded stands where it was first measured: the robot of the recording
        goes on, this one has not begun.
        """
        values: Floats = self._held.copy()
        if self._uncommanded:
            self._look()
        for group in self._grippers:
            where = self._where[group]
            values[where] = np.where(np.isnan(values[where]), self._stands[where], values[where])
        for group, arm in self._arms.items():
            where = self._where[group]
            values[where] = (
                self._stands[where] if arm.model is None else arm.model.sample(now_ns)[0]
            )
        return values

    def restart(self) -> None:
        """Put the robot where that of the recording is; arms wait there for a trajectory."""
        for arm in self._arms.values():
            arm.model = arm.last = None
        self._stands[:] = np.nan
        self._look()

    def _look(self) -> None:
        """Note where joints stand that nobody knew of."""
        measured = self._measured()
        for group, names in self._names.items():
            for column, name in zip(self._where[group], names, strict=True):
                if np.isnan(self._stands[column]):
                    self._stands[column] = measured.get(name, np.nan)
        self._uncommanded = bool(np.isnan(self._stands).any())

    def rejected(self) -> Counter[str]:
        """Return reason → number of refused messages."""
        return Counter(each.reason for each in self.rejections)

    def _hold(self, group: str, names: tuple[str, ...], values: Floats) -> None:
        order = [self._names[group].index(name) for name in names]
        self._held[np.array(self._where[group])[order]] = values

    def _follow(self, command: TrajectoryCommand, now_ns: int) -> None:
        arm = self._arms[command.group]
        if self._uncommanded:
            self._look()
        model = arm.model or arm.activate(now_ns, self._stands[self._where[command.group]])
        model.sample(now_ns)
        rejection = model.accept(command, now_ns)
        self.sent += 1
        if rejection is not None:
            self.rejections.append(
                Happening(now_ns, command.group, rejection.reason, rejection.text)
            )
            return
        model.sample(now_ns)
        if arm.last is not None and len(arm.last) > 1 and len(command) > 1:
            seam = self._seam(arm.last, command, now_ns)
            if seam is not None:
                self.seams.append(seam)
        arm.last = command

    def _seam(self, old: TrajectoryCommand, new: TrajectoryCommand, now_ns: int) -> Seam | None:
        """Compare two trajectories where the second takes over, if the first was still going."""
        times_ns = new.stamp_ns + new.time_from_start_ns
        if old.stamp_ns + old.time_from_start_ns[-1] < now_ns:
            return None
        first_ns, second_ns = int(times_ns[0]), int(times_ns[1])
        at = _at(old, first_ns)
        before = (at - _at(old, first_ns - self._period_ns)) / (self._period_ns * 1e-9)
        after = (new.positions[1] - new.positions[0]) / ((second_ns - first_ns) * 1e-9)
        return Seam(
            now_ns,
            new.group,
            dict(zip(new.joint_names, (new.positions[0] - at).tolist(), strict=True)),
            dict(zip(new.joint_names, (after - before).tolist(), strict=True)),
        )


def _at(command: TrajectoryCommand, time_ns: int) -> Floats:
    """Return a trajectory's position at a time, on straight lines between its points."""
    known = command.time_from_start_ns * 1e-9
    wanted = (time_ns - command.stamp_ns) * 1e-9
    return np.array([np.interp(wanted, known, each) for each in command.positions.T])
