"""Drawings of an evaluated episode; the colours are those of Okabe and Ito."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pizero_ros.page.drawing import INK, PAGE_STYLE
from pizero_ros.replay.tracks import recorded_track

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pizero_ros.replay.columns import Column
    from pizero_ros.replay.episode import Deployed, Episode

    Floats = npt.NDArray[np.float64]

RECORDED = INK
COMMANDED = '#D55E00'
CHUNK = '#56B4E9'
START = '#0072B2'
EVENT = '#CC79A7'

_COLUMNS, _COLUMNS_LONG = 3, 2
_LONG_S = 30.0
_WIDTH, _LEFT, _RIGHT, _GAP = 11.6, 0.62, 0.08, 0.62
_PANEL_HEIGHT, _TOP, _BOTTOM, _BETWEEN = 1.05, 0.3, 0.46, 0.44
"""Inches. Set by hand: a layout engine takes longer than all the drawing."""

_LEAST_SHARE = 0.01
"""Smallest height of a panel as a share of the joint's span: a joint at rest is not blown up."""

_MANY_TICKS = 40

_MOST_POINTS = 3000
"""Points of the lines in a panel from which on they are drawn as pixels."""

_ABOVE_LINES = 2.2
"""Drawing order of what stays sharp then; lines have 2, axes 2.5, titles 3."""


def joints_figure(episode: Episode, source: str) -> Any:
    """Draw each joint over time: recorded, commanded, and the open-loop chunks.

    Args:
        episode: The episode.
        source: Which source of it.

    Returns:
        A matplotlib figure.
    """
    with mpl.rc_context(PAGE_STYLE):
        lasts_s = _seconds(episode, episode.end_ns)
        columns = _COLUMNS if lasts_s <= _LONG_S else _COLUMNS_LONG
        figure, panels = _grid(len(episode.columns), columns)
        times, recorded = recorded_track(episode)
        seconds = _seconds(episode, times)
        deployed = episode.deployed.get(source)
        chunk_times, chunk_values = _chunks(episode, source)
        for number, axes in enumerate(panels):
            column = episode.columns.columns[number]
            _chunk_lines(axes, chunk_times, chunk_values[:, :, number])
            axes.plot(seconds, recorded[:, number], color=RECORDED, linewidth=1.5, alpha=0.8)
            if chunk_times.size + 2 * len(seconds) > _MOST_POINTS:
                axes.set_rasterization_zorder(_ABOVE_LINES)
            if deployed is not None:
                _commanded(axes, episode, deployed, number)
            _finish(axes, column)
            axes.set_xlim(0, max(lasts_s, 1e-3))
        _label_times(panels)
    return figure


def moment_figure(episode: Episode, source: str, query: int, joints: Sequence[str]) -> Any:
    """Draw some joints around one open-loop query: its chunk against what was recorded.

    Args:
        episode: The episode.
        source: Which source of it.
        query: Number of the query.
        joints: Names of the joints to draw.

    Returns:
        A matplotlib figure, a panel a joint in one row.
    """
    asked = episode.open_loop[source]
    times, recorded = recorded_track(episode)
    seconds = _seconds(episode, times)
    start_s = float(_seconds(episode, asked.observed_ns[query]))
    steps = start_s + np.arange(asked.predicted.shape[1]) / episode.rate_hz
    lasting = steps[-1] - start_s
    near = (seconds >= start_s - 0.5 * lasting) & (seconds <= steps[-1] + 0.1 * lasting)
    names = [column.name for column in episode.columns.columns]
    with mpl.rc_context(PAGE_STYLE):
        figure, panels = _grid(len(joints), max(len(joints), 3))
        for axes, joint in zip(panels, joints, strict=True):
            number = names.index(joint)
            axes.plot(seconds[near], recorded[near, number], color=RECORDED, linewidth=1.5)
            axes.plot(steps, asked.predicted[query, :, number], color=START, linewidth=1.3)
            axes.plot(steps[:1], asked.predicted[query, :1, number], 'o', color=START, ms=4)
            axes.axvline(start_s, color=INK, linewidth=0.5, alpha=0.5)
            _finish(axes, episode.columns.columns[number])
        _label_times(panels)
    return figure


