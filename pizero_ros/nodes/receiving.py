"""Subscriptions that a thread of their own serves, beside the executor."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation

from pizero_ros.nodes.thread_settings import go_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rclpy.node import Node
    from rclpy.subscription import Subscription

_FOREVER = -1


class _NoExecutor(CallbackGroup):
    """Keeps what belongs to it out of every executor."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        pass


class Receiver:
    """Waits for subscriptions and calls back, on a thread of its own.

    For each message an executor of rclpy gathers everything that a node has into a new wait set.
    That is most of what a message costs, and whoever the message is for waits until it is done,
    since it happens under the interpreter's lock. Here the wait set holds the subscriptions alone
    and is kept.

    Attributes:
        group: For the subscriptions: no executor takes their messages.
    """

    def __init__(self, node: Node, priority: int = 0) -> None:
        """Prepare; nothing is received before ``start``.

        Args:
            node: Whose subscriptions they will be. What a callback raises is raised by its
                executor, as if that had called back.
            priority: Of the thread (``thread_settings.go_first``).
        """
        self.group = _NoExecutor()
        self._node = node
        self._priority = priority
        self._subscriptions: Sequence[Subscription] = ()
        self._interrupt = GuardCondition(None, None, context=node.context)
        self._failed = node.create_guard_condition(self._reraise)
        self._error: BaseException | None = None
        self._running = True
        self._thread = threading.Thread(target=self._run, name='pizero_receiver', daemon=True)

    def start(self, subscriptions: Sequence[Subscription]) -> None:
        """Begin to receive.

        Args:
            subscriptions: Of the node and in ``group``; their callbacks take one argument, the
                message. Where several have one, the first is served first.
        """
        self._subscriptions = subscriptions
        self._thread.start()
        # A thread that waits in a context that is gone would wait for ever.
        self._node.context.on_shutdown(self.close)

    def close(self) -> None:
        """Stop receiving, after the callback that is under way; again: nothing."""
        if not self._running:
            return
        self._running = False
        self._interrupt.trigger()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._node.destroy_guard_condition(self._failed)
        self._interrupt.destroy()

    def _run(self) -> None:
        try:
            go_first(self._priority)
            with ExitStack() as in_use:
                # As long as they are in use, nobody can destroy them.
                for owner in (*self._subscriptions, self._interrupt, self._node.context):
                    in_use.enter_context(owner.handle)
                self._receive()
        except BaseException as error:  # a thread must not die unnoticed
            self._error = error
            self._failed.trigger()

    def _receive(self) -> None:
        context = self._node.context.handle
        wait_set: Any = rclpy_implementation.WaitSet(
            len(self._subscriptions), 1, 0, 0, 0, 0, context
        )
        while self._running:
            wait_set.clear_entities()
            for subscription in self._subscriptions:
                wait_set.add_subscription(subscription.handle)
            wait_set.add_guard_condition(self._interrupt.handle)
            wait_set.wait(_FOREVER)
            ready = wait_set.get_ready_entities('subscription')
            for subscription in self._subscriptions:
                if self._running and subscription.handle.pointer in ready:
                    _take(subscription)

    def _reraise(self) -> None:
        if self._error is not None:
            raise self._error


def _take(subscription: Subscription) -> None:
    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is not None:
        subscription.callback(taken[0])
