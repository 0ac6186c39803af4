"""One number of many: figures of summaries, averaged over noise seeds and over episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.replay.episode import BASELINES
from pizero_ros.replay.summary import label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Summary = Mapping[str, Any]
    Figure = Callable[[Mapping[str, Any]], float | None]
    """Picks a figure of a mode's dictionary of one source."""


def labels(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the policies of ``report.json``'s episodes, in the order of their first episode."""
    return tuple(dict.fromkeys(entry['policy'] for entry in entries if entry['policy']))


def baselines(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the baselines that any episode has, in the order of tables."""
    return tuple(
        name for name in BASELINES if any(name in entry['summary']['sources'] for entry in entries)
    )


def summaries_of(entries: Sequence[Mapping[str, Any]], label: str) -> list[Summary]:
    """Return the summaries that have a source; those of a baseline once for each recording."""
    found: dict[tuple[str, str], Summary] = {}
    for entry in entries:
        if sources_of(entry['summary'], label):
            own = '' if label in BASELINES else entry['policy']
            found.setdefault((entry['bag'], own), entry['summary'])
    return list(found.values())


def sources_of(summary: Summary, label: str) -> list[str]:
    """Return the sources of a label: one for each seed of a policy."""
    return [name for name in summary['sources'] if label in (name, label_of(name))]


def over_seeds(summary: Summary, label: str, mode: str, figure: Figure) -> float | None:
    """Return a figure of a policy or a baseline in one episode."""
    modes = [summary['sources'][name].get(mode) for name in sources_of(summary, label)]
    return mean(figure(each) for each in modes if each is not None)


def over_episodes(
    summaries: Iterable[Summary], label: str, mode: str, figure: Figure
) -> float | None:
    """Return the mean over episodes of ``over_seeds``: each counts once, however long it is."""
    return mean(over_seeds(each, label, mode, figure) for each in summaries)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are known, ``None`` of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def at(*path: str) -> Figure:
    """Return what picks the figure under some keys; ``None`` where one of them is not there."""

    def pick(content: Mapping[str, Any]) -> float | None:
        value: Any = content
        for key in path:
            value = value.get(key) if value is not None else None
        return None if value is None else float(value)

    return pick


def largest(*path: str) -> Figure:
    """Return what picks the largest of the figures of all groups; ``*`` in the path is a group."""
    place = path.index('*')
    before, after = path[:place], at(*path[place + 1 :])

    def pick(content: Mapping[str, Any]) -> float | None:
        groups: Any = content
        for key in before:
            groups = groups[key]
        known = [value for each in groups.values() if each and (value := after(each)) is not None]
        return max(known, default=None)

    return pick


def total(key: str) -> Figure:
    """Return what adds the counts under a key."""
    return lambda content: float(sum(content[key].values()))
