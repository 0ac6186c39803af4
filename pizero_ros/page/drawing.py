"""Matplotlib drawings as SVG within a page, which take its text colour, and as PNG files."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from pathlib import Path

INK = '#010203'
"""Stands for the page's text colour and becomes it in the SVG, which then follows the theme."""

STYLE: dict[str, Any] = {
    'font.family': 'sans-serif',
    'font.size': 8.5,
    'axes.titlesize': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
}
"""Matplotlib settings of every picture of many small panels."""

PAGE_STYLE = STYLE | {
    'svg.fonttype': 'none',
    'text.color': INK,
    'axes.edgecolor': INK,
    'axes.labelcolor': INK,
    'xtick.color': INK,
    'ytick.color': INK,
}
"""For ``matplotlib.rc_context`` around the making of a figure for a page."""

_NO_METADATA = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))


def svg_text(figure: Any, label: str = '', *, name: str | None = None, dpi: int = 130) -> str:
    """Return a figure as an SVG element.

    Args:
        figure: Matplotlib figure.
        label: What it shows, for those who cannot see it.
        name: Different for each figure of a page; ``None`` takes a random one.
        dpi: Of the parts that are drawn as pixels.

    Returns:
        The element; the names within it are those of no other figure of the page.
    """
    output = io.StringIO()
    with mpl.rc_context(PAGE_STYLE | {'svg.hashsalt': name}):
        figure.savefig(output, format='svg', transparent=True, metadata=_NO_METADATA, dpi=dpi)
    text = output.getvalue()
    text = text[text.index('<svg') :].replace(INK, 'currentColor')
    text = re.sub(r'<g id="[^"]*"', '<g', text)
    # Hundredths of a point are finer than a screen; the other half of the digits is ballast.
    # Only within tags: the labels of the axes are text between them.
    text = re.sub(r'<[^>]+>', lambda tag: re.sub(r'(\.\d\d)\d+', r'\1', tag[0]), text)
    described = f'<svg role="img" aria-label="{html.escape(label)}"' if label else '<svg'
    return text.replace('<svg', described, 1)


def save_png(figure: Any, path: Path, *, dpi: int = 110) -> None:
    """Save a figure as a PNG file on white."""
    with mpl.rc_context(PAGE_STYLE):
        figure.savefig(path, format='png', facecolor='white', metadata={'Software': None}, dpi=dpi)
