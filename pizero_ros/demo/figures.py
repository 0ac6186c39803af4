"""Drawings of a recording as SVG that takes its text colour from the page around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pizero_ros.demo.metrics import joint_unit
from pizero_ros.page.drawing import INK, PAGE_STYLE, svg_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.demo.metrics import Window
    from pizero_ros.demo.recording import Recording, Series
    from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Embodiment

MEASURED = '#2a78d6'
COMMANDED = '#e0672b'
ARRIVAL = '#8d95a0'

_COLUMNS = 4
_PANEL_WIDTH, _PANEL_HEIGHT = 3.0, 1.55
_LEAST_SPAN = 0.02
"""Smallest height of a panel in the joint's unit: noise of a joint at rest is not blown up."""


def joints_figure(recording: Recording, embodiment: Embodiment, window: Window) -> str:
    """Draw commanded against measured positions, one panel per joint, as SVG."""
    panels = [
        (group, joint)
        for group in embodiment.actions
        if group.output != 'twist'
        for joint in group.joints
    ]
    return _panels(
        panels,
        lambda axes, group, joint: _joint_panel(axes, recording, group, joint, window),
    )


def base_figure(recording: Recording, embodiment: Embodiment, window: Window) -> str:
    """Draw commanded against measured base velocities as SVG; empty without a base."""
    panels = [
        (group, joint)
        for group in embodiment.actions
        if group.output == 'twist'
        for joint in group.joints
    ]
    if not panels:
        return ''

    def draw(axes: Any, group: ActionGroup, joint: ActionJoint) -> None:
        _line(axes, recording.velocities, joint.name, window, MEASURED, 2.0)
        _line(axes, recording.base_commands, joint.name, window, COMMANDED, 1.0, steps=True)
        axes.axhline(0, color=INK, linewidth=0.4, alpha=0.4)

    return _panels(panels, draw)


def _joint_panel(
    axes: Any, recording: Recording, group: ActionGroup, joint: ActionJoint, window: Window
) -> None:
    arm = group.output == 'joint_trajectory'
    for sent in recording.trajectories if arm else ():
        command = sent.command
        if sent.group != group.name or command is None or joint.name not in command.joint_names:
            continue
        column = command.positions[:, command.joint_names.index(joint.name)]
        times = (command.stamp_ns + command.time_from_start_ns - window.start_ns) * 1e-9
        if not sent.is_hold:
            axes.plot(times, column, color=COMMANDED, linewidth=0.6, alpha=0.35)
            # Along the upper edge: x in seconds, y in shares of the panel.
            axes.plot(
                [times[0]],
                [1.0],
                marker='|',
                markersize=5,
                markeredgewidth=0.9,
                color=ARRIVAL,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
    _line(axes, recording.positions, joint.name, window, MEASURED, 2.6)
    if arm or group.message == 'joint_trajectory':
        _line(axes, recording.desired, joint.name, window, COMMANDED, 0.9)
    else:
        _line(axes, recording.gripper_commands, joint.name, window, COMMANDED, 0.9, steps=True)


def _panels(panels: Sequence[tuple[ActionGroup, ActionJoint]], draw: Any) -> str:
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(PAGE_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.05, wspace=0.03)
        size = (_COLUMNS * _PANEL_WIDTH, rows * _PANEL_HEIGHT + 0.25)
        figure = Figure(figsize=size, layout=layout)
        grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True)
        for number, axes in enumerate(grid.flat):
            if number >= len(panels):
                axes.set_visible(False)
                continue
            group, joint = panels[number]
            draw(axes, group, joint)
            axes.set_title(joint.name, loc='left', pad=6)
            axes.set_ylabel(joint_unit(joint))
            axes.margins(x=0.01, y=0.12)
            _widen(axes)
            if number + _COLUMNS >= len(panels):
                axes.set_xlabel('time [s]')
                axes.tick_params(labelbottom=True)
    return svg_text(figure)


def _line(
    axes: Any,
    series: Series,
    name: str,
    window: Window,
    color: str,
    width: float,
    *,
    steps: bool = False,
) -> None:
    stamps, values = series.of(name)
    inside = window.cut(stamps)
    if not inside.any() and not (steps and len(stamps)):
        return
    if steps:
        # A goal holds until the next one, also from before the window and to its end.
        before = np.flatnonzero(stamps < window.start_ns)[-1:]
        chosen = np.concatenate([before, np.flatnonzero(inside)])
        stamps, values = np.maximum(stamps[chosen], window.start_ns), values[chosen]
        if len(stamps):
            stamps, values = np.append(stamps, window.end_ns), np.append(values, values[-1])
        drawstyle = 'steps-post'
    else:
        stamps, values, drawstyle = stamps[inside], values[inside], 'default'
    times = (stamps - window.start_ns) * 1e-9
    # The measured line lies under the commanded one, broad and pale, as the two mostly coincide.
    alpha = 0.55 if color == MEASURED else 1.0
    axes.plot(times, values, color=color, linewidth=width, drawstyle=drawstyle, alpha=alpha)


def _widen(axes: Any) -> None:
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:
        middle = (low + high) / 2
        axes.set_ylim(middle - _LEAST_SPAN / 2, middle + _LEAST_SPAN / 2)
