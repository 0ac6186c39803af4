"""openpi's PyTorch checkpoints: ``config.json`` and ``assets/<asset id>/norm_stats.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.checkpoints.contents import Contents, InputRules
from pizero_ros.checkpoints.sizes import StatedSizes
from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.checkpoints.contents import Named
    from pizero_ros.checkpoints.detect import Detected
    from pizero_ros.strict_yaml import Fields

IMAGE_KEYS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
"""The model's three images in its order (openpi, models/model.py)."""

EPS = 1e-6
"""openpi, transforms.py: Normalize."""

_MAX_TOKENS = 48
"""``max_token_len`` of π0 (openpi, pi0_config.py); no file of a checkpoint has it."""
DEFAULT_STEPS = 10
"""``num_steps`` of π0 (openpi, models/pi0.py)."""
_VARIANTS = ('gemma_2b', 'gemma_300m')
_STATS = 'norm_stats.json'


def read_openpi(detected: Detected, *, published: bool) -> Contents:
    """Read ``config.json``, if a training run left one.

    Args:
        detected: The checkpoint.
        published: Whether no architecture is given, so that the names of variants must be those
            of the published π0.

    Returns:
        Sizes and input rules. Nothing in an openpi checkpoint says what actions mean.

    Raises:
        CheckpointError: Its keys or values are not what openpi writes.
    """
    inputs = InputRules(
        slots=IMAGE_KEYS,
        resize='antialias',
        clean=True,
        newline_as_text=False,
        steps=DEFAULT_STEPS,
        tokenizer=None,
        tokenizer_name='paligemma_tokenizer.model of big_vision',
    )
    where = str(detected.folder / 'config.json')
    fields = detected.config
    # An architecture decides on its own how long a prompt may be.
    longest = _MAX_TOKENS if published else None
    if fields is None:
        notes = ('no config.json: a training run of openpi leaves none',)
        return Contents(StatedSizes(where, max_tokens=longest), inputs, None, notes)
    dim = fields.integer('action_dim', minimum=1)
    horizon = fields.integer('action_horizon', minimum=1)
    expected = _VARIANTS if published else (None, None)
    for key, variant in zip(('paligemma_variant', 'action_expert_variant'), expected, strict=True):
        choices = _VARIANTS if variant is None else (variant,)
        fields.choice(key, choices)
    precision = fields.choice('precision', ('bfloat16', 'float32'))
    fields.document.finish()
    sizes = StatedSizes(where, max_tokens=longest, state_dim=dim, action_dim=dim, horizon=horizon)
    return Contents(sizes, inputs, None, precision=precision)


def asset_ids(folder: Path) -> tuple[str, ...]:
    """List the robots whose statistics a checkpoint carries, as ``trossen`` or ``lab/task``."""
    assets = folder / 'assets'
    return tuple(
        sorted(path.parent.relative_to(assets).as_posix() for path in assets.rglob(_STATS))
    )


def choose_asset(folder: Path, asset: str | None) -> str:
    """Return the asset id to use: the user's, or the only one.

    Raises:
        CheckpointError: There is none at all.
        UnstatedError: There are several, or not this one.
    """
    known = asset_ids(folder)
    if not known:
        raise CheckpointError.at(
            folder / 'assets',
            '',
            found='no norm_stats.json',
            expected='assets/<asset id>/norm_stats.json',
            remedy='Copy assets/ from the checkpoint it was converted from; --model-only exports '
            'without.',
        )
    if asset is None and len(known) == 1:
        return known[0]
    if asset not in known:
        raise UnstatedError.at(
            folder / 'assets',
            '--asset',
            found=asset or 'nothing',
            expected=f'one of {", ".join(known)}: whose statistics normalise this robot',
        )
    return asset


def read_norm_stats(path: Path) -> Mapping[str, Named]:
    """Read the statistics of one asset id.

    Args:
        path: Its ``norm_stats.json``.

    Returns:
        ``state`` and ``action`` → ``mean``, ``std`` and, if there, ``q01`` and ``q99``.

    Raises:
        CheckpointError: A key is unknown or missing, or a value is no finite number.
    """
    fields = read_yaml(path, CheckpointError)
    named = fields.mapping('norm_stats')
    statistics = {'state': _named(named.mapping('state'))}
    statistics['action'] = _named(named.mapping('actions'))
    fields.document.finish()
    return statistics


def _named(fields: Fields) -> Named:
    required = {key: fields.numbers(key) for key in ('mean', 'std')}
    quantiles = {key: fields.numbers(key) for key in ('q01', 'q99') if not fields.blank(key)}
    return {key: np.array(values, np.float64) for key, values in (required | quantiles).items()}
