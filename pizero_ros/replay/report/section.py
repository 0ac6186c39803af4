"""The part of the page about one recording through one policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pizero_ros.page.drawing import svg_text
from pizero_ros.page.numbers import milliseconds, number
from pizero_ros.page.tables import Cell, Heading, Row, Table, word
from pizero_ros.replay.error_figures import spread
from pizero_ros.replay.report.details import (
    grippers_table,
    groups_table,
    joints_table,
    motion_table,
    step_shares,
)
from pizero_ros.replay.report.horizon_figures import horizon_figure
from pizero_ros.replay.report.moments import worst_moments
from pizero_ros.replay.report.source_tables import episode_sources_table
from pizero_ros.replay.report.words import MODES, source_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.episode import Episode, Happening
    from pizero_ros.replay.report.moments import Pictures

TEMPLATE = 'section.html'
HAPPENINGS = 60
"""Most lines of interventions with their times."""

_PAUSE_NS = 1_000_000_000
"""What happens again after more than this is listed again."""


def drawn_source(episode: Episode) -> str:
    """Return the source that is drawn: the first seed of the policy, else a baseline."""
    if episode.policy_sources:
        return episode.policy_sources[0]
    return next(iter({**episode.open_loop, **episode.deployed}), '')


def section_html(
    environment: Environment,
    episode: Episode,
    entry: Mapping[str, Any],
    *,
    anchor: str,
    joints_drawing: Any,
    files: Sequence[tuple[str, str]],
    embodiment: Embodiment,
    look: Pictures,
) -> Markup:
    """Return the section as HTML.

    Args:
        environment: Of the templates.
        episode: What was evaluated.
        entry: Its entry in ``report.json``.
        anchor: Name of the section within the page.
        joints_drawing: ``joints_figure`` of it.
        files: Titles and places of its files.
        embodiment: The robot.
        look: Gives camera pictures.
    """
    summary, label = entry['summary'], entry['policy']
    source = drawn_source(episode)
    found = {label or source: [summary]}
    shares = step_shares(found, label or source)
    moments, no_pictures = worst_moments(episode, summary['worst'], anchor, embodiment, look)
    deployed = episode.deployed.get(source)
    happenings = _happenings(deployed.happenings if deployed else (), episode.start_ns)
    content = summary['sources'].get(source, {}).get('deployed', {})

    def svg(figure: Any, words: str, name: str) -> Markup:
        return Markup(svg_text(figure, words, name=f'{anchor}-{name}'))

    text = environment.get_template(TEMPLATE).render(
        anchor=anchor,
        name=episode.name,
        policy=label,
        bag=entry['bag'],
        seconds=entry['seconds'],
        prompt=entry['prompt'],
        action_source=entry['action_source'],
        files=files,
        drawn=source_words(source),
        open_loop=source in episode.open_loop,
        deployed=deployed is not None,
        sources=episode_sources_table(summary),
        seeds=_seeds(summary['seeds'].get(label, {})),
        joints_svg=svg(joints_drawing, f'Joints over time, {episode.name}', 'joints'),
        horizon_svg=shares
        and svg(horizon_figure(shares, episode.rate_hz), 'Error by joint and step', 'horizon'),
        moments=moments,
        no_pictures=no_pictures,
        groups=groups_table(found),
        motion=motion_table(found) if deployed else None,
        joints=joints_table(found),
        grippers=grippers_table(found),
        outcomes=_outcomes(content),
        happenings=replace(happenings, rows=happenings.rows[:HAPPENINGS]),
        happenings_left=max(0, len(happenings.rows) - HAPPENINGS),
        streams=_streams(summary['inputs']),
        ages=_spreads(
            'Ages of observations',
            {
                'newest stamp': summary['inputs']['newest_age_s'],
                'oldest stamp': summary['inputs']['oldest_age_s'],
                'skew between them': summary['inputs']['skew_s'],
            },
        ),
        refused=summary['inputs']['refused'],
        latency=_spreads(
            'Latency by phase',
            {
                **{
                    phase.replace('_', ' '): spread(seconds)
                    for phase, seconds in episode.timing.phases_s.items()
                },
                **(
                    {'as deployed, drawn: request to arrival': content['latency_s']}
                    if content
                    else {}
                ),
            },
        ),
        chunks=episode.timing.chunks,
        inference_s=episode.timing.inference_s,
        total_s=episode.timing.total_s,
    )
    return Markup(text)


def _seeds(modes: Mapping[str, Any]) -> dict[str, Any] | None:
    spreads = {mode: each['mae_share'] for mode, each in modes.items()}
    count = max((each['n'] for each in spreads.values()), default=0)
    if count < 2:
        return None
    return {'n': count, 'modes': [(MODES[mode], each) for mode, each in spreads.items()]}


def _outcomes(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What became of the chunks and what was objected to, in counts."""
    if not content:
        return []
    counted = {
        'chunks': content['chunks'],
        'interventions': content['interventions'],
        'trajectories rejected': content['trajectories_rejected'],
    }
    lines = [
        (title, ', '.join(f'{name} {n}' for name, n in counts.items()) or 'none')
        for title, counts in counted.items()
    ]
    lines += [
        (key.replace('_', ' '), str(content[key]))
        for key in (
            *('starvations', 'observations_refused', 'deadlines_missed'),
            *('restarts', 'unanswered'),
        )
    ]
    moving = content['moving_share']
    return [
        *lines,
        ('a chunk was executed', '–' if moving is None else f'{moving:.0%} of the time'),
    ]


