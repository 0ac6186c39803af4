"""Where the fingertips of an arm are, and the joint angles that bring them somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.sim.engine import mujoco
from pizero_ros.sim.truth import TIP_M

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.sim.layout import Arm

    Array = npt.NDArray[np.float64]

_DOWN = np.array([0.0, 0.0, -1.0])
_DIRECTION_M = 0.12
"""Metres of position that one radian of direction is worth: the position is what matters."""

_DAMPING = 0.03
_POSTURE = 0.05
"""Share of the way to the neutral posture that an iteration goes where the task leaves it free."""

_LARGEST_STEP = 0.3


class ArmKinematics:
    """One arm of a model, on a state of its own.

    Attributes:
        lower: float64 [6], rad.
        upper: float64 [6], rad.
    """

    def __init__(self, model: Any, arm: Arm, neutral: Array) -> None:
        """Look up the arm.

        Args:
            model: An ``mujoco.MjModel``; not changed.
            arm: Which one.
            neutral: float64 [6], posture that is preferred.
        """
        self._model = model
        self._data = mujoco.MjData(model)
        joints = [model.joint(name).id for name in arm.joints]
        self._qpos = model.jnt_qposadr[joints]
        self._dof = model.jnt_dofadr[joints]
        self.lower, self.upper = model.jnt_range[joints].T
        self._hand = int(model.body(arm.hand).id)
        self._neutral = neutral
        self._jacobian = np.zeros((3, model.nv))
        self._turning = np.zeros((3, model.nv))

    def carry(self, names: tuple[str, ...], positions: Array) -> None:
        """Put joints that carry the arm (base, torso) somewhere: raw values, m and rad."""
        for name, position in zip(names, positions.tolist(), strict=True):
            self._data.qpos[self._model.joint(name).qposadr[0]] = position

    def tip(self, joints: Array) -> Array:
        """Return where the fingertips are, float64 [3], m in the world."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        found: Array = self._data.xpos[self._hand] + TIP_M * self._pointing()
        return found

    def solve(self, target: Array, joints: Array, iterations: int) -> Array:
        """Return joint angles with which the tips are at a point and the hand points down.

        Damped least squares; where both cannot be had, the point counts. Angles stay within the
        limits of the joints.

        Args:
            target: float64 [3], m in the world.
            joints: float64 [6], where to start.
            iterations: Number of steps; a target near the start needs one or two.

        Returns:
            float64 [6], rad.
        """
        joints = joints.copy()
        for _ in range(iterations):
            tip = self.tip(joints)
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jac(self._model, self._data, self._jacobian, self._turning, tip, self._hand)
            error = np.concatenate(
                [target - tip, _DIRECTION_M * np.cross(self._pointing(), _DOWN)]
            )
            jacobian = np.concatenate(
                [self._jacobian[:, self._dof], _DIRECTION_M * self._turning[:, self._dof]]
            )
            square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6) * 0.1
            posture = _POSTURE * (self._neutral - joints)
            step = jacobian.T @ np.linalg.solve(square, error - jacobian @ posture) + posture
            step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
            joints = np.clip(joints + step, self.lower, self.upper)
        return joints

    def _pointing(self) -> Array:
        """Return the x axis of the hand."""
        axes: Array = self._data.xmat[self._hand].reshape(3, 3)
        return axes[:, 0]
