"""Columns of the robot vector that one action group uses, in the controller's own units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import ActionGroup


class JointValues:
    """The joint mapping and the limits of one action group as arrays of J values.

    Attributes:
        group: The group it was made from.
        names: J joint (or twist axis) names, in the order of every array.
        lower: float64 [J], smallest raw position, ``-inf`` where there is no limit.
        upper: float64 [J], largest raw position, ``inf`` where there is no limit.
        velocity: float64 [J], largest raw speed (for a twist the largest absolute command).
        acceleration: float64 [J], largest raw acceleration, ``inf`` where there is no limit.
        max_step: float64 [J], largest raw distance from the current command to a first waypoint.
    """

    def __init__(self, group: ActionGroup) -> None:
        joints = group.joints
        self.group = group
        self.names = tuple(joint.name for joint in joints)
        self._index = np.array([joint.index for joint in joints], dtype=np.intp)
        self._offset = np.array([joint.offset for joint in joints])
        self._factor = np.array([joint.sign * joint.scale for joint in joints])
        ranges = [joint.position or (-np.inf, np.inf) for joint in joints]
        self.lower = np.array([lower for lower, _ in ranges])
        self.upper = np.array([upper for _, upper in ranges])
        self.velocity = np.array([joint.velocity for joint in joints])
        self.acceleration = np.array(
            [np.inf if joint.acceleration is None else joint.acceleration for joint in joints]
        )
        self.max_step = np.array([joint.max_step for joint in joints])

    def raw(self, actions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map actions to the controller's units: ``(vector[index] - offset) / (sign * scale)``.

        Args:
            actions: float64 [N, action width], robot vector.

        Returns:
            float64 [N, J], raw units.
        """
        mapped: npt.NDArray[np.float64] = (actions[:, self._index] - self._offset) / self._factor
        return mapped
