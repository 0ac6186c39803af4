"""The figures that are compared between policies, and their value for one episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Figures = Mapping[str, Any]


class Measure(NamedTuple):
    """A figure that is compared.

    Attributes:
        mode: ``open_loop`` or ``deployed``.
        unit: ``share`` (of the joints' spans), ``ratio`` or ``count``.
        better: ``lower`` or ``higher``; None if neither is.
        value: Takes the figures of one source in that mode; None if it is not defined.
        joint_key: Of the same figure in ``joints``; empty if there is none.
    """

    mode: str
    unit: str
    better: str | None
    value: Callable[[Figures], float | None]
    joint_key: str = ''


def _plain(key: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures[key]


def _overall(key: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures['overall'][key]


def _total(key: str) -> Callable[[Figures], float | None]:
    return lambda figures: float(sum(figures[key].values()))


def _mean_of(key: str, entry: str) -> Callable[[Figures], float | None]:
    return lambda figures: _mean([each[entry] for each in figures[key].values()])


def _of_mode(mode: str) -> dict[str, Measure]:
    return {
        'mae_share': Measure(mode, 'share', 'lower', _overall('mae_share'), 'mae_share'),
        'rmse_share': Measure(mode, 'share', 'lower', _overall('rmse_share'), 'rmse_share'),
        'relative_to_hold': Measure(mode, 'ratio', 'lower', _plain('relative_to_hold')),
        'gripper_accuracy': Measure(
            mode, 'ratio', 'higher', _mean_of('grippers', 'balanced_accuracy')
        ),
        'gripper_f1': Measure(mode, 'ratio', 'higher', _mean_of('grippers', 'f1')),
    }


_DEPLOYED = {
    'jerk_ratio': Measure('deployed', 'ratio', None, _mean_of('jerk', 'ratio')),
    'limit_hits': Measure('deployed', 'count', 'lower', _total('limit_hits')),
    'starvations': Measure('deployed', 'count', 'lower', _plain('starvations')),
    'deadlines_missed': Measure('deployed', 'count', 'lower', _plain('deadlines_missed')),
}

MEASURES: Mapping[str, Measure] = {
    f'{measure.mode}.{name}': measure
    for group in (_of_mode('open_loop'), _of_mode('deployed'), _DEPLOYED)
    for name, measure in group.items()
}
"""``MODE.NAME`` → figure, in the order of tables."""


def episode_value(seeds: Sequence[Figures], measure: Measure) -> float | None:
    """Return the mean over the seeds of an episode, None if no seed has a value.

    Args:
        seeds: ``sources[…]`` of a summary, one for each seed.
        measure: What is wanted.
    """
    return _mean([measure.value(each[measure.mode]) for each in seeds if measure.mode in each])


def shared_joints(seeds: Sequence[Figures], measure: Measure) -> list[str]:
    """Return the joints that have the figure in all of these."""
    if not all(measure.mode in each for each in seeds):
        return []
    tables = [each[measure.mode]['joints'] for each in seeds]
    return [name for name in tables[0] if all(table.get(name) is not None for table in tables)]


def on_joints(seeds: Sequence[Figures], measure: Measure, joints: Sequence[str]) -> float:
    """Return the mean over the seeds of the figure over some joints, each with equal weight."""
    found = []
    for each in seeds:
        table = each[measure.mode]['joints']
        shares = np.array([table[name][measure.joint_key] for name in joints])
        squared = measure.joint_key == 'rmse_share'
        found.append(np.sqrt(np.mean(shares**2)) if squared else np.mean(shares))
    return float(np.mean(found))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
