"""The ROS latency benchmark over many configurations: which there are, their table and picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from pizero_ros.page.drawing import STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from latency_case import Case

OURS, WORST, LIMIT = '#1f6fc4', '#c8501e', '#9aa3ad'

COLUMNS = {
    'lost': '{:.0f}',
    'overhead p50': '{:.2f}',
    'p95': '{:.2f}',
    'timer p95': '{:.2f}',
    'CPU/frame': '{:.1f}',
    'cores': '{:.2f}',
}


def cases(case: Case) -> list[Case]:
    """Return a configuration and those that differ from it in one thing."""
    alone: list[dict[str, Any]] = [
        {},
        {'cameras': 2},
        {'cameras': 1},
        {'size': (224, 224)},
        {'size': (1280, 720)},
        {'rate_hz': 15.0},
        {'rate_hz': 60.0},
        {'transport': 'compressed'},
        {'timing': 'together'},
        {'timing': 'trigger'},
        {'braked': True},
        {'profile': 'default'},
    ]
    return list(dict.fromkeys(replace(case, **changed) for changed in alone))


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns of one row, ms; not a number where nothing was inferred."""
    overhead = result['latency_ms'].get('overhead') or {}
    timer = result['timer_late_ms'].get('inferring') or {}
    values = (
        sum(each['lost'] for each in result['frames'].values()),
        overhead.get('p50', np.nan),
        overhead.get('p95', np.nan),
        timer.get('p95', np.nan),
        result['cpu_ms_per_frame'],
        result['cores']['policy_node'],
    )
    return dict(zip(COLUMNS, values, strict=True))


def table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of results by the names of their configurations."""
    made = Table(box=None)
    made.add_column('ms')
    for name in COLUMNS:
        made.add_column(name, justify='right')
    for name, result in results.items():
        values = figures(result)
        cells = (form.format(values[column]) for column, form in COLUMNS.items())
        made.add_row(name, *cells)
    return made


def draw(
    path: Path, results: Mapping[str, Mapping[str, Any]], limits: Mapping[str, float]
) -> None:
    """Draw overhead, lateness of the control timer and processor time of each configuration.

    Args:
        path: Picture file; its suffix says which kind.
        results: By the names of the configurations.
        limits: ``p50`` and ``p95`` of the overhead and ``timer``, in ms.
    """
    names = list(results)
    rows = [figures(result) for result in results.values()]
    heights = np.arange(len(rows))[::-1]
    columns = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 0.7 + 0.34 * len(rows)), layout='constrained')
        axes = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
        left, middle, right = axes
        left.barh(heights, columns['p95'], color=OURS, alpha=0.35, label='p95')
        left.barh(heights, columns['overhead p50'], color=OURS, label='p50')
        for name in ('p50', 'p95'):
            left.axvline(limits[name], color=LIMIT, linestyle=':', linewidth=1.0)
        for height, lost, end in zip(heights, columns['lost'], columns['p95'], strict=True):
            if lost:
                at = end if np.isfinite(end) else 0.0
                text = f' {lost:.0f} frames lost'
                left.annotate(text, (at, height), va='center', color=WORST)
                left.set_xlim(right=1.35 * max(np.nanmax(columns['p95']), at))
        left.set_yticks(heights, names)
        left.legend(loc='upper right', bbox_to_anchor=(1.0, 1.0))
        left.set_title('stamp to published less inference [ms]', loc='left')
        middle.barh(heights, columns['timer p95'], color=OURS)
        middle.axvline(limits['timer'], color=LIMIT, linestyle=':', linewidth=1.0)
        middle.set_title('timer late, p95 [ms]', loc='left')
        right.barh(heights, columns['CPU/frame'], color=OURS)
        right.set_title('CPU per frame [ms]', loc='left')
        figure.savefig(path, dpi=100, metadata={'Software': None})
