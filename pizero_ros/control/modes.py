"""Scheduling modes by the names that users give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.open_loop import OpenLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.control.schedule import Scheduler
    from pizero_ros.embodiment.schema import Embodiment

SCHEDULERS: Mapping[str, Callable[[Embodiment], Scheduler]] = {
    OpenLoop.mode: OpenLoop,
    Asynchronous.mode: Asynchronous,
}
"""Mode name → constructor."""
