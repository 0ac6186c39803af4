"""What the policy node says about itself: PolicyStatus and /diagnostics."""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnxruntime
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from pizero_ros.msg import PolicyStatus
from pizero_ros.nodes.messages import time_message
from pizero_ros.policy.latency import LatencyWindow, Percentiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.control.commander import CommanderStatus
    from pizero_ros.nodes.fault_injection import FaultInjection
    from pizero_ros.nodes.lateness import LatePercentiles
    from pizero_ros.observation.streams import StreamStatus

LATE_FIGURES = 'p50 / p95 / max [ms]'
"""What is said of how late the control timer was."""

MISSING_WARN_FRACTION = 0.01
"""More missing messages than this share of what should have come is worth a warning."""


@dataclass
class Tally:
    """Counters of one activation; written by the inference thread, read by the status timer."""

    chunks_received: int = 0
    chunks_sent: int = 0
    chunks_discarded: int = 0
    observations_refused: int = 0
    starvations: int = 0
    deadlines_missed: int = 0
    _latency: LatencyWindow = field(default_factory=LatencyWindow)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_latency(self, durations_s: Mapping[str, float]) -> None:
        """Take in one chunk's durations by phase, in seconds."""
        with self._lock:
            self._latency.add(durations_s)

    def latency(self) -> dict[str, Percentiles]:
        """Return phase → percentiles."""
        with self._lock:
            return self._latency.percentiles()


@dataclass(frozen=True)
class Snapshot:
    """Everything that a status message is made of.

    ``state`` is a ``PolicyStatus.STATE_*``; ``reason`` why the node holds or failed; ``injected``
    faults that a test asked for; ``lateness`` that of the control timer.
    """

    now_ns: int
    state: int
    reason: str
    embodiment: str
    prompt: str
    provider: str
    tally: Tally
    commander: CommanderStatus
    streams: Sequence[StreamStatus]
    injected: FaultInjection | None = None
    lateness: Mapping[str, LatePercentiles] = field(default_factory=dict)


def interventions(snapshot: Snapshot) -> dict[str, int]:
    """Return intervention name (``group.reason``) → count."""
    counts = Counter(
        {f'{group}.{reason}': n for (group, reason), n in snapshot.commander.interventions.items()}
    )
    return dict(sorted(counts.items()))


def status_message(snapshot: Snapshot) -> PolicyStatus:
    """Return the status as a message."""
    tally, commander, streams = snapshot.tally, snapshot.commander, snapshot.streams
    counts = interventions(snapshot)
    latency = tally.latency()
    message = PolicyStatus(
        state=snapshot.state,
        reason=snapshot.reason,
        embodiment=snapshot.embodiment,
        prompt=snapshot.prompt,
        scheduling=commander.mode,
        provider=snapshot.provider,
        chunks_received=tally.chunks_received,
        chunks_sent=tally.chunks_sent,
        chunks_discarded=tally.chunks_discarded,
        observations_refused=tally.observations_refused,
        starvations=tally.starvations,
        deadlines_missed=tally.deadlines_missed,
        intervention_names=list(counts),
        intervention_counts=array('Q', counts.values()),
        stream_topics=[stream.topic for stream in streams],
        stream_received=array('Q', [stream.counters.received for stream in streams]),
        stream_missing=array('Q', [stream.counters.missing for stream in streams]),
        stream_rate_hz=array('d', [stream.rate_hz for stream in streams]),
        stream_age_s=array('d', [-1.0 if s.age_s is None else s.age_s for s in streams]),
        stream_faults=[stream.fault for stream in streams],
        latency_phases=list(latency),
        latency_p50_ms=array('d', [p.p50 * 1e3 for p in latency.values()]),
        latency_p95_ms=array('d', [p.p95 * 1e3 for p in latency.values()]),
        latency_p99_ms=array('d', [p.p99 * 1e3 for p in latency.values()]),
    )
    message.header.stamp = time_message(snapshot.now_ns)
    return message


