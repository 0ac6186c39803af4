"""Scheduling modes by the names that users give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.ensemble import Ensemble
from pizero_ros.control.open_loop import OpenLoop
from pizero_ros.control.real_time import RealTime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.control.schedule import Scheduler
    from pizero_ros.embodiment.schema import Embodiment

SCHEDULERS: Mapping[str, Callable[[Embodiment], Scheduler]] = {
    OpenLoop.mode: OpenLoop,
    Asynchronous.mode: Asynchronous,
    RealTime.mode: RealTime,
    Ensemble.mode: Ensemble,
}
"""Mode name → constructor."""


def make_scheduler(
    mode: str, embodiment: Embodiment, *, trained_prefix: bool = False
) -> Scheduler:
    """Build the scheduler of a mode.

    Args:
        mode: A name of ``SCHEDULERS``.
        embodiment: The robot.
        trained_prefix: Whether chunks are made with a trained prefix; other modes than ``rtc``
            make them without.
    """
    if mode == RealTime.mode:
        return RealTime(embodiment, trained_prefix=trained_prefix)
    return SCHEDULERS[mode](embodiment)
