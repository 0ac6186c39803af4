"""How the simulated robot gets its OpenGL, and what it says when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pizero_ros.sim.opengl import gl_backend, no_opengl

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ('environment', 'backend'),
    [
        ({}, 'egl'),
        ({'DISPLAY': ''}, 'egl'),
        ({'DISPLAY': ':0'}, None),
        ({'MUJOCO_GL': 'osmesa'}, None),
    ],
)
def test_egl_is_chosen_without_display_or_wish(environment, backend):
    assert gl_backend(environment) == backend


def test_fault_names_the_packages():
    text = str(no_opengl(OSError('libEGL.so.1: cannot open')))
    for package in ('libegl1', 'libopengl0', 'libgl1-mesa-dri'):
        assert package in text


def test_absent_opengl_is_an_environment_fault():
    code = (
        'from pizero_ros.errors import EnvironmentFault\n'
        'try:\n'
        '    import pizero_ros.sim.robot\n'
        'except EnvironmentFault as error:\n'
        '    print(error)\n'
    )
    environment = os.environ | {'MUJOCO_GL': 'no_such_backend', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    assert 'MUJOCO_GL' in done.stdout
    assert 'libgl1-mesa-dri' in done.stdout
