"""Whatever answers an observation with a chunk: a policy, or a baseline that needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from pizero_ros.policy.chunk import ActionChunk
from pizero_ros.replay.columns import Columns, RawActions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pizero_ros.control.leftover import Leftover
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.noise import NoiseSource
    from pizero_ros.policy.opened import Predictor
    from pizero_ros.replay.actions import RecordedActions

    Floats = npt.NDArray[np.float64]


class Answer:
    """A chunk, and the same in raw units at the steps of the robot."""

    def __init__(self, chunk: ActionChunk, raw: Floats) -> None:
        """Hold both; ``raw`` is float64 [H of the robot, J], NaN behind the chunk's end."""
        self.chunk = chunk
        self.raw = raw


class Source(Protocol):
    """Answers observations; used by one evaluation, in the order of time."""

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> Answer:
        """Return the chunk of one observation."""


class PolicySource:
    """A policy with a noise of its own; keeps the time that its phases took."""

    def __init__(self, predictor: Predictor, noise: NoiseSource, embodiment: Embodiment) -> None:
        """Share a predictor: it is given ``noise`` for every call."""
        self._predictor = predictor
        self._noise = noise
        self._raw = RawActions(embodiment)
        self._times_s = np.arange(embodiment.horizon) / embodiment.rate_hz
        self._rate_hz = embodiment.rate_hz
        self.durations_s: list[Mapping[str, float]] = []

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> Answer:
        """See ``Source``."""
        self._predictor.noise = self._noise
        chunk = self._predictor(observation, sequence, epoch, leftover)
        self.durations_s.append(chunk.durations_s)
        return Answer(chunk, self._on_steps(self._raw.raw(chunk.actions), chunk.rate_hz))

    def _on_steps(self, raw: Floats, rate_hz: float) -> Floats:
        """Return a chunk at the steps of the robot: NaN behind its end, cut behind theirs."""
        steps = len(self._times_s)
        if rate_hz != self._rate_hz:
            known_s = np.arange(len(raw)) / rate_hz
            within = self._times_s <= known_s[-1] + 1e-9
            found = np.full((steps, raw.shape[1]), np.nan)
            for column, values in enumerate(raw.T):
                found[within, column] = np.interp(self._times_s[within], known_s, values)
            return found
        if len(raw) >= steps:
            return raw[:steps]
        return np.concatenate([raw, np.full((steps - len(raw), raw.shape[1]), np.nan)])


class Baseline:
    """Base of the baselines: knows the robot and what was recorded, and makes chunks."""

    def __init__(self, embodiment: Embodiment, recorded: RecordedActions) -> None:
        """Take the robot and the recorded actions."""
        self._mapping = RawActions(embodiment)
        self._columns = Columns.of(embodiment)
        self._recorded = recorded
        self._rate_hz = embodiment.rate_hz
        self._steps = np.arange(embodiment.horizon)
        self._offsets_ns = np.round(self._steps * 1e9 / embodiment.rate_hz).astype(np.int64)

    def __call__(
        self,
        observation: Observation,
        sequence: int = 0,
        epoch: int = 0,
        leftover: Leftover | None = None,
    ) -> Answer:
        """See ``Source``; there is nothing to hold to a leftover."""
        del leftover
        raw = self._actions(observation)
        actions = self._mapping.vector(raw)
        return Answer(
            ActionChunk(
                observed_ns=observation.stamp_ns,
                rate_hz=self._rate_hz,
                actions=actions,
                model_actions=actions.astype(np.float32),
                sequence=sequence,
                epoch=epoch,
            ),
            raw,
        )

    def _actions(self, observation: Observation) -> Floats:
        """Return float64 [H, J], raw, NaN where there is no answer."""
        raise NotImplementedError

    def _state(self, observation: Observation) -> Floats:
        """Return float64 [J]: where everything is, as a command; NaN where nobody measures."""
        width = max(self._mapping.width, len(observation.state))
        state = np.full((1, width), np.nan)
        known = observation.state_mapped
        state[0, : len(observation.state)][known] = observation.state[known]
        raw: Floats = self._mapping.raw(state)[0]
        raw[self._columns.where(kind='twist')] = 0.0
        return raw

    def _last(self, observation: Observation) -> Floats:
        """Return float64 [J]: the last command; where there was none, staying as it is."""
        last: Floats = self._recorded.before(observation.stamp_ns)
        return _filled(last, self._state(observation))


class Recording(Baseline):
    """The demonstrator: what the recording goes on with. It scores 0 by definition."""

    def _actions(self, observation: Observation) -> Floats:
        found = self._recorded.at(observation.stamp_ns + self._offsets_ns, extended=True)
        return _filled(found, self._state(observation))


class Hold(Baseline):
    """Stand still: every step is the measured state, and a base is told not to drive.

    What is not measured, such as many a gripper, keeps its last command.
    """

    def _actions(self, observation: Observation) -> Floats:
        still = _filled(self._state(observation), self._last(observation))
        return np.repeat(still[None], len(self._steps), axis=0)


class LastAction(Baseline):
    """Repeat the command that was given last before the observation."""

    def _actions(self, observation: Observation) -> Floats:
        return np.repeat(self._last(observation)[None], len(self._steps), axis=0)


class Linear(Baseline):
    """Go on as the last two commands before the observation went."""

    def _actions(self, observation: Observation) -> Floats:
        ahead = self._recorded.extrapolated(observation.stamp_ns, self._offsets_ns)
        return _filled(ahead, self._last(observation))


def _filled(values: Floats, others: Floats) -> Floats:
    return np.where(np.isnan(values), others, values)


MAKERS: Mapping[str, type[Baseline]] = {
    'recording': Recording,
    'hold': Hold,
    'last_action': LastAction,
    'linear': Linear,
}
"""Name of ``episode.BASELINES`` → its class."""
