"""What state and actions of a checkpoint mean on one robot: never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.checkpoints.choices import MEANINGS, missing
from pizero_ros.checkpoints.contents import ActionRules
from pizero_ros.checkpoints.openpi import EPS, asset_ids, choose_asset, read_norm_stats
from pizero_ros.checkpoints.statistics import PAIRS, examine, for_manifest, settle
from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.processing.signs import ALOHA_SIGNS
from pizero_ros.processing.spec import GripperMap, RobotSemantics

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.checkpoints.choices import Choices, Role
    from pizero_ros.checkpoints.contents import Named
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.architecture import Architecture

_ALOHA_GRIPPERS = (6, 13)


def openpi_rules(
    folder: Path,
    embodiment: Embodiment,
    choices: Choices,
    architecture: Architecture,
    slots: tuple[str, ...],
) -> ActionRules:
    """Turn the user's word into rules, for a checkpoint that has only statistics.

    Args:
        folder: The checkpoint.
        embodiment: The robot.
        choices: The user's word.
        architecture: Its widths are those that statistics may be padded to.
        slots: Cameras in the model's order.

    Returns:
        The rules.

    Raises:
        UnstatedError: With everything that is not said yet.
        CheckpointError: The statistics are absent, unreadable or of another width.
    """
    ids = asset_ids(folder)
    unsaid = {
        '--actions': choices.actions is None and choices.relative_mask is None,
        '--normalization': choices.normalization is None,
        '--adapt': choices.adapt is None,
        '--gripper': bool(_gripper_indices(embodiment)) and not _grippers_said(choices),
        '--asset': len(ids) > 1 and choices.asset is None,
        '--slots': any(camera.slot not in slots for camera in embodiment.cameras),
        '--tokenizer': choices.tokenizer is None,
    }
    options = [option for option, absent in unsaid.items() if absent]
    if options:
        found = 'an openpi checkpoint'
        if len(ids) > 1:
            found += f' (with statistics of {", ".join(ids)})'
        if '--slots' in options:
            found += f' (which calls its cameras {", ".join(slots)})'
        raise missing(str(folder), options, found)
    assert choices.normalization is not None
    path = folder / 'assets' / choose_asset(folder, choices.asset) / 'norm_stats.json'
    widths = {
        'state': (embodiment.state_width, architecture.state_dim),
        'action': (embodiment.action_width, architecture.action_dim),
    }
    statistics = {
        name: _unpad(named, *widths[name], f'{path}: {name}')
        for name, named in read_norm_stats(path).items()
    }
    return ActionRules(
        where=str(path),
        normalization=choices.normalization,
        pair=PAIRS[choices.normalization],
        eps=EPS,
        statistics=statistics,
        relative=_stated_mask(embodiment, choices),
        action_names=None,
    )


def check_agreement(rules: ActionRules, choices: Choices) -> None:
    """Refuse a word that a lerobot checkpoint contradicts, or that has no meaning for it.

    Raises:
        UnstatedError: With every contradiction.
    """
    relative = 'relative' if rules.relative.any() else 'absolute'
    mask = choices.relative_mask
    pairs = (
        ('--actions', choices.actions, relative),
        ('--relative-mask', mask, mask and tuple(bool(each) for each in rules.relative)),
        ('--normalization', choices.normalization, rules.normalization),
        ('--adapt', choices.adapt, 'none'),
        ('--asset', choices.asset, None),
    )
    faults = [
        f'  {option}: {said!r}, the checkpoint says {known!r}'
        for option, said, known in pairs
        if said is not None and said != known
    ]
    if faults:
        msg = f'{rules.where} contradicts the command line:\n' + '\n'.join(faults)
        raise UnstatedError(msg)


def robot_semantics(
    rules: ActionRules,
    embodiment: Embodiment,
    choices: Choices,
    architecture: Architecture,
    slots: tuple[str, ...],
) -> tuple[RobotSemantics, tuple[str, ...]]:
    """Give a checkpoint's values their meaning on a robot.

    Args:
        rules: What the checkpoint, or the user for it, says.
        embodiment: The robot.
        choices: The user's word.
        architecture: Sizes that the robot must fit.
        slots: Camera slots of the bundle.

    Returns:
        The semantics, and notes for the user: accepted doubts, which action moves which joint.

    Raises:
        CheckpointError: Statistics that cannot be right, or that are another robot's.
        UnstatedError: Statistics that nobody has looked at yet, or cameras without a place.
    """
    faults = _misfits(rules, embodiment, architecture, slots)
    if faults:
        msg = f'{rules.where} does not fit {embodiment.source}:\n' + '\n'.join(faults)
        raise CheckpointError(msg)
    findings = examine(rules.statistics, rules.pair, rules.relative, choices.min_spread)
    notes = settle(findings, rules.where, choices.accept_statistics)
    state, action = (
        for_manifest(rules.statistics.get(name, {}), rules.pair, choices.min_spread)
        for name in ('state', 'action')
    )
    signs = _signs(embodiment) if choices.adapt == 'aloha' else None
    semantics = RobotSemantics(
        embodiment=embodiment.name,
        rate_hz=embodiment.rate_hz,
        horizon=embodiment.horizon,
        normalization=rules.normalization,
        eps=rules.eps,
        state=state,
        action=action,
        relative=rules.relative,
        signs=signs,
        state_grippers=_grippers(embodiment, choices, 'state'),
        action_grippers=_grippers(embodiment, choices, 'action'),
    )
    rate = (
        f'one action every {1 / embodiment.rate_hz:g} s, as {embodiment.name} says: no '
        'checkpoint tells the rate of its training data'
    )
    return semantics, (*notes, *_pairing(rules, embodiment), rate)


def _misfits(
    rules: ActionRules, embodiment: Embodiment, architecture: Architecture, slots: tuple[str, ...]
) -> list[str]:
    """Compare robot and checkpoint: horizon, widths, cameras, names and order of joints."""
    faults = []
    if embodiment.horizon != architecture.horizon:
        faults.append(
            f'  horizon: the policy plans {architecture.horizon} actions, the robot file says '
            f'{embodiment.horizon}'
        )
    used = {'state': embodiment.state_width, 'action': embodiment.action_width}
    for name, width in used.items():
        shapes = {values.shape for values in rules.statistics.get(name, {}).values()}
        widths = sorted({shape[0] if shape else 0 for shape in shapes})
        if widths and widths != [width]:
            faults.append(
                f'  {name}: statistics of {", ".join(map(str, widths))} values, the robot has '
                f'{width}: indices would mean other joints'
            )
    if len(rules.relative) != embodiment.action_width:
        faults.append(
            f'  relative actions: a mask of {len(rules.relative)} values for '
            f'{embodiment.action_width} actions'
        )
    unknown = [camera.slot for camera in embodiment.cameras if camera.slot not in slots]
    if unknown:
        faults.append(
            f'  cameras: the robot fills {", ".join(unknown)}, the policy sees '
            f'{", ".join(slots)} in this order; --slots: {MEANINGS["--slots"]}'
        )
    joints = {joint.index: joint.name for joint in embodiment.action_joints}
    mine = [joints.get(index, '') for index in range(embodiment.action_width)]
    names = list(rules.action_names or ())
    if sorted(names) == sorted(mine) and names != mine:
        faults.append(f'  order of the actions: {names} in training, {mine} on the robot')
    return faults


def _pairing(rules: ActionRules, embodiment: Embodiment) -> tuple[str, ...]:
    """Say which action of the training data moves which joint, where the names differ."""
    if rules.action_names is None:
        return ()
    joints = {joint.index: joint.name for joint in embodiment.action_joints}
    pairs = [
        f'{name} → {joints.get(index, "nothing")}'
        for index, name in enumerate(rules.action_names)
        if name != joints.get(index)
    ]
    return (f'actions by name of the training data: {", ".join(pairs)}',) if pairs else ()


def _stated_mask(embodiment: Embodiment, choices: Choices) -> npt.NDArray[np.bool_]:
    """Apply the rule for ``relative``, or the mask that the user gives."""
    width = embodiment.action_width
    positions = {each.index for each in embodiment.state_joints if each.field == 'position'}
    rule = np.zeros(width, bool)
    if choices.actions != 'absolute':
        for group in embodiment.actions:
            if group.output == 'joint_trajectory':
                rule[[joint.index for joint in group.joints if joint.index in positions]] = True
    if choices.relative_mask is None:
        return rule
    mask = np.array(choices.relative_mask, bool)
    if choices.actions == 'absolute' and mask.any():
        raise UnstatedError.at(
            '--relative-mask',
            '',
            found=f'{int(mask.sum())} relative values beside --actions absolute',
            expected='one of the two',
        )
    return mask


def _unpad(named: Named, width: int, padded: int, where: str) -> Named:
    """Take the values of the robot where statistics were padded to the model's width.

    openpi itself reads only as many as the data have (transforms.py: Normalize).
    """
    found = {len(values) for values in named.values()}
    if found == {width} or found != {padded} or width > padded:
        return named
    for key, values in named.items():
        rest = values[width:]
        if (np.abs(rest) > 1).any() or len(set(rest.tolist())) > 1:
            raise CheckpointError.at(
                where,
                f'{key}[{width}]',
                found=f'statistics of {padded} values, the last {padded - width} of them alive',
                expected=f'{width} values and padding behind them, as the robot has {width}',
            )
    return {key: values[:width] for key, values in named.items()}


def _signs(embodiment: Embodiment) -> npt.NDArray[np.float64]:
    """Give ALOHA's signs; values behind the two arms keep theirs."""
    width = max(embodiment.state_width, embodiment.action_width)
    grippers = _gripper_indices(embodiment)
    if width < len(ALOHA_SIGNS) or not set(_ALOHA_GRIPPERS) <= set(grippers):
        raise CheckpointError.at(
            embodiment.source,
            'actions',
            found=f'{width} values, grippers at {list(grippers)}',
            expected='two arms of six joints and grippers at 6 and 13, for --adapt aloha',
        )
    return np.array([*ALOHA_SIGNS, *[1] * (width - len(ALOHA_SIGNS))], np.float64)


