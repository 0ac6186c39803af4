"""The columns of every array of an evaluation: an embodiment's action joints, in raw units."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.control.joint_values import JointValues

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment


@dataclass(frozen=True)
class Column:
    """One action joint.

    Attributes:
        name: Joint (or twist axis) name.
        group: Action group.
        kind: ``joint_trajectory``, ``gripper`` or ``twist``.
        unit: Of its raw value: ``rad``, ``m``, ``1``, ``m/s`` or ``rad/s``.
        lower: Smallest value that may be commanded, raw.
        upper: Largest value that may be commanded, raw.
    """

    name: str
    group: str
    kind: str
    unit: str
    lower: float
    upper: float

    @property
    def span(self) -> float:
        """Range of values that may be commanded: what errors of different joints are shares of."""
        return self.upper - self.lower


@dataclass(frozen=True)
class Columns:
    """All action joints of a robot, in the order of its file."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, embodiment: Embodiment) -> Columns:
        """Return the columns of a robot."""
        return cls(
            tuple(
                Column(
                    joint.name,
                    group.name,
                    group.output,
                    joint.unit,
                    *(joint.position or (-joint.velocity, joint.velocity)),
                )
                for group in embodiment.actions
                for joint in group.joints
            )
        )

    @classmethod
    def from_json(cls, content: list[Mapping[str, Any]]) -> Columns:
        """Return what ``to_json`` wrote."""
        return cls(tuple(Column(**each) for each in content))

    def to_json(self) -> list[dict[str, Any]]:
        """Return a list of one object a column."""
        return [asdict(column) for column in self.columns]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in order."""
        return tuple(dict.fromkeys(column.group for column in self.columns))

    def where(self, *, group: str | None = None, kind: str | None = None) -> list[int]:
        """Return the numbers of the columns of a group, of a kind, or of both."""
        return [
            number
            for number, column in enumerate(self.columns)
            if group in (None, column.group) and kind in (None, column.kind)
        ]

    @property
    def spans(self) -> npt.NDArray[np.float64]:
        """Span of each column, float64 [J]."""
        return np.array([column.span for column in self.columns])


class RawActions:
    """Robot vectors to raw values of all action joints, and back."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Take the mapping of a robot."""
        self._groups = [JointValues(group) for group in embodiment.actions]
        joints = embodiment.action_joints
        self._indices = [joint.index for joint in joints]
        self._factor = np.array([joint.sign * joint.scale for joint in joints])
        self._offset = np.array([joint.offset for joint in joints])
        self.width = embodiment.action_width

    def raw(self, actions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return float64 [H, J], raw, of float64 [H, action width or more], robot vector."""
        return np.concatenate([values.raw(actions) for values in self._groups], axis=1)

    def vector(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return float64 [H, action width], robot vector, of float64 [H, J], raw."""
        vector = np.zeros((len(raw), self.width))
        vector[:, self._indices] = raw * self._factor + self._offset
        return vector
