"""Writes what an evaluation leaves for people: the page, PNG files, and commands as MCAP."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from pizero_ros.page.drawing import save_png
from pizero_ros.page.templates import environment as page_environment
from pizero_ros.replay.report.details import step_shares
from pizero_ros.replay.report.figures import joints_figure
from pizero_ros.replay.report.horizon_figures import horizon_figure
from pizero_ros.replay.report.moments import recorded_pictures
from pizero_ros.replay.report.overview import error_of
from pizero_ros.replay.report.page_content import Names, anchor_of, href, page_content
from pizero_ros.replay.report.section import drawn_source, section_html
from pizero_ros.replay.would_be import write_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.episode import Episode
    from pizero_ros.replay.report.moments import Pictures

PAGE = 'report.html'
PLOTS = 'plots'
COMMANDS = 'commands'

SECTIONS = 12
"""Most episodes that the page shows in full: those with the largest errors."""

LARGEST_BYTES = 40_000_000
"""No further section is added to a page of this size, so that a browser still opens it."""


class Written(NamedTuple):
    """What was written.

    Attributes:
        page: The page.
        size_bytes: Of the page.
        sections: Number of episodes that it shows in full.
    """

    page: Path
    size_bytes: int
    sections: int


def write_report(
    out: Path,
    content: Mapping[str, Any],
    episodes: Iterable[tuple[str, Callable[[], Episode]]],
    embodiment: Embodiment,
    *,
    pictures: Pictures = recorded_pictures,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    each: Callable[..., Iterable[str]] = map,
) -> Written:
    """Write ``report.html``, ``plots/*.png`` and ``commands/*.mcap``.

    Args:
        out: Folder of the report.
        content: Of ``report.json``.
        episodes: The key and the loader of each of ``content['episodes']``; one is in memory at
            a time (of each worker).
        embodiment: The robot.
        pictures: Gives camera pictures of a recording at some moments.
        progress: Told the number of episodes that are written, and of all.
        each: ``map``, or the same of an executor: drawing an episode takes about a second. Loaders
            and ``pictures`` must then be picklable.

    Returns:
        What was written.
    """
    entries = content['episodes']
    for folder in (PLOTS, COMMANDS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    numbers = {entry['key']: n for n, entry in enumerate(entries)}
    names = _names(entries)
    full = _full(entries)
    pairs = list(episodes)
    order = [numbers[key] for key, _ in pairs]
    written = each(
        _EpisodeWriter(out, embodiment, pictures),
        [load for _, load in pairs],
        [entries[n] for n in order],
        [names[n] for n in order],
        [anchor_of(n) if n in full else '' for n in order],
    )
    sections: dict[int, Markup] = {}
    for done, (n, section) in enumerate(zip(order, written, strict=True), start=1):
        if section and sum(map(len, sections.values())) < LARGEST_BYTES:
            sections[n] = Markup(section)
        progress(done, len(entries))
    templates = page_environment(Path(__file__).parent)
    text = templates.get_template('page.html').render(
        **page_content(content, embodiment.rate_hz, names, sections),
        sections=[sections[n] for n in sorted(sections)],
    )
    page = out / PAGE
    unfinished = page.with_suffix('.unfinished')
    unfinished.write_text(text, encoding='utf-8')
    unfinished.replace(page)
    return Written(page, page.stat().st_size, len(sections))


@dataclass(frozen=True)
class _EpisodeWriter:
    """Writes the files of one episode, in whichever process."""

    out: Path
    embodiment: Embodiment
    look: Pictures

    def __call__(
        self, load: Callable[[], Episode], entry: Mapping[str, Any], names: Names, anchor: str
    ) -> str:
        """Write the files; return the section, if it has a name within the page."""
        episode = load()
        drawing = _draw(self.out, names, episode, entry)
        write_commands(self.out / names.commands, episode, self.embodiment)
        if not anchor:
            return ''
        return section_html(
            page_environment(Path(__file__).parent),
            episode,
            entry,
            anchor=anchor,
            joints_drawing=drawing,
            files=_files(names),
            embodiment=self.embodiment,
            look=self.look,
        )


def _draw(out: Path, names: Names, episode: Episode, entry: Mapping[str, Any]) -> Any:
    """Write the PNG files; return the figure of the joints."""
    source = drawn_source(episode)
    label = entry['policy'] or source
    drawing = joints_figure(episode, source)
    save_png(drawing, out / names.joints)
    shares = step_shares({label: [entry['summary']]}, label)
    if shares:
        save_png(horizon_figure(shares, episode.rate_hz), out / names.horizon)
    return drawing


def _full(entries: Sequence[Mapping[str, Any]]) -> set[int]:
    """Numbers of the episodes that are shown in full."""
    worst = sorted(range(len(entries)), key=lambda n: -error_of(entries[n]))
    return set(worst[:SECTIONS])


def _names(entries: Sequence[Mapping[str, Any]]) -> list[Names]:
    """Names of files: readable, and different for each episode."""
    seen: Counter[str] = Counter()
    names = []
    for entry in entries:
        parts = [entry['bag'].rstrip('/').rsplit('/', 1)[-1], entry['policy']]
        stem = re.sub(r'[^\w.-]+', '_', '_'.join(filter(None, parts)))
        seen[stem] += 1
        if seen[stem] > 1:
            stem = f'{stem}.{seen[stem]}'
        names.append(
            Names(
                f'{PLOTS}/{stem}_joints.png',
                f'{PLOTS}/{stem}_horizon.png',
                f'{COMMANDS}/{stem}.mcap',
            )
        )
    return names


def _files(names: Names) -> list[tuple[str, str]]:
    titles = ('joints (PNG)', 'error by step (PNG)', 'commands (MCAP)')
    return [(title, href(name)) for title, name in zip(titles, names, strict=True)]
