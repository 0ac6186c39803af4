"""Which OpenGL MuJoCo renders with, and the one error for having none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault, PizeroError

if TYPE_CHECKING:
    from collections.abc import Mapping


def gl_backend(environment: Mapping[str, str]) -> str | None:
    """Choose how MuJoCo gets its OpenGL; the entry point applies it before MuJoCo is imported.

    Args:
        environment: The process's environment variables.

    Returns:
        A value for ``MUJOCO_GL``, or ``None`` where the user or a display decides.
    """
    if environment.get('MUJOCO_GL') or environment.get('DISPLAY'):
        return None
    return 'egl'


def no_opengl(error: Exception) -> PizeroError:
    """Return the fault to raise when pictures cannot be rendered because of ``error``."""
    return EnvironmentFault.at(
        'MuJoCo',
        'MUJOCO_GL',
        found=f'{type(error).__name__} ({error})',
        expected='an OpenGL that renders without a display',
        remedy=(
            'Set MUJOCO_GL=egl and install the Debian packages libegl1, libopengl0 and '
            'libgl1-mesa-dri.'
        ),
    )
