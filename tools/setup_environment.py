"""Create the virtual environment, install what it lacks, and build the ROS 2 package.

Standard library only: this runs before anything is installed. Each step leaves a stamp of what it
was made from and is skipped while that has not changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
TORCH = 'torch==2.13.0'
"""Installed first and alone: a range would pull CUDA packages on a machine without a GPU."""

EXTRAS = 'cpu,sim,tokenizer,train,lerobot,dev'
STAMP = '.pizero-stamp'
WHEELS = ('jazzy', 'kilted')
BUILD_INPUTS = ('CMakeLists.txt', 'package.xml', 'msg', 'cmake')
INSTALLED_TREES = ('pizero_ros', 'launch', 'config')


def fingerprint(parts: Iterable[object]) -> str:
    """Hash the parts; a path contributes its content."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else str(part).encode()
        digest.update(len(content).to_bytes(8, 'big') + content)
    return digest.hexdigest()


def is_current(stamp: Path, wanted: str) -> bool:
    """Tell whether the step that left ``stamp`` was made from the same inputs."""
    return stamp.is_file() and stamp.read_text() == wanted


def run(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in a log file; on failure show the log's end and exit."""
    with log.open('a') as output:
        output.write(f'$ {" ".join(command)}\n')
        output.flush()
        code = subprocess.run(
            command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        tail = '\n'.join(log.read_text(errors='replace').splitlines()[-30:])
        sys.exit(f'{tail}\n\n{" ".join(command[:4])} … failed with exit code {code}; log: {log}')


def repair_cmake_exports(prefix: Path) -> int:
    """Strip include directories of the wheels' build machine from exported CMake targets.

    The rosidl wheels export ``/opt/python/…`` paths that exist only where they were built, and
    CMake refuses a target with a missing include directory.

    Returns:
        Number of files changed.
    """
    changed = 0
    for path in prefix.glob('share/*/cmake/*Export.cmake'):
        text = path.read_text()
        repaired = re.sub(r'/opt/python/[^;"]*;?', '', text)
        if repaired != text:
            path.write_text(repaired)
            changed += 1
    return changed


def claim(name: str, variant: str) -> Path:
    """Return the folder ``name`` for this variant of the wheels.

    The default variant owns the plain name. Another one has its own folder, and takes the plain
    name as a symbolic link while the default variant has not been set up.
    """
    plain = ROOT / name
    if variant == WHEELS[0]:
        if plain.is_symlink():
            plain.unlink()
        return plain
    own = ROOT / f'{name}-{variant}'
    if not plain.exists() and not plain.is_symlink():
        plain.symlink_to(own.name)
    return own


def install(venv: Path, wheels: str | None, logs: Path) -> bool:
    """Bring the virtual environment up to date.

    Args:
        venv: Its folder.
        wheels: Distribution whose ROS 2 wheels to install; None where ROS 2 is sourced.
        logs: Folder of the log.

    Returns:
        Whether anything was done.
    """
    if not (3, 10) <= sys.version_info[:2] <= (3, 13) and wheels:
        sys.exit(
            f'Python {sys.version.split()[0]} has no ROS 2 wheels; 3.10 to 3.13 have. '
            'Choose one with PYTHON=python3.11 make …'
        )
    requirements = [ROOT / 'tools' / f'wheels-{wheels}.txt'] if wheels else []
    wanted = fingerprint(
        [*requirements, ROOT / 'setup.py', Path(__file__), sys.version, wheels, str(venv), TORCH]
    )
    stamp = venv / STAMP
    if is_current(stamp, wanted):
        return False
    log = logs / 'install.log'
    python = str(venv / 'bin' / 'python')
    print(f'Setting up {venv.name} (some minutes on the first run; log: {log}) …', flush=True)
    venv.mkdir(parents=True, exist_ok=True)
    # colcon searches the whole tree for packages, and the wheels bring package.xml files.
    (venv / 'COLCON_IGNORE').touch()
    site = [] if wheels else ['--system-site-packages']
    run([sys.executable, '-m', 'venv', *site, str(venv)], log)
    pip = [python, '-m', 'pip', 'install', '--disable-pip-version-check']
    run([*pip, '--upgrade', 'pip', 'setuptools', 'wheel'], log)
    steps = [('PyTorch', [TORCH])]
    if wheels:
        steps.append((f'ROS 2 {wheels} wheels', ['-r', str(requirements[0])]))
    else:
        steps.append(('colcon', ['colcon-common-extensions']))
    for label, arguments in steps:
        print(f'  {label} …', flush=True)
        run([*pip, *arguments], log)
    print('  pizero_ros and its libraries …', flush=True)
    run([*pip, '--no-build-isolation', '-e', f'.[{EXTRAS}]'], log)
    if wheels:
        print(f'  repaired {repair_cmake_exports(venv)} CMake exports of the wheels', flush=True)
    stamp.write_text(wanted)
    return True


def build_environment(venv: Path, wheels: str | None) -> dict[str, str]:
    """Return the environment in which colcon finds ROS 2 and the right interpreter."""
    env = dict(os.environ, VIRTUAL_ENV=str(venv))
    env['PATH'] = f'{venv / "bin"}{os.pathsep}{env["PATH"]}'
    if wheels:
        env['AMENT_PREFIX_PATH'] = env['CMAKE_PREFIX_PATH'] = str(venv)
        for name in ('COLCON_PREFIX_PATH', 'PYTHONPATH', 'ROS_DISTRO'):
            env.pop(name, None)
    return env


def workspace(build_base: Path) -> Path:
    """Lay out a colcon workspace of symbolic links, so that the package's folder has no .venv.

    NumPy's headers become an interface of the generated message library, and CMake refuses to
    export an include directory that lies inside the source folder.
    """
    package = build_base / 'workspace' / 'pizero_ros'
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for name in (*BUILD_INPUTS, *INSTALLED_TREES):
        (package / name).symlink_to(ROOT / name)
    return package.parent


def build(venv: Path, wheels: str | None, variant: str, logs: Path) -> bool:
    """Build the package with colcon when an input of the build has changed.

    Python files are symbolic links in the install folder, so only their names count.

    Returns:
        Whether anything was done.
    """
    install_base = claim('install', variant)
    build_base = claim('build', variant)
    inputs = [
        path
        for name in BUILD_INPUTS
        for path in sorted([ROOT / name, *(ROOT / name).rglob('*')])
        if path.is_file()
    ]
    names = sorted(
        str(path.relative_to(ROOT))
        for tree in INSTALLED_TREES
        for path in (ROOT / tree).rglob('*')
        if '__pycache__' not in path.parts
    )
    wanted = fingerprint([*inputs, *names, str(venv), Path(__file__), sys.version])
    stamp = install_base / STAMP
    if is_current(stamp, wanted):
        return False
    log = logs / 'build.log'
    print(f'Building pizero_ros with colcon (log: {log}) …', flush=True)
    # A file that was removed or renamed would stay in the install folder as a dangling link.
    shutil.rmtree(install_base, ignore_errors=True)
    env = build_environment(venv, wheels)
    command = [
        *(str(venv / 'bin' / 'python'), '-m', 'colcon', '--log-base', str(logs / 'colcon')),
        *('build', '--symlink-install', '--packages-select', 'pizero_ros'),
        *('--base-paths', str(workspace(build_base))),
        *('--build-base', str(build_base), '--install-base', str(install_base)),
        *('--cmake-args', '-DBUILD_TESTING=OFF'),
        f'-DPython3_EXECUTABLE={venv / "bin" / "python"}',
        f'-DPYTHON_EXECUTABLE={venv / "bin" / "python"}',
        '-DPython3_FIND_VIRTUALENV=ONLY',
    ]
    run(command, log, env)
    stamp.write_text(wanted)
    return True


def main() -> int:
    """Set up and build; print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--wheels',
        choices=WHEELS,
        default=WHEELS[0],
        help='ROS 2 distribution to install from wheels where none is sourced',
    )
    options = parser.parse_args()
    sourced = os.environ.get('ROS_DISTRO')
    wheels = None if sourced else options.wheels
    variant = WHEELS[0] if sourced else options.wheels
    logs = ROOT / 'log'
    logs.mkdir(exist_ok=True)
    venv = claim('.venv', variant)
    install(venv, wheels, logs)
    build(venv, wheels, variant, logs)
    return 0


if __name__ == '__main__':
    sys.exit(main())
