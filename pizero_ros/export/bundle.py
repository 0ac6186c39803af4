"""Writes a bundle: graphs, proof and manifest appear together or not at all."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import ExportError
from pizero_ros.export.graphs import export_graphs
from pizero_ros.export.parity import prove
from pizero_ros.export.staging import staging
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.export.variants import make_variants
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
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.policy.manifest import FileEntry, VariantPrecision
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics

_PARITY_SEED = 7
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
    jacobian: bool = False,
    variants: Sequence[str] = (),
    precision: VariantPrecision = 'bfloat16',
    on_phase: Callable[[str], object] | None = None,
    on_bytes: Callable[[int, int], object] | None = None,
) -> Bundle:
    """Export a policy as a bundle and open it as the robot would.

    Everything is written to a folder beside ``out`` that takes its name at the end, so a broken
    export leaves nothing that looks like a bundle. An export of streamed weights that are too
    large for memory and say who they are can be resumed: graphs and proof that were finished
    before it was killed are taken over by the next export of the same weights to ``out``.

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
        jacobian: Also write the graph for guidance by the true Jacobian.
        variants: The same policy in other graphs too (``PARTS``).
        precision: Of the variants for GPUs.
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
    weights = StreamedWeights.of(model)
    with staging(out, _key(weights, jacobian, tell), tell) as place:
        folder = place.folder
        finished = place.done('graph files')
        # A killed export may have left variants half written.
        _clear(folder, but=finished or ())
        if finished is None:
            tell('exporting graphs')
            export_graphs(model, folder, on_bytes=on_bytes, jacobian=jacobian)
            place.finish('graph files', sorted(path.name for path in folder.iterdir()))
        tell('hashing')
        files = _entries(folder)
        proof = place.done('proof')
        if not _proven(proof, files, spec):
            tell('proving parity')
            proof = prove(
                model,
                folder,
                _PARITY_SEED,
                spec.steps,
                len(spec.slots),
                on_case=lambda case: tell(f'proving parity: {case}'),
            )
            # A proof is about these graphs and no others; the runtime holds it against the files.
            proof['graphs'] = graph_digests(files)
            place.finish('proof', proof)
        made = make_variants(
            model,
            folder,
            variants,
            precision=precision,
            seed=_PARITY_SEED,
            steps=spec.steps,
            slots=len(spec.slots),
            on_phase=tell,
        )
        if made:
            files = _entries(folder)
            proof = {**proof, 'variants': {name: each.proof for name, each in made.items()}}
            proof['graphs'] = graph_digests(files)
        tell('writing the manifest')
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
            variants={name: each.variant for name, each in made.items()},
        )
        (folder / MANIFEST_FILE).write_text(manifest_text(manifest), encoding='utf-8')
        tell('checking')
        Bundle.open(folder)
        place.publish(out)
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


def _clear(folder: Path, but: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in but:
            path.unlink()


def _entries(folder: Path, known: Collection[str] = ()) -> dict[str, FileEntry]:
    """Measure the files of a folder, but for those that are known."""
    paths = sorted(path for path in folder.iterdir() if path.name not in known)
    return {path.name: file_entry(path) for path in paths}


def _key(weights: StreamedWeights, jacobian: bool, tell: Callable[[str], object]) -> str | None:
    """Return a digest of all that decides what the graphs are, if they take long to make."""
    if weights.identity is None or weights.fits_memory:
        return None
    tell('identifying the weights')
    made_of = {
        'weights': weights.identity(),
        'architecture': weights.architecture.as_mapping(),
        'jacobian': jacobian,
        'versions': _versions(),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _proven(proof: dict[str, Any] | None, files: Mapping[str, FileEntry], spec: ModelSpec) -> bool:
    """Return whether an interrupted export's proof is about these graphs and this policy."""
    return proof is not None and (
        proof['graphs'] == graph_digests(files)
        and (proof['seed'], proof['steps'], proof['slots'])
        == (_PARITY_SEED, spec.steps, len(spec.slots))
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')


def _versions() -> dict[str, str]:
    """Versions of what had a part in the export."""
    versions = {'python': platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
