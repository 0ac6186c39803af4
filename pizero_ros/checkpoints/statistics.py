"""Are these statistics of real data? Mistakes end an import, doubts need a person's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.processing.normalize import NEAR_CONSTANT
from pizero_ros.processing.spec import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pizero_ros.processing.spec import NormalizationMode

Array = npt.NDArray[np.float64]

PAIRS: dict[NormalizationMode, tuple[str, str]] = {
    'zscore': ('mean', 'std'),
    'quantile': ('q01', 'q99'),
}
_ORDERED = ('min', 'q01', 'q10', 'q90', 'q99', 'max')
_SLACK = 1e-3
"""Share of a spread by which statistics may contradict each other: they are kept as float32 and
quantiles come from histograms."""
_CANTELLI = 99**0.5
"""No distribution has its 1 % quantile more than this many deviations below its mean."""
_FAR_FROM_ZERO = 3.0
"""Deviations between a relative action's mean and 0 above which it looks like a position."""
_NORMAL_RANGE = 4.65
"""Deviations between the 1 % and the 99 % quantile of a normal value."""


@dataclass(frozen=True)
class Findings:
    """What is wrong with statistics, what is only strange, and what was done on demand."""

    mistakes: tuple[str, ...]
    doubts: tuple[str, ...]
    widened: tuple[str, ...] = ()


def examine(
    statistics: Mapping[str, Mapping[str, Array]],
    pair: tuple[str, str] | None,
    relative: npt.NDArray[np.bool_],
    min_spread: float | None,
) -> Findings:
    """Look for values that no recording has.

    Args:
        statistics: ``state`` and ``action``; each statistic by its name (``mean``, ``q01``, …).
        pair: Names of the two that normalisation uses; None if it uses none.
        relative: bool [action width], which actions are relative.
        min_spread: Spread that the user wants narrow values widened to, None if not asked.

    Returns:
        Mistakes and doubts, each a line that names value and index.
    """
    mistakes: list[str] = []
    doubts: list[str] = []
    widened: list[str] = []
    for vector, named in statistics.items():
        broken = list(_broken(vector, named, pair))
        mistakes += broken
        if broken:
            continue
        mistakes += _contradictions(vector, named)
        doubts += _unlikely(vector, named)
        if pair is not None:
            spread = named['std'] if pair == ('mean', 'std') else named[pair[1]] - named[pair[0]]
            if min_spread is None:
                mistakes += _still(vector, spread, pair)
                doubts += _hardly_moving(vector, spread)
            else:
                widened += _widened(vector, spread, min_spread)
    if pair is not None and not mistakes:
        low, high = (statistics['action'][key] for key in pair)
        if pair != ('mean', 'std'):
            low, high = (low + high) / 2, (high - low) / _NORMAL_RANGE
        doubts += _not_relative(low, high, relative)
    return Findings(tuple(mistakes), tuple(doubts), tuple(widened))


def settle(findings: Findings, where: str, accept: bool) -> tuple[str, ...]:
    """Insist that there are no mistakes, and no doubts that nobody has looked at.

    Returns:
        The doubts that the user accepts and the values that were widened, to be shown.

    Raises:
        CheckpointError: There are mistakes.
        UnstatedError: There are doubts, and ``accept`` is False.
    """
    lines = [f'  mistake: {each}' for each in findings.mistakes]
    lines += [f'  doubt: {each}' for each in findings.doubts]
    listed = '\n'.join(lines)
    if findings.mistakes:
        msg = f'{where}: statistics that cannot be right:\n{listed}'
        raise CheckpointError(msg)
    if findings.doubts and not accept:
        msg = (
            f'{where}: statistics that need a look before they move a robot:\n{listed}\n'
            'If they are right, say --accept-statistics. --min-spread S widens values that '
            'hardly moved, so that noise on them is not magnified.'
        )
        raise UnstatedError(msg)
    return (*findings.doubts, *findings.widened)


def for_manifest(
    named: Mapping[str, Array], pair: tuple[str, str] | None, min_spread: float | None
) -> Statistics:
    """Keep the two statistics that are used, widened where the user wants it.

    ``pair`` may also be ``min`` and ``max``, or the 10 % and 90 % quantiles: the formula is that
    of the quantiles.
    """
    if pair is None:
        return Statistics(None, None, None, None)
    low, high = (np.array(named[key], np.float64) for key in pair)
    least = 0.0 if min_spread is None else min_spread
    if pair == ('mean', 'std'):
        return Statistics(low, np.maximum(high, least), None, None)
    missing = np.maximum(least - (high - low), 0.0) / 2
    return Statistics(None, None, low - missing, high + missing)


