"""Shares, means and differences as a reader wants them, for terminals and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.page.numbers import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLD = {
    'flat': 'the overall instruction',
    'human': 'each step by who watches',
    'planner': 'each step by planner_node',
}
"""Condition → what the policy was told in tasks of two steps."""


def percent(share: Mapping[str, Any] | None) -> str:
    """Write a share in per cent."""
    return NOTHING if share is None else f'{100 * share["share"]:.0f}'


def percent_between(share: Mapping[str, Any] | None) -> str:
    """Write the interval of a share in per cent."""
    return '' if share is None else f'[{100 * share["low"]:.0f}, {100 * share["high"]:.0f}]'


def mean(value: Mapping[str, Any] | None) -> str:
    """Write a mean."""
    return NOTHING if value is None else f'{value["mean"]:.2f}'


def mean_between(value: Mapping[str, Any] | None) -> str:
    """Write the interval of a mean; one trial has none."""
    if value is None or value['low'] is None:
        return ''
    return f'[{value["low"]:.2f}, {value["high"]:.2f}]'


def difference(value: Mapping[str, Any] | None, *, scale: float = 1.0, digits: int = 2) -> str:
    """Write a difference with its sign."""
    return NOTHING if value is None else f'{scale * value["mean"]:+.{digits}f}'


def difference_between(
    value: Mapping[str, Any] | None, *, scale: float = 1.0, digits: int = 2
) -> str:
    """Write the interval of a difference."""
    if value is None or value['low'] is None:
        return ''
    low, high = (f'{scale * value[end]:+.{digits}f}' for end in ('low', 'high'))
    return f'[{low}, {high}]'


def seconds(value: float | None) -> str:
    """Write seconds."""
    return NOTHING if value is None else f'{value:.1f}'


def tasks_of(each: Mapping[str, Any]) -> str:
    """Say which tasks a score is over."""
    if each['task'] is not None:
        return str(each['task'])
    return 'single-step' if each['steps'] == 1 else 'two-step'
