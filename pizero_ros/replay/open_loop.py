"""Open-loop evaluation: ask every n recorded steps, compare with what was recorded from there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import BagError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.refusal import Refusal
from pizero_ros.replay.actions import ROUNDING_PERIODS
from pizero_ros.replay.episode import Inputs, OpenLoop, StreamInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.cameras import Decode
    from pizero_ros.replay.actions import RecordedActions
    from pizero_ros.replay.episode import Floats
    from pizero_ros.replay.recording import Sensed
    from pizero_ros.replay.sources import Source

FIRST_STEP = 2
"""Recorded step of the first query: the baselines look back on two."""


class OpenLoopRun:
    """Asks all sources at the same moments, with the same observations."""

    def __init__(
        self,
        embodiment: Embodiment,
        sources: Mapping[str, Source],
        recorded: RecordedActions,
        every: int,
        decode: Decode,
    ) -> None:
        """Prepare.

        Args:
            embodiment: The robot.
            sources: Name → source.
            recorded: What they are compared with.
            every: Recorded steps between two queries.
            decode: Decodes pictures.
        """
        self._sources = sources
        self._recorded = recorded
        self._assembler = ObservationAssembler(embodiment, decode)
        self._intake = Intake(embodiment, self._assembler)
        self._cameras = {camera.topic for camera in embodiment.cameras}
        # What belongs to a step comes within nanoseconds or so of it, in any order.
        slack_ns = round(ROUNDING_PERIODS * 1e9 / embodiment.rate_hz)
        moments = recorded.moments()
        self._steps = len(moments)
        self._moments = (moments[FIRST_STEP::every] + slack_ns).tolist()
        self._next = 0
        steps = np.arange(embodiment.horizon)
        self._offsets_ns = np.round(steps * 1e9 / embodiment.rate_hz).astype(np.int64)
        self._asked: list[int] = []
        self._observed: list[int] = []
        self._predicted: dict[str, list[Floats]] = {name: [] for name in sources}
        self._truth: list[Floats] = []
        self._ages: list[tuple[float, float]] = []
        self._refused: Counter[str] = Counter()
        self._last_refusal = ''
        self._last_ns = 0

    def advance(self, time_ns: int, prompt: str) -> None:
        """Make the queries that are due before a message of this time comes."""
        while self._next < len(self._moments) and self._moments[self._next] < time_ns:
            self._ask(self._moments[self._next], prompt)
            self._next += 1

    def take(self, sensed: Sensed) -> None:
        """Take in a sensor's message."""
        self._intake.take(sensed.topic, sensed.message, sensed.header_ns, sensed.time_ns)
        self._last_ns = sensed.time_ns

    def check(self, path: Path) -> None:
        """Refuse a recording that gave no observation at all.

        Args:
            path: The recording, for the error.

        Raises:
            BagError: There was none.
        """
        if self._asked:
            return
        raise BagError.at(
            path,
            'observations',
            found=f'none at {len(self._moments)} moments'
            + (f'; the last was refused for {self._last_refusal}' if self._last_refusal else ''),
            expected='an observation to ask a policy about',
            remedy=''
            if self._moments
            else f'It has {self._steps} recorded steps of actions; at '
            f'least {FIRST_STEP + 1} are needed.',
        )

    def results(self) -> dict[str, OpenLoop]:
        """Return source → chunks."""
        asked = np.array(self._asked, np.int64)
        observed = np.array(self._observed, np.int64)
        shape = (0, len(self._offsets_ns), len(self._recorded.columns))
        truth = np.stack(self._truth) if self._truth else np.empty(shape)
        return {
            name: OpenLoop(asked, observed, np.stack(found) if found else np.empty(shape), truth)
            for name, found in self._predicted.items()
        }

    def inputs(self) -> Inputs:
        """Return what the sensors brought."""
        ages = np.array(self._ages).reshape(-1, 2)
        return Inputs(
            streams=tuple(
                StreamInput(
                    topic=status.topic,
                    kind='camera' if status.topic in self._cameras else 'state',
                    received=status.counters.received,
                    missing=status.counters.missing,
                    late=status.counters.late,
                    out_of_order=status.counters.out_of_order,
                    black=status.counters.black,
                    frozen=status.counters.frozen,
                    fault=status.fault,
                )
                for status in self._assembler.status(self._last_ns)
            ),
            newest_age_s=ages[:, 0],
            oldest_age_s=ages[:, 1],
            skew_s=ages[:, 1] - ages[:, 0],
            refused=dict(self._refused),
        )

    def _ask(self, now_ns: int, prompt: str) -> None:
        observed = self._assembler.observe(now_ns, prompt)
        if isinstance(observed, Refusal):
            self._refused[str(observed.reasons[0].kind)] += 1
            self._last_refusal = str(observed)
            return
        sequence = len(self._asked)
        for name, source in self._sources.items():
            self._predicted[name].append(source(observed, sequence).raw)
        self._asked.append(now_ns)
        self._observed.append(observed.stamp_ns)
        self._truth.append(self._recorded.at(observed.stamp_ns + self._offsets_ns))
        newest = (now_ns - observed.stamp_ns) * 1e-9
        self._ages.append((newest, (now_ns - observed.oldest_ns) * 1e-9))
