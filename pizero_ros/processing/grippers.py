"""Gripper values between robot and policy units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError

if TYPE_CHECKING:
    from pizero_ros.processing.spec import GripperMap

Array = npt.NDArray[np.float64]

# Constants of openpi's aloha_policy.py. The state is a finger position, the command a motor angle,
# so the two maps differ (pi0.md section 3).
FINGER_CLOSED_M, FINGER_OPEN_M = 0.01844, 0.05800
ARM_M, HORN_M = 0.036, 0.022
POLICY_CLOSED_RAD, POLICY_OPEN_RAD = 0.5476, 1.6296
MOTOR_CLOSED_RAD, MOTOR_OPEN_RAD = -0.6213, 1.4910


class GripperTransform(Protocol):
    """One gripper's map, element-wise."""

    def __call__(self, values: Array) -> Array:
        """Robot units to policy units."""

    def inverse(self, values: Array) -> Array:
        """Policy units to robot units."""


@dataclass(frozen=True)
class LinearGripper:
    """``policy = scale * robot + offset``."""

    scale: float
    offset: float

    def __call__(self, values: Array) -> Array:
        """Robot units to policy units."""
        return self.scale * values + self.offset

    def inverse(self, values: Array) -> Array:
        """Policy units to robot units."""
        return (values - self.offset) / self.scale


@dataclass(frozen=True)
class AlohaStateGripper:
    """Finger opening 0..1 to π0's normalised motor angle, through the gripper's linkage.

    Beyond the ends of the linkage (an opening over 1, or far under 0) the angle stays at its end,
    as it did in training; there the inverse returns the end.
    """

    def __call__(self, values: Array) -> Array:
        """Robot units (0 closed, 1 open) to policy units."""
        finger = values * (FINGER_OPEN_M - FINGER_CLOSED_M) + FINGER_CLOSED_M
        sine = (HORN_M**2 + finger**2 - ARM_M**2) / (2 * HORN_M * finger)
        angle = np.arcsin(np.clip(sine, -1.0, 1.0))
        return np.asarray((angle - POLICY_CLOSED_RAD) / (POLICY_OPEN_RAD - POLICY_CLOSED_RAD))

    def inverse(self, values: Array) -> Array:
        """Policy units to robot units: the positive root of the linkage's quadratic."""
        angle = values * (POLICY_OPEN_RAD - POLICY_CLOSED_RAD) + POLICY_CLOSED_RAD
        reach = HORN_M * np.sin(angle)
        finger = reach + np.sqrt(reach**2 + ARM_M**2 - HORN_M**2)
        return np.asarray((finger - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M))


@dataclass(frozen=True)
class AlohaActionGripper:
    """Motor command of ALOHA to π0's motor angle."""

    def __call__(self, values: Array) -> Array:
        """Robot units to policy units."""
        motor = values * (MOTOR_OPEN_RAD - MOTOR_CLOSED_RAD) + MOTOR_CLOSED_RAD
        return motor - POLICY_CLOSED_RAD

    def inverse(self, values: Array) -> Array:
        """Policy units to robot units."""
        motor = values + POLICY_CLOSED_RAD
        return (motor - MOTOR_CLOSED_RAD) / (MOTOR_OPEN_RAD - MOTOR_CLOSED_RAD)


@dataclass(frozen=True)
class Grippers:
    """The gripper maps of one vector; every other value passes through."""

    transforms: tuple[tuple[int, GripperTransform], ...]

    @classmethod
    def of(
        cls, maps: tuple[GripperMap, ...], role: Literal['state', 'action'], width: int, where: str
    ) -> Grippers:
        """Build the maps of a state or action vector.

        Args:
            maps: From the manifest.
            role: Which of ALOHA's two maps is meant.
            width: Width of the vector.
            where: Place in the manifest, for messages.

        Raises:
            BundleError: If an index is outside the vector or named twice, or a scale is 0.
        """
        transforms: list[tuple[int, GripperTransform]] = []
        for number, gripper in enumerate(maps):
            key = f'[{number}]'
            if not 0 <= gripper.index < width:
                raise BundleError.at(
                    where, f'{key}.index', found=gripper.index, expected=f'0 to {width - 1}'
                )
            if gripper.index in [index for index, _ in transforms]:
                raise BundleError.at(
                    where, f'{key}.index', found=f'{gripper.index} again', expected='one map each'
                )
            if gripper.kind == 'aloha':
                aloha = AlohaStateGripper() if role == 'state' else AlohaActionGripper()
                transforms.append((gripper.index, aloha))
                continue
            if not np.isfinite([gripper.scale, gripper.offset]).all() or gripper.scale == 0:
                raise BundleError.at(
                    where,
                    f'{key}.scale',
                    found=f'{gripper.scale:g} with offset {gripper.offset:g}',
                    expected='finite numbers and a scale other than 0',
                )
            transforms.append((gripper.index, LinearGripper(gripper.scale, gripper.offset)))
        return cls(tuple(transforms))

    def __call__(self, values: Array) -> Array:
        """Return ``values`` [..., width] with the grippers in policy units."""
        mapped: Array = np.array(values)
        for index, transform in self.transforms:
            mapped[..., index] = transform(values[..., index])
        return mapped

    def inverse(self, values: Array) -> Array:
        """Return ``values`` [..., width] with the grippers in robot units."""
        mapped: Array = np.array(values)
        for index, transform in self.transforms:
            mapped[..., index] = transform.inverse(values[..., index])
        return mapped
