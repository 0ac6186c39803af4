"""What is replayed: a robot, the motion that its policy knows, and chunks of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Embodiment
from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.policy.guidance import RealTimeChunking, prefix_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.control.leftover import Leftover

    Array = npt.NDArray[np.float64]

MS = 1_000_000
START_NS = 1_000_000 * MS
"""Any time but 0, which means "now" as a stamp."""

JOINTS = 4
"""Joints of the robot: the reference at as many phases."""


@dataclass(frozen=True)
class Setting:
    """What all ways of publishing share.

    Attributes:
        disagreement: Standard deviation of the offset that each chunk has of its own, per joint,
            in rad.
        seconds: Length of a run, after the beginning that does not count.
        latency_ns: From observation to arrival.
        lag_s: Time constant of the plant.
        rate_hz: Action rate.
        horizon: Actions of a chunk, all published.
        executed_steps: Steps after which a chunk is replaced.
        lead_steps: First waypoint after now, in steps.
        velocities: Whether waypoints carry velocities.
        seed: Of the disagreement.
    """

    disagreement: float = 0.0
    seconds: float = 20.0
    latency_ns: int = 150 * MS
    lag_s: float = 0.060
    rate_hz: float = 50.0
    horizon: int = 50
    executed_steps: int = 20
    lead_steps: int = 2
    velocities: bool = False
    seed: int = 0

    @property
    def step_ns(self) -> int:
        """Length of a step."""
        return round(1e9 / self.rate_hz)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Joint names."""
        return tuple(f'joint_{number}' for number in range(JOINTS))

    @cached_property
    def embodiment(self) -> Embodiment:
        """The robot, with limits that no run touches: publishing is measured, not clamping."""
        joints = tuple(
            ActionJoint(
                name=name,
                index=index,
                scale=1.0,
                offset=0.0,
                sign=1,
                position=(-10.0, 10.0),
                velocity=100.0,
                acceleration=None,
                max_step=1.0,
            )
            for index, name in enumerate(self.names)
        )
        arm = ActionGroup(
            name='arm',
            output='joint_trajectory',
            topic='/arm/joint_trajectory',
            message='joint_trajectory',
            frame_id='',
            joints=joints,
            velocities=self.velocities,
            deadband=0.0,
        )
        return Embodiment(
            name='seams',
            description='',
            source=__file__,
            rate_hz=self.rate_hz,
            horizon=self.horizon,
            executed_steps=self.executed_steps,
            published_steps=self.horizon,
            lead_steps=self.lead_steps,
            vector_dim=18,
            cameras=(),
            state=(),
            actions=(arm,),
            max_skew_s=0.1,
            neutral={},
        )


def reference(phase_ns: npt.ArrayLike) -> Array:
    """Return the motion that the policy knows.

    Args:
        phase_ns: int64 [...], how far the task has come.

    Returns:
        float64 [..., J] in rad: up to 1.22 rad/s, 1.42 rad/s² rms.
    """
    t = np.asarray(phase_ns, np.float64)[..., None] * 1e-9 + 2.3 * np.arange(JOINTS)
    return 0.6 * np.sin(2 * np.pi * 0.28 * t) + 0.04 * np.sin(2 * np.pi * 0.7 * t + 1.0)


class Task:
    """How far the task has come: it goes on while a chunk is executed and waits between chunks.

    Action k of a chunk continues the task from where it was at the observation, so a robot
    that rests while it infers finds the task where it left it.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._random = np.random.default_rng(setting.seed)
        self._start_ns = START_NS
        self._phase_ns = 0
        self._rest_ns = 0
        self._chunks = 0

    def phase_ns(self, now_ns: int) -> int:
        """Return where the task is."""
        return self._phase_ns + min(max(now_ns - self._start_ns, 0), self._rest_ns)

    def observe(
        self, now_ns: int, epoch: int = 0, leftover: Leftover | None = None
    ) -> ActionChunk:
        """Return the chunk for an observation at ``now_ns``, with an offset of its own.

        A leftover is what the chunk has to agree with (real-time chunking). It is met by as much
        as its weights say, which is what guided sampling does if the model gives way entirely.
        """
        setting = self._setting
        steps_ns = np.arange(setting.horizon) * setting.step_ns
        offset = self._random.normal(0.0, setting.disagreement, JOINTS)
        actions = reference(self.phase_ns(now_ns) + steps_ns) + offset
        if leftover is not None:
            schedule = RealTimeChunking().schedule
            weights = prefix_weights(schedule, leftover.delay, leftover.end, setting.horizon)
            held = len(leftover.actions)
            gap = leftover.actions - actions[:held]
            actions[:held] += weights[:held, None].astype(np.float64) * gap
        self._chunks += 1
        return ActionChunk(
            observed_ns=now_ns,
            rate_hz=setting.rate_hz,
            actions=actions,
            model_actions=actions.astype(np.float32),
            sequence=self._chunks,
            epoch=epoch,
        )

    def execute(self, phase_ns: int, start_ns: int, last_step: int) -> None:
        """Go on with a chunk.

        Args:
            phase_ns: Where the task was at the observation.
            start_ns: When action 0 is due.
            last_step: Action at which the robot rests.
        """
        self._phase_ns, self._start_ns = phase_ns, start_ns
        self._rest_ns = last_step * self._setting.step_ns
