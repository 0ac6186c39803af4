"""Does this chunk policy fit this robot? Everything that can be known before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import BundleError
from pizero_ros.policy.compatibility import Finding
from pizero_ros.policy.manifest import MANIFEST_FILE
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.foreign.bundle import ForeignBundle


def examine_foreign(bundle: ForeignBundle, embodiment: Embodiment) -> list[Finding]:
    """Compare a chunk policy with an embodiment, reporting what fits too.

    Args:
        bundle: The checked folder.
        embodiment: The robot.

    Returns:
        One finding or more per subject, in the order of the checks.
    """
    if bundle.manifest.embodiment != embodiment.name:
        message = _say(
            bundle,
            'embodiment',
            found=bundle.manifest.embodiment,
            expected=embodiment.name,
            remedy='Its indices mean the vector of that robot: choose it, or describe the policy '
            'for this one.',
        )
        return [Finding('error', 'embodiment', message)]
    return [
        Finding('ok', 'embodiment', f'made for {embodiment.name}'),
        *_timing(bundle, embodiment),
        *_cameras(bundle, embodiment),
        *_state(bundle, embodiment),
        *_actions(bundle, embodiment),
    ]


def require_robot(bundle: ForeignBundle, embodiment: Embodiment) -> list[Finding]:
    """Insist that a chunk policy fits a robot.

    Returns:
        The warnings.

    Raises:
        BundleError: With every error that was found.
    """
    findings = examine_foreign(bundle, embodiment)
    errors = [each.message for each in findings if each.severity == 'error']
    if errors:
        raise BundleError('\n'.join(errors))
    return [each for each in findings if each.severity == 'warning']


def _timing(bundle: ForeignBundle, embodiment: Embodiment) -> Iterator[Finding]:
    manifest = bundle.manifest
    count = manifest.horizon - manifest.first_step
    said = f'{count} actions at {manifest.rate_hz:g} Hz, {count / manifest.rate_hz:.2f} s'
    if manifest.rate_hz == embodiment.rate_hz:
        yield Finding('ok', 'timing', said)
    else:
        yield Finding(
            'warning', 'timing', f'{said}, and {embodiment.source} has {embodiment.rate_hz:g} Hz'
        )


def _cameras(bundle: ForeignBundle, embodiment: Embodiment) -> Iterator[Finding]:
    slots = [camera.slot for camera in embodiment.cameras]
    used = [image.slot for image in bundle.manifest.images]
    unknown = [slot for slot in used if slot not in slots]
    for slot in unknown:
        message = _say(
            bundle,
            f'images[{used.index(slot)}].slot',
            found=slot,
            expected=f'one of {", ".join(slots) or "no cameras"}, as {embodiment.source} has',
            remedy=suggestion(slot, slots),
        )
        yield Finding('error', 'cameras', message)
    if not unknown:
        unseen = [slot for slot in slots if slot not in used]
        rest = f'; it does not look at {", ".join(unseen)}' if unseen else ''
        yield Finding('ok', 'cameras', f'{", ".join(used) or "none"}{rest}')


def _state(bundle: ForeignBundle, embodiment: Embodiment) -> Iterator[Finding]:
    state, relative = bundle.manifest.state, bundle.manifest.output
    if state is None:
        yield Finding('ok', 'state', 'none')
        return
    joints = {joint.index: joint for joint in embodiment.state_joints}
    wrong = False
    for number, index in enumerate(state.vector.indices):
        if index not in joints:
            wrong = True
            message = _say(
                bundle,
                f'state.indices[{number}]',
                found=index,
                expected=f'the index of a state joint in {embodiment.source}',
            )
            yield Finding('error', 'state', message)
    for column, index in enumerate(relative.vector.indices):
        if relative.relative[column] and index in joints and joints[index].field != 'position':
            wrong = True
            message = _say(
                bundle,
                f'output.relative[{column}]',
                found=f'an action relative to the {joints[index].field} of {joints[index].name}',
                expected='false: only positions can be the base of an action',
            )
            yield Finding('error', 'state', message)
    if not wrong:
        yield Finding('ok', 'state', f'{state.vector.width} of {len(joints)} values')


def _actions(bundle: ForeignBundle, embodiment: Embodiment) -> Iterator[Finding]:
    joints = {joint.index: joint.name for joint in embodiment.action_joints}
    indices = bundle.manifest.output.vector.indices
    missing = [f'{joints[index]} ({index})' for index in sorted(set(joints) - set(indices))]
    if missing:
        message = _say(
            bundle,
            'output.indices',
            found=f'nothing for {", ".join(missing)}',
            expected=f'every action joint of {embodiment.source}',
            remedy='A robot is told all its joints or none; evaluate the policy on an embodiment '
            'that has only those which it moves.',
        )
        yield Finding('error', 'actions', message)
    for column, index in enumerate(indices):
        if index not in joints:
            message = _say(
                bundle,
                f'output.indices[{column}]',
                found=index,
                expected=f'the index of an action joint in {embodiment.source}',
            )
            yield Finding('error', 'actions', message)
    if set(indices) == set(joints):
        count = sum(bundle.manifest.output.relative)
        relative = f', {count} relative to the state' if count else ''
        yield Finding('ok', 'actions', f'all {len(joints)} joints{relative}')


def _say(
    bundle: ForeignBundle, key: str, *, found: object, expected: str, remedy: str = ''
) -> str:
    where = bundle.path / MANIFEST_FILE
    return str(BundleError.at(where, key, found=found, expected=expected, remedy=remedy))
