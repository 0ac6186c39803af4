"""The MuJoCo module, imported in one place so that its absence gives one clear error."""

from __future__ import annotations

from pizero_ros.errors import EnvironmentFault
from pizero_ros.sim.opengl import no_opengl

try:
    import mujoco
except ModuleNotFoundError as error:
    raise EnvironmentFault.at(
        'pizero_ros.sim',
        'mujoco',
        found=error,
        expected='the mujoco package',
        remedy="Install the simulation extra: pip install '.[sim]'.",
    ) from error
except (ImportError, AttributeError, OSError, RuntimeError) as error:
    # PyOpenGL reports a missing library as an AttributeError on None.
    raise no_opengl(error) from error

__all__ = ['mujoco']
