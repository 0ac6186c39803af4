"""What the page shows beside the sections of the episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from pizero_ros.page.drawing import svg_text
from pizero_ros.replay.episode import BASELINES
from pizero_ros.replay.evaluate import UNINSTRUCTED
from pizero_ros.replay.measures import steps_of
from pizero_ros.replay.report.averages import baselines, labels, sources_of, summaries_of
from pizero_ros.replay.report.details import (
    grippers_table,
    groups_table,
    joints_table,
    motion_table,
    step_shares,
)
from pizero_ros.replay.report.horizon_figures import growth_figure, horizon_figure
from pizero_ros.replay.report.overview import comparison_table, episodes_table, growth
from pizero_ros.replay.report.source_tables import overview_table, untrained
from pizero_ros.replay.report.words import MODES, source_words
from pizero_ros.replay.source_summary import ACCEPTED
from pizero_ros.replay.summary import label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LEAST_MOVING = 0.5
"""A policy that executes chunks for less of the time than this is pointed out."""

STUCK = 3
"""So are this many chunks on end, up to the end, of which the gate refused any."""


class Names(NamedTuple):
    """Files of an episode, relative to the report's folder."""

    joints: str
    horizon: str
    commands: str


def page_content(
    content: Mapping[str, Any],
    rate_hz: float,
    names: Sequence[Names],
    sections: Mapping[int, Markup],
) -> dict[str, Any]:
    """Return what the template of the page is given, but for the sections.

    Args:
        content: Of ``report.json``.
        rate_hz: Steps of a chunk per second.
        names: Files of each episode.
        sections: Numbers of the episodes that have a section, and the sections.
    """
    entries = content['episodes']
    places = [
        (
            f'#{anchor_of(n)}' if n in sections else href(name.joints),
            href(name.joints),
            href(name.commands),
        )
        for n, name in enumerate(names)
    ]
    found = {label: summaries_of(entries, label) for label in labels(entries)}
    several = len(entries) > 1 and bool(found)
    curves = growth(content)
    return {
        'embodiment': content['embodiment']['name'],
        'created': content['created'],
        'command': content['command'],
        'failed': content['failed'],
        'doubts': [*map(_untrained, untrained(content)), *_doubts(entries)],
        'episodes': entries,
        'facts': _facts(content),
        'settings': [(name, _words(value)) for name, value in content['settings'].items()],
        'run': [
            (name, _words(value))
            for part in ('versions', 'timing')
            for name, value in content[part].items()
        ],
        'overview': overview_table(content),
        'horizons_note': _horizons_note(content),
        'intervals': len({entry['bag'] for entry in entries}) > 1,
        'growth_svg': _svg(growth_figure(curves, rate_hz), 'Error by step') if curves else '',
        'comparison': comparison_table(content),
        'comparison_note': content['comparison'].get('note', ''),
        'table': episodes_table(content, places),
        'sections_note': _sections_note(len(entries), len(sections)),
        'first_section': anchor_of(min(sections)) if sections else '',
        'groups': groups_table(found) if several else None,
        'motion': motion_table(found) if several else None,
        'joints': joints_table(found) if several else None,
        'grippers': grippers_table(found) if several else None,
        'horizons': [
            (label, _svg(horizon_figure(shares, rate_hz), f'Error by joint and step, {label}'))
            for label in (found if several else ())
            if (shares := step_shares(found, label))
        ],
    }


def anchor_of(number: int) -> str:
    """Return the name of an episode's section within the page."""
    return f'episode-{number + 1}'


def href(name: str) -> str:
    """Return the link to a file of the report."""
    return quote(name)


