"""Where the shipped configurations are found, in each way of installing the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f'python{sys.version_info.major}.{sys.version_info.minor}'
MODULES = ('__init__.py', 'errors.py', 'resources.py')


def copy_package(parent: Path) -> None:
    (parent / 'pizero_ros').mkdir(parents=True)
    for name in MODULES:
        shutil.copy(ROOT / 'pizero_ros' / name, parent / 'pizero_ros' / name)


def add_embodiment(config: Path, name: str) -> None:
    (config / 'embodiments').mkdir(parents=True)
    (config / 'embodiments' / f'{name}.yaml').touch()


def ask(parent: Path) -> list[str]:
    """Import the copy under ``parent`` in a process of its own; its folder and names."""
    code = (
        'from pizero_ros.resources import config_dir, embodiment_names\n'
        'print(config_dir(), *embodiment_names(), sep="\\n")'
    )
    run = subprocess.run(
        [sys.executable, '-S', '-c', code],
        env={**os.environ, 'PYTHONPATH': str(parent)},
        cwd='/',
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_source_tree(tmp_path):
    copy_package(tmp_path)
    (tmp_path / 'package.xml').touch()
    add_embodiment(tmp_path / 'config', 'here')
    assert ask(tmp_path) == [str(tmp_path / 'config'), 'here']


@pytest.mark.parametrize(
    'libraries', [f'lib/{PYTHON}/site-packages', f'local/lib/{PYTHON}/dist-packages']
)
def test_colcon_or_pip_installation(tmp_path, libraries):
    copy_package(tmp_path / libraries)
    add_embodiment(tmp_path / 'share/pizero_ros/config', 'installed')
    assert ask(tmp_path / libraries) == [
        str(tmp_path / 'share/pizero_ros/config'),
        'installed',
    ]


def test_symlink_install_uses_the_installation_and_not_the_tree_behind_the_links(tmp_path):
    tree, prefix = tmp_path / 'src', tmp_path / 'install'
    copy_package(tree)
    (tree / 'package.xml').touch()
    add_embodiment(tree / 'config', 'of_the_tree')
    add_embodiment(prefix / 'share/pizero_ros/config', 'installed')
    package = prefix / 'lib' / PYTHON / 'site-packages' / 'pizero_ros'
    package.mkdir(parents=True)
    for name in MODULES:
        (package / name).symlink_to(tree / 'pizero_ros' / name)
    assert ask(package.parent)[1:] == ['installed']


def test_nearest_installation_wins(tmp_path):
    inner = tmp_path / 'venv'
    copy_package(inner / 'lib' / PYTHON / 'site-packages')
    add_embodiment(tmp_path / 'share/pizero_ros/config', 'outer')
    add_embodiment(inner / 'share/pizero_ros/config', 'inner')
    assert ask(inner / 'lib' / PYTHON / 'site-packages')[1:] == ['inner']


def test_copied_folder_without_configurations_says_so(tmp_path):
    copy_package(tmp_path / 'somewhere')
    with pytest.raises(AssertionError, match='EnvironmentFault'):
        ask(tmp_path / 'somewhere')
