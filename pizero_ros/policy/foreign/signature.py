"""Names, types and shapes of a chunk policy's graph, held against its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import BundleError
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.policy.foreign.manifest import ChunkManifest, ImageInput

_Types = dict[str, type[np.generic]]
_FLOATS: _Types = {
    'tensor(float)': np.float32,
    'tensor(float16)': np.float16,
    'tensor(double)': np.float64,
}
_PICTURES: _Types = {**_FLOATS, 'tensor(uint8)': np.uint8}
_MOST_LEADING = 2
"""Axes of size 1 that may come first: batch, and a single observation step."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape with the leading axes, and element type."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


def verify_signature(where: Path, session: Any, manifest: ChunkManifest) -> dict[str, TensorSpec]:
    """Compare a graph with its manifest.

    Args:
        where: The graph's file, for messages.
        session: Its session.
        manifest: What it must look like.

    Returns:
        Name → shape and type of every input.

    Raises:
        BundleError: An input is not named in the manifest or the other way round, the chunk is
            not among the outputs, or a type, a rank or a fixed size differs.
    """
    named: dict[str, tuple[tuple[int, ...], _Types]] = {
        each.input: (each.shape, _PICTURES) for each in manifest.images
    }
    if manifest.state is not None:
        named[manifest.state.input] = (manifest.state.vector.width,), _FLOATS
    if manifest.noise is not None:
        named[manifest.noise.input] = manifest.noise.shape, _FLOATS
    tensors = {tensor.name: tensor for tensor in session.get_inputs()}
    _verify_names(where, tensors, set(named))
    inputs = {
        name: _agreed(where, f'input {name}', tensors[name], shape, types)
        for name, (shape, types) in named.items()
    }
    for image in manifest.images:
        if inputs[image.input].dtype == np.uint8:
            _verify_bytes(where, image)
    _verify_output(where, session, manifest)
    return inputs


def _verify_names(where: Path, tensors: dict[str, Any], named: set[str]) -> None:
    for name in sorted(named - set(tensors)):
        raise BundleError.at(
            where,
            'inputs',
            found=', '.join(sorted(tensors)) or 'none',
            expected=f'{name}, which policy.yaml names',
            remedy=suggestion(name, list(tensors)),
        )
    for name in sorted(set(tensors) - named):
        raise BundleError.at(
            where,
            f'input {name}',
            found=f'{_describe(tensors[name])}, which policy.yaml does not name',
            expected=f'no inputs but {", ".join(sorted(named))}',
            remedy='Name it under images, state or noise. Other inputs, such as a prompt, are not '
            'supported: export the graph with their values inside.',
        )


def _verify_bytes(where: Path, image: ImageInput) -> None:
    """Let an input of bytes have grey levels only."""
    if (set(image.gain), set(image.offset)) != ({255.0}, {0.0}):
        raise BundleError.at(
            where,
            f'input {image.input}',
            found='tensor(uint8)',
            expected='tensor(float), as policy.yaml scales the image',
            remedy='Set range: [0, 255] for an input that takes bytes.',
        )


def _verify_output(where: Path, session: Any, manifest: ChunkManifest) -> None:
    """Compare the chunk with the manifest; outputs that it does not name are not computed."""
    tensors = {tensor.name: tensor for tensor in session.get_outputs()}
    name = manifest.output.name
    if name not in tensors:
        raise BundleError.at(
            where,
            'outputs',
            found=', '.join(tensors),
            expected=f'{name}, which policy.yaml names',
            remedy=suggestion(name, list(tensors)),
        )
    if tensors[name].shape or tensors[name].type not in _FLOATS:
        # Without a shape ONNX Runtime reports no axes; then the first run tells.
        rows = manifest.horizon, manifest.output.vector.width
        _agreed(where, f'output {name}', tensors[name], rows, _FLOATS)


def _agreed(
    where: Path, key: str, tensor: Any, shape: tuple[int, ...], types: _Types
) -> TensorSpec:
    """Return ``shape`` behind as many axes of size 1 as the tensor has, and its type.

    Raises:
        BundleError: Type, rank or a fixed size differ.
    """
    found = list(tensor.shape)
    extra = len(found) - len(shape)
    fits = 0 <= extra <= _MOST_LEADING and all(
        not isinstance(size, int) or size == wanted
        for size, wanted in zip(found, (*[1] * extra, *shape), strict=True)
    )
    if tensor.type in types and fits:
        return TensorSpec((*[1] * extra, *shape), types[tensor.type])
    remedy = 'Correct policy.yaml, or export the graph for a batch of one.'
    if extra > 0 and any(isinstance(size, int) and size > 1 for size in found[:extra]):
        remedy = (
            'Several observations at once, a history, are not supported: export the policy with '
            'one observation step and a batch of one.'
        )
    raise BundleError.at(
        where,
        key,
        found=_describe(tensor),
        expected=f'{" or ".join(types)} {_show([1, *shape])} as policy.yaml says',
        remedy=remedy,
    )


def _describe(tensor: Any) -> str:
    return f'{tensor.type} {_show(tensor.shape)}'


def _show(shape: list[Any]) -> str:
    return f'[{", ".join(str(size) if isinstance(size, int) else "any" for size in shape)}]'
