"""Normalisation statistics of one robot, over the values that the pipelines will normalise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.processing.grippers import Grippers
from pizero_ros.processing.normalize import NEAR_CONSTANT, Quantile, ZScore, near_constant
from pizero_ros.processing.relative import RelativeActions
from pizero_ros.processing.signs import Signs
from pizero_ros.processing.spec import NormalizationMode, RobotSemantics, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.training.example import Example, Examples

    Array = npt.NDArray[np.float64]

EPS = 1e-6
"""openpi's (pi0.md section 3)."""

NO_SPREAD = 1e-6
"""Spread (rad, m) under which a value has not moved at all but for rounding."""

STILL_STATE = 1.0
"""Standard deviation (rad, m) that a state value gets which is known not to move: what says
nothing should stay near zero at the robot, wherever it stands there."""

MOST_FOR_QUANTILES = 20_000
"""Samples whose values are kept for the quantiles: 144 MB for 50 actions of 18 values."""

_EMPTY = Statistics(None, None, None, None)


@dataclass(frozen=True)
class Still:
    """A value that hardly moved in the data, so that normalisation magnifies its noise.

    Attributes:
        role: ``state`` or ``action``.
        joint: Its name.
        index: In the robot vector.
        spread: What the normalisation divides by, in robot units.
        known: Whether a person has said so; then it was widened.
    """

    role: Literal['state', 'action']
    joint: str
    index: int
    spread: float
    known: bool

    def __str__(self) -> str:
        what = f'{self.role} {self.joint} (index {self.index}) moved by {self.spread:.3g} only'
        return f'{what}; widened, as it is known to stand still' if self.known else what


@dataclass(frozen=True)
class Fitted:
    """What the data of a robot mean to a policy that learns from them.

    Attributes:
        semantics: For the pipelines and the manifest.
        still: Values that a person should know about.
        samples: Number of samples behind the statistics.
    """

    semantics: RobotSemantics
    still: tuple[Still, ...]
    samples: int


def meaning(
    embodiment: Embodiment,
    actions: Literal['absolute', 'relative'] = 'absolute',
    normalization: NormalizationMode = 'zscore',
) -> RobotSemantics:
    """Say what a robot's values mean to a policy of this project, before any statistics.

    Args:
        embodiment: The robot.
        actions: ``relative`` makes trajectory joints whose position the state holds relative to
            it; grippers and twists stay absolute.
        normalization: Formula.

    Returns:
        Semantics without statistics, for ``fit``.
    """
    positions = {each.index for each in embodiment.state_joints if each.field == 'position'}
    relative = np.zeros(embodiment.action_width, np.bool_)
    for group in embodiment.actions:
        if actions == 'relative' and group.output == 'joint_trajectory':
            relative[[each.index for each in group.joints if each.index in positions]] = True
    return RobotSemantics(
        embodiment=embodiment.name,
        rate_hz=embodiment.rate_hz,
        horizon=embodiment.horizon,
        normalization=normalization,
        eps=EPS,
        state=_EMPTY,
        action=_EMPTY,
        relative=relative,
        signs=None,
        state_grippers=(),
        action_grippers=(),
    )


