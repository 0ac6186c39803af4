"""Wire types of commands; without our own messages, which a simulated robot does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geometry_msgs.msg import Twist, TwistStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_TYPES: Mapping[str, type] = {
    'joint_trajectory': JointTrajectory,
    'twist': Twist,
    'twist_stamped': TwistStamped,
    'float64_multi_array': Float64MultiArray,
}
"""Wire type of an action group, by the embodiment's ``message`` key."""