def _happenings(happenings: Sequence[Happening], start_ns: int) -> Table:
    """One line for all that happen again and again without a pause."""
    runs: list[list[Happening]] = []
    newest: dict[tuple[str, str], list[Happening]] = {}
    for each in sorted(happenings, key=lambda happening: happening.at_ns):
        run = newest.get((each.group, each.reason))
        if run is None or each.at_ns - run[-1].at_ns > _PAUSE_NS:
            run = newest[each.group, each.reason] = []
            runs.append(run)
        run.append(each)
    rows = []
    for run in runs:
        first_s, last_s = ((run[n].at_ns - start_ns) * 1e-9 for n in (0, -1))
        rows.append(
            Row(
                (
                    Cell(f'{first_s:.2f}', first_s),
                    Cell(f'{last_s:.2f}', last_s),
                    Cell(str(len(run)), len(run)),
                    word(run[0].group),
                    word(run[0].reason),
                    word(run[0].text),
                )
            )
        )
    headings = (
        Heading('first [s]'),
        Heading('last [s]'),
        Heading('times'),
        Heading('where', numeric=False),
        Heading('reason', numeric=False),
        Heading('what, the first time', numeric=False),
    )
    return Table('Interventions, holds and refusals', headings, tuple(rows))


def _streams(inputs: Mapping[str, Any]) -> Table:
    counts = ('received', 'missing', 'late', 'out_of_order', 'black', 'frozen')
    rows = [
        Row(
            (
                word(each['topic'], beside=each['fault']),
                *(Cell(str(each[key]), each[key]) for key in counts),
            )
        )
        for each in inputs['streams']
    ]
    headings = (
        Heading('topic', numeric=False),
        *(Heading(key.replace('_', ' ')) for key in counts),
    )
    return Table('Streams', headings, tuple(rows))


def _spreads(name: str, spreads: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Seconds as milliseconds."""
    rows = [
        Row((word(title), *(_ms(each[key]) for key in ('p50', 'p95', 'max'))))
        for title, each in spreads.items()
    ]
    headings = (Heading('ms', numeric=False), *map(Heading, ('p50', 'p95', 'max')))
    return Table(name, headings, tuple(rows))


def _ms(seconds: float | None) -> Cell:
    if seconds is None:
        return Cell(number(None))
    return Cell(milliseconds(1000 * seconds), seconds)
