"""Watches that a policy which was told to stop does stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.planner.execution import STOP

if TYPE_CHECKING:
    from pizero_ros.planner.execution import PolicyView

CONFIRM_S = 5.0
"""A policy that obeys plays out what it has published, 2.5 s of 50 steps at 20 Hz at the most, and
says so at its next status, within a second."""


class HaltWatch:
    """Says when a policy that goes on in spite of the empty prompt has to be switched off.

    Policies without language do not look at their prompt. Times are the caller's, in seconds of
    a clock that never stands still.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._since_s: float | None = None
        self._told = STOP

    @property
    def pending(self) -> bool:
        """Whether a stop is yet to be confirmed."""
        return self._since_s is not None

    def told(self, prompt: str, now_s: float) -> None:
        """Note which prompt was published."""
        if prompt == STOP:
            self._since_s = now_s
        else:
            self._since_s = None
            self._told = prompt

    def must_switch_off(self, policy: PolicyView, now_s: float) -> bool:
        """Tell, once for each stop, whether the policy has gone on for too long.

        A policy under a prompt that is neither ours nor empty obeys somebody else, and one that
        is silent cannot be judged: both are left alone.
        """
        if self._since_s is None or policy.state == 'silent':
            return False
        if policy.state == 'running':
            if policy.prompt not in (STOP, self._told):
                self._since_s = None
                return False
            if now_s - self._since_s < CONFIRM_S:
                return False
            self._since_s = None
            return True
        if policy.prompt == STOP or policy.state in ('inactive', 'fault'):
            self._since_s = None
        return False
