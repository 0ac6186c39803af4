"""Controllers that only judge: what they would accept of the commands when there is no robot."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.validation import command_from_message

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import ActionGroup, Embodiment


class Judge:
    """One controller model per action group of a recorded robot.

    Trajectory groups have a joint_trajectory_controller; a base or a gripper that takes an array
    accepts what is finite and has the right number of values.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Start without positions: a controller begins at its first command."""
        self._embodiment = embodiment
        self._groups = {group.name: group for group in embodiment.actions}
        self._controllers: dict[str, JointTrajectoryController] = {}
        self._accepted: Counter[str] = Counter()
        self._rejected: dict[str, Counter[str]] = {name: Counter() for name in self._groups}

    def trajectory(
        self, group: str, message: Any, now_ns: int, measured: npt.NDArray[np.float64]
    ) -> None:
        """Hand a JointTrajectory to the controller of ``group``.

        Args:
            group: Action group.
            message: The message.
            now_ns: The robot's clock.
            measured: float64 [J], the group's joints; NaN where unknown. Where the controller
                starts, and only then.
        """
        controller = self._controllers.get(group)
        if controller is None:
            controller = self._start(self._groups[group], measured)
            self._controllers[group] = controller
        command = command_from_message(message, group)
        if isinstance(command, TrajectoryCommand):
            controller.accept(command, now_ns)
        else:
            controller.reject(command)

    def values(self, group: str, values: list[float]) -> None:
        """Hand the values of an array or a twist to the controller of ``group``."""
        if len(values) != len(self._groups[group].joints):
            self._rejected[group]['length_mismatch'] += 1
        elif not np.isfinite(values).all():
            self._rejected[group]['not_finite'] += 1
        else:
            self._accepted[group] += 1

    def desired(self, now_ns: int) -> tuple[list[str], list[float]]:
        """Return names and positions of all joints that were ever commanded."""
        names: list[str] = []
        positions: list[float] = []
        for controller in self._controllers.values():
            if controller.accepted:
                names += controller.joints
                positions += controller.sample(now_ns)[0].tolist()
        return names, positions

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return group → accepted, rejected and rejections, as the simulated robot counts."""
        counts: dict[str, dict[str, Any]] = {}
        for name in self._groups:
            accepted, rejected = self._accepted[name], self._rejected[name]
            if (controller := self._controllers.get(name)) is not None:
                accepted, rejected = controller.accepted, controller.rejected
            counts[name] = {
                'accepted': accepted,
                'rejected': sum(rejected.values()),
                'rejections': dict(rejected),
            }
        return counts

    def _start(
        self, group: ActionGroup, measured: npt.NDArray[np.float64]
    ) -> JointTrajectoryController:
        neutral = self._embodiment.neutral
        names = [joint.name for joint in group.joints]
        parked = np.array([neutral.get(name, 0.0) for name in names])
        return JointTrajectoryController(names, np.where(np.isfinite(measured), measured, parked))
