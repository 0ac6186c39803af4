"""Does this bundle fit this robot? Everything that can be known before anything moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.embodiment.schema import ActionJoint, Embodiment
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics, Statistics

Severity = Literal['ok', 'warning', 'error']

_FAR = 0.5
"""How far beyond its limits, as a share of their range, an action may lie before it is told."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, with which result, and what to do about it."""

    severity: Severity
    subject: str
    message: str


def examine(bundle: Bundle, embodiment: Embodiment) -> list[Finding]:
    """Compare a bundle with an embodiment, reporting what fits too.

    Args:
        bundle: A bundle that ``Bundle.open`` has checked.
        embodiment: The robot.

    Returns:
        One finding or more per subject, in the order of the checks.
    """
    try:
        semantics = bundle.semantics(embodiment.name)
    except BundleError as error:
        return [Finding('error', 'embodiment', str(error))]
    model = bundle.manifest.model
    return [
        Finding('ok', 'embodiment', f'the bundle knows {embodiment.name}'),
        *_timing(semantics, embodiment),
        *_cameras(model, embodiment),
        *_width('state', semantics.state, embodiment.state_width, model.state_dim),
        *_width('action', semantics.action, embodiment.action_width, model.action_dim),
        *_relative(semantics, embodiment),
        *_limits(semantics, embodiment),
    ]


def check_embodiment(bundle: Bundle, embodiment: Embodiment) -> list[Finding]:
    """Return what does not fit, errors first; empty if everything does."""
    wrong = [each for each in examine(bundle, embodiment) if each.severity != 'ok']
    return sorted(wrong, key=lambda finding: finding.severity != 'error')


def require_embodiment(bundle: Bundle, embodiment: Embodiment) -> list[Finding]:
    """Insist that a bundle fits a robot.

    Returns:
        The warnings.

    Raises:
        BundleError: With every error that was found.
    """
    findings = check_embodiment(bundle, embodiment)
    errors = [each.message for each in findings if each.severity == 'error']
    if errors:
        raise BundleError('\n'.join(errors))
    return findings


def _timing(semantics: RobotSemantics, embodiment: Embodiment) -> Iterator[Finding]:
    pairs = (
        ('rate_hz', embodiment.rate_hz, semantics.rate_hz, 'every action would be mistimed'),
        ('horizon', embodiment.horizon, semantics.horizon, 'chunks have another length'),
    )
    for key, found, expected, consequence in pairs:
        if found == expected:
            yield Finding('ok', key, f'{found:g}')
        else:
            yield _error(
                key,
                embodiment,
                found=f'{found:g}',
                expected=f'{expected:g} as the bundle was made for: {consequence}',
            )


def _cameras(model: ModelSpec, embodiment: Embodiment) -> Iterator[Finding]:
    slots = [camera.slot for camera in embodiment.cameras]
    unknown = [slot for slot in slots if slot not in model.slots]
    for slot in unknown:
        yield _error(
            'cameras',
            embodiment,
            found=f'slot {slot}',
            expected=f'one of {", ".join(model.slots)}',
        )
    if not slots:
        yield _error('cameras', embodiment, found='no camera', expected='at least one')
    if not any(camera.required for camera in embodiment.cameras):
        yield Finding(
            'warning',
            'cameras',
            'no camera is required: the robot would move with all of them gone',
        )
    unfed = [slot for slot in model.slots if slot not in slots]
    if unfed:
        yield Finding(
            'warning',
            'cameras',
            f"no camera for slot {', '.join(unfed)}: dropped from the model's input, which is "
            'right only if the policy was trained without it on this robot',
        )
    if slots and not unknown:
        yield Finding('ok', 'cameras', ', '.join(slots))


def _width(name: str, statistics: Statistics, used: int, padded: int) -> Iterator[Finding]:
    """Compare the values a robot has with those the statistics cover and the model takes."""
    if used > padded:
        message = f'the robot uses {used} {name} values, the model takes {padded}'
        yield Finding('error', f'{name} width', message)
    elif statistics.width and statistics.width != used:
        message = (
            f'the robot uses {used} {name} values, the bundle has statistics of '
            f'{statistics.width}: indices mean different joints'
        )
        yield Finding('error', f'{name} width', message)
    else:
        yield Finding('ok', f'{name} width', f'{used}, padded to {padded}')


def _relative(semantics: RobotSemantics, embodiment: Embodiment) -> Iterator[Finding]:
    mask = semantics.relative
    if len(mask) != embodiment.action_width:
        message = f'mask of {len(mask)} for {embodiment.action_width} action values'
        yield Finding('error', 'relative actions', message)
        return
    positions = {each.index for each in embodiment.state_joints if each.field == 'position'}
    mapped = {joint.index for joint in embodiment.action_joints}
    baseless = [int(i) for i in np.flatnonzero(mask) if i in mapped and i not in positions]
    for index in baseless:
        message = (
            f'action value {index} is relative to state value {index}, which no position of '
            'this robot fills: it would be relative to zero'
        )
        yield Finding('error', 'relative actions', message)
    if not baseless:
        count = int(mask.sum())
        yield Finding('ok', 'relative actions', f'{count} of {len(mask)}' if count else 'none')


def _limits(semantics: RobotSemantics, embodiment: Embodiment) -> Iterator[Finding]:
    """Warn where the actions of the training data lie far outside what the robot may do."""
    action, state = _spread(semantics.action), _spread(semantics.state)
    if action is None or len(action) < embodiment.action_width:
        return
    mapped = {each.index for each in (*semantics.state_grippers, *semantics.action_grippers)}
    strange = 0
    for joint in embodiment.action_joints:
        limits = joint.position or (-joint.velocity, joint.velocity)
        if joint.index in mapped:
            continue
        low, high = action[joint.index]
        relative = joint.index < len(semantics.relative) and semantics.relative[joint.index]
        if relative and state is not None and joint.index < len(state):
            centre = state[joint.index].mean()
            low, high = low + centre, high + centre
        if semantics.signs is not None and semantics.signs[joint.index] < 0:
            low, high = -high, -low
        low, high = sorted((_raw(joint, low), _raw(joint, high)))
        allowance = _FAR * (limits[1] - limits[0])
        if low < limits[0] - allowance or high > limits[1] + allowance:
            strange += 1
            yield Finding(
                'warning',
                'action limits',
                f'{joint.name}: actions of the training data span {low:.3g} to {high:.3g}, '
                f'limits are {limits[0]:.3g} to {limits[1]:.3g}: check unit, sign and offset',
            )
    if not strange:
        yield Finding('ok', 'action limits', 'training data within or near them')


def _spread(statistics: Statistics) -> npt.NDArray[np.float64] | None:
    """Range of a value, float64 [width, 2]: mean ± 3 std, or the 1 % and 99 % quantiles."""
    if statistics.mean is not None and statistics.std is not None:
        reach = 3 * statistics.std
        return np.stack([statistics.mean - reach, statistics.mean + reach], axis=1)
    if statistics.q01 is not None and statistics.q99 is not None:
        return np.stack([statistics.q01, statistics.q99], axis=1)
    return None


def _raw(joint: ActionJoint, value: float) -> float:
    """Turn a value of the robot vector into the controller's unit."""
    return (value - joint.offset) / (joint.sign * joint.scale)


def _error(key: str, embodiment: Embodiment, *, found: str, expected: str) -> Finding:
    return Finding(
        'error', key, str(BundleError.at(embodiment.source, key, found=found, expected=expected))
    )
