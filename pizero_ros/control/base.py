"""The base stream: one twist per control tick, on the clock of the chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.control.commands import TwistCommand
from pizero_ros.control.trajectory import step_at, steps_ns

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.control.safety import Intervention, SafetyGate
    from pizero_ros.control.workspace import PlanarPose, WorkspaceGuard
    from pizero_ros.policy.chunk import ActionChunk


class _Run(NamedTuple):
    """What is streamed: values float64 [stop, J] of the chunk's steps before ``stop``."""

    values: npt.NDArray[np.float64]
    start_ns: int
    rate_hz: float
    accepted_ns: int


class BaseStream:
    """Sends the twist of the step that now belongs to, and zero when there is none.

    Step k is sent from its due time until that of step k + 1. It is silent until the first
    chunk and after a stop, so that an idle policy does not fight another source of commands;
    when a chunk has run out, or none was accepted for ``timeout_ns``, it sends zeros.
    """

    def __init__(
        self,
        values: JointValues,
        gate: SafetyGate,
        rate_hz: float,
        timeout_ns: int | None,
        guard: WorkspaceGuard | None = None,
    ) -> None:
        self._values = values
        self._gate = gate
        self._step_ns = steps_ns(1, rate_hz)
        self._timeout_ns = timeout_ns
        self._guard = guard
        self._outside = False
        self._run: _Run | None = None
        self._streaming = False
        self._sent = np.zeros(len(values.names))
        self._sent_ns: int | None = None

    def start(self, chunk: ActionChunk, steps: range, now_ns: int) -> tuple[Intervention, ...]:
        """Stream a chunk from now on, until the end of its published steps.

        Args:
            chunk: The chunk, on the controllers' clock.
            steps: Its published steps.
            now_ns: The controllers' time.
        """
        asked = self._values.raw(chunk.actions[: steps.stop])
        limited, interventions = self._gate.limited(self._values.group.name, asked)
        self._run = _Run(limited, chunk.start_ns, chunk.rate_hz, now_ns)
        self._streaming = True
        return interventions

    def tick(
        self, now_ns: int, *, controller_ns: int | None = None, factor: float = 1.0
    ) -> TwistCommand | None:
        """Return the command of this tick, None while silent.

        Where the arms are slowed the base is too: it follows the same path, later.

        Args:
            now_ns: The node's time.
            controller_ns: The controllers' time now, None where they are not scaled.
            factor: Speed at which the controllers run.
        """
        if not self._streaming:
            return None
        asked = self._asked(now_ns if controller_ns is None else controller_ns)
        if asked is None:
            return self._zero(now_ns)
        # Two calls are never counted as further apart than one step: after a gap the base has
        # stopped by itself, and the ramp must not be jumped over.
        elapsed_ns = self._step_ns
        if self._sent_ns is not None:
            elapsed_ns = min(now_ns - self._sent_ns, self._step_ns)
        asked = self._inside(asked * factor, now_ns)
        command = TwistCommand(self._values.group.name, now_ns, self._values.names, asked)
        result = self._gate.twist(command, self._sent, elapsed_ns)
        if result.command is None:
            return self._zero(now_ns)
        self._sent, self._sent_ns = result.command.values, now_ns
        return result.command

    def stop(self, now_ns: int) -> TwistCommand | None:
        """Return the zero command and fall silent; None if nothing was ever streamed."""
        if not self._streaming:
            return None
        self._streaming = False
        self._run = None
        return self._zero(now_ns)

    def locate(self, topic: str, pose: PlanarPose) -> None:
        """Note where the base is, if its workspace is in the frame of this odometry."""
        if self._guard is not None and self._guard.workspace.topic == topic:
            self._guard.locate(pose)

    def halt(self) -> None:
        """Drop the chunk and go on streaming zeros."""
        self._run = None

    def reset(self) -> None:
        """Forget everything; silent until the next chunk."""
        self._run = None
        self._streaming = False
        self._sent = np.zeros(len(self._values.names))
        self._sent_ns = None
        self._outside = False
        if self._guard is not None:
            self._guard.reset()

    def _inside(self, asked: npt.NDArray[np.float64], now_ns: int) -> npt.NDArray[np.float64]:
        """Take out what would leave the workspace; counted when that begins."""
        if self._guard is None:
            return asked
        fault = self._guard.fault(asked, self._sent, now_ns)
        if fault and not self._outside:
            self._gate.note(self._values.group.name, 'workspace', fault)
        self._outside = bool(fault)
        return self._guard.without_linear(asked) if fault else asked

    def _asked(self, now_ns: int) -> npt.NDArray[np.float64] | None:
        """Return the values [J] that belong to now, None if there are none."""
        run = self._run
        if run is None:
            return None
        if self._timeout_ns is not None and now_ns - run.accepted_ns > self._timeout_ns:
            return None
        step = step_at(run.start_ns, run.rate_hz, now_ns)
        return run.values[step] if 0 <= step < len(run.values) else None

    def _zero(self, now_ns: int) -> TwistCommand:
        """Return the zero command, and note that it is sent."""
        command = self._gate.stop(self._values.group.name, now_ns)
        self._sent, self._sent_ns = command.values, now_ns
        return command
