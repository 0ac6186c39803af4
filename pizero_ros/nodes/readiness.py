"""What a playback waits for: subscribers, listeners on other topics, nodes that are active."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

from pizero_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.task import Future

_ASK_S = 0.2
"""Time between an answer and the next question for the state of a node."""

_PATIENCE_S = 5.0
"""A node that does not answer for so long is asked again."""


class Condition(NamedTuple):
    """Something that has to be so before the first message.

    Attributes:
        name: The topic or node.
        met: Tells whether it is so; called often, from one thread.
        found: What to say while it is not.
        remedy: What to do about that.
    """

    name: str
    met: Callable[[], bool]
    found: str
    remedy: str


def subscribed(name: str, publisher: Publisher) -> Condition:
    """Ask that a topic that is played has a subscriber."""
    return Condition(
        name,
        lambda: publisher.get_subscription_count() > 0,
        'no subscriber',
        'Start the policy first, or mend the topics of its embodiment.',
    )


def heard(node: Node, name: str) -> Condition:
    """Ask that somebody listens to a topic of somebody else, such as a recorder to a policy."""
    return Condition(
        name,
        lambda: node.count_subscribers(name) > 0,
        'no listener',
        'Start first who is to hear it.',
    )


def active(node: Node, name: str) -> Condition:
    """Ask that a lifecycle node is active; ``node`` must be spun by another thread.

    A policy subscribes when it is configured and infers from when it is active: what it hears
    between the two may be too old by then.
    """
    return Condition(
        name,
        _ActiveNode(node, name).met,
        'not active',
        'Configure and activate it, or look into its log for the reason.',
    )


def wait_for(
    conditions: Sequence[Condition], where: Path, timeout_s: float, idle: Callable[[], bool]
) -> None:
    """Wait until all conditions are met.

    Args:
        conditions: The conditions.
        where: The recording, for the error.
        timeout_s: How long to wait.
        idle: Lets a little time pass; returns True to give up without an error.

    Raises:
        BagError: One of them was not met in time.
    """
    deadline = time.monotonic() + timeout_s
    while unmet := [each for each in conditions if not each.met()]:
        if time.monotonic() > deadline:
            first = unmet[0]
            raise BagError.at(
                where,
                ', '.join(each.name for each in unmet if each.found == first.found),
                found=f'{first.found} after {timeout_s:g} s',
                expected='otherwise before the first message is played',
                remedy=first.remedy,
            )
        if idle():
            return


class _ActiveNode:
    """Asks a lifecycle node for its state until it is active."""

    def __init__(self, node: Node, name: str) -> None:
        self._client = node.create_client(GetState, f'{name}/get_state')
        self._answer: Future | None = None
        self._next_s = 0.0
        self._active = False

    def met(self) -> bool:
        if self._answer is not None and self._answer.done():
            answer = self._answer.result()
            self._active = answer.current_state.id == State.PRIMARY_STATE_ACTIVE
            self._answer, self._next_s = None, time.monotonic() + _ASK_S
        if self._active:
            return True
        now_s = time.monotonic()
        if now_s >= self._next_s and self._client.service_is_ready():
            self._next_s = now_s + _PATIENCE_S
            self._answer = self._client.call_async(GetState.Request())
        return False
