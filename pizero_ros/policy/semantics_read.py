"""The part of ``policy.yaml`` that gives actions and state their meaning on one robot."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from pizero_ros.processing.spec import (
    GripperMap,
    ModelSpec,
    NormalizationMode,
    RobotSemantics,
    Statistics,
)

if TYPE_CHECKING:
    from pizero_ros.strict_yaml import Fields
    from pizero_ros.yaml_document import Document

_NEEDED: dict[NormalizationMode, tuple[str, ...]] = {
    'zscore': ('mean', 'std'),
    'quantile': ('q01', 'q99'),
    'identity': (),
}
_KEYS = ('mean', 'std', 'q01', 'q99')


def read_semantics(fields: Fields, name: str) -> RobotSemantics:
    """Read one embodiment's entry, reporting mistakes to its document.

    Args:
        fields: The entry.
        name: The embodiment.

    Returns:
        The semantics; to be used after the document's ``finish`` and ``check_semantics``.
    """
    mode: NormalizationMode = fields.choice('normalization', get_args(NormalizationMode))
    signs = fields.integers('signs') if fields.has('signs') else None
    return RobotSemantics(
        embodiment=name,
        rate_hz=fields.number('rate_hz', above=0),
        horizon=fields.integer('horizon', minimum=1),
        normalization=mode,
        eps=fields.number('eps', minimum=0),
        state=_statistics(fields.mapping('state'), mode),
        action=_statistics(fields.mapping('action'), mode),
        relative=np.array(fields.booleans('relative'), bool),
        signs=None if signs is None else np.array(signs, np.float64),
        state_grippers=_grippers(fields, 'state_grippers'),
        action_grippers=_grippers(fields, 'action_grippers'),
    )


def check_semantics(semantics: RobotSemantics, model: ModelSpec, document: Document) -> None:
    """Report what does not fit together in an entry whose values are each right.

    Args:
        semantics: The entry.
        model: Sizes that it must fit.
        document: Where mistakes go.
    """
    path = f'embodiments.{semantics.embodiment}'
    if semantics.horizon != model.horizon:
        document.report(
            f'{path}.horizon',
            found=semantics.horizon,
            expected=f'{model.horizon}, as model.horizon',
        )
    _check_statistics(semantics.state, model.state_dim, f'{path}.state', document)
    _check_statistics(semantics.action, model.action_dim, f'{path}.action', document)
    masked, width = len(semantics.relative), semantics.action.width
    if not 1 <= masked <= model.action_dim or width not in (0, masked):
        expected = f'{width or f"1 to {model.action_dim}"}, as many as action values'
        document.report(f'{path}.relative', found=f'{masked} values', expected=expected)
    widest = max(semantics.state.width, width, masked)
    signs = semantics.signs
    if signs is not None and (len(signs) != widest or (abs(signs) != 1).any()):
        document.report(
            f'{path}.signs', found=signs.tolist(), expected=f'{widest} values, each 1 or -1'
        )
    _check_grippers(semantics.state_grippers, widest, f'{path}.state_grippers', document)
    _check_grippers(semantics.action_grippers, widest, f'{path}.action_grippers', document)


def _statistics(fields: Fields, mode: NormalizationMode) -> Statistics:
    """Read the statistics that the mode needs, and those that are there beside them."""
    return Statistics(
        *(
            np.array(fields.numbers(key), np.float64)
            if key in _NEEDED[mode] or fields.has(key)
            else None
            for key in _KEYS
        )
    )


def _grippers(fields: Fields, key: str) -> tuple[GripperMap, ...]:
    if not fields.has(key):
        return ()
    return tuple(
        GripperMap(
            index=each.integer('index', minimum=0),
            kind=each.choice('kind', ('linear', 'aloha')),
            scale=each.number('scale'),
            offset=each.number('offset'),
        )
        for each in fields.mappings(key)
    )


def _check_statistics(statistics: Statistics, dim: int, path: str, document: Document) -> None:
    """Compare widths, and insist on spreads that can divide."""
    width = statistics.width
    if width > dim:
        document.report(path, found=f'{width} values', expected=f'at most {dim}, the padded width')
    for key in _KEYS:
        values = getattr(statistics, key)
        if values is not None and (len(values) != width or not width):
            found = f'{len(values)} values'
            document.report(f'{path}.{key}', found=found, expected=f'{width or 1}, as the others')
            return
    std, q01, q99 = statistics.std, statistics.q01, statistics.q99
    if std is not None and (std <= 0).any():
        index = int(np.argmax(std <= 0))
        document.report(
            f'{path}.std[{index}]',
            found=float(std[index]),
            expected='a number above 0',
            remedy='A value that never varied cannot be normalised; widen it on purpose.',
        )
    if q01 is not None and q99 is not None and (q99 <= q01).any():
        index = int(np.argmax(q99 <= q01))
        document.report(
            f'{path}.q99[{index}]',
            found=float(q99[index]),
            expected=f'more than q01[{index}] = {float(q01[index])}',
        )


def _check_grippers(
    maps: tuple[GripperMap, ...], width: int, path: str, document: Document
) -> None:
    for i, each in enumerate(maps):
        if each.index >= width:
            document.report(f'{path}[{i}].index', found=each.index, expected=f'0 to {width - 1}')
        if each.scale == 0:
            document.report(f'{path}[{i}].scale', found=0, expected='a factor that can be undone')
    if len({each.index for each in maps}) != len(maps):
        indices = [each.index for each in maps]
        document.report(path, found=f'indices {indices}', expected='each index once')
