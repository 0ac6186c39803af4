"""What an untrained policy's bundle says: input rules and statistics without any data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import ExportError
from pizero_ros.processing.prompt import BYTE_VOCABULARY, PromptEncoder
from pizero_ros.processing.spec import ModelSpec, PromptSpec, RobotSemantics, Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Embodiment, StateJoint
    from pizero_ros.model.architecture import Architecture

ActionMode = Literal['absolute', 'relative']

_EPS = 1e-6
"""openpi's (pi0.md section 3)."""
_QUANTILE = 2.3263478740408408
"""The 99 % quantile of a standard normal value."""


def random_model_spec(
    architecture: Architecture,
    slots: Sequence[str],
    *,
    prompts: Sequence[str] = (),
    steps: int = 10,
) -> ModelSpec:
    """Give an untrained policy the input rules of this project's own models.

    Antialiased images, prompts as bytes with PaliGemma's closing newline, ten Euler steps.

    Args:
        architecture: The sizes.
        slots: Camera slots in order.
        prompts: Instructions whose token ids the bundle shall carry.
        steps: Euler steps.

    Returns:
        The specification.

    Raises:
        ExportError: Prompts are asked for and the vocabulary is too small for bytes.
        PromptError: A prompt does not fit.
    """
    size = architecture.vision.image_size
    has_bytes = architecture.vocabulary >= BYTE_VOCABULARY
    rules = PromptSpec('bytes' if has_bytes else 'none', architecture.max_tokens, True, True, {})
    if prompts and not has_bytes:
        raise ExportError.at(
            'architecture',
            'vocabulary',
            found=architecture.vocabulary,
            expected=f'at least {BYTE_VOCABULARY}, so that prompts can be bytes',
        )
    named: dict[str, tuple[int, ...]] = {}
    if prompts:
        encode = PromptEncoder(rules, architecture.vocabulary)
        named = {text: tuple(encode(text).tolist()) for text in prompts}
    return ModelSpec(
        slots=tuple(slots),
        image_size=(size, size),
        resize='antialias',
        prompt=replace(rules, named=named),
        state_dim=architecture.state_dim,
        action_dim=architecture.action_dim,
        horizon=architecture.horizon,
        steps=steps,
        vocabulary=architecture.vocabulary,
    )


def random_semantics(
    embodiment: Embodiment, architecture: Architecture, actions: ActionMode = 'absolute'
) -> RobotSemantics:
    """Give an untrained policy a meaning that keeps a robot near its neutral pose.

    Arm actions centre on the neutral pose with a twentieth of the joint's range as standard
    deviation, twist commands on zero with a quarter of the limit, grippers on the middle of
    their range with an eighth of it. State: neutral pose, an eighth of the sensor's range.

    Args:
        embodiment: The robot.
        architecture: Sizes that the robot must fit.
        actions: ``relative`` makes the trajectory joints that the state holds too relative to
            it; grippers and twists stay absolute.

    Returns:
        The semantics, z-score, with quantiles that agree with mean and deviation.

    Raises:
        ExportError: The robot's horizon is not the model's, or the robot is too wide for it.
    """
    _check_fit(embodiment, architecture)
    state_mean = np.zeros(embodiment.state_width)
    state_std = np.ones(embodiment.state_width)
    for joint in embodiment.state_joints:
        state_mean[joint.index], state_std[joint.index] = _state(joint, embodiment)
    positions = {each.index for each in embodiment.state_joints if each.field == 'position'}
    action_mean = np.zeros(embodiment.action_width)
    action_std = np.ones(embodiment.action_width)
    relative = np.zeros(embodiment.action_width, bool)
    for group in embodiment.actions:
        for each in group.joints:
            mean, std = _action(each, group, embodiment)
            if (
                actions == 'relative'
                and group.output == 'joint_trajectory'
                and each.index in positions
            ):
                relative[each.index] = True
                mean = 0.0
            action_mean[each.index], action_std[each.index] = mean, std
    return RobotSemantics(
        embodiment=embodiment.name,
        rate_hz=embodiment.rate_hz,
        horizon=embodiment.horizon,
        normalization='zscore',
        eps=_EPS,
        state=_normal(state_mean, state_std),
        action=_normal(action_mean, action_std),
        relative=relative,
        signs=None,
        state_grippers=(),
        action_grippers=(),
    )


def _check_fit(embodiment: Embodiment, architecture: Architecture) -> None:
    """Refuse a robot that the model cannot serve; rates may differ between robots."""
    if embodiment.horizon != architecture.horizon:
        raise ExportError.at(
            embodiment.source,
            'horizon',
            found=embodiment.horizon,
            expected=f'{architecture.horizon}, the horizon of the architecture',
        )
    widths = (
        ('state', embodiment.state_width, architecture.state_dim),
        ('actions', embodiment.action_width, architecture.action_dim),
    )
    for key, used, limit in widths:
        if used > limit:
            raise ExportError.at(
                embodiment.source,
                key,
                found=f'{used} values',
                expected=f'at most {limit}, the width of the architecture',
            )


def _state(joint: StateJoint, embodiment: Embodiment) -> tuple[float, float]:
    """Mean and standard deviation of one state value, in the robot vector's unit."""
    raw = embodiment.neutral.get(joint.name, 0.0) if joint.field == 'position' else 0.0
    if joint.range is None:
        std = 1.0
    else:
        std = joint.scale * (joint.range[1] - joint.range[0]) / 8
    return joint.sign * joint.scale * raw + joint.offset, abs(std)


def _action(joint: ActionJoint, group: ActionGroup, embodiment: Embodiment) -> tuple[float, float]:
    """Mean and standard deviation of one action value, in the robot vector's unit."""
    if joint.position is None:
        raw, std = 0.0, joint.velocity / 4
    else:
        low, high = joint.position
        middle = (low + high) / 2
        if group.output == 'gripper':
            raw, std = middle, (high - low) / 8
        else:
            raw, std = embodiment.neutral.get(joint.name, middle), (high - low) / 20
    return joint.sign * joint.scale * raw + joint.offset, abs(joint.scale * std)


def _normal(mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> Statistics:
    """Complete mean and deviation with the quantiles of a normal distribution."""
    return Statistics(mean, std, mean - _QUANTILE * std, mean + _QUANTILE * std)
