"""Robot vector to a chunk policy's state, and its output to robot actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import ObservationError
from pizero_ros.processing.grippers import Grippers
from pizero_ros.processing.normalize import make_normalizer
from pizero_ros.processing.relative import RelativeActions

if TYPE_CHECKING:
    from pizero_ros.policy.foreign.manifest import ChunkOutput, PolicyVector

Array = npt.NDArray[np.float64]


class StateVector:
    """Robot state to the policy's: pick, map units | normalise."""

    def __init__(self, vector: PolicyVector, where: str) -> None:
        """Build the transforms.

        Args:
            vector: From the manifest.
            where: The manifest, for messages.
        """
        self.indices = np.array(vector.indices)
        key = f'{where}: {vector.key}'
        self._maps = Grippers.of(vector.maps, 'state', vector.width, f'{key}.maps')
        self._normalize = make_normalizer(vector.normalization, vector.statistics, vector.eps, key)

    def adapt(self, state: Array, mapped: npt.NDArray[np.bool_]) -> Array:
        """Return the values that the policy takes, in its units, float64 [width].

        Args:
            state: float64 [vector_dim], robot vector.
            mapped: bool [vector_dim], where a joint wrote the value.

        Raises:
            ObservationError: No joint wrote one of them.
        """
        absent = self.indices[~mapped[self.indices]]
        if len(absent):
            raise ObservationError.at(
                'observation',
                'state',
                found=f'no joint at {", ".join(map(str, absent))} of the robot vector',
                expected='all values that the policy takes',
            )
        return self._maps(state[self.indices])

    def __call__(self, adapted: Array) -> npt.NDArray[np.float32]:
        """Return the graph's state, float32 [width], of what ``adapt`` returned."""
        return self._normalize(adapted).astype(np.float32)


class ActionVector:
    """The policy's output to robot actions: unnormalise, make absolute, map units | place."""

    def __init__(
        self, output: ChunkOutput, state_indices: tuple[int, ...], width: int, where: str
    ) -> None:
        """Build the transforms.

        Args:
            output: From the manifest.
            state_indices: Index in the robot vector of each value of the policy's state.
            width: Action width of the robot.
            where: The manifest, for messages.
        """
        vector = output.vector
        key = f'{where}: {vector.key}'
        self._indices = np.array(vector.indices)
        self._width = width
        self._normalize = make_normalizer(vector.normalization, vector.statistics, vector.eps, key)
        self._maps = Grippers.of(vector.maps, 'action', vector.width, f'{key}.maps')
        mask = np.array(output.relative, bool)
        self._relative = RelativeActions(mask)
        self._columns = np.flatnonzero(mask)
        self._bases = [state_indices.index(vector.indices[column]) for column in self._columns]

    def __call__(self, rows: npt.NDArray[np.float32], adapted: Array | None) -> Array:
        """Return what the robot would be told.

        Args:
            rows: float32 [H, A], output of the graph.
            adapted: The observation's state as ``StateVector.adapt`` returned it: base of
                relative actions. None for a policy without state.

        Returns:
            float64 [H, action width], robot vector; 0 where the robot has no joint. Not limited
            and not checked for finiteness: that is the safety gate's.
        """
        actions = self._normalize.inverse(rows.astype(np.float64))
        if adapted is not None:
            base = np.zeros(actions.shape[-1])
            base[self._columns] = adapted[self._bases]
            actions = self._relative.inverse(actions, base)
        placed = np.zeros((len(rows), self._width))
        placed[:, self._indices] = self._maps.inverse(actions)
        return placed
