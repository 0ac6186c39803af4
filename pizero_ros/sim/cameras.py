"""Rendering of camera pictures, apart from the physics so that it may run in its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.sim.engine import mujoco
from pizero_ros.sim.opengl import no_opengl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Snapshot(NamedTuple):
    """What a picture depends on: the simulated time and the generalised positions."""

    time_s: float
    qpos: npt.NDArray[np.float64]


class CameraRenderer:
    """One OpenGL context for all cameras of a model, with its own copy of the state.

    OpenGL contexts belong to a thread: create, use and close it in the same one.
    """

    def __init__(self, model: Any, width: int, height: int) -> None:
        """Create the context.

        Args:
            model: The ``mujoco.MjModel`` to show; only its offscreen size is changed.
            width: Pixels across.
            height: Pixels down.

        Raises:
            EnvironmentFault: If no OpenGL can be had.
        """
        self._model = model
        # The offscreen buffer is allocated at the size that the model asks for, however large the
        # picture: asking for just the picture saves memory and lets any size through.
        model.vis.global_.offwidth = width
        model.vis.global_.offheight = height
        self._data = mujoco.MjData(model)
        try:
            self._renderer = mujoco.Renderer(model, height=height, width=width)
        except (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError) as error:
            raise no_opengl(error) from error

    def render(self, camera: str, snapshot: Snapshot) -> npt.NDArray[np.uint8]:
        """Render one camera.

        Args:
            camera: Its name in the model.
            snapshot: The state to show.

        Returns:
            uint8 [H, W, 3] RGB, a new array.
        """
        self._data.qpos[:] = snapshot.qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, camera=camera)
        picture: npt.NDArray[np.uint8] = self._renderer.render()
        return picture

    def close(self) -> None:
        """Free the context; closing twice is allowed."""
        self._renderer.close()
