"""Evaluation as deployed: the control layer of the robot on the clock of the recording.

Everything between a chunk and the controllers is the code that runs on the robot: scheduler,
seams, safety gate, supervision. Inference takes the time that the latency says, and a model of
joint_trajectory_controller follows what is sent. The sensors are those of the recording: they
show what the demonstrator did, whatever the policy commands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.control.commander import Commander
from pizero_ros.control.latch import Latch
from pizero_ros.control.modes import make_scheduler
from pizero_ros.control.seam import SeamFade
from pizero_ros.control.supervision import Supervisor
from pizero_ros.errors import PizeroError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.fresh import FrameSet
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.refusal import Refusal
from pizero_ros.replay.episode import ChunkFate, Deployed, Happening
from pizero_ros.replay.imagined_robot import ImaginedRobot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pizero_ros.control.commands import Command
    from pizero_ros.control.controller import Replacement
    from pizero_ros.control.schedule import Request
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.cameras import Decode
    from pizero_ros.replay.actions import RecordedActions
    from pizero_ros.replay.episode import Floats
    from pizero_ros.replay.latency import Latency
    from pizero_ros.replay.recording import Sensed
    from pizero_ros.replay.sources import Answer, Source

INFERENCE_TIMEOUT_S = 5.0
"""The policy node's default."""

REPEAT_NS = 1_000_000_000
"""Time after which a reason that persists is noted again."""


@dataclass(frozen=True)
class Rules:
    """How the imagined robot is run.

    Attributes:
        latency: Time from observation to chunk.
        scheduling: Mode of the scheduler.
        controller: How the controllers replace a trajectory.
        seed: Of the latencies; the same for all that is to be compared.
    """

    latency: Latency
    scheduling: str
    controller: Replacement
    seed: int


@dataclass(frozen=True)
class _Inference:
    """An inference under way on the virtual clock."""

    request: Request
    answer: Answer
    asked_ns: int
    due_ns: int


@dataclass
class _Tally:
    observations_refused: int = 0
    starvations: int = 0


