"""One training sample in robot space, and where samples of one task on one robot come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment


@dataclass(frozen=True)
class Example:
    """One training sample in robot space, before any normalisation.

    Attributes:
        embodiment: Name of the robot.
        prompt: Instruction in force at the observation.
        images: Slot → uint8 [h, w, 3] RGB, already of the model's image size. A slot that is
            absent had no usable camera.
        state: float64 [vector_dim], robot vector, 0 where unmapped.
        state_mapped: bool [vector_dim], True where a joint wrote the value.
        actions: float64 [H, action width], robot vector, absolute; action k belongs to the
            observation's moment + k / rate. What lies behind the end of a demonstration repeats
            its last action, with the base at rest.
        actions_valid: bool [H], False where repeated.
        name: Recording and moment, for messages; may be empty.
    """

    embodiment: str
    prompt: str
    images: Mapping[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float64]
    state_mapped: npt.NDArray[np.bool_]
    actions: npt.NDArray[np.float64]
    actions_valid: npt.NDArray[np.bool_]
    name: str = ''


class Examples(Protocol):
    """The samples of one task on one robot: random access, cheap, from any thread.

    Attributes:
        name: Of the task-robot pair, for people and messages.
        embodiment: The robot.
    """

    name: str
    embodiment: Embodiment

    def __len__(self) -> int:
        """Return how many there are; at least one."""

    def __getitem__(self, number: int) -> Example:
        """Return sample ``number``, 0 to ``len(self) - 1``."""
