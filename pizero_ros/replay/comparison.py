"""Policies and baselines side by side over several episodes, with intervals.

Every episode has the same weight, however long it is. An episode's value of a policy is the mean
over its noise seeds. Keys (capitals are names: LABEL is a policy or a baseline)::

    episodes                       int, different recordings
    confidence                     0.95
    resamples                      int, of the bootstrap
    note                           how to read the intervals
    measures: MEASURE              those of ``MEASURES`` that any source has
      unit                         ``share``, ``ratio`` or ``count``
      better                       ``lower``, ``higher`` or None
      steps                        int, first steps of the horizon that ``sources`` are over, those
                                   that every source has; None for all but open-loop shares
      sources: LABEL               n (episodes), mean, low, high (both None for one episode)
      pairs                        list: a, b (LABELs), n (episodes that both have), mean of
                                   a - b, low, high (both None for one episode), joints, steps

A difference of a ``share`` is over the joints and, in open loop, the steps of the horizon that
both have in an episode; ``joints`` and ``steps`` list how many that were (one number, unless
episodes differ), and are None for other units. What is over every step of a chunk and cannot be
had of some steps (``relative_to_hold``, ``gripper_accuracy``) has no difference where the numbers
of steps differ. Pairs are every two policies, in the order of their first episodes, then each
policy with ``hold``.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pizero_ros.replay.episode import BASELINES
from pizero_ros.replay.measures import (
    MEASURES,
    OPEN_LOOP,
    Measure,
    episode_value,
    on_first_steps,
    on_joints,
    shared_joints,
    shared_steps,
    steps_of,
)
from pizero_ros.replay.summary import HOLD, label_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0
"""Of the resampling: the same episodes always have the same interval."""

NOTE = (
    'Every episode counts once, however long it is; the value of a policy is the mean over its '
    'seeds. Intervals are 95 % percentile intervals of a bootstrap over episodes: where the mean '
    'of other episodes of the same kind would lie. They are too narrow below about ten episodes, '
    'and one episode has none.'
)

_BLOCK = 500
"""Resamples at a time: bounds memory when there are many episodes."""

Table = dict[str, dict[str, list['Mapping[str, Any]']]]
"""Label → recording → the figures of its seeds (of a baseline, one)."""


class Interval(NamedTuple):
    """A mean over episodes and where it may lie; the bounds are None for one episode."""

    n: int
    mean: float
    low: float | None
    high: float | None


def compare(
    episodes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> dict[str, Any]:
    """Compare all sources over all episodes.

    Args:
        episodes: Facts (of which ``bag`` names the recording) and ``summary.summarise`` of each
            episode. Baselines of a recording are taken from the first episode that has them.

    Returns:
        The keys above; the same whatever the order of recordings.

    Raises:
        ValueError: If a policy has two episodes of one recording, or the name of a baseline.
    """
    table = _table(episodes)
    policies = [label for label in table if label not in BASELINES]
    labels = [*policies, *(name for name in BASELINES if name in table)]
    pairs = list(combinations(policies, 2))
    if HOLD in table:
        pairs += [(policy, HOLD) for policy in policies]
    measures = {}
    horizons = {label: max(map(steps_of, table[label].values()), default=0) for label in labels}
    least = min((steps for steps in horizons.values() if steps), default=0)
    for name, measure in MEASURES.items():
        limited = bool(least and measure.mode == OPEN_LOOP and measure.joint_key)
        sources = {
            label: _values(
                table[label], measure, least if limited and horizons[label] > least else None
            )
            for label in labels
        }
        if any(sources.values()):
            measures[name] = {
                'unit': measure.unit,
                'better': measure.better,
                'steps': least if limited else None,
                'sources': {
                    label: interval(values)._asdict()
                    for label, values in sources.items()
                    if values
                },
                'pairs': [
                    found
                    for a, b in pairs
                    if (found := _difference(a, b, table, measure)) is not None
                ],
            }
    return {
        'episodes': len({bag for bags in table.values() for bag in bags}),
        'confidence': CONFIDENCE,
        'resamples': RESAMPLES,
        'note': NOTE,
        'measures': measures,
    }


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of one or more episodes with its bootstrap percentile interval."""
    array = np.asarray(values, np.float64)
    n = len(array)
    if n == 1:
        return Interval(1, float(array[0]), None, None)
    generator = np.random.default_rng(SEED)
    means = np.concatenate(
        [
            array[generator.integers(0, n, (_BLOCK, n))].mean(axis=1)
            for _ in range(RESAMPLES // _BLOCK)
        ]
    )
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1.0 - tail))
    return Interval(n, float(array.mean()), float(low), float(high))


def _table(episodes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Table:
    table: Table = {}
    for facts, summary in episodes:
        bag = str(facts['bag'])
        found: dict[str, list[Mapping[str, Any]]] = {}
        for source, figures in summary['sources'].items():
            label = label_of(source)
            if label in BASELINES:
                msg = f'a policy called {label!r}, which is the name of a baseline'
                raise ValueError(msg)
            found.setdefault(label or source, []).append(figures)
        for label, seeds in found.items():
            bags = table.setdefault(label, {})
            if label not in BASELINES and bag in bags:
                msg = f'two episodes of policy {label!r} and recording {bag!r}'
                raise ValueError(msg)
            bags.setdefault(bag, seeds)
    return table


def _values(
    bags: Mapping[str, list[Mapping[str, Any]]], measure: Measure, steps: int | None
) -> list[float]:
    """Return the value of each episode that has one, in the order of the recordings' names.

    Args:
        bags: Recording → the figures of its seeds.
        measure: What is wanted.
        steps: First steps of the horizon that count; None for all that there are.
    """
    found = (
        episode_value(bags[bag], measure)
        if steps is None
        else on_first_steps(bags[bag], measure, steps)
        for bag in sorted(bags)
    )
    return [value for value in found if value is not None]


def _difference(a: str, b: str, table: Table, measure: Measure) -> dict[str, Any] | None:
    """Compare two sources on the recordings that both have; None if there is none."""
    both = sorted(table[a].keys() & table[b].keys())
    found = list(_differences([(table[a][bag], table[b][bag]) for bag in both], measure))
    if not found:
        return None
    joints, steps = (
        sorted({count for count in counts if count is not None}) or None
        for counts in (
            [each.joints for each in found],
            [each.steps for each in found],
        )
    )
    values = [each.value for each in found]
    return {'a': a, 'b': b, **interval(values)._asdict(), 'joints': joints, 'steps': steps}


class _Different(NamedTuple):
    """A difference in one episode, and on how many joints and steps it is."""

    value: float
    joints: int | None = None
    steps: int | None = None


def _differences(
    episodes: Iterable[tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]], measure: Measure
) -> Iterator[_Different]:
    """Yield the difference of each episode that has one."""
    for ours, theirs in episodes:
        both = [*ours, *theirs]
        if not measure.joint_key:
            if measure.whole and steps_of(ours) != steps_of(theirs):
                continue
            value, other = (episode_value(seeds, measure) for seeds in (ours, theirs))
            if value is not None and other is not None:
                yield _Different(value - other)
            continue
        joints, steps = shared_joints(both, measure), None
        if measure.mode == OPEN_LOOP:
            steps = {name: shared_steps(both, name) for name in joints}
            joints = [name for name in joints if steps[name]]
        if joints:
            mine, its = (on_joints(seeds, measure, joints, steps) for seeds in (ours, theirs))
            count = max(len(steps[name]) for name in joints) if steps else None
            yield _Different(mine - its, len(joints), count)
