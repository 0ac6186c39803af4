"""Gripper goals as actions of control_msgs: sent without waiting, and their fate is told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

from pizero_ros.nodes.control_messages import gripper_action

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node
    from rclpy.task import Future

    from pizero_ros.control.commands import GripperGoal
    from pizero_ros.embodiment.schema import ActionGroup


def action_goal(goal: GripperGoal, group: ActionGroup) -> Any:
    """Return a gripper goal as the goal of the action that its group names.

    Without ``max_effort`` the field is left as it is in a new goal: 0 for a ``GripperCommand``,
    empty for a ``ParallelGripperCommand``, and the controller's own limit counts.
    """
    kind = gripper_action(group.message)
    message = kind.Goal()
    if group.message == 'gripper_command':
        message.command.position = float(goal.positions[0])
        if group.max_effort is not None:
            message.command.max_effort = group.max_effort
        return message
    message.command.name = list(goal.joint_names)
    message.command.position = goal.positions.tolist()
    if group.max_effort is not None:
        message.command.effort = [group.max_effort] * len(goal.joint_names)
    return message


class GripperAction:
    """The action client of one gripper group; used by the executor's thread only.

    A goal replaces the one before; that one then ends as cancelled or aborted, which is nobody's
    fault, so only the end of the newest goal is told.
    """

    def __init__(
        self,
        node: Node,
        group: ActionGroup,
        *,
        failed: Callable[[str, str, str], object],
        unsent: Callable[[str], object],
    ) -> None:
        """Create the client; whether there is a server shows at the first goal.

        Args:
            node: Whose client it is.
            group: The gripper.
            failed: Called with group name, ``goal_rejected``, ``goal_aborted`` or ``no_server``,
                and one line for people; the last one when it begins, not with every goal.
            unsent: Called with the group name for every goal that nobody is there to take.
        """
        self._group = group
        self._failed = failed
        self._unsent = unsent
        self._alone = False
        self._newest = 0
        self._client = ActionClient(node, gripper_action(group.message), group.topic)

    def send(self, goal: GripperGoal) -> None:
        """Send a goal, without waiting for anything."""
        topic, name = self._group.topic, self._group.name
        alone_before, self._alone = self._alone, not self._client.server_is_ready()
        if self._alone:
            if not alone_before:
                self._failed(name, 'no_server', f'{topic}: no action server of this name and type')
            self._unsent(name)
            return
        self._newest += 1
        future = self._client.send_goal_async(action_goal(goal, self._group))
        future.add_done_callback(partial(self._answered, self._newest))

    def destroy(self) -> None:
        """Remove the client; goals under way go on, their ends are not told any more."""
        self._newest += 1
        self._client.destroy()

    def _answered(self, number: int, future: Future) -> None:
        handle = future.result()
        if handle is None:
            return
        if not handle.accepted:
            text = f'{self._group.topic}: the server has rejected a goal'
            self._failed(self._group.name, 'goal_rejected', text)
            return
        handle.get_result_async().add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, future: Future) -> None:
        ended = future.result()
        newest = number == self._newest
        if ended is not None and newest and ended.status == GoalStatus.STATUS_ABORTED:
            text = f'{self._group.topic}: the server has aborted a goal'
            self._failed(self._group.name, 'goal_aborted', text)