def diagnostics_message(snapshot: Snapshot, node_name: str) -> DiagnosticArray:
    """Return one diagnostic status for the policy, and one for each input stream."""
    message = DiagnosticArray()
    message.header.stamp = time_message(snapshot.now_ns)
    message.status = [
        _policy_status(snapshot, node_name),
        *(_stream_status(stream, node_name) for stream in snapshot.streams),
    ]
    if snapshot.injected:
        name, values = f'{node_name}: fault injection', vars(snapshot.injected)
        text = 'inference is made to fail; not for a robot at work'
        message.status.append(_status(DiagnosticStatus.WARN, name, text, values))
    return message


def _policy_status(snapshot: Snapshot, node_name: str) -> DiagnosticStatus:
    tally = snapshot.tally
    level, text = {
        PolicyStatus.STATE_INACTIVE: (DiagnosticStatus.OK, 'inactive'),
        PolicyStatus.STATE_RUNNING: (DiagnosticStatus.OK, 'running'),
        PolicyStatus.STATE_HOLDING: (DiagnosticStatus.WARN, 'holding'),
        PolicyStatus.STATE_DRY_RUN: (DiagnosticStatus.OK, 'dry run: nothing is sent'),
        PolicyStatus.STATE_FAULT: (DiagnosticStatus.ERROR, 'fault'),
    }[snapshot.state]
    values = {
        'embodiment': snapshot.embodiment,
        'prompt': snapshot.prompt,
        'scheduling': snapshot.commander.mode,
        'provider': f'{snapshot.provider} (onnxruntime {onnxruntime.__version__})',
        'chunks received': tally.chunks_received,
        'chunks sent': tally.chunks_sent,
        'chunks discarded': tally.chunks_discarded,
        'observations refused': tally.observations_refused,
        'starvations': tally.starvations,
        'deadlines missed': tally.deadlines_missed,
        **_speed(snapshot),
        **{f'intervention {name}': n for name, n in interventions(snapshot).items()},
    }
    for phase, p in tally.latency().items():
        values[f'{phase} p50 / p95 / p99 [ms]'] = (
            f'{p.p50 * 1e3:.1f} / {p.p95 * 1e3:.1f} / {p.p99 * 1e3:.1f}'
        )
    for when, late in snapshot.lateness.items():
        values[f'control timer late, {when}, {LATE_FIGURES}'] = (
            f'{late.p50 * 1e3:.3f} / {late.p95 * 1e3:.3f} / {late.largest * 1e3:.3f}'
        )
    if snapshot.reason:
        text = f'{text}: {snapshot.reason}'
    return _status(level, f'{node_name}: policy', text, values)


def _speed(snapshot: Snapshot) -> dict[str, str]:
    speed = snapshot.commander.speed
    return {} if speed is None else {'speed of the controllers': f'{speed:.1%}'}


def _stream_status(stream: StreamStatus, node_name: str) -> DiagnosticStatus:
    counters = stream.counters
    level, text = DiagnosticStatus.OK, 'healthy'
    expected = counters.received + counters.missing
    if stream.fault:
        level = DiagnosticStatus.ERROR if stream.required else DiagnosticStatus.WARN
        text = stream.fault
    elif stream.age_s is None or stream.age_s > stream.max_age_s:
        level = DiagnosticStatus.ERROR if stream.required else DiagnosticStatus.WARN
        text = 'no message yet' if stream.age_s is None else f'stale: {stream.age_s:.3f} s old'
    elif counters.missing > MISSING_WARN_FRACTION * expected:
        level = DiagnosticStatus.WARN
        text = f'{counters.missing} of {expected} messages missing'
    values = {
        'required': stream.required,
        'rate [Hz]': f'{stream.rate_hz:.2f} of {stream.nominal_hz:g}',
        'age [s]': 'none' if stream.age_s is None else f'{stream.age_s:.3f}',
        **{name: getattr(counters, name) for name in counters.__dataclass_fields__},
    }
    return _status(level, f'{node_name}: {stream.topic}', text, values)


def _status(level: bytes, name: str, text: str, values: dict[str, object]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=name,
        message=text,
        hardware_id='pizero_ros',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
