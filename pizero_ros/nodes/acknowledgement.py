"""Waiting until subscribers have what was published, while the rest of the process goes on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from rclpy.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rclpy.publisher import Publisher

Name = TypeVar('Name')

_AT_ONCE = Duration()
_ASKS_AGAIN_S = 0.005


def unacknowledged(
    publishers: Mapping[Name, Publisher], limit_s: float, stop: threading.Event | None = None
) -> list[Name]:
    """Wait until every reliable subscriber has what was published, for a limited time.

    Asks again and again: rclpy waits under the interpreter's lock, and all other threads of the
    process would wait with it.

    Args:
        publishers: By name; the names are handed back.
        limit_s: For all of them together.
        stop: Ends the waiting when it is set.

    Returns:
        Those whose subscribers have not all confirmed in time.
    """
    deadline = time.monotonic() + limit_s
    left = dict(publishers)
    stop = threading.Event() if stop is None else stop
    while True:
        left = {name: each for name, each in left.items() if not each.wait_for_all_acked(_AT_ONCE)}
        if not left or stop.is_set() or time.monotonic() > deadline:
            return list(left)
        stop.wait(_ASKS_AGAIN_S)
