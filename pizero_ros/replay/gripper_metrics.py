"""Whether a gripper opens and closes when the demonstrator's does.

A gripper is open or closed: *open* is above a threshold in the middle of what the demonstrator
did, in raw units. Which of the two is open to the eye is the robot's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pizero_ros.replay.columns import Column

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

ENDS = (1.0, 99.0)
"""Percentiles between which the demonstrator's range lies: a single wild value is not a grasp."""

LEAST_RANGE = 0.1
"""Share of a gripper's span that the demonstrator must use, or the gripper did not act."""

BAND = 0.1
"""Share of the range that a value must be beyond the threshold to count as an event."""

TOLERANCE_S = 0.25
"""Time between an event and its match: half of what π0 executes of a chunk (25 steps at 50 Hz).

A fixed time and not a share of the executed steps, so that evaluations that query more or less
often can be compared.
"""

TOLERANCE_STEPS = 1.5
"""The tolerance is at least this many steps: below 6 Hz an event one step off is still a match."""

_ROUNDING_NS = 1_000


class Threshold(NamedTuple):
    """What separates open from closed.

    Attributes:
        value: Above it a gripper is open, raw.
        band: Half the width of the hysteresis of events, raw.
        acted: Whether the demonstrator used the gripper. If not, ``value`` is the middle between
            the limits, and only the events of the prediction mean anything.
    """

    value: float
    band: float
    acted: bool


class Event(NamedTuple):
    """A gripper that opens or closes."""

    at_ns: int
    opens: bool


class Confusion(NamedTuple):
    """Shares of samples: NaN where the demonstrator was never open, or never closed.

    Attributes:
        balanced_accuracy: Mean of the share of open samples that are predicted open and the share
            of closed samples that are predicted closed; 0.5 is what guessing gets.
        false_open: Share of the closed samples that are predicted open.
        false_closed: Share of the open samples that are predicted closed.
    """

    balanced_accuracy: float
    false_open: float
    false_closed: float


def threshold(recorded: Floats, column: Column) -> Threshold:
    """Place the threshold of a gripper.

    Args:
        recorded: float64, any shape, what the demonstrator commanded; NaN where unknown.
        column: The gripper.
    """
    known = recorded[np.isfinite(recorded)]
    low, high = np.percentile(known, ENDS) if known.size else (0.0, 0.0)
    if high - low < LEAST_RANGE * column.span:
        return Threshold((column.lower + column.upper) / 2, BAND * column.span, acted=False)
    return Threshold(float(low + high) / 2, BAND * float(high - low), acted=True)


def confusion(predicted: Floats, recorded: Floats, limit: Threshold) -> Confusion:
    """Compare sample by sample.

    Args:
        predicted: float64, any shape.
        recorded: float64, the same shape; samples that either lacks do not count.
        limit: What separates open from closed.
    """
    known = np.isfinite(predicted) & np.isfinite(recorded)
    says = predicted[known] > limit.value
    is_open = recorded[known] > limit.value
    false_open = float(says[~is_open].mean()) if (~is_open).any() else np.nan
    false_closed = float((~says[is_open]).mean()) if is_open.any() else np.nan
    return Confusion(1.0 - (false_open + false_closed) / 2, false_open, false_closed)


def events(time_ns: Integers, values: Floats, limit: Threshold) -> list[Event]:
    """Find where a gripper opens and closes, with hysteresis.

    It opens when its value rises above the threshold plus the band, and closes when it falls
    below the threshold minus the band. At the beginning it is on the side where its value is.

    Args:
        time_ns: int64 [N].
        values: float64 [N], finite.
        limit: Threshold and band.
    """
    found: list[Event] = []
    if not len(values):
        return found
    is_open = bool(values[0] > limit.value)
    beyond = np.flatnonzero(np.abs(values - limit.value) > limit.band)
    for i in beyond:
        if is_open != bool(values[i] > limit.value):
            is_open = not is_open
            found.append(Event(int(time_ns[i]), is_open))
    return found


def matches(predicted: Sequence[Event], recorded: Sequence[Event], tolerance_s: float) -> int:
    """Count events that can be matched, each at most once, opening with opening.

    Args:
        predicted: In the order of time.
        recorded: In the order of time.
        tolerance_s: Largest time between two that match.

    Returns:
        The largest number of pairs that is possible.
    """
    tolerance_ns = round(tolerance_s * 1e9) + _ROUNDING_NS
    count = 0
    for opens in (False, True):
        said = [event.at_ns for event in predicted if event.opens is opens]
        done = [event.at_ns for event in recorded if event.opens is opens]
        # In order, taking the first that fits never loses a pair.
        i = j = 0
        while i < len(said) and j < len(done):
            if abs(said[i] - done[j]) <= tolerance_ns:
                count, i, j = count + 1, i + 1, j + 1
            elif said[i] < done[j]:
                i += 1
            else:
                j += 1
    return count


def tolerance_s(rate_hz: float) -> float:
    """Return the largest time between an event and its match, at a rate of actions."""
    return max(TOLERANCE_S, TOLERANCE_STEPS / rate_hz)


class GripperFigures(NamedTuple):
    """How well a gripper agrees with the demonstrator's; NaN where a figure is not defined.

    Attributes:
        threshold: Raw; NaN if the demonstrator did not use the gripper.
        balanced_accuracy: See ``Confusion``.
        false_open: See ``Confusion``.
        false_closed: See ``Confusion``.
        precision: Share of the predicted events that match a recorded one.
        recall: Share of the recorded events that match a predicted one.
        f1: 2 * matched / (predicted + recorded).
        tolerance_s: Largest time between two events that match.
        events_recorded: Number of times the demonstrator opened or closed it.
        events_predicted: Number of times the source would have.
    """

    threshold: float
    balanced_accuracy: float
    false_open: float
    false_closed: float
    precision: float
    recall: float
    f1: float
    tolerance_s: float
    events_recorded: int
    events_predicted: int


class Samples(NamedTuple):
    """Values that are compared one by one; float64 of one shape, NaN where unknown."""

    predicted: Floats
    recorded: Floats


class Stream(NamedTuple):
    """Values in the order of time; int64 [N] and float64 [N], NaN where unknown."""

    time_ns: Integers
    predicted: Floats
    recorded: Floats


def gripper_figures(
    column: Column, samples: Samples, stream: Stream, rate_hz: float
) -> GripperFigures:
    """Compare a gripper with the demonstrator's.

    Args:
        column: The gripper.
        samples: For the shares, and for the threshold.
        stream: For the events.
        rate_hz: Actions per second.
    """
    limit = threshold(samples.recorded, column)
    known = np.isfinite(stream.predicted) & np.isfinite(stream.recorded)
    times = stream.time_ns[known]
    said = events(times, stream.predicted[known], limit)
    done = events(times, stream.recorded[known], limit) if limit.acted else []
    tolerance = tolerance_s(rate_hz)
    hits = matches(said, done, tolerance)
    nothing = Confusion(np.nan, np.nan, np.nan)
    return GripperFigures(
        limit.value if limit.acted else np.nan,
        *(confusion(*samples, limit) if limit.acted else nothing),
        hits / len(said) if said else np.nan,
        hits / len(done) if done else np.nan,
        2 * hits / (len(said) + len(done)) if said or done else np.nan,
        tolerance,
        len(done),
        len(said),
    )
