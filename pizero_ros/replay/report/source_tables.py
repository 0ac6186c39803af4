"""The table of policies and baselines: over all episodes, and of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.page.numbers import count, figures, percent
from pizero_ros.page.tables import Cell, Heading, Row, Table, word
from pizero_ros.replay.episode import BASELINES
from pizero_ros.replay.report.averages import (
    at,
    baselines,
    labels,
    largest,
    mean,
    over_episodes,
    summaries_of,
    total,
)
from pizero_ros.replay.report.words import MODES, interval_words, source_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.replay.report.averages import Figure
    from pizero_ros.replay.report.words import Text


class Measure(NamedTuple):
    """A column of the tables of sources.

    ``key`` is the measure of ``comparison`` that has its interval, if any has. ``better`` is
    ``lower``, ``higher``, or empty if neither is. ``moves`` tells that standing still does best:
    only policies are compared.
    """

    mode: str
    title: str
    hint: str
    figure: Figure
    text: Text = figures
    key: str = ''
    better: str = 'lower'
    moves: bool = False


def _mean_of(key: str, entry: str) -> Figure:
    return lambda content: mean(each[entry] for each in content[key].values())


MEASURES = (
    Measure(
        'open_loop',
        'MAE %',
        'Mean absolute error of the chunks, in % of each joint’s range',
        at('overall', 'mae_share'),
        percent,
        'open_loop.mae_share',
    ),
    Measure(
        'open_loop',
        '÷ hold',
        'That error over the error of standing still; 1 is no better',
        at('relative_to_hold'),
        key='open_loop.relative_to_hold',
    ),
    Measure(
        'open_loop',
        'consistency %',
        'Difference of successive chunks where they overlap: rms in % of range, largest group',
        largest('consistency', '*', 'rms_share'),
        percent,
        moves=True,
    ),
    Measure(
        'deployed',
        'MAE %',
        'Mean absolute error of the command stream, in % of each joint’s range',
        at('overall', 'mae_share'),
        percent,
        'deployed.mae_share',
    ),
    Measure(
        'deployed',
        '÷ hold',
        'That error over the error of standing still; 1 is no better',
        at('relative_to_hold'),
        key='deployed.relative_to_hold',
    ),
    Measure(
        'deployed',
        'moving %',
        'Share of the time at which a chunk was executed; the rest of the time the robot stood',
        at('moving_share'),
        percent,
        better='',
    ),
    Measure(
        'deployed',
        'seam p95',
        'How far a chunk is from the one that it replaces, which alignment has to bridge: '
        'rad or m, largest group',
        largest('seams', '*', 'asked', 'p95'),
        moves=True,
    ),
    Measure(
        'deployed',
        'jerk ratio',
        'Jerk (rms) over that of the recording, mean of groups; 1 is as smooth as the recording',
        _mean_of('jerk', 'ratio'),
        key='deployed.jerk_ratio',
        better='',
    ),
    Measure(
        'deployed',
        'interventions',
        'Of the safety gate, per episode',
        total('interventions'),
        count,
        moves=True,
    ),
    Measure(
        'deployed',
        'gripper F1',
        'Opening and closing at the right time, 1 is perfect',
        _mean_of('grippers', 'f1'),
        key='deployed.gripper_f1',
        better='higher',
    ),
)


def overview_table(content: Mapping[str, Any]) -> Table:
    """Return the table of policies and baselines, means over all episodes with intervals."""
    entries = content['episodes']
    policies, trivial = labels(entries), baselines(entries)
    found = {label: summaries_of(entries, label) for label in (*policies, *trivial)}
    intervals = content['comparison'].get('measures', {})
    random = untrained(content)

    def cell(measure: Measure, label: str) -> tuple[float | None, str]:
        known = intervals.get(measure.key, {}).get('sources', {}).get(label)
        if known is not None:
            return known['mean'], interval_words(known, measure.text)
        return over_episodes(found[label], label, measure.mode, measure.figure), ''

    names = {
        label: word(source_words(label), beside='untrained' if label in random else '')
        for label in found
    }
    counts = {label: Cell(str(len(each)), len(each)) for label, each in found.items()}
    return _sources_table('Policies and baselines', names, cell, ('episodes', counts))


def untrained(content: Mapping[str, Any]) -> list[str]:
    """Return the labels of the policies whose weights are random."""
    return [
        policy['label']
        for policy in content['policies']
        if str(policy.get('source', '')).startswith('random')
    ]


def episode_sources_table(summary: Mapping[str, Any]) -> Table:
    """Return the table of the sources of one episode, each seed for itself."""
    found = summary['sources']

    def cell(measure: Measure, source: str) -> tuple[float | None, str]:
        content = found[source].get(measure.mode)
        return (measure.figure(content) if content else None), ''

    names = {source: word(source_words(source)) for source in found}
    return _sources_table('Sources of this episode', names, cell)


def _sources_table(
    name: str,
    names: Mapping[str, Cell],
    cell: Callable[[Measure, str], tuple[float | None, str]],
    extra: tuple[str, Mapping[str, Cell]] | None = None,
) -> Table:
    columns = []
    for measure in MEASURES:
        entries = {source: cell(measure, source) for source in names}
        if any(value is not None for value, _ in entries.values()):
            columns.append((measure, entries, _best(measure, entries)))
    rows = []
    for source, first in names.items():
        cells = [first]
        if extra:
            cells.append(extra[1][source])
        for measure, entries, best in columns:
            value, interval = entries[source]
            first_of = value is not None and value == best and _competes(measure, source)
            cells.append(Cell(measure.text(value), value, interval, best=first_of))
        rows.append(Row(tuple(cells), apart=source in BASELINES))
    headings = [Heading('source', numeric=False)]
    if extra:
        headings.append(Heading(extra[0]))
    headings += [measure_heading(measure) for measure, _, _ in columns]
    return Table(name, tuple(headings), tuple(rows), stacked=True)


def _competes(measure: Measure, source: str) -> bool:
    """Tell whether a source can be the best: the recording is right by definition."""
    still = measure.moves and source in BASELINES
    return bool(measure.better) and source != 'recording' and not still


def _best(measure: Measure, entries: Mapping[str, tuple[float | None, str]]) -> float | None:
    """Return the best value of a column, ``None`` if there is nothing to choose from."""
    known = [
        value
        for source, (value, _) in entries.items()
        if value is not None and _competes(measure, source)
    ]
    if len(known) < 2:
        return None
    return max(known) if measure.better == 'higher' else min(known)


def measure_heading(measure: Measure) -> Heading:
    """Return the top of a measure's column."""
    return Heading(measure.title, measure.hint, MODES[measure.mode])
