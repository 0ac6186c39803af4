"""A lifecycle node that says what a transition raised, and outlives one that does not exist."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle_msgs.srv import ChangeState

    Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def reported(transition: Transition) -> Transition:
    """Log what a transition raises: rclpy makes an ERROR of it without a word."""

    @functools.wraps(transition)
    def reporting(node: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().fatal(f'{transition.__name__} failed\n{traceback.format_exc()}')
            raise

    return reporting


class RobustLifecycleNode(LifecycleNode):
    """A lifecycle node that a request for a wrong transition does not end.

    rclpy raises out of the service, and so out of spin, when the transition asked for does not
    exist from here: under a moving robot, a mistyped request would end the process.
    """

    def __init__(self, name: str, **options: object) -> None:
        """Create the node.

        Args:
            name: Its name.
            options: As of ``LifecycleNode``.
        """
        super().__init__(name, **options)
        service = self._service_change_state
        service.callback = functools.partial(self._change_state, service.callback)

    def _change_state(
        self,
        change: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response],
        request: ChangeState.Request,
        response: ChangeState.Response,
    ) -> ChangeState.Response:
        try:
            return change(request, response)
        except rclpy_implementation.RCLError as error:
            self.get_logger().error(str(error))
            response.success = False
            return response
