"""Bars of success, progress and language following, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pizero_ros.page.drawing import INK, PAGE_STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
_GREY = {'hold': '#b8bfc6', 'random': '#8d95a0'}
_PANELS = (
    ('success', 'success', 'share'),
    ('progress', 'progress', 'mean'),
    ('followed', 'language followed', 'share'),
)


def scores_figure(scores: Sequence[Mapping[str, Any]]) -> Any:
    """Draw the scores over all tasks: groups of bars, a bar for each policy.

    Args:
        scores: Those of ``scores_of`` that are over all tasks: of one step, and each robot is a
            group; or of one robot and two steps, and each condition is.

    Returns:
        A Matplotlib figure of three panels.
    """
    groups = list(dict.fromkeys(_group(each) for each in scores))
    bars = list(dict.fromkeys(each['policy'] for each in scores))
    known = {(_group(each), each['policy']): each for each in scores}
    colours = _colours(bars)
    width = 0.8 / len(bars)
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(11.0, 2.9), layout='constrained')
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (name, title, centre) in zip(panels, _PANELS, strict=True):
            for number, bar in enumerate(bars):
                for at, group in enumerate(groups):
                    each = known.get((group, bar), {}).get(name)
                    if each is None:
                        continue
                    x = at + (number - (len(bars) - 1) / 2) * width
                    _bar(axes, x, each, centre, 0.9 * width, colours[bar])
            axes.set_title(title, loc='left')
            axes.set_xticks(range(len(groups)), groups)
            axes.set_xlim(-0.6, len(groups) - 0.4)
            axes.set_ylim(0.0, 1.0)
            axes.grid(axis='y', linewidth=0.3, alpha=0.5)
            axes.set_axisbelow(True)
        handles = [Patch(color=colours[bar], label=bar) for bar in bars]
        figure.legend(handles=handles, loc='outside lower left', ncols=8, frameon=False)
    return figure


def _bar(
    axes: Any, x: float, each: Mapping[str, Any], centre: str, width: float, colour: str
) -> None:
    axes.bar(x, each[centre], width, color=colour)
    if each['low'] is not None:
        axes.plot([x, x], [each['low'], each['high']], color=INK, linewidth=1.0)


def _group(each: Mapping[str, Any]) -> str:
    return str(each['embodiment'] if each['steps'] == 1 else each['condition'])


def _colours(bars: Sequence[str]) -> dict[str, str]:
    policies = [bar for bar in bars if bar not in _GREY]
    own = {bar: _COLOURS[at % len(_COLOURS)] for at, bar in enumerate(policies)}
    return {bar: _GREY.get(bar) or own[bar] for bar in bars}
