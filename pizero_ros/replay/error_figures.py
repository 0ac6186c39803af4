"""Errors per joint, per group and overall, as the keys of ``summary`` name them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from pizero_ros.replay import metrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.replay.columns import Columns

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Compared:
    """What a source said beside what was recorded.

    Attributes:
        time_ns: int64 [N], by which two sources are brought together; each once.
        predicted: float64 [N, ..., J], raw, NaN where nothing was said.
        recorded: float64, the same shape.
    """

    time_ns: Integers
    predicted: Floats
    recorded: Floats

    @property
    def errors(self) -> Floats:
        """Absolute errors, float64 [N, ..., J]."""
        return metrics.absolute_errors(self.predicted, self.recorded)

    @property
    def known(self) -> int:
        """Number of rows [..., J] in which the recording has any joint."""
        return int(np.isfinite(self.recorded).any(axis=-1).sum())

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Rows [..., J] in which any joint has an error, bool [N, ...]."""
        return np.asarray(np.isfinite(self.errors).any(axis=-1), np.bool_)


def figure(value: SupportsFloat) -> float | None:
    """Return a plain float, None for one that is not defined."""
    number = float(value)
    return number if math.isfinite(number) else None


def spread(values: npt.ArrayLike) -> dict[str, float | None]:
    """Return median, 95th percentile and maximum of what is there; all None of nothing."""
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    if not array.size:
        return {'p50': None, 'p95': None, 'max': None}
    p50, p95 = np.percentile(array, (50, 95))
    return {'p50': float(p50), 'p95': float(p95), 'max': float(array.max())}


def unit_of(columns: Columns, group: str) -> str | None:
    """Return the unit of a group, None if its joints have different ones."""
    units = {columns.columns[j].unit for j in columns.where(group=group)}
    return units.pop() if len(units) == 1 else None


def error_figures(said: Compared, hold: Compared | None, columns: Columns) -> dict[str, Any]:
    """Return what both evaluations have: undefined, overall, groups, joints, relative_to_hold.

    Errors of a joint are over all its values. Those of a group and overall are means of its
    joints' mean errors, and roots of the mean of its joints' mean squares: every joint has the
    same weight, however many values it has.

    Args:
        said: Of one source.
        hold: Of the baseline that stands still, None if there is none.
        columns: What the last axis is.
    """
    found = metrics.joint_errors(said.errors)
    covered = [j for j, count in enumerate(found.count) if count]
    return {
        'undefined': metrics.undefined(said.predicted, said.recorded),
        'overall': _shares(found, covered, columns),
        'groups': {name: _group(found, covered, columns, name) for name in columns.groups},
        'joints': {
            column.name: _joint(found, j, columns) if j in covered else None
            for j, column in enumerate(columns.columns)
        },
        'relative_to_hold': _relative(said, hold, columns),
    }


def by_step(errors: Floats, columns: Columns) -> dict[str, Any]:
    """Return the errors of each step of the horizon.

    Args:
        errors: float64 [Q, H, J], absolute.
        columns: What the last axis is.
    """
    steps = metrics.mean(errors)
    squares = metrics.rms(errors) / columns.spans
    counts = np.isfinite(errors).sum(axis=0)
    shares = metrics.mean((steps / columns.spans).T)
    return {
        'mae_share': [figure(value) for value in shares],
        'joints': {
            column.name: [figure(value) for value in steps[:, j]]
            if np.isfinite(steps[:, j]).any()
            else None
            for j, column in enumerate(columns.columns)
        },
        'shares': {
            column.name: {
                'mae_share': [figure(value) for value in steps[:, j] / column.span],
                'rmse_share': [figure(value) for value in squares[:, j]],
                'count': counts[:, j].tolist(),
            }
            if counts[:, j].any()
            else None
            for j, column in enumerate(columns.columns)
        },
    }


def consistency(differences: Floats, columns: Columns) -> dict[str, Any]:
    """Return how far successive chunks disagree, over all joints and waypoints of a group.

    Args:
        differences: float64 [N, J], of ``metrics.overlaps``.
        columns: What the last axis is.
    """
    figures = {}
    for name in columns.groups:
        own = columns.where(group=name)
        unit = unit_of(columns, name)
        values = differences[:, own]
        there = np.abs(values[np.isfinite(values)])
        figures[name] = {
            'unit': unit,
            'rms': figure(metrics.rms(there)) if unit else None,
            'max': figure(there.max()) if unit and there.size else None,
            'rms_share': figure(metrics.rms((values / columns.spans[own]).ravel())),
        }
    return figures


def _joint(found: metrics.JointErrors, j: int, columns: Columns) -> dict[str, Any]:
    column = columns.columns[j]
    return {
        'group': column.group,
        'unit': column.unit,
        'mae': figure(found.mae[j]),
        'rmse': figure(found.rmse[j]),
        'max': figure(found.largest[j]),
        'mae_share': figure(found.mae[j] / column.span),
        'rmse_share': figure(found.rmse[j] / column.span),
        'count': int(found.count[j]),
    }


def _group(
    found: metrics.JointErrors, covered: list[int], columns: Columns, name: str
) -> dict[str, Any] | None:
    own = [j for j in columns.where(group=name) if j in covered]
    if not own:
        return None
    unit = unit_of(columns, name)
    return {
        'unit': unit,
        'mae': figure(np.mean(found.mae[own])) if unit else None,
        'rmse': figure(metrics.rms(found.rmse[own])) if unit else None,
        **_shares(found, own, columns),
    }


def _shares(found: metrics.JointErrors, joints: list[int], columns: Columns) -> dict[str, Any]:
    """Errors as shares of the spans, every joint with the same weight."""
    spans = columns.spans[joints]
    return {
        'mae_share': figure(metrics.mean(found.mae[joints] / spans)),
        'rmse_share': figure(metrics.rms(found.rmse[joints] / spans)),
        'joints': len(joints),
    }


def _relative(said: Compared, hold: Compared | None, columns: Columns) -> float | None:
    """Error over that of standing still, where both say something."""
    if hold is None:
        return None
    _, mine, its = np.intersect1d(said.time_ns, hold.time_ns, return_indices=True)
    ours, theirs = said.errors[mine], hold.errors[its]
    both = np.isfinite(ours) & np.isfinite(theirs)
    share, standing = (
        float(
            metrics.mean(metrics.joint_errors(np.where(both, errors, np.nan)).mae / columns.spans)
        )
        for errors in (ours, theirs)
    )
    return figure(share / standing) if standing > 0.0 else None
