"""Seeds of scenes: which ones may be demonstrated, and which ones are kept for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

SEEDS: Mapping[str, range] = {
    'train': range(1_000_000),
    'evaluation': range(1_000_000, 2_000_000),
}
"""Name of a set of scenes → its seeds. A policy that is judged on the seeds of ``evaluation`` has
seen none of these scenes."""


def set_of(seed: int) -> str:
    """Return the name of the set that a seed belongs to.

    Raises:
        DatasetError: If it belongs to none.
    """
    for name, seeds in SEEDS.items():
        if seed in seeds:
            return name
    raise DatasetError.at(
        'scene',
        'seed',
        found=seed,
        expected=f'a seed from 0 to {SEEDS["evaluation"].stop - 1}',
    )


def require_demonstrable(seed: int) -> int:
    """Return a seed of which demonstrations may be made.

    Raises:
        DatasetError: If its scene is kept for evaluation, or there is none.
    """
    if set_of(seed) != 'train':
        raise DatasetError.at(
            'demonstrations',
            'seed',
            found=f'{seed}, a scene that is kept for evaluation',
            expected=f'a seed from 0 to {SEEDS["train"].stop - 1}',
            remedy='A policy must not be trained on what it is judged by.',
        )
    return seed


def require_evaluable(seed: int) -> int:
    """Return a seed by which a policy may be judged.

    Raises:
        DatasetError: If its scene may have been demonstrated, or there is none.
    """
    kept = SEEDS['evaluation']
    if seed not in kept:
        raise DatasetError.at(
            'evaluation',
            'seed',
            found=f'{seed}, a scene that is not kept for evaluation',
            expected=f'a seed from {kept.start} to {kept.stop - 1}',
            remedy='A policy must not be judged by what it was trained on.',
        )
    return seed
