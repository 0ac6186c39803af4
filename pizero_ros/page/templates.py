"""The jinja environment of a report: its own templates, and what all reports share."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pizero_ros.page.numbers import degrees, figures, milliseconds, number, percent

_SHARED = Path(__file__).parent


def environment(folder: Path) -> Environment:
    """Return the environment of a report.

    Args:
        folder: Where the report's own templates lie. ``base.css`` and ``sorting.js`` of this
            folder can be included by name too.

    Returns:
        Escapes all text, refuses undefined names, and has the filters of ``page.numbers``.
    """
    made = Environment(
        loader=FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        'number': number,
        'figures': figures,
        'ms': milliseconds,
        'percent': percent,
        'degrees': degrees,
    }
    return made
