"""The controllers of a simulated robot: from command messages to servo targets."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.validation import Rejection, command_from_message
from pizero_ros.embodiment.schema import GRIPPER_ACTIONS, TWIST_AXES
from pizero_ros.errors import EmbodimentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from pizero_ros.control.commands import Command, GripperGoal, TwistCommand
    from pizero_ros.control.controller import Replacement
    from pizero_ros.embodiment.schema import ActionGroup
    from pizero_ros.sim.faults import RobotFaults
    from pizero_ros.sim.robot import SimulatedRobot

INJECTED = 'injected_fault'
"""Reason of a refusal that a fault asked for."""

CMD_VEL_TIMEOUT_NS = 500_000_000
"""``cmd_vel_timeout`` of diff_drive_controller: older commands are ignored, silence means stop."""

GRIPPER_RAMP_NS = 100_000_000
"""Time in which a gripper goal is reached that comes without a message."""


class GroupController(Protocol):
    """What moves the joints of one action group; called from one thread."""

    @property
    def accepted(self) -> int:
        """Number of accepted messages."""

    @property
    def rejected(self) -> Counter[str]:
        """Number of refused messages by reason."""

    def receive(self, message: Any, now_ns: int) -> str | None:
        """Take a message of the group's type; return why it was refused, None if it was not."""

    def execute(self, command: Any, now_ns: int) -> str | None:
        """Take a command of the control layer instead of a message."""

    def reset(self) -> None:
        """Forget all commands: the robot was put somewhere, with its targets there."""

    def update(self, now_ns: int) -> None:
        """Set the targets that hold from ``now_ns`` on."""


class TrajectoryGroup:
    """A joint_trajectory_controller on the group's joints."""

    def __init__(
        self,
        robot: SimulatedRobot,
        group: ActionGroup,
        replacement: Replacement,
        from_desired: bool,
    ) -> None:
        self._robot = robot
        self._group = group
        self._names = tuple(joint.name for joint in group.joints)
        self._from_desired = from_desired
        self._controller = JointTrajectoryController(
            self._names,
            robot.targets(self._names),
            replacement=replacement,
            interpolate_from_desired_state=from_desired,
        )

    @property
    def accepted(self) -> int:
        """Number of accepted messages."""
        return self._controller.accepted

    @property
    def rejected(self) -> Counter[str]:
        """Number of refused messages by reason."""
        return self._controller.rejected

    def receive(self, message: Any, now_ns: int) -> str | None:
        """Take a ``trajectory_msgs/JointTrajectory``."""
        command = command_from_message(message, self._group.name)
        if isinstance(command, TrajectoryCommand):
            return self._accept(command, now_ns)
        return self._controller.reject(command).text

    def execute(self, command: TrajectoryCommand | GripperGoal, now_ns: int) -> str | None:
        """Take a trajectory, or a gripper goal as a ramp to it."""
        if not isinstance(command, TrajectoryCommand):
            command = TrajectoryCommand(
                command.group,
                0,
                command.joint_names,
                command.positions[None],
                None,
                np.array([GRIPPER_RAMP_NS], np.int64),
            )
        return self._accept(command, now_ns)

    def reset(self) -> None:
        """Hold where the servos are going."""
        self._controller.reset(self._robot.targets(self._names))

    def _accept(self, command: TrajectoryCommand, now_ns: int) -> str | None:
        refused = self._controller.accept(command, now_ns)
        return refused.text if isinstance(refused, Rejection) else None

    def update(self, now_ns: int) -> None:
        """Sample the trajectory."""
        measured = None if self._from_desired else self._robot.positions(self._names)
        positions, _ = self._controller.sample(now_ns, measured)
        self._robot.set_targets(self._names, positions)


class ForwardGroup:
    """A forward_command_controller: an array of positions that apply at once."""

    def __init__(self, robot: SimulatedRobot, group: ActionGroup) -> None:
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self._robot = robot
        self._names = tuple(joint.name for joint in group.joints)

    def receive(self, message: Any, now_ns: int) -> str | None:
        """Take a ``std_msgs/Float64MultiArray``."""
        return self._set(np.array(message.data, np.float64))

    def execute(self, command: GripperGoal, now_ns: int) -> str | None:
        """Take a gripper goal."""
        return self._set(command.positions)

    def reset(self) -> None:
        """Keep the robot's targets."""

    def _set(self, values: npt.NDArray[np.float64]) -> str | None:
        if len(values) != len(self._names):
            self.rejected['length_mismatch'] += 1
            return f'{len(values)} values for {len(self._names)} joints'
        if not np.isfinite(values).all():
            self.rejected['not_finite'] += 1
            return 'values that are not finite'
        self.accepted += 1
        self._robot.set_targets(self._names, values)
        return None

    def update(self, now_ns: int) -> None:
        """Keep the last targets."""


