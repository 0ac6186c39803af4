"""Types of control_msgs, which not every machine has: asked for only by robots that need them."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from pizero_ros.embodiment.schema import GRIPPER_ACTIONS
from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment

_ACTIONS = {
    'gripper_command': 'GripperCommand',
    'parallel_gripper_command': 'ParallelGripperCommand',
}
_STATE = 'JointTrajectoryControllerState'
_FACTOR = 'speed_scaling_factor'


def require_control_msgs(embodiment: Embodiment) -> None:
    """Check that this machine has every type of control_msgs that a robot needs.

    Raises:
        EnvironmentFault: One is missing.
    """
    for i, group in enumerate(embodiment.actions):
        if group.message in GRIPPER_ACTIONS:
            _import(embodiment, f'actions[{i}].message', 'action', _ACTIONS[group.message])
    speed = embodiment.speed_scaling
    if speed is None or speed.message != 'controller_state':
        return
    state = _import(embodiment, 'speed_scaling.message', 'msg', _STATE)
    if _FACTOR not in state.get_fields_and_field_types():
        raise EnvironmentFault.at(
            embodiment.source,
            'speed_scaling.message',
            found=f'a control_msgs/{_STATE} without {_FACTOR}',
            expected='one that has it, of ROS 2 Jazzy or newer',
            remedy='Use message: float64 if another topic carries the factor.',
        )


def gripper_action(message: str) -> Any:
    """Return the action type of a gripper group's ``message``."""
    return getattr(importlib.import_module('control_msgs.action'), _ACTIONS[message])


def controller_state() -> Any:
    """Return the type of a joint trajectory controller's state."""
    return getattr(importlib.import_module('control_msgs.msg'), _STATE)


def _import(embodiment: Embodiment, key: str, kind: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f'control_msgs.{kind}'), name)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault.at(
            embodiment.source,
            key,
            found=str(error),
            expected=f'the type control_msgs/{kind}/{name} on this machine',
            remedy=f'Install ros-{os.environ.get("ROS_DISTRO", "<distro>")}-control-msgs and '
            'source ROS again, or choose another message.',
        ) from None
