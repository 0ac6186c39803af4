"""What leaves the control layer: commands in the controllers' own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class TrajectoryCommand:
    """A joint trajectory, ready to be a ``trajectory_msgs/JointTrajectory``.

    Attributes:
        group: Action group it belongs to.
        stamp_ns: ``header.stamp``; 0 means "start now" to a controller.
        joint_names: J names.
        positions: float64 [N, J], raw controller units.
        velocities: float64 [N, J] or None.
        time_from_start_ns: int64 [N], strictly increasing.
    """

    group: str
    stamp_ns: int
    joint_names: tuple[str, ...]
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64] | None
    time_from_start_ns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.positions)


@dataclass(frozen=True)
class TwistCommand:
    """One base velocity command; ``values`` follow the group's joints, raw units."""

    group: str
    stamp_ns: int
    axes: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class GripperGoal:
    """A gripper goal; ``positions`` follow the group's joints, raw units."""

    group: str
    stamp_ns: int
    joint_names: tuple[str, ...]
    positions: npt.NDArray[np.float64]


Command = TrajectoryCommand | TwistCommand | GripperGoal
"""Anything that the control layer sends."""