def fit(
    pairs: Sequence[Examples],
    means: RobotSemantics,
    *,
    still: Collection[str] = (),
    progress: Callable[[float], None] = lambda _share: None,
) -> Fitted:
    """Measure the statistics of one robot over all its samples.

    Mean and deviation are those of all values; quantiles are taken from every n-th sample where
    there are more than ``MOST_FOR_QUANTILES``. Repeated actions and unmapped values do not count.

    Args:
        pairs: Samples of the same robot, one or more tasks.
        means: What its values mean; its statistics are ignored, those of relative actions are
            taken over the relative values.
        still: Joints that are known not to move in these data.
        progress: Told the share that is done, 0 to 1.

    Returns:
        The semantics with statistics, and what hardly moved.

    Raises:
        DatasetError: If a value is not finite, or a joint that is not in ``still`` never moved.
    """
    embodiment = pairs[0].embodiment
    units = _PolicyUnits(embodiment, means)
    total = sum(len(examples) for examples in pairs)
    every = -(-total // MOST_FOR_QUANTILES)
    state = _Tally(embodiment.state_width)
    action = _Tally(len(means.relative))
    seen = 0
    for examples in pairs:
        if examples.embodiment.name != means.embodiment:
            msg = f'samples of {examples.embodiment.name} for statistics of {means.embodiment}'
            raise ValueError(msg)
        for number in range(len(examples)):
            example = examples[number]
            states, actions = units(example)
            mapped = example.state_mapped[: embodiment.state_width]
            _check_finite(examples, number, states[0, mapped], actions)
            kept = seen % every == 0
            state.add(states, kept=kept)
            action.add(actions, kept=kept)
            seen += 1
            progress(seen / total)
    states_of = {joint.index: joint.name for joint in embodiment.state_joints}
    actions_of = {joint.index: joint.name for joint in embodiment.action_joints}
    where = ', '.join(examples.name for examples in pairs)
    fitted_state, still_state = _settle('state', state, states_of, means, still, where)
    fitted_action, still_action = _settle('action', action, actions_of, means, still, where)
    return Fitted(
        replace(means, state=fitted_state, action=fitted_action),
        (*still_state, *still_action),
        total,
    )


class _PolicyUnits:
    """State and actions as the pipelines hand them to the normalisation."""

    def __init__(self, embodiment: Embodiment, means: RobotSemantics) -> None:
        name = means.embodiment
        width = len(means.relative)
        self._state_width = embodiment.state_width
        self._state_signs = Signs.of(means.signs, self._state_width, f'{name}.signs')
        self._state_grippers = Grippers.of(
            means.state_grippers, 'state', self._state_width, f'{name}.state_grippers'
        )
        self._signs = Signs.of(means.signs, width, f'{name}.signs')
        self._grippers = Grippers.of(
            means.action_grippers, 'action', width, f'{name}.action_grippers'
        )
        self._relative = RelativeActions(means.relative)

    def __call__(self, example: Example) -> tuple[Array, Array]:
        """Return the state, float64 [1, width], and the valid actions, float64 [v, width]."""
        state = self._state_grippers(self._state_signs(example.state[: self._state_width]))
        actions = self._grippers(self._signs(example.actions[example.actions_valid]))
        return state[None], self._relative(actions, state)


class _Tally:
    """Mean and deviation of rows as they come, by the method of Chan, Golub and LeVeque."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)
        self._kept: list[Array] = []

    def add(self, rows: Array, *, kept: bool) -> None:
        """Take in float64 [n, width], n at least 1."""
        count = self._count + len(rows)
        mean = rows.mean(axis=0)
        apart = mean - self.mean
        share = len(rows) / count
        self._squares += ((rows - mean) ** 2).sum(axis=0) + apart**2 * (self._count * share)
        self.mean += apart * share
        self._count = count
        if kept:
            self._kept.append(rows)

    @property
    def std(self) -> Array:
        """Deviation of the values themselves, as openpi computes it, float64 [width]."""
        return np.asarray(np.sqrt(self._squares / self._count))

    def quantiles(self) -> tuple[Array, Array]:
        """Return the 1 % and 99 % quantiles, each float64 [width]."""
        low, high = np.quantile(np.concatenate(self._kept), (0.01, 0.99), axis=0)
        return low, high


def _settle(
    role: Literal['state', 'action'],
    tally: _Tally,
    names: dict[int, str],
    means: RobotSemantics,
    known: Collection[str],
    where: str,
) -> tuple[Statistics, list[Still]]:
    """Turn what was measured into statistics that can divide, and say where they hardly can."""
    mean, std = tally.mean, tally.std
    q01, q99 = tally.quantiles()
    unused = [index for index in range(len(mean)) if index not in names]
    mean[unused], std[unused], q01[unused], q99[unused] = 0.0, 1.0, -1.0, 1.0
    quantile = means.normalization == 'quantile'
    rule = Quantile(q01, q99, means.eps) if quantile else ZScore(mean, std, means.eps)
    found = []
    for index in near_constant(rule):
        joint, spread = names[index], float(rule.spread[index])
        if spread < NO_SPREAD and joint not in known:
            raise _never_moved(role, joint, index, spread, means, where)
        found.append(Still(role, joint, index, spread, joint in known))
        if joint in known:
            # An action that never varied stays where it was: its noise is kept small.
            width = STILL_STATE if role == 'state' else NEAR_CONSTANT
            std[index] = max(std[index], width)
            middle = (q01[index] + q99[index]) / 2
            q01[index], q99[index] = middle - width, middle + width
    # What the formula does not use is left out where it could not divide either.
    if not quantile and (q99 - q01 < NO_SPREAD).any():
        return Statistics(mean, std, None, None), found
    if quantile and (std < NO_SPREAD).any():
        return Statistics(None, None, q01, q99), found
    return Statistics(mean, std, q01, q99), found


def _never_moved(
    role: str, joint: str, index: int, spread: float, means: RobotSemantics, where: str
) -> Exception:
    wish = '' if means.normalization == 'zscore' else ', or use normalization: zscore'
    return DatasetError.at(
        where,
        f'{means.embodiment} {role} {joint} (index {index})',
        found=f'a value that never moved (spread {spread:.3g})',
        expected='data in which every joint moves: a value divided by nothing explodes',
        remedy=f'Add demonstrations that move it, or name {joint} under `still`{wish}.',
    )


def _check_finite(examples: Examples, number: int, state: Array, actions: Array) -> None:
    if np.isfinite(state).all() and np.isfinite(actions).all() and len(actions):
        return
    embodiment = examples.embodiment
    names = {joint.index: joint.name for joint in embodiment.action_joints}
    found, where = 'no valid action', 'actions'
    if len(actions):
        rows, columns = np.nonzero(~np.isfinite(actions))
        found, where = 'a state that is not finite', 'state'
        if len(rows):
            where = f'action {rows[0]} of {names.get(int(columns[0]), columns[0])}'
            found = str(actions[rows[0], columns[0]])
    raise DatasetError.at(
        examples.name, f'sample {number}: {where}', found=found, expected='finite numbers'
    )
