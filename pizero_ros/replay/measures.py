"""The figures that are compared between policies, and their value for one episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Figures = Mapping[str, Any]


OPEN_LOOP = 'open_loop'
"""The mode whose figures have steps."""


class Measure(NamedTuple):
    """A figure that is compared.

    Attributes:
        mode: ``open_loop`` or ``deployed``.
        unit: ``share`` (of the joints' spans), ``ratio`` or ``count``.
        better: ``lower`` or ``higher``; None if neither is.
        value: Takes the figures of one source in that mode; None if it is not defined.
        joint_key: Of the same figure in ``joints``; empty if there is none.
        whole: Whether it is over every step that a chunk has, and cannot be had of some steps.
    """

    mode: str
    unit: str
    better: str | None
    value: Callable[[Figures], float | None]
    joint_key: str = ''
    whole: bool = False


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
        'relative_to_hold': Measure(
            mode, 'ratio', 'lower', _plain('relative_to_hold'), whole=mode == OPEN_LOOP
        ),
        'gripper_accuracy': Measure(
            mode,
            'ratio',
            'higher',
            _mean_of('grippers', 'balanced_accuracy'),
            whole=mode == OPEN_LOOP,
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
    for group in (_of_mode(OPEN_LOOP), _of_mode('deployed'), _DEPLOYED)
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


def steps_of(seeds: Sequence[Figures]) -> int:
    """Return the number of steps of the horizon that open-loop figures cover, 0 without any."""
    return max((s[OPEN_LOOP]['overall']['steps'] for s in seeds if OPEN_LOOP in s), default=0)


def shared_steps(seeds: Sequence[Figures], joint: str) -> list[int]:
    """Return the steps at which all of these have a joint, in open loop."""
    tables = [each[OPEN_LOOP]['by_step']['shares'][joint]['count'] for each in seeds]
    return [k for k, counts in enumerate(zip(*tables, strict=False)) if all(counts)]


def on_joints(
    seeds: Sequence[Figures],
    measure: Measure,
    joints: Sequence[str],
    steps: Mapping[str, Sequence[int]] | None = None,
) -> float:
    """Return the mean over the seeds of the figure over some joints, each with equal weight.

    Args:
        seeds: ``sources[…]`` of a summary, one for each seed.
        measure: One that has a ``joint_key``.
        joints: Names.
        steps: Of each joint the steps of the horizon that count; None for all.
    """
    squared = measure.joint_key == 'rmse_share'
    found = []
    for each in seeds:
        figures = each[measure.mode]
        if steps is None:
            shares = np.array([figures['joints'][name][measure.joint_key] for name in joints])
        else:
            tables = figures['by_step']['shares']
            shares = np.array(
                [_on_steps(tables[name], measure.joint_key, steps[name]) for name in joints]
            )
        found.append(np.sqrt(np.mean(shares**2)) if squared else np.mean(shares))
    return float(np.mean(found))


def on_first_steps(seeds: Sequence[Figures], measure: Measure, steps: int) -> float | None:
    """Return the mean over the seeds of the figure over the first steps alone.

    Args:
        seeds: ``sources[…]`` of a summary, one for each seed.
        measure: An open-loop one that has a ``joint_key``.
        steps: How many.

    Returns:
        None if no seed has a value there.
    """
    found: list[float | None] = []
    for each in seeds:
        joints = shared_joints([each], measure)
        counted = {name: [k for k in shared_steps([each], name) if k < steps] for name in joints}
        own = [name for name in joints if counted[name]]
        found.append(on_joints([each], measure, own, counted) if own else None)
    return _mean(found)


def _on_steps(table: Figures, key: str, steps: Sequence[int]) -> float:
    """Figure of a joint over some steps, every value with the same weight."""
    values = np.array([table[key][k] for k in steps])
    counts = [table['count'][k] for k in steps]
    if key == 'rmse_share':
        return float(np.sqrt(np.average(values**2, weights=counts)))
    return float(np.average(values, weights=counts))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