def _grid(panels: int, columns: int) -> tuple[Any, list[Any]]:
    rows = math.ceil(panels / columns)
    height = rows * _PANEL_HEIGHT + (rows - 1) * _BETWEEN + _TOP + _BOTTOM
    width = (_WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP) / columns
    figure = Figure(figsize=(_WIDTH, height))
    made = []
    for number in range(panels):
        row, column = divmod(number, columns)
        left = _LEFT + column * (width + _GAP)
        bottom = height - _TOP - _PANEL_HEIGHT - row * (_PANEL_HEIGHT + _BETWEEN)
        place = (left / _WIDTH, bottom / height, width / _WIDTH, _PANEL_HEIGHT / height)
        axes = figure.add_axes(place)
        axes.tick_params(labelbottom=number + columns >= panels)
        made.append(axes)
    return figure, made


def _label_times(panels: Sequence[Any]) -> None:
    for axes in panels:
        if axes.xaxis.get_tick_params()['labelbottom']:
            axes.set_xlabel('time [s]', labelpad=1)


def _finish(axes: Any, column: Column) -> None:
    # A height of its own: finding one takes a third of the time of the whole drawing.
    axes.set_title(column.name, loc='left', pad=7, y=1.0)
    axes.set_ylabel('' if column.unit == '1' else column.unit, labelpad=2)
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.margins(x=0.01, y=0.1)
    low, high = axes.get_ylim()
    least = _LEAST_SHARE * column.span
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def _commanded(axes: Any, episode: Episode, deployed: Deployed, number: int) -> None:
    column = episode.columns.columns[number]
    seconds = _seconds(episode, deployed.time_ns)
    for begin, end in _runs(~deployed.moving):
        axes.axvspan(
            *(seconds[begin], seconds[min(end, len(seconds) - 1)]),
            color=INK,
            alpha=0.07,
            linewidth=0,
        )
    style = 'default' if column.kind == 'joint_trajectory' else 'steps-post'
    axes.plot(
        seconds, deployed.commanded[:, number], color=COMMANDED, linewidth=1.0, drawstyle=style
    )
    # Along the edges: x in seconds, y in shares of the panel.
    edges = axes.get_xaxis_transform()
    period_s = 1 / episode.rate_hz
    starts = [
        _seconds(episode, fate.start_ns) + fate.first_step * period_s
        for fate in deployed.chunks
        if fate.start_ns >= 0
    ]
    _ticks(axes, edges, starts, 1.0, START)
    affected = (column.group, 'chunk', 'observation', 'controller')
    events = [
        _seconds(episode, each.at_ns) for each in deployed.happenings if each.group in affected
    ]
    _ticks(axes, edges, events, 0.0, EVENT)


def _ticks(axes: Any, edges: Any, at: Sequence[Any], height: float, colour: str) -> None:
    x = np.column_stack([at, at, np.full(len(at), np.nan)]).ravel()
    y = np.tile([height - 0.05, height + 0.05, np.nan], len(at))
    axes.plot(
        *(x, y),
        linewidth=0.9 if len(at) <= _MANY_TICKS else 0.4,
        color=colour,
        transform=edges,
        clip_on=False,
        zorder=_ABOVE_LINES,
    )


def _chunk_lines(axes: Any, times: Floats, values: Floats) -> None:
    """Chunks [Q, H] as one line with gaps, and a dot where each begins."""
    if not values.size:
        return
    gap = np.full((len(times), 1), np.nan)
    axes.plot(
        *(np.hstack([times, gap]).ravel(), np.hstack([values, gap]).ravel()),
        color=CHUNK,
        linewidth=0.7,
    )
    axes.plot(times[:, 0], values[:, 0], 'o', color=START, ms=2.2, markeredgewidth=0)


def _chunks(episode: Episode, source: str) -> tuple[Floats, Floats]:
    """Times [Q, H] and values [Q, H, J] of the open-loop chunks."""
    asked = episode.open_loop.get(source)
    if asked is None:
        return np.empty((0, 0)), np.empty((0, 0, len(episode.columns)))
    steps = np.arange(asked.predicted.shape[1]) / episode.rate_hz
    return _seconds(episode, asked.observed_ns)[:, None] + steps, asked.predicted


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First number and the one after the last of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _seconds(episode: Episode, at_ns: Any) -> Any:
    return (at_ns - episode.start_ns) * 1e-9
