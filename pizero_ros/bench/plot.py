"""The picture of a bench: phases beside their floor, and one panel for each sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from pizero_ros.page.drawing import PAGE_STYLE, save_png

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BAR = '#1f6fc4'
_SPREAD = '#9aa3ad'
_FLOOR = '#c8501e'
_PARTS = {'observe': '#1f6fc4', 'denoise': '#7ab0e6'}


def draw(path: Path, result: Mapping[str, Any]) -> None:
    """Draw a result as a PNG file.

    Args:
        path: Picture file.
        result: What ``pizero bench --json`` writes.
    """
    sweeps = result.get('scale', {})
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(4.6 + 2.6 * len(sweeps), 3.0), layout='constrained')
        ratios = [4.6, *[2.6] * len(sweeps)]
        axes = figure.subplots(1, 1 + len(sweeps), squeeze=False, width_ratios=ratios)[0]
        _phases(axes[0], result)
        for panel, (axis, points) in zip(axes[1:], sweeps.items(), strict=True):
            _sweep(panel, axis, points)
        save_png(figure, path)


def _phases(panel: Any, result: Mapping[str, Any]) -> None:
    """Draw medians as bars, with a line to the 95th percentile and a mark at the floor."""
    rows = result['latency_ms']
    places = range(len(rows))
    medians = [row['p50'] for row in rows.values()]
    panel.barh(places, medians, color=_BAR, height=0.6, label='median')
    for place, row in zip(places, rows.values(), strict=True):
        label = 'to p95' if place == 0 else None
        panel.plot([row['p50'], row['p95']], [place, place], color=_SPREAD, lw=2, label=label)
    floors = result.get('roofline', {}).get('phases', {})
    marks = [(floors[name]['floor_ms'], k) for k, name in enumerate(rows) if name in floors]
    if marks:
        panel.scatter(*zip(*marks, strict=True), marker='|', s=130, c=_FLOOR, label='floor')
    panel.set_yticks(places, list(rows))
    panel.invert_yaxis()
    panel.set_xlabel('ms')
    panel.set_title(
        f'{result["provider"]}, {result["variant"]}: {result["cameras"]} cameras, '
        f'{result["tokens"]} tokens, {result["steps"]} steps',
        loc='left',
    )
    panel.legend(frameon=False, loc='best')


def _sweep(panel: Any, axis: str, points: list[Mapping[str, Any]]) -> None:
    """Stack the medians of observing and denoising over what varies."""
    values = [point[axis] for point in points]
    parts = [[point['latency_ms'][name]['p50'] for point in points] for name in _PARTS]
    panel.stackplot(values, *parts, labels=list(_PARTS), colors=list(_PARTS.values()))
    slowest = [point['latency_ms']['whole']['p95'] for point in points]
    panel.plot(values, slowest, color=_FLOOR, lw=1, label='p95 of both')
    panel.set_xlabel(axis)
    panel.set_xticks(values)
    panel.set_ylim(0, 1.4 * max(slowest))
    panel.margins(x=0)
    panel.legend(frameon=False, loc='upper left')
