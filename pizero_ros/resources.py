"""Where the files that ship with the package lie: configurations and launch files."""

from __future__ import annotations

import os
from pathlib import Path

from pizero_ros.errors import EnvironmentFault

PACKAGE = 'pizero_ros'


def share_dir() -> Path:
    """Return the folder that holds ``config/`` (and, in a ROS installation, ``launch/``).

    Searched upward from this file, never elsewhere, so that a package cannot pick up the
    configurations of another copy of itself: the source tree first, then the nearest
    ``share/pizero_ros`` above, which is where both colcon and pip put them.

    Raises:
        EnvironmentFault: If neither exists.
    """
    # Links are kept: `colcon build --symlink-install` links each module to the source tree, and
    # the installed configurations are found from the link's own place.
    package = Path(os.path.abspath(__file__)).parent  # noqa: PTH100
    tree = package.parent
    if (tree / 'config').is_dir() and any(
        (tree / marker).is_file() for marker in ('package.xml', 'setup.py')
    ):
        return tree
    for folder in package.parents:
        share = folder / 'share' / PACKAGE
        if (share / 'config').is_dir():
            return share
    raise EnvironmentFault.at(
        package,
        '',
        found=f'no config folder beside it and no share/{PACKAGE}/config above it',
        expected='the configurations that ship with the package',
        remedy='Install the package with colcon or pip; a copied Python folder is not enough.',
    )


def config_dir() -> Path:
    """Return the folder of the shipped configurations (embodiments, architectures, …)."""
    return share_dir() / 'config'


def embodiment_names() -> list[str]:
    """Return the names of the shipped embodiments, sorted."""
    return sorted(path.stem for path in (config_dir() / 'embodiments').glob('*.yaml'))


def shipped_policy() -> Path:
    """Return the bundle of the demo policy: the simulated robots, a few megabytes."""
    return config_dir() / 'policies' / 'demo'