class DeployedRun:
    """One source on the imagined robot."""

    def __init__(
        self,
        embodiment: Embodiment,
        source: Source,
        recorded: RecordedActions,
        rules: Rules,
        decode: Decode,
    ) -> None:
        """Activate the robot; its time starts with the first message.

        Args:
            embodiment: The robot.
            source: What answers its observations.
            recorded: What the demonstrator commanded.
            rules: How it is run.
            decode: Decodes pictures.
        """
        self._embodiment = embodiment
        self._source = source
        self._recorded = recorded
        self._rules = rules
        self._generator = np.random.default_rng(rules.seed)
        self._assembler = ObservationAssembler(embodiment, decode)
        self._intake = Intake(embodiment, self._assembler)
        self._frames = FrameSet(embodiment)
        self._commander = Commander(
            embodiment, make_scheduler(rules.scheduling, embodiment), fade=SeamFade()
        )
        self._robot = ImaginedRobot(embodiment, rules.controller, self._assembler.measured)
        self._supervisor = Supervisor(
            embodiment,
            self._assembler,
            self._commander,
            Latch(()),
            inference_timeout_s=INFERENCE_TIMEOUT_S,
            replay=True,
            publish=self._publish,
            because=self._because,
        )
        self._tally = _Tally()
        self._period_ns = round(1e9 / embodiment.rate_hz)
        self._executed_ns = embodiment.executed_steps * self._period_ns
        self._now_ns = -1
        self._tick_ns = -1
        self._request: Request | None = None
        self._since_ns = self._patience_ns = 0
        self._rest_until_ns = 0
        self._inference: _Inference | None = None
        self._prompt = ''
        self._times: list[int] = []
        self._commanded: list[Floats] = []
        self._moving: list[bool] = []
        self._fates: list[ChunkFate] = []
        self._actions: list[Floats] = []
        self._happenings: list[Happening] = []
        self._deadlines_missed = 0
        self._blind = False
        self._restarts = 0
        self._told_ns: dict[str, int] = {}

    def advance(self, time_ns: int, prompt: str) -> None:
        """Let the robot run until just before a time: ticks, chunks that arrive, requests."""
        if self._now_ns < 0:
            self._now_ns = self._tick_ns = time_ns
            self._supervisor.start(self._tally, time_ns)
        if prompt != self._prompt:
            self._prompt = prompt
            self._commander.advance_epoch()
        while (due_ns := self._next_ns()) < time_ns:
            self._now_ns = due_ns
            if self._inference is not None and due_ns == self._inference.due_ns:
                self._arrive(self._inference)
            if due_ns == self._tick_ns:
                self._tick()
            self._poll()
        self._now_ns = time_ns

    def take(self, sensed: Sensed) -> None:
        """Take in a sensor's message at its time; ``advance`` to that time first."""
        self._intake.take(sensed.topic, sensed.message, sensed.header_ns, sensed.time_ns)
        self._poll()

    def result(self) -> Deployed:
        """Return the command stream up to now."""
        status = self._commander.status()
        times_ns = np.array(self._times, np.int64)
        width = len(self._recorded.columns)
        steps = self._embodiment.horizon
        return Deployed(
            time_ns=times_ns,
            commanded=np.stack(self._commanded) if self._commanded else np.empty((0, width)),
            recorded=self._recorded.at(times_ns),
            moving=np.array(self._moving, np.bool_),
            chunks=tuple(self._fates),
            actions=np.stack(self._actions) if self._actions else np.empty((0, steps, width)),
            seams=tuple(self._robot.seams),
            happenings=tuple(
                sorted((*self._happenings, *self._robot.rejections), key=lambda each: each.at_ns)
            ),
            gate_counts={f'{g}.{r}': n for (g, r), n in sorted(status.interventions.items())},
            trajectories_sent=self._robot.sent,
            trajectories_rejected=dict(self._robot.rejected()),
            starvations=self._tally.starvations,
            observations_refused=self._tally.observations_refused,
            deadlines_missed=self._deadlines_missed + self._overdue,
            unanswered=int(self._inference is not None),
            restarts=self._restarts,
        )

    @property
    def _overdue(self) -> bool:
        """Whether the inference under way is late already."""
        inference = self._inference
        return inference is not None and self._now_ns - inference.asked_ns > self._executed_ns

    def _next_ns(self) -> int:
        """Return when something happens next by itself."""
        if self._inference is not None:
            return min(self._tick_ns, self._inference.due_ns)
        if self._request is not None:
            return min(self._tick_ns, self._patience_ns)
        wanted_ns = self._commander.next_request_ns()
        if wanted_ns is None:
            return self._tick_ns
        wanted_ns = max(wanted_ns, self._rest_until_ns)
        # What was wanted before was asked for then, unless something forbids it.
        return min(self._tick_ns, wanted_ns) if wanted_ns > self._now_ns else self._tick_ns

    def _tick(self) -> None:
        """Do what the node's control timer does, and note what the controllers say."""
        now_ns, self._tick_ns = self._tick_ns, self._tick_ns + self._period_ns
        asked_ns = now_ns if self._inference is None else self._inference.asked_ns
        refused = self._tally.observations_refused
        self._supervisor.tick(now_ns, enabled=True, inferring_s=(now_ns - asked_ns) * 1e-9)
        self._blind |= self._tally.observations_refused > refused
        self._times.append(now_ns)
        self._commanded.append(self._robot.sample(now_ns))
        self._moving.append(self._commander.status().sequence is not None)

    def _poll(self) -> None:
        """Do what the node's inference thread does while it waits."""
        now_ns = self._now_ns
        if self._inference is not None:
            return
        if self._request is None:
            if now_ns < self._rest_until_ns or not self._commander.wants_inference(now_ns):
                return
            self._request = self._commander.begin(now_ns)
            self._since_ns = self._frames.newest(self._assembler.newest_stamps())
            self._patience_ns = now_ns + self._frames.longest_wait_ns
            return
        stamps_ns = self._assembler.newest_stamps()
        if now_ns < self._patience_ns and not self._frames.complete(stamps_ns, self._since_ns):
            return
        request, self._request = self._request, None
        self._infer(request)

    def _infer(self, request: Request) -> None:
        now_ns = self._now_ns
        observed = self._assembler.observe(now_ns, self._prompt)
        if isinstance(observed, Refusal):
            self._refuse(str(observed.reasons[0].kind), str(observed))
            self._blind = True
            return
        if self._blind:
            request = self._restart()
        leftover = request.leftover(self._commander.controller_ns(observed.stamp_ns))
        try:
            answer = self._source(observed, len(self._fates), request.epoch, leftover)
        except PizeroError as error:
            self._refuse('input', str(error))
            return
        due_ns = now_ns + self._rules.latency.draw(self._generator)
        self._inference = _Inference(request, answer, now_ns, due_ns)

    def _restart(self) -> Request:
        """Begin anew where the robot of the recording is, now that there is something to see.

        A robot that holds because its sensors are gone sees itself, held, when they are back. A
        recording shows a robot that went on, from which the held one is too far to follow.
        """
        self._blind = False
        self._restarts += bool(self._robot.sent)
        self._commander.fail()
        self._commander.reset()
        self._robot.restart()
        return self._commander.begin(self._now_ns)

    def _refuse(self, kind: str, text: str) -> None:
        measured = self._assembler.measured()
        self._publish(self._commander.refuse(kind, text, self._now_ns, measured))
        self._tally.observations_refused += 1
        self._because(kind, text)
        self._rest_until_ns = self._now_ns + self._period_ns

    def _arrive(self, inference: _Inference) -> None:
        self._inference = None
        now_ns, chunk = inference.due_ns, inference.answer.chunk
        decision = self._commander.accept(chunk, now_ns, self._assembler.measured())
        self._publish(decision.commands)
        self._deadlines_missed += now_ns - inference.asked_ns > self._executed_ns
        fate = ChunkFate(
            inference.request.requested_ns, chunk.observed_ns, now_ns, decision.reason
        )
        if decision.steps and decision.start_ns is not None:
            first, count = self._on_steps(decision.steps, inference.answer)
            fate = replace(fate, first_step=first, steps=count, start_ns=decision.start_ns)
        self._fates.append(fate)
        self._actions.append(inference.answer.raw)
        self._happenings += [
            Happening(now_ns, each.group, each.reason, each.text)
            for each in decision.interventions
        ]

    def _on_steps(self, steps: range, answer: Answer) -> tuple[int, int]:
        """Return first and number of published steps as steps of the robot."""
        ratio = self._embodiment.rate_hz / answer.chunk.rate_hz
        given = int(np.isfinite(answer.raw).any(axis=1).sum())
        first = min(round(steps.start * ratio), given)
        return first, min(round(steps.stop * ratio), given) - first

    def _publish(self, commands: Iterable[Command]) -> bool:
        self._robot.obey(commands, self._now_ns)
        return True

    def _because(self, kind: str, text: str) -> None:
        """Note why the robot holds; what goes on is said again after a while, as the node does."""
        if self._now_ns - self._told_ns.get(kind, -REPEAT_NS) >= REPEAT_NS:
            self._told_ns[kind] = self._now_ns
            self._happenings.append(Happening(self._now_ns, 'observation', kind, text))
