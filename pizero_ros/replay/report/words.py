"""Sources, evaluations and intervals as people call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.replay.episode import BASELINES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Text = Callable[[float | None], str]
    """Writes a number."""

MODES = {'open_loop': 'open loop', 'deployed': 'as deployed'}
"""Evaluation → what it is called."""


def source_words(source: str) -> str:
    """Return what a source, or a policy, is called."""
    if source in BASELINES:
        return source.replace('_', ' ')
    label, mark, seed = source.rpartition('#')
    return f'{label}, seed {seed}' if mark else source


def interval_words(known: Mapping[str, Any], text: Text, *, signed: bool = False) -> str:
    """Return an interval of ``comparison``; nothing if there is none, or it is one value."""
    low, high = known['low'], known['high']
    if low is None or high is None or low == high:
        return ''
    show = (lambda value: signed_words(value, text)) if signed else text
    return f'[{show(low)}, {show(high)}]'


def signed_words(value: float, text: Text) -> str:
    """Return a difference with its sign."""
    return f'{"−" if value < 0 else "+" if value > 0 else ""}{text(abs(value))}'
