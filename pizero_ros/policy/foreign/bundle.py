"""The folder of a chunk policy, trusted only after every byte of it has been checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import file_entry
from pizero_ros.policy.foreign.manifest_read import read_chunk_manifest
from pizero_ros.policy.manifest import MANIFEST_FILE
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.policy.foreign.manifest import ChunkManifest


@dataclass(frozen=True)
class ForeignBundle:
    """A complete, unaltered chunk policy: its folder, and what it says about itself."""

    path: Path
    manifest: ChunkManifest

    @classmethod
    def open(
        cls, path: str | Path, on_bytes: Callable[[int], object] | None = None
    ) -> ForeignBundle:
        """Check a folder: manifest, every file's presence and SHA-256, nothing left over.

        Args:
            path: The folder.
            on_bytes: Called with the number of bytes hashed since the last call.

        Returns:
            The checked folder; no ONNX Runtime session has been created.

        Raises:
            BundleError: Something is missing, left over or altered, or the manifest is wrong.
        """
        folder = Path(path)
        manifest = read_chunk_manifest(folder / MANIFEST_FILE)
        present = {each.name for each in folder.iterdir()} - {MANIFEST_FILE}
        for name in sorted(present - set(manifest.files)):
            raise BundleError.at(
                folder,
                name,
                found='a file that the manifest does not list',
                expected='nothing else in the folder',
                remedy='List it under `files` if the graph reads it, else move it away: what is '
                'not hashed is not trusted.',
            )
        for name, digest in manifest.files.items():
            if not (folder / name).is_file():
                raise BundleError.at(
                    folder,
                    name,
                    found='no such file',
                    expected='the file that the manifest lists',
                    remedy='Copy or export the policy again.',
                )
            found = file_entry(folder / name, on_bytes).sha256
            if found != digest:
                raise BundleError.at(
                    folder,
                    name,
                    found=f'SHA-256 {found}',
                    expected=digest,
                    remedy='The file was altered or damaged; if it is meant, put the digest that '
                    f'was found into {MANIFEST_FILE}.',
                )
        return cls(folder, manifest)


def is_foreign(path: str | Path) -> bool:
    """Tell a chunk policy's folder from all others, by ``kind`` in its manifest.

    Raises:
        BundleError: There is a manifest, and it is no YAML.
    """
    manifest = Path(path) / MANIFEST_FILE
    return manifest.is_file() and read_yaml(manifest, BundleError).has('kind')
