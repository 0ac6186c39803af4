from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pizero_ros.policy.bundle import Bundle, file_entry
from pizero_ros.policy.manifest_write import SEAL_KEY, seal
from pizero_ros.policy.runtime import Policy

if TYPE_CHECKING:
    from pathlib import Path

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def edit_manifest() -> Callable[[Path, Edit], None]:
    """Alter a bundle's manifest as a person would who also renews the seal."""

    def edit(bundle: Path, change: Edit) -> None:
        path = bundle / 'policy.yaml'
        document = yaml.safe_load(path.read_text())
        del document[SEAL_KEY]
        change(document)
        path.write_text(seal(yaml.safe_dump(document, sort_keys=False)))

    return edit


@pytest.fixture
def relist(edit_manifest: Callable[[Path, Edit], None]) -> Callable[[Path, str], None]:
    """Put the present size and digest of an altered file into the manifest, as a forger would.

    That of a graph goes into the proof too.
    """

    def renew(bundle: Path, name: str) -> None:
        entry = file_entry(bundle / name)
        if name.endswith('.onnx'):
            proof = json.loads((bundle / 'parity.json').read_text())
            proof['graphs'][name] = entry.sha256
            (bundle / 'parity.json').write_text(json.dumps(proof))
            renew(bundle, 'parity.json')
        edit_manifest(
            bundle,
            lambda document: document['files'].update(
                {name: {'size': entry.size, 'sha256': entry.sha256}}
            ),
        )

    return renew


@pytest.fixture(scope='session')
def policy(tiny_bundle: Path) -> Policy:
    """The tiny policy on the CPU, shared: tests leave no state behind that matters."""
    return Policy.load(Bundle.open(tiny_bundle), 'cpu', threads=1)
