"""The steps that every run has: start, wait for the first sign, measure, look for failures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lifecycle_msgs.msg import Transition

from pizero_ros.demo.metrics import Window
from pizero_ros.demo.processes import ros_arguments
from pizero_ros.errors import PizeroError
from pizero_ros.msg import PolicyStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pizero_ros.demo.observer import Observer
    from pizero_ros.demo.processes import NodeProcess, Processes
    from pizero_ros.demo.recording import Recording
    from pizero_ros.embodiment.schema import Embodiment

POLICY = 'policy_node'
ROBOT = 'sim_robot'
REPLAY = 'replay_node'
STARTUP_LIMIT_S = 60.0
STATUS_LIMIT_S = 3.0
"""The policy node reports every second."""

PICTURES_AT = (0.2, 0.7)
"""Shares of the run after which each camera's picture is kept."""

TICK_S = 0.05


class Progress(Protocol):
    """Told how a run goes on; ``share`` is None while it starts."""

    def __call__(self, share: float | None, recording: Recording) -> None:
        """Show the state of the run."""
        ...


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        embodiment: The robot.
        bundle: Folder of the policy bundle.
        prompt: Instruction; empty in a run from a bag that has its own.
        seconds: Measured stretch of a simulated run.
        out: Folder of the logs.
        programs: Executables by name.
        env: Environment of the processes.
    """

    embodiment: Embodiment
    bundle: Path
    prompt: str
    seconds: float
    out: Path
    programs: Mapping[str, Path]
    env: Mapping[str, str]


class RunFailed(PizeroError):
    """A run that could not be carried through; ``tail`` is the end of the log that says why."""

    def __init__(self, message: str, tail: str = '') -> None:
        super().__init__(message)
        self.tail = tail


@dataclass
class Measured:
    """What is known of a run beyond the recording; filled as the run goes on."""

    startup_s: float | None = None
    window: Window | None = None
    seconds: float | None = None
    cpu_percent: dict[str, float] | None = None
    error: str = ''
    tail: str = ''
    stopped_ns: int | None = None


class Stages:
    """A run as it goes on; what it finds out is in ``measured``."""

    def __init__(
        self,
        plan: Plan,
        processes: Processes,
        observer: Observer,
        measured: Measured,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._processes = processes
        self._observer = observer
        self._measured = measured
        self._progress = progress
        self._started = time.monotonic()

    def start(
        self,
        name: str,
        parameters: Mapping[str, object],
        remaps: Mapping[str, str] | None = None,
        *,
        finite: bool = False,
    ) -> NodeProcess:
        """Start one of the package's nodes."""
        command: list[str | Path] = [self._plan.programs[name]]
        command += ros_arguments(parameters, remaps)
        log = f'{self._plan.embodiment.name}.{name}'
        return self._processes.start(name, command, log, finite=finite)

    def activate(self) -> None:
        """Bring the policy node up by its lifecycle.

        Its publishers appear on configure and it commands from activate on; between the two the
        observer finds them, so that it misses no command, however busy the machine is.
        """
        observer = self._observer
        self._wait(observer.policy_answers, f'{POLICY} on the network')
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            outcome = observer.change_state(transition)
            self._wait(outcome.done, f'answer of {POLICY} to its configuration')
            if not outcome.result().success:
                msg = f'{POLICY} could not be configured'
                raise RunFailed(msg, self._processes.tail(POLICY))
            if transition == Transition.TRANSITION_CONFIGURE:
                self._wait(observer.sees_commands, f'publisher of {POLICY} for each group')

    def wait_for_first(self, arrived: Callable[[], object], what: str) -> None:
        """Wait until something has arrived, which ends the start-up."""
        self._wait(arrived, what)
        self._measured.startup_s = time.monotonic() - self._started

    def measure(
        self,
        share_of: Callable[[float], float],
        watched: Sequence[NodeProcess],
        picture_share_s: float | None = None,
    ) -> None:
        """Let the run go on until ``share_of(elapsed seconds)`` reaches 1."""
        begin, begin_ns = time.monotonic(), time.time_ns()
        sent = self._observer.recording.trajectories
        if sent:
            begin_ns = min(begin_ns, sent[0].received_ns)
        cpu_before = {process.name: process.cpu_s() for process in watched}
        pictures = list(PICTURES_AT)
        share = 0.0
        while share < 1.0:
            elapsed_s = time.monotonic() - begin
            share = share_of(elapsed_s)
            shown = elapsed_s / picture_share_s if picture_share_s else share
            if pictures and shown >= pictures[0]:
                pictures.pop(0)
                self._observer.take_pictures()
            self._check()
            self._progress(min(share, 1.0), self._observer.recording)
            time.sleep(TICK_S)
        seconds = time.monotonic() - begin
        self._measured.seconds = seconds
        self._measured.window = Window(begin_ns, time.time_ns())
        self._measured.cpu_percent = {
            process.name: 100 * (after - before) / seconds
            for process in watched
            if (before := cpu_before[process.name]) is not None
            and (after := process.cpu_s()) is not None
        }

    def wait_for_status(self) -> None:
        """Wait for the policy node's next word, which covers the whole stretch."""
        statuses = self._observer.recording.statuses
        count, deadline = len(statuses), time.monotonic() + STATUS_LIMIT_S
        while len(statuses) == count and time.monotonic() < deadline:
            self._check()
            time.sleep(TICK_S)

    def _wait(self, arrived: Callable[[], object], what: str) -> None:
        while not arrived():
            self._check()
            if time.monotonic() > self._started + STARTUP_LIMIT_S:
                msg = f'no {what} within {STARTUP_LIMIT_S:g} s of the start'
                raise RunFailed(msg, self._processes.tail(POLICY))
            self._progress(None, self._observer.recording)
            time.sleep(TICK_S)

    def _check(self) -> None:
        """Raise what makes it pointless to go on.

        Raises:
            RunFailed: A process has ended, or the policy node cannot run.
        """
        self._observer.check()
        if (dead := self._processes.died()) is not None:
            ended = dead.exit()
            code = ended.code if ended else 0
            msg = f'{dead.name} ended by itself with exit code {code}'
            raise RunFailed(msg, dead.tail())
        statuses = self._observer.recording.statuses
        if statuses and statuses[-1].state == PolicyStatus.STATE_FAULT:
            msg = f'{POLICY} failed: {statuses[-1].reason}'
            raise RunFailed(msg, self._processes.tail(POLICY))
