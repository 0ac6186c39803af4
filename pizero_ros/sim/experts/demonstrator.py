"""A demonstration as it goes on: the expert's chunks through the commander that policies have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.commander import Commander
from pizero_ros.control.trajectory import step_at, steps_ns
from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.sim.experts.expert import Expert

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.control.commands import Command
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.experts.expert import Plan
    from pizero_ros.sim.experts.profile import Performance
    from pizero_ros.sim.truth import Truth

REPLAN_STEPS = 10
"""Steps after which the expert looks at the truth again, 0.2 s: soon enough for what it meets."""


class Label(NamedTuple):
    """What the expert did at one step: raw values, in the order of the action joints."""

    stamp_ns: int
    values: npt.NDArray[np.float64]


class Demonstrator:
    """Turns truth and joints into commands, and into the clean actions that are recorded.

    Steps are counted from the beginning, ``1 / rate`` apart. The expert plans every
    ``REPLAN_STEPS``; noise is added to what is executed only.

    Attributes:
        astray: How often an arm was not where it had been sent.
        step: Number of the step of the task that is under way.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        model: Any,
        performance: Performance,
        now_ns: int,
        truth: Truth,
        measured: Mapping[str, float],
        *,
        replan_steps: int = REPLAN_STEPS,
        stepwise: bool = False,
    ) -> None:
        """Begin; ``tick`` brings the first commands.

        Args:
            embodiment: A simulated robot.
            model: Its ``mujoco.MjModel``; not changed.
            performance: What is done, and how.
            now_ns: The robot's clock.
            truth: Of now.
            measured: Joint → raw position of now.
            replan_steps: Steps between two plans, less than the horizon.
            stepwise: Whether the steps of the task are told one by one: what belongs to a step
                is not recorded before it was told.
        """
        self._embodiment = embodiment
        self._performance = performance
        self._expert = Expert(
            embodiment, model, performance.legs, truth, measured, pace=performance.pace
        )
        self._commander = Commander(embodiment, Asynchronous(embodiment))
        self._replan_steps = replan_steps
        self._start_ns = now_ns
        self._first = 0
        self._told = 0
        self._ticked: int | None = None
        self._sequence = 0
        self.astray = 0
        self.step = 0
        self._stepwise = stepwise
        self._plan: Plan | None = None
        joints = embodiment.action_joints
        self._index = np.array([joint.index for joint in joints], np.intp)
        self._offset = np.array([joint.offset for joint in joints])
        self._factor = np.array([joint.sign * joint.scale for joint in joints])

    @property
    def interventions(self) -> dict[str, int]:
        """What went otherwise than planned: group and reason of the safety gate → how often."""
        counts = self._commander.status().interventions
        found = {f'{group}.{reason}': count for (group, reason), count in counts.items()}
        return found | ({'astray': self.astray} if self.astray else {})

    @property
    def labelled(self) -> bool:
        """Whether the expert is past what is not to be learnt."""
        return self._plan is not None and self._expert.leg.labelled

    def tick(
        self, now_ns: int, truth: Truth, measured: Mapping[str, float]
    ) -> tuple[list[Command], list[Label]]:
        """Return what is to be sent now, and the labels of the steps up to now.

        Args:
            now_ns: The robot's clock, not before that of the last call.
            truth: The latest.
            measured: Joint → raw position, the latest.
        """
        step = step_at(self._start_ns, self._embodiment.rate_hz, now_ns)
        commands: list[Command] = []
        labels = self._labels_before(step)
        if self._plan is None or step - self._first >= self._replan_steps:
            if self._plan is not None:
                self._expert.advance(min(step - self._first, self._embodiment.horizon))
            self._plan, self._first = self._planned(truth, measured), max(step, 0)
            commands += self._published(now_ns, measured)
        commands += self._commander.tick(now_ns)
        step = step_at(self._start_ns, self._embodiment.rate_hz, now_ns)
        return commands, labels + self._labels_before(step + 1)

    def _planned(self, truth: Truth, measured: Mapping[str, float]) -> Plan:
        plan = self._expert.plan(truth, measured)
        steps = np.array(self._performance.steps)[plan.legs]
        self.step = int(steps[0])
        if self._stepwise:
            plan = plan._replace(labelled=plan.labelled & (steps == self.step))
        return plan

    def _published(self, now_ns: int, measured: Mapping[str, float]) -> list[Command]:
        assert self._plan is not None
        steps = self._first + np.arange(self._embodiment.horizon)
        actions = self._plan.actions + self._performance.disturbance(steps)
        if self._plan.astray:
            # What it was told last is not where the robot is.
            self._commander.reset()
            self.astray += 1
        request = self._commander.begin(now_ns)
        chunk = ActionChunk(
            observed_ns=self._start_ns + steps_ns(self._first, self._embodiment.rate_hz),
            rate_hz=self._embodiment.rate_hz,
            actions=actions,
            model_actions=np.zeros((0, 0), np.float32),
            sequence=self._sequence,
            epoch=request.epoch,
        )
        self._sequence += 1
        decision = self._commander.accept(chunk, now_ns, measured)
        if decision.start_ns is not None:
            # A robot at rest is given the time of the lead before it starts.
            self._start_ns = decision.start_ns - steps_ns(self._first, self._embodiment.rate_hz)
        return list(decision.commands)

    def _labels_before(self, step: int) -> list[Label]:
        """Return the labels of the plan in force that were not given yet."""
        plan = self._plan
        if plan is None:
            return []
        labels = []
        for number in range(self._told, min(step, self._first + len(plan.actions))):
            row = number - self._first
            if plan.labelled[row]:
                values = (plan.actions[row, self._index] - self._offset) / self._factor
                stamp_ns = self._start_ns + steps_ns(number, self._embodiment.rate_hz)
                labels.append(Label(stamp_ns, values))
        self._told = max(self._told, step)
        return labels
