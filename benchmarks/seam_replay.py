"""A way of publishing, replayed through a model of the controller, and its figures.

The robot is some joints behind a model of joint_trajectory_controller at 500 Hz (position
interface), and a plant with a first-order lag. Every joint follows the same motion at another
phase, so that one new chunk makes several seams. There is no ROS, no inference and no clock: the
figures are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from seam_task import JOINTS, MS, START_NS, Setting, Task, reference

from pizero_ros.control.controller import JointTrajectoryController

if TYPE_CHECKING:
    from collections.abc import Callable

    from seam_task import Array

    from pizero_ros.control.commands import TrajectoryCommand
    from pizero_ros.control.controller import Replacement

SAMPLE_NS = 2 * MS
"""Controller period: 500 Hz."""

SKIPPED_NS = 1_000 * MS
"""Beginning of a run, which does not count: the robot starts from rest."""


class Publisher(Protocol):
    """Something that turns chunks into messages."""

    def step(self, now_ns: int, measured: Array) -> list[TrajectoryCommand]:
        """Return what is sent at this update of the controller; ``measured`` is float64 [J]."""


@dataclass(frozen=True)
class Controller:
    """How the controller replaces a trajectory."""

    name: str
    replacement: Replacement
    from_desired: bool


DISCARD = Controller('discard', 'discard', True)
BLEND = Controller('blend', 'blend', True)
FROM_MEASURED = Controller('from measured', 'discard', False)
"""What the controller does by default; streams of trajectories need ``DISCARD`` or ``BLEND``."""


@dataclass(frozen=True)
class Trace:
    """What happened, once an update: float64 [T, J] in rad.

    Attributes:
        commanded: Of the controller.
        reference: Where the task was.
        moved: Position of the plant.
    """

    commanded: Array
    reference: Array
    moved: Array


@dataclass(frozen=True)
class Figures:
    """One row of the table.

    Attributes:
        rms_mrad: Command minus reference.
        max_mrad: The same, largest.
        peak: Largest speed of the command, rad/s.
        peak_ratio: The same, relative to the largest speed of the reference.
        acceleration: Of the plant, rms, rad/s².
        jerk: Of the plant, rms, rad/s³, from differences over one controller update.
    """

    rms_mrad: float
    max_mrad: float
    peak: float
    peak_ratio: float
    acceleration: float
    jerk: float


def replay(
    make: Callable[[Setting, Task], Publisher], setting: Setting, controller: Controller
) -> Trace:
    """Run one way of publishing.

    Raises:
        RuntimeError: If the controller refuses a message.
    """
    task = Task(setting)
    publisher = make(setting, task)
    plant = reference(0)
    model = JointTrajectoryController(
        setting.names,
        plant.copy(),
        replacement=controller.replacement,
        interpolate_from_desired_state=controller.from_desired,
    )
    skipped = SKIPPED_NS // SAMPLE_NS
    count = skipped + round(setting.seconds * 1e9 / SAMPLE_NS)
    gain = SAMPLE_NS * 1e-9 / setting.lag_s
    commanded, wanted, moved = (np.empty((count, JOINTS)) for _ in range(3))
    for number in range(count):
        now_ns = START_NS + number * SAMPLE_NS
        for message in publisher.step(now_ns, plant):
            rejection = model.accept(message, now_ns)
            if rejection is not None:
                msg = f'the controller refuses a message: {rejection.text}'
                raise RuntimeError(msg)
        commanded[number] = model.sample(now_ns, plant)[0]
        plant = plant + (commanded[number] - plant) * gain
        wanted[number] = reference(task.phase_ns(now_ns))
        moved[number] = plant
    return Trace(commanded[skipped:], wanted[skipped:], moved[skipped:])


def reference_peak() -> float:
    """Return the largest speed of the reference, rad/s."""
    phase_ns = np.arange(0, 60_000 * MS, SAMPLE_NS)
    return float(np.abs(np.diff(reference(phase_ns), axis=0)).max() / (SAMPLE_NS * 1e-9))


def figures(trace: Trace) -> Figures:
    """Measure a trace."""
    period_s = SAMPLE_NS * 1e-9
    error = 1e3 * (trace.commanded - trace.reference)
    peak = float(np.abs(np.diff(trace.commanded, axis=0)).max() / period_s)
    acceleration = np.diff(trace.moved, 2, axis=0) / period_s**2
    jerk = np.diff(trace.moved, 3, axis=0) / period_s**3
    return Figures(
        rms_mrad=_rms(error),
        max_mrad=float(np.abs(error).max()),
        peak=peak,
        peak_ratio=peak / reference_peak(),
        acceleration=_rms(acceleration),
        jerk=_rms(jerk),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
