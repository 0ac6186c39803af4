"""What a bundle's graphs must look like: names, element types and sizes of every tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.policy.manifest import Manifest

Shape = tuple['int | None', ...]
Tensor = tuple[tuple[str, ...], Shape]
"""Possible element types, and shape with None where any size is taken."""
Signature = dict[str, Tensor]

_FLOAT = ('tensor(float)',)
_INT32 = ('tensor(int32)',)
_INT64 = ('tensor(int64)',)
_CACHE_TYPES = ('tensor(float)', 'tensor(float16)', 'tensor(bfloat16)')
_EXPORT_AGAIN = 'The graph does not belong to this manifest; export the bundle again.'


def cache_names(layers: int) -> tuple[str, ...]:
    """Return the cache's tensor names in the order of the graphs' outputs: keys, then values."""
    return tuple(f'{part}.{layer}' for part in ('key', 'value') for layer in range(layers))


def verify(
    where: object, sessions: Mapping[str, Any], files: Mapping[str, str], manifest: Manifest
) -> None:
    """Compare names, element types and fixed sizes of all tensors with the manifest.

    Args:
        where: Bundle to name in errors.
        sessions: Part → its session.
        files: Part → its file, to name in errors.
        manifest: What the graphs must look like.

    Raises:
        BundleError: A tensor has another name, type or shape.
    """
    written: dict[str, str] = {}
    for part in (each for each in _ORDER if each in sessions):
        session = sessions[part]
        inputs, outputs, optional = _expected(part, manifest)
        _compare(f'{where}/{files[part]}', session, inputs, outputs, optional)
        for tensor in session.get_inputs():
            if tensor.type != written.get(tensor.name, tensor.type):
                raise BundleError.at(
                    f'{where}/{files[part]}',
                    tensor.name,
                    found=tensor.type,
                    expected=f'{written[tensor.name]}, as the graph before it writes it',
                    remedy=_EXPORT_AGAIN,
                )
        written |= {tensor.name: tensor.type for tensor in session.get_outputs()}


_ORDER = ('vision', 'prefix', 'observe', 'denoise', 'sample', 'jacobian')
"""Writers before readers."""


def _expected(part: str, manifest: Manifest) -> tuple[Signature, Signature, Signature]:
    """Return a part's inputs, its outputs, and inputs that only some variants have."""
    model, cache = manifest.model, manifest.cache
    height, width = model.image_size
    cached: Signature = dict.fromkeys(
        cache_names(cache.layers), (_CACHE_TYPES, (1, cache.kv_heads, None, cache.head_dim))
    )
    chunk: Tensor = (_FLOAT, (1, model.horizon, model.action_dim))
    images: Signature = {'images': (_FLOAT, (None, 3, height, width))}
    views: Signature = {
        'views': (_FLOAT, (None, manifest.tokens_per_view, manifest.architecture['vlm']['width']))
    }
    rest: Signature = {'tokens': (_INT64, (1, None)), 'state': (_FLOAT, (1, model.state_dim))}
    step = {**cached, 'x_t': chunk, 't': (_FLOAT, (1, model.horizon))}
    room: Signature = {'room': (_FLOAT, (1, cache.kv_heads, None, cache.head_dim))}
    found: dict[str, tuple[Signature, Signature, Signature]] = {
        'vision': (images, views, {}),
        'prefix': ({**views, **rest}, cached, {}),
        'observe': ({**images, **rest}, cached, {**_span('prefix'), **_span('state'), **room}),
        'denoise': (step, {'velocity': chunk}, _span('actions')),
        'sample': ({**cached, 'noise': chunk}, {'actions': chunk}, _span('actions')),
        'jacobian': ({**step, 'error': chunk}, {'correction': chunk}, {}),
    }
    return found[part]


def _span(of: str) -> Signature:
    return {f'{of}_last': (_INT32, (1,)), f'{of}_total': (_INT32, ())}


def _compare(
    where: str, session: Any, inputs: Signature, outputs: Signature, optional: Signature
) -> None:
    """Compare one graph's interface with what it must be."""
    given = {tensor.name for tensor in session.get_inputs()}
    inputs = {**inputs, **{name: each for name, each in optional.items() if name in given}}
    sides = (('input', session.get_inputs(), inputs), ('output', session.get_outputs(), outputs))
    for side, tensors, expected in sides:
        names = {tensor.name for tensor in tensors}
        if names != set(expected):
            raise BundleError.at(
                where,
                f'{side}s',
                found=', '.join(sorted(names)) or 'none',
                expected=', '.join(sorted(expected)),
                remedy=_EXPORT_AGAIN,
            )
        for tensor in tensors:
            types, shape = expected[tensor.name]
            if tensor.type not in types or not _fits(tensor.shape, shape):
                raise BundleError.at(
                    where,
                    f'{side} {tensor.name}',
                    found=f'{tensor.type} {_show(tensor.shape)}',
                    expected=f'{" or ".join(types)} {_show(shape)}',
                    remedy=_EXPORT_AGAIN,
                )


def _fits(found: list[int | str | None], expected: Shape) -> bool:
    """Tell whether fixed sizes agree and sizes that vary are left open."""
    return len(found) == len(expected) and all(
        not isinstance(size, int) if wanted is None else size == wanted
        for size, wanted in zip(found, expected, strict=True)
    )


def _show(shape: list[int | str | None] | Shape) -> str:
    return f'[{", ".join(str(size) if isinstance(size, int) else "any" for size in shape)}]'