def _broken(
    vector: str, named: Mapping[str, Array], pair: tuple[str, str] | None
) -> Iterator[str]:
    """Report what makes every other comparison meaningless."""
    for key in pair or ():
        if key not in named:
            yield f'{vector}.{key} is not there'
    shapes = {key: values.shape for key, values in named.items()}
    if len({*shapes.values()}) > 1 or {(), (0,)} & {*shapes.values()}:
        shown = ', '.join(f'{key} {list(shape)}' for key, shape in shapes.items())
        yield f'{vector}: widths differ or are none ({shown})'
    for key, values in named.items():
        for index in np.flatnonzero(~np.isfinite(values)):
            yield f'{vector}.{key}[{index}] is {values.flat[index]}'
    for index in np.flatnonzero(named['std'] < 0) if 'std' in named else ():
        yield f'{vector}.std[{index}] is {named["std"].flat[index]:g}: no deviation is negative'


def _contradictions(vector: str, named: Mapping[str, Array]) -> Iterator[str]:
    """Report what contradicts arithmetic, whatever the data were."""
    ordered = [key for key in _ORDERED if key in named]
    for i, low in enumerate(ordered):
        for high in ordered[i + 1 :]:
            for index in np.flatnonzero(named[low] - named[high] > _slack(named)):
                yield (
                    f'{vector}.{low}[{index}] is {named[low][index]:g}, above {high} = '
                    f'{named[high][index]:g}: swapped?'
                )
    if not {'min', 'max'} <= named.keys():
        return
    least, most = named['min'], named['max']
    if 'mean' in named:
        mean = named['mean']
        outside = np.maximum(least - mean, mean - most) > _slack(named)
        for index in np.flatnonzero(outside):
            yield (
                f'{vector}.mean[{index}] is {mean[index]:g}, outside min … max = '
                f'{least[index]:g} … {most[index]:g}'
            )
    if 'std' in named:
        # Popoviciu: no data have a deviation over half their range.
        for index in np.flatnonzero(named['std'] - (most - least) / 2 > _slack(named)):
            yield (
                f'{vector}.std[{index}] is {named["std"][index]:g}, over half of max − min = '
                f'{most[index] - least[index]:g}'
            )


def _unlikely(vector: str, named: Mapping[str, Array]) -> Iterator[str]:
    """Report quantiles that no data with this mean and deviation have (Cantelli's bounds)."""
    if not {'mean', 'std', 'q01', 'q99'} <= named.keys():
        return
    mean, std = named['mean'], named['std']
    slack = _slack(named)
    for key, side in (('q01', 1.0), ('q99', -1.0)):
        below = side * (mean - named[key])
        strange = (below > _CANTELLI * std + slack) | (-below > std / _CANTELLI + slack)
        for index in np.flatnonzero(strange):
            yield (
                f'{vector}.{key}[{index}] is {named[key][index]:g}, impossible beside mean '
                f'{mean[index]:g} and std {std[index]:g}'
            )


def _still(vector: str, spread: Array, pair: tuple[str, str]) -> Iterator[str]:
    for index in np.flatnonzero(spread <= 0):
        yield (
            f'{vector}[{index}] never moved ({" and ".join(pair)}): it cannot be normalised, '
            'unless --min-spread S widens it'
        )


def _hardly_moving(vector: str, spread: Array) -> Iterator[str]:
    for index in np.flatnonzero((spread > 0) & (spread < NEAR_CONSTANT)):
        yield (
            f'{vector}[{index}] hardly moved, spread {spread[index]:g}: noise of '
            f'{NEAR_CONSTANT:g} becomes {NEAR_CONSTANT / spread[index]:.0f} deviations'
        )


def _widened(vector: str, spread: Array, min_spread: float) -> Iterator[str]:
    for index in np.flatnonzero(spread < min_spread):
        yield f'{vector}[{index}] spread {spread[index]:g}, widened to {min_spread:g}'


def _not_relative(middle: Array, spread: Array, relative: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Report relative actions whose middle is far from 0, as that of a position would be."""
    for index in np.flatnonzero(relative[: len(middle)]):
        if abs(middle[index]) > _FAR_FROM_ZERO * spread[index] + NEAR_CONSTANT:
            yield (
                f'action[{index}] is to be relative, yet lies around {middle[index]:g} with a '
                f'spread of {spread[index]:g}: are these statistics of absolute actions, or of '
                'the state?'
            )


def _slack(named: Mapping[str, Array]) -> Array:
    """How much rounding and histograms may be off, float64 [width]."""
    scale = np.max([np.abs(values) for values in named.values()], axis=0)
    return np.asarray(_SLACK * scale + 1e-9)
