"""Drawings of the error along the chunk; the colours are those of Okabe and Ito."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pizero_ros.page.drawing import INK, PAGE_STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_POLICY_COLOURS = ('#D55E00', '#0072B2', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
_BASELINE_DASHES = {'hold': (0, (5, 2)), 'last_action': (0, (1, 1.5)), 'linear': (0, (5, 2, 1, 2))}

_WIDTH, _LEFT = 11.6, 0.62
"""Inches, as the drawings of joints."""

_ROW, _BESIDE = 0.19, 0.46


def horizon_figure(shares: Mapping[str, Sequence[float | None]], rate_hz: float) -> Any:
    """Draw the error of each joint at each step of a chunk as a heat map.

    Args:
        shares: Joint → [H] error as a share of the joint's span, ``None`` where undefined.
        rate_hz: Steps per second.

    Returns:
        A matplotlib figure.
    """
    values = 100 * np.array([_floats(row) for row in shares.values()])
    height = _ROW * len(shares)
    total = height + 2 * _BESIDE
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(_WIDTH, total))
        axes = figure.add_axes((1.7 / _WIDTH, _BESIDE / total, 8.7 / _WIDTH, height / total))
        top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
        image = axes.imshow(
            np.ma.masked_invalid(values),
            aspect='auto',
            cmap='cividis',
            vmin=0,
            vmax=top or 1.0,
            interpolation='nearest',
        )
        axes.set_yticks(range(len(shares)), list(shares))
        axes.tick_params(length=0)
        axes.set_xlabel('step of the chunk')
        axes.spines[:].set_visible(False)
        above = axes.secondary_xaxis(
            'top', functions=(_divided_by(rate_hz), _divided_by(1 / rate_hz))
        )
        above.spines[:].set_visible(False)
        above.set_xlabel('time after the observation [s]', labelpad=2)
        bar = figure.add_axes((10.6 / _WIDTH, _BESIDE / total, 0.13 / _WIDTH, height / total))
        figure.colorbar(image, cax=bar, label='MAE [% of range]')
        bar.spines[:].set_visible(False)
    return figure


def growth_figure(curves: Mapping[str, Sequence[float | None]], rate_hz: float) -> Any:
    """Draw how the error grows along the chunk, a line a source.

    Args:
        curves: Policy or baseline → [H] error, mean over joints of shares of their spans.
        rate_hz: Steps per second.

    Returns:
        A matplotlib figure.
    """
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(_WIDTH, 2.7))
        axes = figure.add_axes((_LEFT / _WIDTH, 0.17, 8.3 / _WIDTH, 0.76))
        policies = [name for name in curves if name not in _BASELINE_DASHES]
        for name, curve in curves.items():
            values = 100 * _floats(curve)
            steps = np.arange(len(values)) / rate_hz
            dashes = _BASELINE_DASHES.get(name)
            if dashes is None:
                colour = _POLICY_COLOURS[policies.index(name) % len(_POLICY_COLOURS)]
                axes.plot(steps, values, color=colour, linewidth=1.8, label=name)
            else:
                axes.plot(
                    *(steps, values),
                    color=INK,
                    alpha=0.7,
                    linewidth=1.0,
                    linestyle=dashes,
                    label=name.replace('_', ' '),
                )
        axes.set_xlabel('time after the observation [s]')
        axes.set_ylabel('MAE [% of range]')
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.grid(axis='y', linewidth=0.3, alpha=0.4)
        axes.legend(loc='upper left', bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


def _divided_by(divisor: float) -> Callable[[Any], Any]:
    return lambda values: values / divisor


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)
