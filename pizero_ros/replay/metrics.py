"""Errors, disagreement of successive chunks and jerk, as functions of arrays.

Rows are moments, steps or chunks, the last axis is the joints. A value that is not finite is a
value that is not there: it takes part in nothing, and a figure without values is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

_SAME_STEP = 1e-4
"""Steps within which two waypoints are at one time: stamps are rounded to nanoseconds."""

_JERK_STEPS = 4
"""Values that a third difference needs."""


@dataclass(frozen=True)
class JointErrors:
    """Error of each joint, over all rows in which it has one.

    Attributes:
        mae: float64 [J], mean of absolute errors.
        rmse: float64 [J], root of the mean of squared errors.
        largest: float64 [J], largest absolute error.
        count: int64 [J], number of errors.
    """

    mae: Floats
    rmse: Floats
    largest: Floats
    count: Integers


def absolute_errors(predicted: Floats, recorded: Floats) -> Floats:
    """Return absolute differences of two arrays of one shape, NaN where either is not finite."""
    known = np.isfinite(predicted) & np.isfinite(recorded)
    errors = np.full(predicted.shape, np.nan)
    errors[known] = np.abs(predicted[known] - recorded[known])
    return errors


def joint_errors(errors: Floats) -> JointErrors:
    """Summarise absolute errors, float64 [..., J], over all axes but the last."""
    rows = errors.reshape(-1, errors.shape[-1])
    return JointErrors(
        mae=mean(rows),
        rmse=rms(rows),
        largest=_defined(np.where(np.isfinite(rows), rows, -np.inf).max(axis=0, initial=-np.inf)),
        count=np.isfinite(rows).sum(axis=0),
    )


def mean(values: Floats) -> Floats:
    """Return the mean over the first axis of what is there, NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    means = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def rms(values: Floats) -> Floats:
    """Return the root of the mean square over the first axis, NaN where nothing is there."""
    return np.sqrt(mean(np.square(values)))


def undefined(predicted: Floats, recorded: Floats) -> int:
    """Count recorded values that a source lacks in joints that it otherwise predicts.

    Steps of chunks behind the last one that it ever gives are beyond its horizon, and not lacking;
    nor are moments of a stream before the first at which it has the joint.

    Args:
        predicted: float64 [Q, H, J] of chunks, or [T, J] of a stream in the order of time.
        recorded: float64, the same shape.
    """
    given = np.isfinite(predicted)
    predicts = given.reshape(-1, predicted.shape[-1]).any(axis=0)
    lacking = np.isfinite(recorded) & ~given & predicts
    if lacking.ndim == 3 and given.any():
        lacking = lacking[:, : 1 + int(np.flatnonzero(given.any(axis=(0, 2)))[-1])]
    if lacking.ndim == 2:
        lacking &= np.logical_or.accumulate(given, axis=0)
    return int(lacking.sum())


def overlaps(observed_ns: Integers, predicted: Floats, rate_hz: float) -> Floats:
    """Compare each chunk with the one before it, wherever both have a path.

    Waypoint k of a chunk belongs to ``observed_ns + k / rate_hz``. At the waypoints of the later
    chunk, the earlier one is interpolated linearly.

    Args:
        observed_ns: int64 [Q], ascending.
        predicted: float64 [Q, H, J].
        rate_hz: Waypoints per second.

    Returns:
        float64 [N, J], later minus earlier, of all pairs one after the other.
    """
    differences = [np.empty((0, predicted.shape[2]))]
    for i, gap_ns in enumerate(np.diff(observed_ns)):
        offset = float(gap_ns) * 1e-9 * rate_hz
        whole = int(np.floor(offset + _SAME_STEP))
        part = offset - whole
        earlier = predicted[i, whole:]
        if part > _SAME_STEP:
            earlier = earlier[:-1] + part * np.diff(earlier, axis=0)
        differences.append(predicted[i + 1, : len(earlier)] - earlier)
    return np.concatenate(differences)


def takeovers(
    start_ns: Integers, steps: Integers, actions: Floats, joined: Bools, rate_hz: float
) -> Floats:
    """Compare chunks as they were made where one takes over from the one before it.

    Args:
        start_ns: int64 [N], when action 0 of each published chunk is due.
        steps: int64 [N, 2], its first published step and the one after its last.
        actions: float64 [N, H, J]; steps behind the last row do not count, nor does NaN.
        joined: bool [N], whether a chunk took over in motion; a chunk from rest does not count.
        rate_hz: Actions per second.

    Returns:
        float64 [M, J], first published action minus the earlier chunk there, interpolated
        linearly; of takeovers that lie within what was published of the earlier chunk, and at
        which any joint has a value.
    """
    jumps = [np.empty((0, actions.shape[2]))]
    rows = actions.shape[1]
    for i in range(1, len(start_ns)):
        first, last = int(steps[i, 0]), min(int(steps[i - 1, 1]), rows) - 1
        if not 0 <= first < rows:
            continue
        place = float(start_ns[i] - start_ns[i - 1]) * 1e-9 * rate_hz + first
        if not joined[i] or not 0.0 <= place <= last + _SAME_STEP:
            continue
        before = int(place + _SAME_STEP)
        old = actions[i - 1, before]
        if place - before > _SAME_STEP:
            old = old + (place - before) * (actions[i - 1, before + 1] - old)
        jump = actions[i, first] - old
        if np.isfinite(jump).any():
            jumps.append(jump[None])
    return np.concatenate(jumps)


def executed_part(
    observed_ns: Integers, predicted: Floats, recorded: Floats, rate_hz: float
) -> tuple[Integers, Floats, Floats]:
    """String together of each chunk what comes before the next observation.

    Of the last chunk everything counts: nothing replaces it.

    Args:
        observed_ns: int64 [Q], ascending.
        predicted: float64 [Q, H, J].
        recorded: float64 [Q, H, J].
        rate_hz: Waypoints per second.

    Returns:
        Times int64 [N], predicted and recorded actions float64 [N, J] each.
    """
    steps_ns = np.rint(np.arange(predicted.shape[1]) * 1e9 / rate_hz).astype(np.int64)
    times_ns = observed_ns[:, None] + steps_ns
    ends_ns = np.append(observed_ns[1:], np.iinfo(np.int64).max)
    kept = times_ns < ends_ns[:, None] - round(_SAME_STEP * 1e9 / rate_hz)
    return times_ns[kept], predicted[kept], recorded[kept]


def jerks(
    commanded: Floats, recorded: Floats, moving: Bools, rate_hz: float
) -> tuple[Floats, Floats]:
    """Return third differences per cubic second, where the robot moved and both are known.

    Args:
        commanded: float64 [T, J], one action period apart.
        recorded: float64 [T, J].
        moving: bool [T]; a difference counts if all its four moments do.
        rate_hz: Moments per second.

    Returns:
        Of commanded and of recorded, float64 [T - 3, J] each, NaN where one does not count.
    """
    count = max(len(moving) - _JERK_STEPS + 1, 0)
    whole = np.ones(count, np.bool_)
    for i in range(_JERK_STEPS):
        whole &= moving[i : i + count]
    both = np.isfinite(commanded) & np.isfinite(recorded)
    found = []
    for values in (commanded, recorded):
        there = np.where(both, values, np.nan)
        differences = np.diff(there, n=_JERK_STEPS - 1, axis=0) * rate_hz**3
        found.append(np.where(whole[:, None], differences, np.nan))
    return found[0], found[1]


def _defined(values: Floats) -> Floats:
    """Turn the maximum of nothing into NaN."""
    return np.where(np.isfinite(values), values, np.nan)
