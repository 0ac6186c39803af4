"""Writes a bundle: graphs, proof and manifest appear together or not at all."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import glob
import importlib.metadata
import json
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.errors import ExportError
from pizero_ros.export.graphs import export_graphs
from pizero_ros.export.parity import prove
from pizero_ros.policy.bundle import Bundle, file_entry, graph_digests
from pizero_ros.policy.manifest import (
    CANONICAL_SLOTS,
    MANIFEST_FILE,
    PARITY_FILE,
    TOKENIZER_FILES,
    CacheSpec,
    Manifest,
    Provenance,
)
from pizero_ros.policy.manifest_write import manifest_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.export.streaming import StreamedWeights
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.policy.manifest import FileEntry
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics

_PARITY_SEED = 7
_LOCK = 'export.lock'
"""Held by the process that works in the folder; free again when that process is gone."""
_REPLACED = 'replaced'
_VERSIONED = ('pizero_ros', 'torch', 'onnx', 'onnxscript', 'onnxruntime', 'numpy')


def write_bundle(
    model: Pi0 | StreamedWeights,
    spec: ModelSpec,
    out: str | Path,
    *,
    semantics: Mapping[str, RobotSemantics],
    kind: str,
    source: str,
    seed: int | None = None,
    tokenizer: Path | None = None,
    force: bool = False,
    on_phase: Callable[[str], object] | None = None,
    on_bytes: Callable[[int, int], object] | None = None,
) -> Bundle:
    """Export a policy as a bundle and open it as the robot would.

    Everything is written to a folder beside ``out`` that takes its name at the end, so a broken
    export leaves nothing that looks like a bundle. What an export that was killed has left beside
    ``out`` is removed by the next one, which starts from the beginning.

    Args:
        model: The policy, or its weights where they are to be read one at a time.
        spec: Input rules; ``random_model_spec`` makes those of an untrained policy.
        out: Folder to create.
        semantics: Embodiment → meaning of state and actions; empty for a model-only bundle.
        kind: ``random`` or the format of the checkpoint.
        source: Architecture file or checkpoint.
        seed: Seed of random weights.
        tokenizer: File of the tokenizer, where ``spec.prompt`` names one that has a file.
        force: Replace a bundle that is already there. Anything else is never replaced.
        on_phase: Told what is going on, for a progress display.
        on_bytes: Told the bytes of weights written so far and of the whole, once per tensor.

    Returns:
        The bundle, checked.

    Raises:
        ExportError: ``out`` cannot be written or replaced, or the graphs do not compute what
            torch computes.
    """
    out = Path(out)
    tell = on_phase or (lambda _: None)
    check_target(out, force)
    sizes = model.architecture
    with _staging(out, tell) as folder:
        tell('exporting graphs')
        export_graphs(model, folder, on_bytes=on_bytes)
        tell('proving parity')
        proof = prove(
            model,
            folder,
            _PARITY_SEED,
            spec.steps,
            len(spec.slots),
            on_case=lambda case: tell(f'proving parity: {case}'),
        )
        tell('hashing')
        files = _entries(folder)
        # A proof is about these graphs and no others; the runtime holds it against the files.
        proof['graphs'] = graph_digests(files)
        text = json.dumps(proof, indent=2, sort_keys=True)
        (folder / PARITY_FILE).write_text(f'{text}\n', encoding='utf-8')
        if tokenizer is not None:
            shutil.copyfile(tokenizer, folder / TOKENIZER_FILES[spec.prompt.tokenizer])
        files |= _entries(folder, known=files)
        manifest = Manifest(
            model_only=not semantics,
            architecture=sizes.as_mapping(),
            precision='float32',
            model=spec,
            cache=CacheSpec(sizes.vlm.depth, sizes.vlm.kv_heads, sizes.vlm.head_dim),
            embodiments=semantics,
            provenance=Provenance(kind, source, seed, _now(), _versions()),
            files=files,
        )
        (folder / MANIFEST_FILE).write_text(manifest_text(manifest), encoding='utf-8')
        tell('checking')
        Bundle.open(folder)
        _publish(folder, out)
    return Bundle(out, manifest, proof)


def slots_of(embodiments: Sequence[Embodiment]) -> tuple[str, ...]:
    """Return the camera slots of several robots in the order the published π0 was trained on.

    Slots that π0 does not have come last, in the order of the files.
    """
    used = dict.fromkeys(camera.slot for each in embodiments for camera in each.cameras)
    canonical = tuple(slot for slot in CANONICAL_SLOTS if slot in used)
    return canonical + tuple(slot for slot in used if slot not in CANONICAL_SLOTS)


def check_target(out: Path, force: bool) -> None:
    """Refuse to overwrite: a bundle without ``force``, anything else always.

    Raises:
        ExportError: ``out`` is in the way.
    """
    if (out / MANIFEST_FILE).is_file():
        if not force:
            raise ExportError.at(
                out,
                '',
                found='a bundle',
                expected='a folder that does not exist yet',
                remedy='--force replaces a bundle.',
            )
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ExportError.at(
            out,
            '',
            found='something that is not a bundle',
            expected='a folder that does not exist yet',
            remedy='Choose another name; this is not replaced, not even with --force.',
        )


def _entries(folder: Path, known: Collection[str] = ()) -> dict[str, FileEntry]:
    """Measure the files of a folder, but for those that are known."""
    paths = sorted(path for path in folder.iterdir() if path.name not in known)
    return {path.name: file_entry(path) for path in paths}


@contextlib.contextmanager
def _staging(out: Path, tell: Callable[[str], object]) -> Iterator[Path]:
    """Give a folder on the same file system as ``out``, removed unless it was moved away."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out, tell)
        work = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
        lock = (work / _LOCK).open('w')
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise ExportError.at(
            out, '', found=str(error), expected='a place that can be written'
        ) from None
    folder = work / 'bundle'
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.close()


def _remove_leftovers(out: Path, tell: Callable[[str], object]) -> None:
    """Remove the working folders of exports to ``out`` whose process is gone."""
    for path in out.parent.glob(f'.{glob.escape(out.name)}.*/{_LOCK}'):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # A bundle that was about to be replaced is not ours to delete.
            if not (path.parent / _REPLACED).exists():
                tell(f'removing what a killed export left: {path.parent}')
                shutil.rmtree(path.parent)


def _publish(folder: Path, out: Path) -> None:
    """Move the finished folder to its place, with the bundle it replaces kept until then."""
    if out.exists():
        out.rename(folder.with_name(_REPLACED))
    folder.rename(out)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')


def _versions() -> dict[str, str]:
    """Versions of what had a part in the export."""
    versions = {'python': platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