def _gripper_indices(embodiment: Embodiment) -> tuple[int, ...]:
    groups = (group for group in embodiment.actions if group.output == 'gripper')
    return tuple(sorted({joint.index for group in groups for joint in group.joints}))


def _grippers_said(choices: Choices) -> bool:
    said = {role for each in choices.grippers for role in each.roles}
    return choices.adapt == 'aloha' or said == {'state', 'action'}


def _grippers(embodiment: Embodiment, choices: Choices, role: Role) -> tuple[GripperMap, ...]:
    """Build the maps of one vector; what nobody mentions is used as it is."""
    said = [each for each in choices.grippers if role in each.roles]
    if len(said) > 1 or (said and choices.adapt == 'aloha' and said[0].kind != 'aloha'):
        raise UnstatedError.at(
            '--gripper',
            role,
            found=f'{len(said)} maps' + (' beside --adapt aloha' if choices.adapt else ''),
            expected='one map; --adapt aloha brings its own',
        )
    kind = 'aloha' if choices.adapt == 'aloha' else said[0].kind if said else 'as-is'
    if kind == 'as-is':
        return ()
    joints = embodiment.state_joints if role == 'state' else embodiment.action_joints
    present = {joint.index for joint in joints}
    indices = [index for index in _gripper_indices(embodiment) if index in present]
    if kind == 'aloha':
        return tuple(GripperMap(index, 'aloha') for index in indices)
    return tuple(GripperMap(index, 'linear', said[0].scale, said[0].offset) for index in indices)
