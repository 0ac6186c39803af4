"""The picture of ``benchmarks/inference.py``: milliseconds of every way, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from inference_contenders import TITLES, Case
from matplotlib.figure import Figure

from pizero_ros.page.drawing import PAGE_STYLE, save_png

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OTHERS = '#9aa3ad'
OURS = '#1f6fc4'
SPREAD = '#333a42'


def draw(path: Path, result: Mapping[str, Any]) -> None:
    """Draw a result as a PNG file.

    Args:
        path: Picture file.
        result: What ``benchmarks/inference.py --json`` writes.
    """
    cases = result['cases']
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(9.5, 2.6), layout='constrained')
        panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
        for panel, case in zip(panels, cases, strict=True):
            rows = case['contenders']
            colors = [OURS if name.startswith('cpu') else OTHERS for name in rows]
            medians = [row['median_ms'] for row in rows.values()]
            panel.barh(range(len(rows)), medians, color=colors, height=0.65)
            for place, row in enumerate(rows.values()):
                panel.plot([row['min_ms'], row['p95_ms']], [place] * 2, color=SPREAD, lw=1)
                label = f'  {row["ratio"]:.2f}x'
                panel.text(row['p95_ms'], place, label, va='center')
            panel.set_yticks(range(len(rows)), [TITLES[name] for name in rows])
            panel.set_xlabel('ms; line: fastest to p95; number: ratio to the first')
            panel.set_title(str(Case(case['cameras'], case['tokens'])), loc='left')
            panel.margins(x=0.15)
        panels[0].invert_yaxis()
        save_png(figure, path)
