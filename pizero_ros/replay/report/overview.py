"""The tables of paired differences and of all episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.page.numbers import NOTHING, count, figures, percent
from pizero_ros.page.tables import Cell, Heading, Row, Table, word
from pizero_ros.replay.report.averages import (
    at,
    baselines,
    labels,
    mean,
    over_seeds,
    sources_of,
    summaries_of,
)
from pizero_ros.replay.report.source_tables import MEASURES, measure_heading
from pizero_ros.replay.report.words import MODES, interval_words, signed_words, source_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMPARED = (
    'open_loop.mae_share',
    'open_loop.gripper_f1',
    'deployed.mae_share',
    'deployed.gripper_f1',
    'deployed.jerk_ratio',
    'deployed.limit_hits',
)
_TEXTS = {'share': percent, 'ratio': figures, 'count': count}
_NAMES = {
    'mae_share': 'MAE, % of range',
    'gripper_f1': 'gripper F1',
    'jerk_ratio': 'jerk ratio',
    'limit_hits': 'limit hits per episode',
}


def comparison_table(content: Mapping[str, Any]) -> Table:
    """Return the table of paired differences."""
    rows = []
    measures = content['comparison'].get('measures', {})
    for key in _COMPARED:
        measure = measures.get(key)
        if measure is None:
            continue
        mode, _, name = key.partition('.')
        text = _TEXTS[measure['unit']]
        for pair in measure['pairs']:
            difference = pair['mean']
            if difference is None:
                continue
            cells = (
                word(f'{_NAMES[name]}, {MODES[mode]}'),
                word(source_words(pair['a'])),
                word(source_words(pair['b'])),
                Cell(
                    signed_words(difference, text),
                    difference,
                    interval_words(pair, text, signed=True),
                ),
                Cell(str(pair['n']), pair['n']),
                _steps(pair['steps']),
                word(_reading(pair, measure['better'])),
            )
            rows.append(Row(cells))
    headings = (
        Heading('measure', numeric=False),
        Heading('A', numeric=False),
        Heading('B', numeric=False),
        Heading('A − B', 'Mean over the recordings that both have, with its interval'),
        Heading('recordings'),
        Heading('steps', 'Steps of the chunks that both have, in open loop'),
        Heading('in words', numeric=False),
    )
    return Table('Paired differences', headings, tuple(rows))


def episodes_table(content: Mapping[str, Any], places: Sequence[tuple[str, str, str]]) -> Table:
    """Return the table of all episodes.

    Args:
        content: Of ``report.json``.
        places: For each episode, where its row leads, its picture file, its file of commands.
    """
    entries = content['episodes']
    values = [
        [
            over_seeds(entry['summary'], entry['policy'], each.mode, each.figure)
            for each in MEASURES
        ]
        for entry in entries
    ]
    shown = [n for n in range(len(MEASURES)) if any(value[n] is not None for value in values)]
    rows = []
    for entry, row, (href, picture, commands) in zip(entries, values, places, strict=True):
        name = entry['bag'].rstrip('/').rsplit('/', 1)[-1]
        rows.append(
            Row(
                (
                    word(name, href=href),
                    word(entry['policy'] or NOTHING),
                    Cell(figures(entry['seconds']), entry['seconds']),
                    *(Cell(MEASURES[n].text(row[n]), row[n]) for n in shown),
                    Cell('plot', href=picture),
                    Cell('commands', href=commands),
                )
            )
        )
    headings = (
        Heading('recording', numeric=False),
        Heading('policy', numeric=False),
        Heading('seconds'),
        *(measure_heading(MEASURES[n]) for n in shown),
        Heading('PNG', numeric=False),
        Heading('MCAP', numeric=False),
    )
    return Table('Episodes', headings, tuple(rows))


def error_of(entry: Mapping[str, Any]) -> float:
    """Return the error by which episodes are put in order: open loop, else as deployed."""
    for mode in MODES:
        value = over_seeds(entry['summary'], entry['policy'], mode, at('overall', 'mae_share'))
        if value is not None:
            return value
    return 0.0


def growth(content: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the error at each step of the horizon, label → [H], means over all episodes."""
    entries = content['episodes']
    curves = {}
    for label in (*labels(entries), *baselines(entries)):
        rows = [
            source['open_loop']['by_step']['mae_share']
            for summary in summaries_of(entries, label)
            for name in sources_of(summary, label)
            if 'open_loop' in (source := summary['sources'][name])
        ]
        if rows and label != 'recording':
            curves[label] = [mean(step) for step in zip(*rows, strict=True)]
    return curves


def _steps(counts: Sequence[int] | None) -> Cell:
    """Numbers of steps, one unless recordings differ."""
    return Cell(', '.join(map(str, counts)), max(counts)) if counts else Cell(NOTHING)


def _reading(pair: Mapping[str, Any], better: str | None) -> str:
    if pair['low'] is None:
        return 'one recording, no interval'
    if pair['low'] <= 0 <= pair['high']:
        return 'no clear difference'
    lower, higher = (pair['a'], pair['b']) if pair['mean'] < 0 else (pair['b'], pair['a'])
    if better is None:
        return f'{source_words(lower)} has less'
    return f'{source_words(higher if better == "higher" else lower)} is better'
