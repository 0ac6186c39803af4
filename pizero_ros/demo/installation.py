"""What a demo needs of the machine: the built ROS package, its executables, a free domain."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import random
import socket
from pathlib import Path
from typing import Any

from pizero_ros.errors import EnvironmentFault
from pizero_ros.resources import PACKAGE, config_dir, share_dir

EXECUTABLES = ('policy_node', 'sim_robot', 'replay_node', 'pizero')
DOMAINS = range(1, 102)
"""Domains whose ports lie below the ephemeral ones of Linux."""

FAST_DDS_PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_REMEDY = 'Run `make build`, then `. install/setup.bash` in this shell (`make demo` does both).'
_LIBRARIES = ('pizero_ros', 'numpy', 'onnxruntime', 'mujoco', 'rosbags')


def executables() -> dict[str, Path]:
    """Return the executables of the built package by name.

    Raises:
        EnvironmentFault: It is not built, not sourced, or has no rclpy beneath it.
    """
    try:
        for module in ('rclpy', f'{PACKAGE}.msg'):
            importlib.import_module(module)
    except ImportError as error:
        raise EnvironmentFault.at(
            PACKAGE, '', found=str(error), expected='the built ROS 2 package', remedy=_REMEDY
        ) from None
    folder = share_dir().parent.parent / 'lib' / PACKAGE
    found = {name: folder / name for name in EXECUTABLES}
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing:
        raise EnvironmentFault.at(
            folder,
            '',
            found=f'no {", ".join(missing)}',
            expected='the executables of the built ROS 2 package',
            remedy=_REMEDY,
        )
    return found


def environment() -> dict[str, str]:
    """Return the environment of every process, this one's with what the demo needs.

    Images go through shared memory, and nothing leaves this machine: the commands of a demo must
    never reach a robot on the same network.
    """
    defaults = {name: str(config_dir() / 'fastdds_shm.xml') for name in FAST_DDS_PROFILES}
    defaults['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    return {**defaults, **os.environ}


def free_domain() -> int:
    """Return a ROS domain that nobody on this machine uses and that is not the shell's own."""
    own = os.environ.get('ROS_DOMAIN_ID', '0')
    candidates = [domain for domain in DOMAINS if str(domain) != own]
    random.Random(os.getpid()).shuffle(candidates)
    for domain in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Unicast discovery port of a domain's first participant (RTPS 2.2, 9.6.1.4).
                probe.bind(('', 7400 + 250 * domain + 10))
            except OSError:
                continue
        return domain
    raise EnvironmentFault.at(
        'ROS_DOMAIN_ID', '', found='all of 1 to 101 in use', expected='a free domain'
    )


def versions() -> dict[str, str | None]:
    """Return the versions of what has a part in the figures, None for what is absent."""
    import rclpy

    return {
        'python': platform.python_version(),
        'ros_distro': os.environ.get('ROS_DISTRO') or _distro_of_wheels(),
        'rclpy': _version('rclpy') or _version('ros-rclpy'),
        'rmw': str(rclpy.get_rmw_implementation_identifier()),
        'fast_dds': _version('ros-fastrtps'),
        **{name: _version(name) for name in _LIBRARIES},
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        'system': f'{platform.system()} {platform.release()}',
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)),
        'load_average': [round(value, 2) for value in os.getloadavg()],
    }


def _distro_of_wheels() -> str | None:
    for distro in ('jazzy', 'kilted'):
        if _version(f'ros-{distro}-rclpy'):
            return distro
    return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.machine()
