"""Numbers as a reader wants them: few digits, and a dash for what is not known."""

from __future__ import annotations

import math

NOTHING = '–'


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with ``digits`` significant digits, and nothing as a dash."""
    if value is None:
        return NOTHING
    if value == 0:
        return '0'
    return f'{value:.{digits}g}' if abs(value) < 10**digits else f'{value:.0f}'


def figures(value: float | None) -> str:
    """Write a number of a column with three significant digits, trailing zeros included."""
    if value is None:
        return NOTHING
    if value == 0:
        return '0'
    if abs(value) < 1e-6:
        return '<1e-6'
    if 0.001 <= abs(value) < 999.5:
        return f'{value:#.3g}'.rstrip('.')
    return f'{value:.0f}' if abs(value) >= 1 else f'{value:.2g}'


def count(value: float | None) -> str:
    """Write a number of things, or a mean of such numbers with one decimal."""
    if value is None:
        return NOTHING
    return f'{value:.0f}' if value == round(value) else f'{value:.1f}'


def milliseconds(value: float | None) -> str:
    """Write milliseconds: fewer decimals the more there are."""
    if value is None:
        return NOTHING
    return (
        f'{value:.0f}' if value >= 99.95 else f'{value:.1f}' if value >= 0.95 else f'{value:.2f}'
    )


def percent(share: float | None) -> str:
    """Write a share as a percentage without its sign, with two decimals below 10."""
    if share is None:
        return NOTHING
    value = 100 * share
    if value == 0:
        return '0'
    if abs(value) < 0.005:
        return '<0.01'
    return f'{value:.2f}' if abs(value) < 9.995 else f'{value:.1f}'


def degrees(value: float | None, unit: str | None) -> str:
    """Write an angle or an angular speed in degrees, and nothing if the unit is no angle's."""
    if value is None or unit is None or not unit.startswith('rad'):
        return ''
    turned = math.degrees(value)
    if abs(turned) < 0.005:
        return '0°' if turned == 0 else '<0.01°'
    return f'{turned:.2f}°' if abs(turned) < 9.995 else f'{turned:.1f}°'
