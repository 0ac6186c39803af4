"""The features that lerobot's ``config.json`` lists: cameras in order, state and action widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pizero_ros.checkpoints.sizes import StatedSizes
    from pizero_ros.processing.spec import NormalizationMode
    from pizero_ros.strict_yaml import Fields

MODES: dict[str, tuple[NormalizationMode, tuple[str, str] | None]] = {
    'MEAN_STD': ('zscore', ('mean', 'std')),
    'QUANTILES': ('quantile', ('q01', 'q99')),
    'QUANTILE10': ('quantile', ('q10', 'q90')),
    'MIN_MAX': ('quantile', ('min', 'max')),
    'IDENTITY': ('identity', None),
}
"""lerobot's mode → our formula and the two statistics in it."""

_IMAGES = 'observation.images.'
_EMPTY = f'{_IMAGES}empty_camera_'


@dataclass(frozen=True)
class Features:
    """What goes in and out of a policy.

    Attributes:
        names: Every camera's feature, empty ones included.
        slots: Cameras in order, without the prefix and without empty ones.
        state_width: Values of the state before padding.
        action_width: Values of an action before padding.
        notes: What a user should know.
    """

    names: tuple[str, ...]
    slots: tuple[str, ...]
    state_width: int
    action_width: int
    notes: tuple[str, ...]


def read_features(fields: Fields, sizes: StatedSizes) -> Features:
    """Read ``input_features``, ``output_features`` and ``empty_cameras``.

    Args:
        fields: ``config.json``; mistakes go to its document.
        sizes: Widths that the vectors are padded to.

    Returns:
        The features.
    """
    inputs, outputs = fields.mapping('input_features'), fields.mapping('output_features')
    cameras = []
    state_width = 0
    names = inputs.keys()
    for name in names:
        entry = inputs.mapping(name)
        kind = entry.choice('type', ('VISUAL', 'STATE'))
        if kind == 'VISUAL':
            shape = entry.integers('shape', 3)
            if shape and shape[0] != 3:
                entry.report('shape', found=list(shape), expected='[3, height, width]')
            cameras.append(name)
        elif name == 'observation.state':
            state_width = _width(entry, sizes.state_dim)
        else:
            inputs.report(name, found='a second state', expected='observation.state alone')
            entry.skip('shape')
    if not state_width:
        inputs.report('observation.state', found='nothing', expected='the state')
    action = outputs.mapping('action')
    action.choice('type', ('ACTION',))
    empty = fields.integer('empty_cameras', 0, minimum=0)
    found = [name for name in cameras if name.startswith(_EMPTY)]
    if len(found) != empty:
        fields.report('empty_cameras', found=empty, expected=f'{len(found)}, as input_features')
    real = [name for name in cameras if not name.startswith(_EMPTY)]
    slots = tuple(name.removeprefix(_IMAGES).removeprefix('observation.') for name in real)
    if not slots or len(set(slots)) != len(slots):
        inputs.report('observation.images.*', found=list(slots), expected='at least one camera')
    notes = [f'the model sees {", ".join(slots)}, in this order']
    if empty:
        notes.append(f'{empty} empty cameras are left out: they were masked')
    return Features(
        names=tuple(cameras),
        slots=slots,
        state_width=state_width,
        action_width=_width(action, sizes.action_dim),
        notes=tuple(notes),
    )


def read_modes(fields: Fields) -> dict[str, str]:
    """Read ``normalization_mapping``: images as they are, state and actions by one formula.

    Args:
        fields: ``config.json``; mistakes go to its document.

    Returns:
        ``STATE`` and ``ACTION`` → mode.
    """
    mapping = fields.mapping('normalization_mapping')
    mapping.choice('VISUAL', ('IDENTITY',), 'IDENTITY')
    if mapping.has('ENV'):
        mapping.skip('ENV')
    modes = {kind: mapping.choice(kind, tuple(MODES)) for kind in ('STATE', 'ACTION')}
    if len(set(modes.values())) > 1:
        mapping.report(
            'ACTION',
            found=modes['ACTION'],
            expected=f'{modes["STATE"]} as STATE: a bundle has one formula for both',
        )
    return modes


def _width(entry: Fields, padded: int | None) -> int:
    shape = entry.integers('shape', 1)
    if shape and not 1 <= shape[0] <= (padded or shape[0]):
        entry.report('shape', found=list(shape), expected=f'[1 to {padded}], the padded width')
    return shape[0] if shape else 1