class VelocityGroup:
    """A base that drives as told, until it is not told for ``CMD_VEL_TIMEOUT_NS``.

    Attributes:
        velocity: Axis of ``TWIST_AXES`` → velocity it has now, m/s and rad/s.
    """

    def __init__(self, robot: SimulatedRobot, group: ActionGroup) -> None:
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.velocity = dict.fromkeys(TWIST_AXES, 0.0)
        self._robot = robot
        self._stamped = group.message == 'twist_stamped'
        self._until_ns: int | None = None

    def receive(self, message: Any, now_ns: int) -> str | None:
        """Take a ``geometry_msgs/Twist`` or ``TwistStamped``, as the group says."""
        twist = message.twist if self._stamped else message
        stamp_ns = now_ns
        if self._stamped:
            stamp = message.header.stamp
            # A zero stamp means now, as diff_drive_controller takes it.
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec or now_ns
        return self._set(_axes(twist), stamp_ns, now_ns)

    def execute(self, command: TwistCommand, now_ns: int) -> str | None:
        """Take a base velocity."""
        told = dict(zip(command.axes, command.values.tolist(), strict=True))
        return self._set(dict.fromkeys(TWIST_AXES, 0.0) | told, command.stamp_ns, now_ns)

    def reset(self) -> None:
        """Stand still."""
        self._until_ns = None
        self._drive(dict.fromkeys(TWIST_AXES, 0.0))

    def _set(self, values: dict[str, float], stamp_ns: int, now_ns: int) -> str | None:
        if not all(math.isfinite(value) for value in values.values()):
            self.rejected['not_finite'] += 1
            return 'a velocity that is not finite'
        if now_ns - stamp_ns > CMD_VEL_TIMEOUT_NS:
            self.rejected['stale'] += 1
            return f'a command {(now_ns - stamp_ns) * 1e-9:.3f} s old'
        self.accepted += 1
        self._until_ns = now_ns + CMD_VEL_TIMEOUT_NS
        self._drive(values)
        return None

    def update(self, now_ns: int) -> None:
        """Stop when the last command has timed out."""
        if self._until_ns is not None and now_ns >= self._until_ns:
            self._until_ns = None
            self._drive(dict.fromkeys(TWIST_AXES, 0.0))

    def _drive(self, velocity: dict[str, float]) -> None:
        self.velocity = velocity
        self._robot.set_base_velocity(
            velocity['linear.x'], velocity['linear.y'], velocity['angular.z']
        )


class SimulatedControllers:
    """One controller per action group of the robot's embodiment.

    Attributes:
        groups: Group name → controller, with its ``accepted`` and ``rejected`` counts.
        joints: Every position-controlled joint, in the order of the embodiment.
    """

    def __init__(
        self,
        robot: SimulatedRobot,
        *,
        replacement: Replacement = 'discard',
        interpolate_from_desired_state: bool = True,
        faults: RobotFaults | None = None,
    ) -> None:
        """Activate the controllers at the robot's present targets.

        Args:
            robot: What they move.
            replacement: How a new trajectory replaces the old one, by controller version.
            interpolate_from_desired_state: Where the way to a new trajectory starts.
            faults: What keeps them from hearing or accepting.

        Raises:
            EmbodimentError: If two groups move one joint, or a gripper takes actions.
        """
        actions = robot.embodiment.actions
        positioned = [group for group in actions if group.output != 'twist']
        self.joints = tuple(joint.name for group in positioned for joint in group.joints)
        twice = [name for name, count in Counter(self.joints).items() if count > 1]
        if twice:
            raise EmbodimentError.at(
                robot.embodiment.source,
                'actions',
                found=f'{twice} in more than one group',
                expected='one controller per joint',
            )
        self.groups: Mapping[str, GroupController] = {
            group.name: _controller(robot, group, replacement, interpolate_from_desired_state)
            for group in actions
        }
        self._faults = faults

    @property
    def base_velocity(self) -> Mapping[str, float] | None:
        """Axis of ``TWIST_AXES`` → velocity the base is told to have, None without a base."""
        bases = [each for each in self.groups.values() if isinstance(each, VelocityGroup)]
        return bases[0].velocity if bases else None

    def receive(self, group: str, message: Any, now_ns: int) -> str | None:
        """Hand a message to the controller of ``group``; return why it was refused, if it was."""
        if self._faults is not None and not self._faults.hears(group):
            return None
        if self._faults is not None and self._faults.refuses(group):
            self.groups[group].rejected[INJECTED] += 1
            return 'by an injected fault'
        return self.groups[group].receive(message, now_ns)

    def execute(self, commands: Iterable[Command], now_ns: int) -> list[str]:
        """Hand commands to their controllers without messages; return why any were refused."""
        refused = [self.groups[each.group].execute(each, now_ns) for each in commands]
        return [why for why in refused if why is not None]

    def reset(self) -> None:
        """Forget all commands after the robot was put somewhere; counters are kept."""
        for controller in self.groups.values():
            controller.reset()

    def update(self, now_ns: int) -> None:
        """Let every controller set its targets; call it before each physics step."""
        for controller in self.groups.values():
            controller.update(now_ns)


def _axes(twist: Any) -> dict[str, float]:
    """Return the velocity of each axis of a ``geometry_msgs/Twist``."""
    return {axis: getattr(getattr(twist, axis[:-2]), axis[-1]) for axis in TWIST_AXES}


def _controller(
    robot: SimulatedRobot, group: ActionGroup, replacement: Replacement, from_desired: bool
) -> GroupController:
    if group.message in GRIPPER_ACTIONS:
        raise EmbodimentError.at(
            robot.embodiment.source,
            f'message of group {group.name}',
            found=group.message,
            expected='joint_trajectory or float64_multi_array on the simulated robot',
            remedy='It serves no actions.',
        )
    if group.output == 'twist':
        return VelocityGroup(robot, group)
    if group.message == 'float64_multi_array':
        return ForwardGroup(robot, group)
    return TrajectoryGroup(robot, group, replacement, from_desired)
