"""The part of a chunk policy's manifest that gives its state or its actions their meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from pizero_ros.embodiment.schema import VECTOR_DIM
from pizero_ros.policy.foreign.manifest import PolicyVector, VectorMode
from pizero_ros.processing.spec import GripperMap, NormalizationMode, Statistics

if TYPE_CHECKING:
    from pizero_ros.strict_yaml import Fields
    from pizero_ros.yaml_document import Document

_KEYS: dict[VectorMode, tuple[str, ...]] = {
    'zscore': ('mean', 'std'),
    'quantile': ('q01', 'q99'),
    'min_max': ('min', 'max'),
    'identity': (),
}


def read_vector(fields: Fields, key: str) -> PolicyVector:
    """Read indices, normalisation and maps, reporting mistakes to the document.

    Args:
        fields: The entry.
        key: Its name in the manifest.

    Returns:
        The vector; to be used after the document's ``finish`` and ``check_vector``.
    """
    mode: VectorMode = fields.choice('normalization', get_args(VectorMode))
    return PolicyVector(
        key=key,
        indices=fields.integers('indices'),
        normalization=_formula(mode),
        eps=fields.number('eps', minimum=0) if _KEYS[mode] else 0.0,
        statistics=_statistics(fields, mode),
        maps=_maps(fields),
    )


def check_vector(vector: PolicyVector, document: Document) -> None:
    """Report lengths that differ, indices that cannot be, and spreads that cannot divide.

    Args:
        vector: The vector.
        document: Where mistakes go.
    """
    indices = vector.indices
    if not indices or len(set(indices)) != len(indices) or any(i < 0 for i in indices):
        document.report(
            f'{vector.key}.indices',
            found=list(indices),
            expected='one index of the robot vector per value, each once',
        )
    if any(index >= VECTOR_DIM for index in indices):
        document.report(
            f'{vector.key}.indices',
            found=max(indices),
            expected=f'0 to {VECTOR_DIM - 1}, the robot vector',
        )
    for number, each in enumerate(vector.maps):
        if each.index >= len(indices):
            document.report(
                f'{vector.key}.maps[{number}].index',
                found=each.index,
                expected=f'0 to {len(indices) - 1}: it counts the values of the policy',
            )
    mapped = [each.index for each in vector.maps]
    if len(set(mapped)) != len(mapped):
        document.report(f'{vector.key}.maps', found=f'{mapped}', expected='each index once')
    _check_statistics(vector, document)


def _formula(mode: VectorMode) -> NormalizationMode:
    """Return the formula: with the extremes as quantiles, that of ``min_max`` is the same."""
    return 'quantile' if mode == 'min_max' else mode


def _statistics(fields: Fields, mode: VectorMode) -> Statistics:
    if mode == 'identity':
        return Statistics(None, None, None, None)
    first, second = (np.array(fields.numbers(key), np.float64) for key in _KEYS[mode])
    if mode == 'zscore':
        return Statistics(first, second, None, None)
    return Statistics(None, None, first, second)


def _maps(fields: Fields) -> tuple[GripperMap, ...]:
    if not fields.has('maps'):
        return ()
    return tuple(_map(each) for each in fields.mappings('maps'))


def _map(fields: Fields) -> GripperMap:
    index = fields.integer('index', minimum=0)
    if fields.choice('kind', ('linear', 'aloha')) == 'aloha':
        return GripperMap(index, 'aloha')
    return GripperMap(
        index, 'linear', fields.number('scale', nonzero=True), fields.number('offset')
    )


def _check_statistics(vector: PolicyVector, document: Document) -> None:
    """Insist on one number per value, and on spreads above 0."""
    statistics = vector.statistics
    for values in (statistics.mean, statistics.std, statistics.q01, statistics.q99):
        if values is not None and len(values) != vector.width:
            document.report(
                vector.key,
                found=f'statistics of {len(values)} values',
                expected=f'{vector.width}, as {vector.key}.indices',
            )
            return
    spread = statistics.std
    if statistics.q01 is not None and statistics.q99 is not None:
        spread = statistics.q99 - statistics.q01
    if spread is not None and (spread <= 0).any():
        worst = int(np.argmax(spread <= 0))
        document.report(
            vector.key,
            found=f'a spread of {spread[worst]:g} at value {worst}',
            expected='a number above 0',
            remedy='A value that never varied cannot be normalised; widen it on purpose.',
        )
