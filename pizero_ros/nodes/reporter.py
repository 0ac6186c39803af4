"""Tells what the policy node does, on its topics and in its log, and keeps why the robot holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile

from pizero_ros.msg import ActionChunk as ActionChunkMessage
from pizero_ros.msg import PolicyStatus
from pizero_ros.nodes.events import NO_PUBLISHER_EVENTS
from pizero_ros.nodes.lateness import Lateness
from pizero_ros.nodes.messages import chunk_message
from pizero_ros.nodes.reporting import Snapshot, Tally, diagnostics_message, status_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from pizero_ros.control.commander import Commander
    from pizero_ros.control.latch import Latch
    from pizero_ros.control.supervision import Supervisor
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.nodes.fault_injection import FaultInjection
    from pizero_ros.nodes.policy_loop import Outcome
    from pizero_ros.observation.assembler import ObservationAssembler

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
THROTTLE_S = 2.0
"""The same kind of intervention is logged at most this often; all are counted."""


class Doing(NamedTuple):
    """What the node is at.

    Attributes:
        active: Whether it is active.
        enabled: Whether commands are sent when it is.
        prompt: The instruction in force.
        fault: What ended inference for good, empty if nothing did.
    """

    active: bool
    enabled: bool
    prompt: str
    fault: str


class Reporter:
    """Tells on ~/chunk, ~/status and /diagnostics, and in the node's log.

    ``finished`` and ``refused`` are called by the inference thread.

    Attributes:
        tally: Counters of the activation.
        lateness: Of the control timer since then.
    """

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        assembler: ObservationAssembler,
        commander: Commander,
        latch: Latch,
        supervisor: Supervisor,
        *,
        provider: str,
        injected: FaultInjection,
        now_ns: Callable[[], int],
    ) -> None:
        """Create the publishers.

        Args:
            node: Tells; its name is in the diagnostics.
            embodiment: The robot.
            assembler: Knows the streams.
            commander: Knows the commands.
            latch: Knows what keeps the robot still.
            supervisor: Is told why a chunk came to nothing.
            provider: ONNX Runtime's, by which the policy runs.
            injected: Faults that a test asked for.
            now_ns: The node's clock.
        """
        self._node = node
        self._embodiment = embodiment
        self._assembler = assembler
        self._commander = commander
        self._latch = latch
        self._supervisor = supervisor
        self._provider = provider
        self._injected = injected
        self._now_ns = now_ns
        self._logged_s: dict[str, float] = {}
        self._told: tuple[int, str] | None = None
        self.start()
        self._chunks = self._publisher(ActionChunkMessage, '~/chunk', 10)
        self._status = self._publisher(PolicyStatus, '~/status', LATCHED)
        self._diagnostics = self._publisher(DiagnosticArray, '/diagnostics', 10)

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in (self._diagnostics, self._status, self._chunks):
            self._node.destroy_publisher(publisher)

    def start(self) -> None:
        """Begin anew with an activation."""
        self.tally = Tally()
        self.lateness = Lateness(round(1e9 / self._embodiment.rate_hz))
        self.forget_reason()

    # What happens

    def because(self, kind: str, text: str) -> None:
        """Note why the robot holds; the text may have numbers that change at every call."""
        self._hold_kind, self._hold_reason = kind, text
        self.warn(kind, f'holding, {kind}: {text}')

    def forget_reason(self) -> None:
        """Forget why the robot held."""
        self._hold_kind = self._hold_reason = ''

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless there was one of this kind a moment ago."""
        now_s = time.monotonic()
        if now_s - self._logged_s.get(kind, -THROTTLE_S) >= THROTTLE_S:
            self._logged_s[kind] = now_s
            self._node.get_logger().warning(text)

    def finished(self, outcome: Outcome) -> None:
        """Count and record an inference."""
        decision, tally = outcome.decision, self.tally
        tally.chunks_received += 1
        tally.add_latency(outcome.durations_s)
        period = self._embodiment.executed_steps / self._embodiment.rate_hz
        if sum(outcome.chunk.durations_s.values()) > period:
            tally.deadlines_missed += 1
        tally.chunks_sent += outcome.sent
        if decision.reason == 'accepted':
            self.forget_reason()
            self._supervisor.late = ''
        else:
            tally.chunks_discarded += 1
        if decision.reason == 'refused':
            self.because('refused', '; '.join(each.text for each in decision.interventions))
        elif decision.reason == 'late':
            took = outcome.durations_s['stamp_to_command']
            # The robot goes on to the end of what was published, and holds for this reason then.
            late = f'a chunk came {took:.2f} s after its observation, all past'
            self._supervisor.late = late
            self.warn('late', late)
        elif decision.reason == 'from_future':
            ahead = (outcome.observation.stamp_ns - outcome.observed_at_ns) * 1e-9
            late = (
                f'the newest sensor stamp is {ahead:.3f} s in the future; synchronise the clocks, '
                "or set 'stamp: receive'"
            )
            self._supervisor.late = late
            self.warn('from_future', late)
        for each in decision.interventions:
            name = f'{each.group}.{each.reason}'
            self.warn(name, f'safety gate, {name}: {each.text}')
        self._chunks.publish(
            chunk_message(
                outcome.chunk,
                outcome.observation,
                self._embodiment,
                now_ns=outcome.observed_at_ns,
                sent=outcome.sent,
                start_ns=outcome.decision.start_ns,
            )
        )

    def refused(self, kind: str, text: str) -> None:
        """Count an observation that was not fit for inference."""
        self.tally.observations_refused += 1
        self.because(kind, text)

    # Status

    def publish_change(self, doing: Doing) -> None:
        """Publish the status if there is news."""
        if self._told != (self._state(doing)[0], self._hold_kind):
            self.publish_status(doing)

    def publish_status(self, doing: Doing) -> None:
        """Publish status and diagnostics."""
        state, reason = self._state(doing)
        self._told = state, self._hold_kind
        now_ns = self._now_ns()
        snapshot = Snapshot(
            now_ns=now_ns,
            state=state,
            reason=reason,
            embodiment=self._embodiment.name,
            prompt=doing.prompt,
            provider=self._provider,
            tally=self.tally,
            commander=self._commander.status(),
            streams=self._assembler.status(now_ns),
            injected=self._injected,
            lateness=self.lateness.percentiles(),
        )
        self._status.publish(status_message(snapshot))
        self._diagnostics.publish(diagnostics_message(snapshot, self._node.get_name()))

    def _state(self, doing: Doing) -> tuple[int, str]:
        """Return what the policy does, and why the robot holds if it does."""
        if doing.fault:
            return PolicyStatus.STATE_FAULT, doing.fault
        if not doing.active:
            return PolicyStatus.STATE_INACTIVE, ''
        if self._latch.reason:
            return PolicyStatus.STATE_HOLDING, self._latch.reason
        if not doing.enabled:
            return PolicyStatus.STATE_DRY_RUN, self._hold_reason
        commander = self._commander.status()
        if commander.sequence is None or commander.holding:
            return (
                PolicyStatus.STATE_HOLDING,
                self._hold_reason or self._supervisor.late or 'no chunk yet',
            )
        return PolicyStatus.STATE_RUNNING, ''

    def _publisher(self, kind: type, topic: str, qos: QoSProfile | int) -> Any:
        return self._node.create_publisher(kind, topic, qos, event_callbacks=NO_PUBLISHER_EVENTS)
