"""Exact frame counts and latency percentiles from what the policy node publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diagnostic_msgs.msg import DiagnosticArray
    from pizero_ros.msg import ActionChunk, PolicyStatus
    from trajectory_msgs.msg import JointTrajectory

NANO = 1_000_000_000


def stamp_of(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * NANO + int(header.stamp.nanosec)


def newest_frame(status: PolicyStatus, topic: str) -> tuple[int, int]:
    """Return frames received so far and the newest stamp among them, (0, 0) if none."""
    topics = list(status.stream_topics)
    if topic not in topics or status.stream_age_s[topics.index(topic)] < 0:
        return 0, 0
    k = topics.index(topic)
    return int(status.stream_received[k]), stamp_of(status.header) - round(
        status.stream_age_s[k] * NANO
    )


def frames(statuses: Sequence[PolicyStatus], topic: str, sent_ns: Sequence[int]) -> dict[str, int]:
    """Count one camera's frames between the first and the last status message, exactly.

    Each status names the newest stamp that the node holds and the number of messages that it has
    received. Frames of one camera keep their order, so every frame stamped after the newest one
    of the first message, up to the newest one of the last, was either received or lost.

    Args:
        statuses: In the order of their stamps, at least one.
        topic: The camera.
        sent_ns: Stamps of all frames that it sent.

    Returns:
        ``sent``, ``received``, ``lost``, and ``most_lost``, the most between two messages.
    """
    stamps = np.array(sent_ns, np.int64)
    marks = [newest_frame(status, topic) for status in statuses]
    unknown = {stamp for _, stamp in marks}.difference(sent_ns)
    if unknown:
        msg = f'{topic}: {len(unknown)} stamps are not ours; is the ROS domain used by others too?'
        raise RuntimeError(msg)
    counts, newest = np.array(marks).T
    # Frames sent up to each mark; the stamps rise.
    sent = np.diff(np.searchsorted(stamps, newest, side='right'))
    received = np.diff(counts)
    lost = sent - received
    return {
        'sent': int(sent.sum()),
        'received': int(received.sum()),
        'lost': int(lost.sum()),
        'most_lost': int(lost.max(initial=0)),
    }


def phases(status: PolicyStatus) -> dict[str, dict[str, float]]:
    """Return the node's own percentiles, of its last 200 chunks."""
    columns = (status.latency_p50_ms, status.latency_p95_ms, status.latency_p99_ms)
    rows = zip(status.latency_phases, *columns, strict=True)
    return {phase: {'p50': p50, 'p95': p95, 'p99': p99} for phase, p50, p95, p99 in rows}


def timer_lateness(diagnostics: DiagnosticArray | None) -> dict[str, dict[str, float]]:
    """Return how late the control timer was, ms, by what the node did: idle or inferring."""
    found = {}
    for status in () if diagnostics is None else diagnostics.status:
        for pair in status.values:
            words = pair.key.split(', ')
            if words[0] == 'control timer late':
                p50, p95, largest = map(float, pair.value.split(' / '))
                found[words[1]] = {'p50': p50, 'p95': p95, 'max': largest}
    return found


def seen_from_outside(
    chunks: list[ActionChunk], trajectories: list[tuple[int, JointTrajectory]]
) -> dict[str, dict[str, float]]:
    """Return what the observer measured by itself, to check the node's figures against.

    A trajectory belongs to the chunk on whose grid of waypoints its first point lies.
    """
    received_ms, camera_ms = [], []
    arrived = []
    for time_ns, message in trajectories:
        if len(message.points) > 1:
            offset = message.points[0].time_from_start
            first_ns = stamp_of(message.header) + offset.sec * NANO + offset.nanosec
            arrived.append((time_ns, stamp_of(message.header), first_ns))
    for chunk in chunks:
        observed_ns = stamp_of(chunk.header)
        start_ns = chunk.start.sec * NANO + chunk.start.nanosec
        camera_ms.append(chunk.oldest_age_s * 1e3)
        for time_ns, stamp_ns, first_ns in arrived:
            if stamp_ns < observed_ns or stamp_ns > observed_ns + NANO:
                continue
            step = round((first_ns - start_ns) * 1e-9 * chunk.rate_hz)
            if first_ns == start_ns + round(step * 1e9 / chunk.rate_hz):
                received_ms.append((time_ns - observed_ns) * 1e-6 - chunk.inference_s * 1e3)
    return {
        'oldest_stamp_to_observation': _percentiles(camera_ms),
        'stamp_to_received_less_inference': _percentiles(received_ms),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {'p50': p50, 'p95': p95, 'p99': p99}
