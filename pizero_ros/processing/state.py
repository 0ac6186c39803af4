"""Robot state to model state, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.embodiment.schema import VECTOR_DIM
from pizero_ros.errors import BundleError
from pizero_ros.processing.grippers import Grippers
from pizero_ros.processing.normalize import make_normalizer, near_constant
from pizero_ros.processing.pad import Pad
from pizero_ros.processing.signs import Signs

if TYPE_CHECKING:
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics

Array = npt.NDArray[np.float64]


class StateTransform:
    """Robot state to policy units to model space: signs, grippers | normalise, pad."""

    def __init__(self, model: ModelSpec, robot: RobotSemantics) -> None:
        """Build the transform; see ``InputPipeline`` for the errors."""
        where = f'policy.yaml: embodiments.{robot.embodiment}'
        # Only the identity needs no statistics; it covers whatever the robot reports.
        unmeasured = min(VECTOR_DIM, model.state_dim) if robot.signs is None else len(robot.signs)
        self.width = robot.state.width or unmeasured
        check_width(where, 'state', self.width, model.state_dim)
        self._signs = Signs.of(robot.signs, self.width, f'{where}.signs')
        self._grippers = Grippers.of(
            robot.state_grippers, 'state', self.width, f'{where}.state_grippers'
        )
        self._normalize = make_normalizer(
            robot.normalization, robot.state, robot.eps, f'{where}.state'
        )
        self._pad = Pad(self.width, model.state_dim)

    def adapt(self, state: Array) -> Array:
        """Return the leading values of a robot vector in policy units, float64 [width]."""
        if len(state) < self.width:
            msg = f'a state of {len(state)} values, expected {self.width} or more'
            raise ValueError(msg)
        return self._grippers(self._signs(state[: self.width]))

    def __call__(self, state: Array, mapped: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return the model's state, float32 [state_dim].

        Args:
            state: float64 [vector_dim], robot vector.
            mapped: bool [vector_dim]; where it is False the result is exactly 0.

        Raises:
            BundleError: If a value is mapped that the bundle has no statistics for.
        """
        if mapped[self.width :].any():
            raise BundleError.at(
                'policy.yaml',
                'state',
                found=f'statistics of {self.width} values',
                expected=f'{int(np.flatnonzero(mapped)[-1]) + 1}, as the robot reports',
            )
        normalized = np.where(mapped[: self.width], self._normalize(self.adapt(state)), 0.0)
        return self._pad(normalized).astype(np.float32)

    def inverse(self, values: npt.NDArray[np.float32]) -> Array:
        """Return a model state [state_dim] in robot units, float64 [width]."""
        policy = self._normalize.inverse(self._pad.inverse(values).astype(np.float64))
        return self._signs.inverse(self._grippers.inverse(policy))

    @property
    def near_constant(self) -> tuple[int, ...]:
        """Indices whose statistics hardly move."""
        return near_constant(self._normalize)


def check_width(where: str, key: str, width: int, limit: int) -> None:
    """Refuse a robot width that the model cannot hold."""
    if not 0 < width <= limit:
        raise BundleError.at(
            where, key, found=f'{width} values', expected=f'1 to {limit}, the model width'
        )
