"""Interpolation between timed waypoints, as joint_trajectory_controller does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def cubic_range(
    start: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    end: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    length_s: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lowest and the highest position of the cubic between two points.

    Args:
        start: Position and velocity, float64 [J] each.
        end: Likewise.
        length_s: Time between them, above 0.

    Returns:
        float64 [J] each.
    """
    c2, c3 = _coefficients(start, end, length_s)
    (p0, v0), (p1, _) = start, end
    # Where the speed v0 + 2 c2 t + 3 c3 t^2 is zero, in the form that does not cancel.
    root = np.sqrt(np.maximum(c2 * c2 - 3.0 * c3 * v0, 0.0))
    q = -(c2 + np.copysign(root, c2))
    lowest, highest = np.minimum(p0, p1), np.maximum(p0, p1)
    for above, below in ((q, 3.0 * c3), (v0, q)):
        known = below != 0.0
        t = np.clip(np.divide(above, below, out=np.zeros_like(p0), where=known), 0.0, length_s)
        at = p0 + t * (v0 + t * (c2 + t * c3))
        lowest, highest = np.minimum(lowest, at), np.maximum(highest, at)
    return lowest, highest


def _coefficients(
    start: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    end: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    length_s: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """As Trajectory::interpolate_between_points has them, ros2_controllers trajectory.cpp."""
    (p0, v0), (p1, v1) = start, end
    c2 = (3.0 * (p1 - p0) - (2.0 * v0 + v1) * length_s) / length_s**2
    c3 = (2.0 * (p0 - p1) + (v0 + v1) * length_s) / length_s**3
    return c2, c3


@dataclass(frozen=True, slots=True)
class Knots:
    """Timed points, linear between two points unless both have a velocity, then cubic.

    Attributes:
        times_ns: int64 [N], absolute, strictly increasing.
        positions: float64 [N, J].
        velocities: float64 [N, J], zero where ``has_velocity`` is false.
        has_velocity: bool [N].
    """

    times_ns: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]
    has_velocity: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        times_ns: npt.NDArray[np.int64],
        positions: npt.NDArray[np.float64],
        velocities: npt.NDArray[np.float64] | None,
    ) -> Knots:
        """Build knots that all have a velocity, or none."""
        if velocities is None:
            return cls(
                times_ns, positions, np.zeros_like(positions), np.zeros(len(positions), bool)
            )
        return cls(times_ns, positions, velocities, np.ones(len(positions), bool))

    @classmethod
    def joined(cls, *parts: Knots) -> Knots:
        """Put knots one after the other; the caller sees to it that times increase."""
        return cls(
            np.concatenate([part.times_ns for part in parts]),
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.velocities for part in parts]),
            np.concatenate([part.has_velocity for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.times_ns)

    def where(self, keep: npt.NDArray[np.bool_]) -> Knots:
        """Return the points for which ``keep`` (bool [N]) is true."""
        return Knots(
            self.times_ns[keep],
            self.positions[keep],
            self.velocities[keep],
            self.has_velocity[keep],
        )

    def shifted(self, offset_ns: int) -> Knots:
        """Return the same points, due ``offset_ns`` later."""
        return Knots(self.times_ns + offset_ns, self.positions, self.velocities, self.has_velocity)

    def sample(self, time_ns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return position and velocity, float64 [J] each; outside the range the ends hold."""
        after = int(np.searchsorted(self.times_ns, time_ns, side='right'))
        if after == 0:
            return self.positions[0].copy(), np.zeros_like(self.positions[0])
        if after == len(self.times_ns):
            return self.positions[-1].copy(), self.velocities[-1].copy()
        before = after - 1
        start_ns = int(self.times_ns[before])
        length = (int(self.times_ns[after]) - start_ns) * 1e-9
        t = (time_ns - start_ns) * 1e-9
        start, end = self.positions[before], self.positions[after]
        if not (self.has_velocity[before] and self.has_velocity[after]):
            slope = (end - start) / length
            return start + slope * t, slope
        v0, v1 = self.velocities[before], self.velocities[after]
        c2, c3 = _coefficients((start, v0), (end, v1), length)
        return start + t * (v0 + t * (c2 + t * c3)), v0 + t * (2.0 * c2 + t * 3.0 * c3)