def _facts(content: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What was evaluated, in words."""
    entries, settings = content['episodes'], content['settings']

    def all_of(key: str) -> list[str]:
        return list(dict.fromkeys(str(entry[key]) for entry in entries))

    seconds = sum({entry['bag']: entry['seconds'] for entry in entries}.values())
    facts = {
        'recordings': all_of('bag'),
        'duration': [f'{seconds:.0f} s'],
        'policies': [
            _named(policy, 'label', 'kind', 'source', 'path') for policy in content['policies']
        ],
        'robot': [_named(content['embodiment'], 'name', 'source')],
        'instruction': list(map(_instruction, all_of('prompt'))),
        'recorded actions': all_of('action_source'),
        'evaluation': [
            ', '.join(
                f'{name.replace("_", " ")}: {_words(settings[name])}'
                for name in ('modes', 'seeds', 'latency', 'scheduling')
                if name in settings
            )
        ],
    }
    return [(title, values) for title, values in facts.items() if values and values != ['']]


def _doubts(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What no policy and no control layer should do, where it was done."""
    doubts: list[str] = []
    stood: list[str] = []
    for entry in entries:
        for source, modes in entry['summary']['sources'].items():
            if label_of(source) is None:
                continue
            place = f'{entry["bag"]}, {source_words(source)}'
            for mode, content in modes.items():
                if content['undefined']:
                    lacking = f'{content["undefined"]} values of the policy are not finite'
                    doubts.append(f'{place}, {MODES[mode]}: {lacking}')
            if 'deployed' in modes:
                stood += _stood_still(source_words(source), entry['bag'], modes['deployed'])
            rejected = modes.get('deployed', {}).get('trajectories_rejected', {})
            doubts += [
                f'{place}: {n} trajectories break a rule of the controllers, {reason}'
                for reason, n in rejected.items()
            ]
    return doubts + stood


def _stood_still(source: str, bag: str, content: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a policy that stopped; nothing if it kept moving."""
    moving, counts = content['moving_share'], content['chunks']
    if moving is None or (moving >= LEAST_MOVING and content['refused_at_end'] < STUCK):
        return []
    others = [f'{reason} {n}' for reason, n in counts.items() if reason != ACCEPTED]
    because = [
        f'its chunks were refused or discarded ({", ".join(others)} of {sum(counts.values())})'
        if others
        else '',
        f'observations were refused ({content["observations_refused"]})'
        if content['observations_refused']
        else '',
    ]
    reasons = ' and '.join(filter(None, because)) or 'it had no chunk to execute'
    return [
        f'{source} stood still for {1.0 - moving:.0%} of {bag}, as deployed: {reasons}; a robot '
        'that has stopped does not catch up with the recording'
    ]


def _untrained(label: str) -> str:
    return f'{label} is untrained: its weights are random, and its figures say nothing'


def _horizons_note(content: Mapping[str, Any]) -> str:
    """Return what is to be said of sources whose chunks cover different numbers of steps."""
    entries = content['episodes']
    known: dict[str, int] = {}
    for label in (*labels(entries), *baselines(entries)):
        name = 'baselines' if label in BASELINES else label
        for summary in summaries_of(entries, label):
            figures = [summary['sources'][source] for source in sources_of(summary, label)]
            known[name] = max(known.get(name, 0), steps_of(figures))
    known = {name: steps for name, steps in known.items() if steps}
    if len(set(known.values())) < 2:
        return ''
    first = min(known.values())
    lengths = ', '.join(f'{name} {steps}' for name, steps in known.items())
    return (
        f'Chunks cover different numbers of steps ({lengths}): the open-loop MAE is over the '
        f'first {first}, which all have; ÷ hold and consistency are over the steps of each.'
    )


def _named(content: Mapping[str, Any], *keys: str) -> str:
    """A policy or a robot in words: the first key, and the others in brackets."""
    first, *rest = (str(content[key]) for key in keys if content.get(key))
    return f'{first} ({", ".join(rest)})' if rest else first


def _instruction(prompt: str) -> str:
    return (
        f'{prompt} (what is said where there is no instruction)'
        if prompt == UNINSTRUCTED
        else prompt
    )


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_words, value))
    return '–' if value is None else str(value).replace('_', ' ')


def _sections_note(episodes: int, sections: int) -> str:
    if sections == episodes:
        return 'Each row leads to its section below.'
    return (
        f'The {sections} of {episodes} episodes with the largest errors have a section below, to '
        'which their rows lead; the others lead to their picture files.'
    )


def _svg(figure: Any, label: str) -> Markup:
    return Markup(svg_text(figure, label, name=label))
