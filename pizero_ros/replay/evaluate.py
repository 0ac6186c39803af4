"""One recording through one policy: both evaluations in one pass over the messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pizero_ros.policy.noise import make_noise
from pizero_ros.replay.action_topics import AUTO, find_actions
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.columns import Columns
from pizero_ros.replay.deployed import DeployedRun, Rules
from pizero_ros.replay.episode import BASELINES, Episode, Timing
from pizero_ros.replay.latency import DEFAULT, read_latency
from pizero_ros.replay.open_loop import OpenLoopRun
from pizero_ros.replay.recording import INSTRUCTION, Recording, RememberedPictures, decoded
from pizero_ros.replay.sources import MAKERS, PolicySource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pizero_ros.control.controller import Replacement
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.opened import Predictor
    from pizero_ros.replay.actions import RecordedActions
    from pizero_ros.replay.sources import Source

Mode = Literal['open_loop', 'deployed']
MODES: tuple[Mode, ...] = get_args(Mode)

UNINSTRUCTED = 'do the task'
"""Prompt when neither the recording nor the user gives one; the report says so."""

LATENCY_SEED = 0
"""Latencies are drawn alike for every source and every seed of the noise, so that what differs
between them is what they said."""

_OUTSIDE_MODEL = ('preprocess', 'postprocess')
"""Phases of a chunk that are no inference."""


@dataclass(frozen=True)
class Settings:
    """What determines the result, beside recording, robot and policy.

    Attributes:
        modes: Which evaluations.
        every: Recorded steps between two open-loop queries, None for those in the time that the
            robot's executed steps last.
        seeds: Of the noise; each is a run of its own.
        noise: ``gaussian``, ``continuous``, or ``auto`` for what the policy says it wants.
        prompt: Instruction, None for that of the recording.
        actions: Where the recorded actions are (``action_topics.find_actions``).
        latency: As ``latency.read_latency`` reads it.
        scheduling: Mode of the scheduler.
        controller: How controllers replace a trajectory.
    """

    modes: tuple[Mode, ...] = MODES
    every: int | None = None
    seeds: tuple[int, ...] = (0,)
    noise: str = 'auto'
    prompt: str | None = None
    actions: str = AUTO
    latency: str = DEFAULT
    scheduling: str = 'async'
    controller: Replacement = 'discard'


def evaluate(
    path: Path,
    embodiment: Embodiment,
    predictor: Predictor | None,
    label: str,
    settings: Settings,
    *,
    baselines: bool = True,
    progress: Callable[[float], None] = lambda _share: None,
) -> Episode:
    """Evaluate a policy, or only the baselines, on a recording.

    The bag is read twice: its actions into memory, then everything else as a stream.

    Args:
        path: The recording.
        embodiment: The robot.
        predictor: The policy, None for none.
        label: Its name in the results.
        settings: What to do.
        baselines: Whether to evaluate the baselines too.
        progress: Told the share of the recording that is done, 0 to 1.

    Returns:
        The result; the same for the same arguments, but for its ``timing``.

    Raises:
        BagError: If the recording is damaged, lacks what the robot needs, or gives not a single
            observation.
        PizeroError: If the policy cannot take what the recording gives.
    """
    started = time.perf_counter()
    latency = read_latency(settings.latency)
    with open_bag(path) as bag:
        recording = Recording(bag, embodiment)
        recorded = find_actions(bag, embodiment, settings.actions)
        prompt = _first_prompt(recording, settings)
        decode = RememberedPictures()
        executed_s = embodiment.executed_steps / embodiment.rate_hz
        every = settings.every or recorded.steps_in(executed_s)
        made = {mode: _Sources(embodiment, recorded) for mode in settings.modes}
        for mode in settings.modes:
            if predictor is not None:
                made[mode].add_policy(predictor, label, settings)
            if baselines:
                made[mode].add_baselines()
        asked = made['open_loop'].sources if 'open_loop' in made else {}
        imagined = made['deployed'] if 'deployed' in made else _Sources(embodiment, recorded)
        open_loop = OpenLoopRun(embodiment, asked, recorded, every, decode)
        deployed = {
            name: DeployedRun(
                embodiment,
                source,
                recorded,
                Rules(latency, settings.scheduling, settings.controller, LATENCY_SEED),
                decode,
            )
            for name, source in imagined.sources.items()
        }
        _play(recording, [open_loop, *deployed.values()], settings, prompt, progress)
    open_loop.check(path)
    policies = [each for stage in made.values() for each in stage.policies]
    return Episode(
        bag=str(path),
        embodiment=embodiment.name,
        policy=label,
        rate_hz=embodiment.rate_hz,
        horizon=embodiment.horizon,
        prompt=prompt,
        start_ns=bag.start_ns,
        end_ns=bag.end_ns,
        columns=Columns.of(embodiment),
        action_source=recorded.words,
        open_loop=open_loop.results(),
        deployed={name: run.result() for name, run in deployed.items()},
        inputs=open_loop.inputs(),
        timing=_timing(policies, time.perf_counter() - started),
    )


class _Sources:
    """The sources of one evaluation: made anew for each, because noise has a beginning."""

    def __init__(self, embodiment: Embodiment, recorded: RecordedActions) -> None:
        self._embodiment = embodiment
        self._recorded = recorded
        self.sources: dict[str, Source] = {}
        self.policies: list[PolicySource] = []

    def add_policy(self, predictor: Predictor, label: str, settings: Settings) -> None:
        """Add one source for each seed."""
        for seed in settings.seeds:
            noise = make_noise(
                settings.noise, seed, self._embodiment.rate_hz, untrained=predictor.untrained
            )
            source = PolicySource(predictor, noise, self._embodiment)
            self.sources[f'{label}#{seed}'] = source
            self.policies.append(source)

    def add_baselines(self) -> None:
        """Add those that need no policy."""
        for name in BASELINES:
            self.sources[name] = MAKERS[name](self._embodiment, self._recorded)


def _first_prompt(recording: Recording, settings: Settings) -> str:
    """Return the instruction that is in force at the beginning."""
    if settings.prompt is not None:
        return settings.prompt
    if recording.instructed:
        for sensed in decoded(recording.bag, [INSTRUCTION]):
            return str(sensed.message.data)
    return UNINSTRUCTED


def _play(
    recording: Recording,
    runs: Sequence[OpenLoopRun | DeployedRun],
    settings: Settings,
    prompt: str,
    progress: Callable[[float], None],
) -> None:
    """Give every message to every run, in the order of arrival."""
    bag = recording.bag
    length_ns = max(bag.end_ns - bag.start_ns, 1)
    for sensed in recording.messages():
        for run in runs:
            run.advance(sensed.time_ns, prompt)
        if sensed.topic != INSTRUCTION:
            for run in runs:
                run.take(sensed)
        elif settings.prompt is None:
            prompt = str(sensed.message.data)
        progress((sensed.time_ns - bag.start_ns) / length_ns)
    for run in runs:
        run.advance(bag.end_ns + 1, prompt)


def _timing(policies: Sequence[PolicySource], total_s: float) -> Timing:
    phases: dict[str, list[float]] = {}
    chunks = [each for policy in policies for each in policy.durations_s]
    for durations_s in chunks:
        for phase, seconds in durations_s.items():
            phases.setdefault(phase, []).append(seconds)
    return Timing(
        total_s=total_s,
        inference_s=sum(sum(s) for phase, s in phases.items() if phase not in _OUTSIDE_MODEL),
        phases_s={phase: np.array(seconds) for phase, seconds in phases.items()},
        chunks=len(chunks),
    )
