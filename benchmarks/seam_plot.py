"""The picture of ``benchmarks/seams.py``: what controllers command across three seams."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from seam_replay import BLEND, DISCARD, SAMPLE_NS, SKIPPED_NS, replay
from seam_ways import PointAtOnce, Scheduled, WholeAtObservation, WholeOnArrival

from pizero_ros.control.seam import SeamFade
from pizero_ros.page.drawing import STYLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seam_replay import Controller, Publisher
    from seam_task import Setting, Task

WANTED = '#9aa3ad'
COMMANDED = '#c8501e'
OURS = '#1f6fc4'
SHOWN_S = 1.6
JOINT = 1
FURTHEST = 65.0
"""Height of the error panels, mrad; where it does not suffice, the panel has its own."""

FASTEST = 4.0
"""Height of the speed panels, rad/s; the title says what goes beyond."""


class _Panel(NamedTuple):
    title: str
    make: Callable[[Setting, Task], Publisher]
    controller: Controller
    color: str


def panels() -> list[_Panel]:
    """Return the rows of the picture."""

    def ours(fade: SeamFade) -> Callable[[Setting, Task], Publisher]:
        return partial(Scheduled, mode='async', fade=fade)

    return [
        _Panel('one point per step, at once', PointAtOnce, DISCARD, COMMANDED),
        _Panel('whole chunk, stamp 0', WholeOnArrival, DISCARD, COMMANDED),
        _Panel('whole chunk, observation stamp', WholeAtObservation, BLEND, COMMANDED),
        _Panel('async, no fade', ours(SeamFade(0)), BLEND, OURS),
        _Panel('async with fade, the default', ours(SeamFade()), BLEND, OURS),
    ]


def draw(path: Path, setting: Setting) -> None:
    """Draw how far off and how fast the command is with chunks that disagree.

    Args:
        path: Picture file; its suffix says which kind.
        setting: As in the table; its length is not used.
    """
    setting = replace(setting, seconds=SHOWN_S)
    rows = panels()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 1.5 * len(rows)), layout='constrained')
        grid = figure.subplots(len(rows), 2, sharex=True)
        for panel, axes in zip(rows, grid, strict=True):
            _draw_row(panel, setting, axes)
        grid[-1, 0].set_xlabel('time [s]; dotted: a new chunk arrives')
        grid[-1, 1].set_xlabel('time [s]; grey: the reference')
        figure.savefig(path, dpi=100, metadata={'Software': None})


def _draw_row(panel: _Panel, setting: Setting, axes: Any) -> None:
    trace = replay(panel.make, setting, panel.controller)
    commanded, wanted = trace.commanded[:, JOINT], trace.reference[:, JOINT]
    period_s = SAMPLE_NS * 1e-9
    times = np.arange(len(commanded)) * period_s
    speed = np.diff(commanded) / period_s
    left, right = axes
    error = 1e3 * (commanded - wanted)
    left.axhline(0.0, color=WANTED, linewidth=2.4)
    left.plot(times, error, color=panel.color, linewidth=1.1)
    if np.abs(error).max() < FURTHEST:
        left.set_ylim(-FURTHEST, FURTHEST)
    left.set_ylabel('mrad off')
    left.set_title(f'{panel.title} ({panel.controller.name})', loc='left')
    right.plot(times[1:], np.diff(wanted) / period_s, color=WANTED, linewidth=2.4)
    right.plot(times[1:], speed, color=panel.color, linewidth=1.0)
    right.set_ylim(-FASTEST, FASTEST)
    right.set_ylabel('rad/s')
    right.set_title(f'speed, up to {np.abs(speed).max():.1f} rad/s', loc='left')
    period_ns = setting.executed_steps * setting.step_ns
    arrivals_s = (setting.latency_ns - SKIPPED_NS + period_ns * np.arange(100)) * 1e-9
    for arrival_s in arrivals_s[(arrivals_s > 0.0) & (arrivals_s < times[-1])]:
        for each in axes:
            each.axvline(arrival_s, color=WANTED, linewidth=0.6, linestyle=':')
    for each in axes:
        each.margins(x=0.0)
