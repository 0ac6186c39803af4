"""The gripper stream: a goal only when it has changed by more than the deadband."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.control.commands import GripperGoal
from pizero_ros.control.trajectory import step_at, steps_ns

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.joint_values import JointValues
    from pizero_ros.control.safety import Intervention, SafetyGate
    from pizero_ros.policy.chunk import ActionChunk


class _Run(NamedTuple):
    """What goals are chosen from: values float64 [stop, J] of the steps before ``stop``."""

    values: npt.NDArray[np.float64]
    start_ns: int
    rate_hz: float


class GripperStream:
    """Chooses the goal of the step that ``now`` plus the lead belongs to.

    The first goal is always sent. After that a goal is sent when any joint of it differs by more
    than the deadband from the goal sent last. Without a chunk, or past its published steps, the
    stream is silent, and the gripper keeps its goal.
    """

    def __init__(self, values: JointValues, gate: SafetyGate, lead_steps: int) -> None:
        self._values = values
        self._gate = gate
        self._lead_steps = lead_steps
        self._run: _Run | None = None
        self._sent: npt.NDArray[np.float64] | None = None

    def start(self, chunk: ActionChunk, steps: range) -> tuple[Intervention, ...]:
        """Choose goals from a chunk from now on, until the end of its published steps."""
        asked = self._values.raw(chunk.actions[: steps.stop])
        limited, interventions = self._gate.limited(self._values.group.name, asked)
        self._run = _Run(limited, chunk.start_ns, chunk.rate_hz)
        return interventions

    def tick(self, now_ns: int) -> GripperGoal | None:
        """Return the goal to send now, None if there is nothing new to say."""
        run = self._run
        if run is None:
            return None
        due_ns = now_ns + steps_ns(self._lead_steps, run.rate_hz)
        step = step_at(run.start_ns, run.rate_hz, due_ns)
        if not 0 <= step < len(run.values):
            return None
        asked = run.values[step]
        deadband = self._values.group.deadband
        if self._sent is not None and not (np.abs(asked - self._sent) > deadband).any():
            return None
        goal = GripperGoal(self._values.group.name, now_ns, self._values.names, asked)
        result = self._gate.gripper(goal)
        if result.command is not None:
            self._sent = result.command.positions
        return result.command

    def resend(self) -> None:
        """Note that the last goal was not taken: the next one is sent whatever it is."""
        self._sent = None

    @property
    def name(self) -> str:
        """Name of the action group."""
        return self._values.group.name

    def halt(self) -> None:
        """Drop the chunk; the gripper keeps its goal."""
        self._run = None

    def reset(self) -> None:
        """Forget everything; the next goal is sent whatever it is."""
        self._run = None
        self._sent = None
