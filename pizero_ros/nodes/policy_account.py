"""What a policy node said about one activation: faults, holds, counters, latency."""

from __future__ import annotations

import re
from typing import Any

from pizero_ros.msg import PolicyStatus

COUNTERS = (
    'chunks_received',
    'chunks_sent',
    'chunks_discarded',
    'observations_refused',
    'starvations',
    'deadlines_missed',
)
LONGEST_LIST = 5
NOTHING_YET = 'no chunk yet'
"""Every activation begins with this."""


class Account:
    """Follows the statuses of one activation.

    It begins with the first status of a node that is active and has no fault: one of before may
    still be on its way, and a fault lasts until the next activation.

    Attributes:
        active: Whether the node was active at the last one.
        fault: What ended inference for good, empty if nothing did.
    """

    def __init__(self) -> None:
        """Begin before the activation."""
        self.active = False
        self.fault = ''
        self._last: PolicyStatus | None = None
        self._holds: dict[str, str] = {}
        self._missing_before = 0
        self._intervened_before: dict[str, int] = {}

    def take(self, status: PolicyStatus) -> None:
        """Take the next status; every one, in order."""
        if self._last is None:
            if status.state in (PolicyStatus.STATE_INACTIVE, PolicyStatus.STATE_FAULT):
                return
            # What the node counts since it was configured.
            self._missing_before = sum(status.stream_missing)
            self._intervened_before = _interventions(status)
        self._last = status
        self.active = status.state != PolicyStatus.STATE_INACTIVE
        if status.state == PolicyStatus.STATE_FAULT:
            self.fault = status.reason
        elif (
            status.state == PolicyStatus.STATE_HOLDING
            and status.prompt
            and status.reason != NOTHING_YET
        ):
            # The same reason comes with other numbers each time.
            kind = re.sub(r'[\d.]+', '#', status.reason)
            if len(self._holds) < LONGEST_LIST:
                self._holds.setdefault(kind, status.reason)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values.

        ``holds``: up to five reasons for which the robot was told to hold while it had a prompt;
        ``counters``; ``interventions`` by ``group.reason``; ``messages_missing``: messages of all
        streams that should have come and did not; ``latency_ms``: p50 and p95 from the newest
        stamp to the command, ``None`` without a chunk; ``prompt``: the last one in force.
        """
        last = self._last
        if last is None:
            return {}
        latency: dict[str, float] | None = None
        if 'stamp_to_command' in last.latency_phases:
            at = list(last.latency_phases).index('stamp_to_command')
            latency = {
                'p50': round(last.latency_p50_ms[at], 1),
                'p95': round(last.latency_p95_ms[at], 1),
            }
        before = self._intervened_before
        intervened = {
            name: count - before.get(name, 0) for name, count in _interventions(last).items()
        }
        return {
            'prompt': last.prompt,
            'holds': list(self._holds.values()),
            'counters': {name: int(getattr(last, name)) for name in COUNTERS},
            'interventions': {name: count for name, count in intervened.items() if count},
            'messages_missing': sum(last.stream_missing) - self._missing_before,
            'latency_ms': latency,
        }


def _interventions(status: PolicyStatus) -> dict[str, int]:
    counts = zip(status.intervention_names, status.intervention_counts, strict=True)
    return {name: int(count) for name, count in counts}
