"""The untrained bundle of a demo: exported once, and again when what it is made of changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault
from pizero_ros.policy.manifest import MANIFEST_FILE
from pizero_ros.resources import config_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment

ARCHITECTURE = 'tiny'
_MADE_BY = ('embodiment', 'export', 'model', 'policy', 'processing')
"""Packages whose code decides what is in a bundle."""

_LIBRARIES = ('torch', 'onnx', 'onnxscript', 'onnxruntime')


def untrained_bundle(
    embodiments: Sequence[Embodiment],
    actions: str,
    *,
    out: Path,
    pizero: Path,
    env: Mapping[str, str],
    log: Path,
) -> Path:
    """Return the folder of an untrained bundle for these robots; export it if it is not there.

    Args:
        embodiments: The robots.
        actions: ``absolute`` or ``relative``.
        out: Where to keep it if there is no source tree.
        pizero: The executable. Exporting is left to a process of its own: this one has no need of
            torch.
        env: Its environment.
        log: What it prints.

    Raises:
        EnvironmentFault: The export failed.
    """
    name = '_'.join([actions, *(each.name for each in embodiments)])
    bundle = cache_dir(out) / name
    stamp = bundle.with_name(f'{name}.key')
    key = _key(embodiments, actions)
    current = stamp.is_file() and stamp.read_text(encoding='utf-8') == key
    if current and (bundle / MANIFEST_FILE).is_file():
        return bundle
    command = [str(pizero), 'export', '--random', ARCHITECTURE, '--actions', actions, '--force']
    for each in embodiments:
        command += ['--embodiment', each.source]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('wb') as output:
        status = subprocess.run(
            [*command, '--out', str(bundle)],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status:
        said = log.read_text(encoding='utf-8', errors='replace').strip()
        raise EnvironmentFault.at(
            log,
            '',
            found=f'exit status {status} of `pizero export`: {said or "no output"}',
            expected='an untrained bundle',
            remedy='Give a bundle of your own with --bundle, or mend what the export says.',
        )
    stamp.write_text(key, encoding='utf-8')
    return bundle


def cache_dir(out: Path) -> Path:
    """Return ``.cache/demo`` beside the Makefile of the source tree, or ``out/bundles``."""
    # Modules of a colcon --symlink-install are links into the source tree.
    tree = Path(__file__).resolve().parents[2]
    if (tree / 'Makefile').is_file() and (tree / 'package.xml').is_file():
        return tree / '.cache' / 'demo'
    return out / 'bundles'


def _key(embodiments: Sequence[Embodiment], actions: str) -> str:
    """Hash everything that the bundle depends on."""
    package = Path(__file__).parents[1]
    parts = [Path(each.source) for each in embodiments]
    parts.append(config_dir() / 'architectures' / f'{ARCHITECTURE}.yaml')
    for folder in _MADE_BY:
        parts += sorted((package / folder).glob('*.py'))
    digest = hashlib.sha256(actions.encode())
    for path in parts:
        digest.update(f'{path.name}\0'.encode() + path.read_bytes() + b'\0')
    for library in _LIBRARIES:
        digest.update(f'{library} {_version(library)}\0'.encode())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return 'absent'
