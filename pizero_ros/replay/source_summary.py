"""All figures of one source of an episode, as the keys of ``summary`` name them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.replay import metrics
from pizero_ros.replay.error_figures import (
    Compared,
    by_step,
    consistency,
    error_figures,
    figure,
    spread,
    unit_of,
)
from pizero_ros.replay.gripper_metrics import Samples, Stream, gripper_figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.replay.columns import Columns
    from pizero_ros.replay.episode import Deployed, OpenLoop

    Floats = npt.NDArray[np.float64]

LIMIT_REASONS = ('position', 'velocity', 'acceleration', 'max_step', 'workspace')
"""Interventions of the gate that are about a limit of the robot, of ``safety.REASONS``."""

ACCEPTED, REFUSED = 'accepted', 'refused'
"""Reasons of chunks that are executed, and of those that the gate refuses."""

TRAJECTORY = 'joint_trajectory'
"""Kind of the groups that have seams, and whose third difference is a jerk."""


def open_loop_figures(
    chunks: OpenLoop, hold: OpenLoop | None, columns: Columns, rate_hz: float
) -> dict[str, Any]:
    """Return the figures of chunks beside what the demonstrator did.

    Args:
        chunks: Of one source.
        hold: Of the baseline that stands still, None if there is none.
        columns: What the last axis is.
        rate_hz: Actions per second.
    """
    said = _asked(chunks)
    order = np.argsort(chunks.observed_ns, kind='stable')
    observed_ns, predicted = chunks.observed_ns[order], said.predicted[order]
    executed = metrics.executed_part(observed_ns, predicted, said.recorded[order], rate_hz)
    answered = said.answered
    figures = error_figures(said, _asked(hold) if hold else None, columns)
    figures['overall']['steps'] = int(answered.any(axis=0).sum())
    return {
        'queries': len(said.time_ns),
        'compared': int(answered.sum()),
        **figures,
        'by_step': by_step(said.errors, columns),
        'consistency': consistency(metrics.overlaps(observed_ns, predicted, rate_hz), columns),
        'grippers': _grippers(said, Compared(*executed), columns, rate_hz),
    }


def deployed_figures(
    stream: Deployed, hold: Deployed | None, columns: Columns, rate_hz: float
) -> dict[str, Any]:
    """Return the figures of a command stream beside what the demonstrator commanded.

    Args:
        stream: Of one source.
        hold: Of the baseline that stands still, None if there is none.
        columns: What the last axis is.
        rate_hz: Actions per second.
    """
    said = _commanded(stream)
    return {
        'moments': said.known,
        **error_figures(said, _commanded(hold) if hold else None, columns),
        'moving_share': figure(metrics.mean(stream.moving.astype(np.float64))),
        'seams': _seams(stream, columns, rate_hz),
        'jerk': _jerk(said, stream.moving, columns, rate_hz),
        'grippers': _grippers(said, said, columns, rate_hz),
        'chunks': _sorted(Counter(chunk.reason for chunk in stream.chunks)),
        'refused_at_end': _refused_at_end(stream),
        'unanswered': int(stream.unanswered),
        'restarts': stream.restarts,
        'interventions': _sorted(stream.gate_counts),
        'limit_hits': _limit_hits(stream, columns),
        'trajectories_sent': stream.trajectories_sent,
        'trajectories_rejected': _sorted(stream.trajectories_rejected),
        'starvations': stream.starvations,
        'observations_refused': stream.observations_refused,
        'deadlines_missed': stream.deadlines_missed,
        'latency_s': spread([(c.arrived_ns - c.requested_ns) * 1e-9 for c in stream.chunks]),
        'reaction_s': spread([(c.arrived_ns - c.observed_ns) * 1e-9 for c in stream.chunks]),
    }


def _asked(chunks: OpenLoop) -> Compared:
    return Compared(chunks.asked_ns, _finite(chunks.predicted), _finite(chunks.recorded))


def _commanded(stream: Deployed) -> Compared:
    return Compared(stream.time_ns, _finite(stream.commanded), _finite(stream.recorded))


def _grippers(
    samples: Compared, stream: Compared, columns: Columns, rate_hz: float
) -> dict[str, Any]:
    """Shares over ``samples`` [..., J], events of ``stream`` [N, J]."""
    figures = {}
    for j in columns.where(kind='gripper'):
        found = gripper_figures(
            columns.columns[j],
            Samples(samples.predicted[..., j], samples.recorded[..., j]),
            Stream(stream.time_ns, stream.predicted[:, j], stream.recorded[:, j]),
            rate_hz,
        )
        figures[columns.columns[j].name] = {
            key: value if isinstance(value, int) else figure(value)
            for key, value in found._asdict().items()
        }
    return figures


def _seams(stream: Deployed, columns: Columns, rate_hz: float) -> dict[str, Any]:
    """Jumps where trajectories replaced each other, over all joints and seams of a group."""
    asked = np.abs(_takeovers(stream, rate_hz))
    figures = {}
    for name in _arms(columns):
        seams = [seam for seam in stream.seams if seam.group == name]
        unit = unit_of(columns, name)
        jumps = [abs(value) for seam in seams for value in seam.position.values() if unit]
        kinks = [abs(value) for seam in seams for value in seam.speed.values() if unit]
        figures[name] = {
            'count': len(seams),
            'unit': unit,
            'position': spread(jumps),
            'speed': spread(kinks),
            'asked': spread(asked[:, columns.where(group=name)] if unit else []),
        }
    return figures


def _takeovers(stream: Deployed, rate_hz: float) -> Floats:
    """What the seams had to bridge, float64 [M, J]."""
    published = [i for i, chunk in enumerate(stream.chunks) if chunk.steps]
    chunks = [stream.chunks[i] for i in published]
    steps = [(chunk.first_step, chunk.first_step + chunk.steps) for chunk in chunks]
    return metrics.takeovers(
        np.array([chunk.start_ns for chunk in chunks], np.int64),
        np.array(steps, np.int64).reshape(-1, 2),
        stream.actions[published],
        # A chunk that starts from rest has its first action due after its observation.
        np.array([chunk.start_ns == chunk.observed_ns for chunk in chunks], np.bool_),
        rate_hz,
    )


def _refused_at_end(stream: Deployed) -> int:
    """Count the chunks after the last one that was executed; none if they merely came late."""
    after: list[str] = []
    for chunk in reversed(stream.chunks):
        if chunk.reason == ACCEPTED:
            break
        after.append(chunk.reason)
    return len(after) if REFUSED in after else 0


def _jerk(
    said: Compared, moving: npt.NDArray[np.bool_], columns: Columns, rate_hz: float
) -> dict[str, Any]:
    """Jerk while moving; where units are mixed, the ratio is one of shares of the spans."""
    both = metrics.jerks(said.predicted, said.recorded, moving, rate_hz)
    figures = {}
    for name in _arms(columns):
        own = columns.where(group=name)
        unit = unit_of(columns, name)
        scale = 1.0 if unit else columns.spans[own]
        ours, theirs = (float(metrics.rms((values[:, own] / scale).ravel())) for values in both)
        figures[name] = {
            'unit': f'{unit}/s³' if unit else None,
            'rms': figure(ours) if unit else None,
            'recorded_rms': figure(theirs) if unit else None,
            'ratio': figure(ours / theirs) if theirs > 0.0 else None,
        }
    return figures


def _limit_hits(stream: Deployed, columns: Columns) -> dict[str, int]:
    hits = dict.fromkeys(columns.groups, 0)
    for name, count in stream.gate_counts.items():
        group, _, reason = name.rpartition('.')
        if reason in LIMIT_REASONS:
            hits[group] = hits.get(group, 0) + count
    return hits


def _arms(columns: Columns) -> list[str]:
    return list(
        dict.fromkeys(column.group for column in columns.columns if column.kind == TRAJECTORY)
    )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _finite(values: Floats) -> Floats:
    """Turn infinities into NaN: they are as little a prediction."""
    return np.where(np.isfinite(values), values, np.nan)
