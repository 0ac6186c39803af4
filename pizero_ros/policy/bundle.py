"""A bundle on disk, trusted only after every byte of it has been checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.digest import file_digest
from pizero_ros.errors import BundleError
from pizero_ros.policy.manifest import (
    JACOBIAN_FILE,
    MANIFEST_FILE,
    PARITY_FILE,
    REQUIRED_FILES,
    TOKENIZER_FILES,
    FileEntry,
    Manifest,
)
from pizero_ros.policy.manifest_read import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.processing.spec import RobotSemantics

_PROVEN_SUFFIXES = ('.onnx', '.data')
_EXPORT_AGAIN = 'Copy or export the bundle again.'


@dataclass(frozen=True)
class Bundle:
    """A complete, unaltered bundle.

    Attributes:
        path: Its folder.
        manifest: What it says about itself.
        parity: The proof that its graphs compute what torch computes.
    """

    path: Path
    manifest: Manifest
    parity: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path, on_bytes: Callable[[int], object] | None = None) -> Bundle:
        """Check a bundle: manifest, every file's presence, size and SHA-256, parity proof.

        Args:
            path: The bundle's folder.
            on_bytes: Called with the number of bytes hashed since the last call, for a progress
                bar.

        Returns:
            The checked bundle; no ONNX Runtime session has been created.

        Raises:
            BundleError: Something is missing, left over, altered, or not proven.
        """
        folder = Path(path)
        if not folder.is_dir():
            found = 'a file' if folder.exists() else 'nothing'
            raise BundleError.at(
                folder,
                '',
                found=found,
                expected='a bundle folder',
                remedy='`pizero export` writes one.',
            )
        manifest = read_manifest(folder / MANIFEST_FILE)
        _check_listing(folder, manifest)
        for name, entry in manifest.files.items():
            _check_digest(folder / name, entry, on_bytes)
        also = ('correction',) if JACOBIAN_FILE in manifest.files else ()
        proof = read_parity(folder / PARITY_FILE, also, tuple(manifest.variants))
        _check_proven(folder / PARITY_FILE, proof, manifest)
        return cls(folder, manifest, proof)

    def semantics(self, embodiment: str) -> RobotSemantics:
        """Return what actions and state mean for one embodiment.

        Raises:
            BundleError: The bundle was not made for it.
        """
        known = self.manifest.embodiments
        if self.manifest.model_only:
            raise BundleError.at(
                self.path,
                'model_only',
                found='a bundle without action semantics',
                expected=f'one for the embodiment {embodiment}',
                remedy='Export it with --embodiment; only `pizero infer` runs this one.',
            )
        if embodiment not in known:
            raise BundleError.at(
                self.path,
                'embodiments',
                found=', '.join(known),
                expected=embodiment,
                remedy='Choose one of these embodiments, or export the bundle for this robot.',
            )
        return known[embodiment]


def read_parity(
    path: Path, also: Sequence[str] = (), variants: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Read the parity proof and hold every error in it against its tolerance.

    Args:
        path: The bundle's ``parity.json``.
        also: Errors that it must hold besides those of the velocity and the sample.
        variants: Variants that it must be about too, each with errors and tolerances of its own.

    Returns:
        Its content.

    Raises:
        BundleError: It cannot be read, or an error is absent, not a number, or too large.
    """
    try:
        proof: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        parts = {
            '': _errors(proof),
            **{each: _errors(proof['variants'][each]) for each in variants},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f'{type(error).__name__}: {error}'
        raise BundleError.at(
            path, '', found=found, expected='a parity proof', remedy=_EXPORT_AGAIN
        ) from None
    for variant, (errors, limits) in parts.items():
        for key in ('velocity', 'sample', *(() if variant else also)):
            largest, limit = errors.get(key, math.nan), limits.get(key, math.nan)
            if not largest < limit:  # So written that a NaN fails.
                raise BundleError.at(
                    path,
                    f'{f"variants.{variant}." if variant else ""}max_abs_error.{key}',
                    found=f'{largest:g}',
                    expected=f'less than {limit:g}',
                    remedy='The graphs do not compute what the policy computes; export them '
                    'again.',
                )
    return proof


def _errors(proof: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the errors of a proof and their tolerances."""
    found, limits = (
        {str(key): float(value) for key, value in proof[part].items()}
        for part in ('max_abs_error', 'tolerance')
    )
    return found, limits


def file_entry(path: Path, on_bytes: Callable[[int], object] | None = None) -> FileEntry:
    """Measure a file: size and SHA-256, streamed."""
    return FileEntry(path.stat().st_size, file_digest(path, on_bytes))


def graph_digests(files: Mapping[str, FileEntry]) -> dict[str, str]:
    """Return the SHA-256 of every file that a parity proof is about: graphs and their weights."""
    return {name: entry.sha256 for name, entry in files.items() if name.endswith(_PROVEN_SUFFIXES)}


def _check_proven(path: Path, proof: Mapping[str, Any], manifest: Manifest) -> None:
    """Refuse a proof that was made for other graphs."""
    proven = proof.get('graphs')
    present = graph_digests(manifest.files)
    if proven == present:
        return
    if isinstance(proven, dict):
        names = sorted(
            str(name) for name in {*proven, *present} if proven.get(name) != present.get(name)
        )
        found = f'a proof for other files ({", ".join(names)})'
    else:
        found = 'a proof that does not say for which files it was made'
    raise BundleError.at(
        path,
        'graphs',
        found=found,
        expected='the SHA-256 of the graphs in this bundle',
        remedy='Nothing says that these graphs compute what the policy computes; export the '
        'bundle again.',
    )


def _check_listing(folder: Path, manifest: Manifest) -> None:
    """Compare the folder's content with the manifest's list, names and sizes."""
    required = set(REQUIRED_FILES)
    kind = manifest.model.prompt.tokenizer
    if kind in TOKENIZER_FILES:
        required.add(TOKENIZER_FILES[kind])
    for name in sorted(required - set(manifest.files)):
        raise BundleError.at(
            folder / MANIFEST_FILE, 'files', found=f'no entry for {name}', expected='one'
        )
    present = {each.name for each in folder.iterdir()} - {MANIFEST_FILE}
    for name in sorted(present - set(manifest.files)):
        raise BundleError.at(
            folder,
            name,
            found='a file that the manifest does not list',
            expected='nothing else in the folder',
            remedy='Move it away: what is not hashed is not trusted.',
        )
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError.at(
                folder, name, found='no such file', expected=f'{entry.size} bytes',
                remedy=_EXPORT_AGAIN,
            )  # fmt: skip
        size = path.stat().st_size
        if size != entry.size:
            raise BundleError.at(
                folder, name, found=f'{size} bytes', expected=f'{entry.size} bytes',
                remedy=_EXPORT_AGAIN,
            )  # fmt: skip


def _check_digest(path: Path, entry: FileEntry, on_bytes: Callable[[int], object] | None) -> None:
    found = file_entry(path, on_bytes).sha256
    if found != entry.sha256:
        raise BundleError.at(
            path.parent,
            path.name,
            found=f'SHA-256 {found}',
            expected=entry.sha256,
            remedy=f'The file was altered or damaged. {_EXPORT_AGAIN}',
        )
