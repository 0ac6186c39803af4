"""The tables by joint, by group and by gripper, of one episode or over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.page.numbers import count, degrees, figures, percent
from pizero_ros.page.tables import Cell, Heading, Row, Table, word
from pizero_ros.replay.report.averages import at, mean, over_episodes, sources_of
from pizero_ros.replay.report.words import MODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Found = Mapping[str, Sequence[Mapping[str, Any]]]
    """Policy → the summaries that have it."""

_OPEN, _DEPLOYED = MODES.values()
_SPREAD = ('p50', 'p95', 'max')


class _Figures(NamedTuple):
    """Figures of a policy, means over its episodes."""

    label: str
    summaries: Sequence[Mapping[str, Any]]

    def __call__(self, mode: str, *path: str, of: str = '') -> float | None:
        """Return the figure under some keys, of another source of these episodes if named."""
        return over_episodes(self.summaries, of or self.label, mode, at(*path))


def joints_table(found: Found) -> Table:
    """Return a row for each joint and policy; means over the episodes."""
    rows = []
    several = len(found) > 1
    for joint, known in _named(found, 'joints').items():
        for label, summaries in found.items():
            figure = _Figures(label, summaries)
            unit = known['unit']
            cells = [word(joint), word(known['group'])]
            if several:
                cells.append(word(label))
            cells += [
                word(_unit(unit)),
                _angle(figure('open_loop', 'joints', joint, 'mae'), unit),
                _angle(figure('open_loop', 'joints', joint, 'rmse'), unit),
                _angle(figure('open_loop', 'joints', joint, 'max'), unit),
                _share(figure('open_loop', 'joints', joint, 'mae_share')),
                _angle(figure('open_loop', 'joints', joint, 'mae', of='hold'), unit),
                _angle(figure('deployed', 'joints', joint, 'mae'), unit),
                _angle(figure('deployed', 'joints', joint, 'max'), unit),
                _share(figure('deployed', 'joints', joint, 'mae_share')),
            ]
            rows.append(Row(tuple(cells)))
    headings = [Heading('joint', numeric=False), Heading('group', numeric=False)]
    if several:
        headings.append(Heading('policy', numeric=False))
    headings += [
        Heading('unit', numeric=False),
        Heading('MAE', 'Mean absolute error', _OPEN),
        Heading('RMSE', 'Root of the mean square error', _OPEN),
        Heading('max', 'Largest error of an episode', _OPEN),
        Heading('MAE %', 'In % of the joint’s range', _OPEN),
        Heading('hold: MAE', 'The error of standing still', _OPEN),
        Heading('MAE', 'Mean absolute error', _DEPLOYED),
        Heading('max', 'Largest error of an episode', _DEPLOYED),
        Heading('MAE %', 'In % of the joint’s range', _DEPLOYED),
    ]
    return _without_empty(Table('Joints', tuple(headings), tuple(rows)))


def groups_table(found: Found) -> Table:
    """Return the errors of each action group and policy; means over the episodes."""
    rows = []
    for group, known, label, figure in _of_groups(found):
        unit = known['unit']
        rows.append(
            Row(
                (
                    word(group),
                    word(label),
                    word(_unit(unit)),
                    _angle(figure('open_loop', 'groups', group, 'mae'), unit),
                    _angle(figure('open_loop', 'groups', group, 'rmse'), unit),
                    _share(figure('open_loop', 'groups', group, 'mae_share')),
                    _angle(figure('open_loop', 'consistency', group, 'rms'), unit),
                    _angle(figure('open_loop', 'consistency', group, 'max'), unit),
                    _angle(figure('deployed', 'groups', group, 'mae'), unit),
                    _angle(figure('deployed', 'groups', group, 'rmse'), unit),
                    _share(figure('deployed', 'groups', group, 'mae_share')),
                )
            )
        )
    headings = (
        Heading('group', numeric=False),
        Heading('policy', numeric=False),
        Heading('unit', numeric=False),
        Heading('MAE', 'Mean absolute error', _OPEN),
        Heading('RMSE', 'Root of the mean square error', _OPEN),
        Heading('MAE %', 'In % of the range', _OPEN),
        Heading('rms', 'Successive chunks where they overlap', 'consistency'),
        Heading('max', 'Successive chunks where they overlap', 'consistency'),
        Heading('MAE', 'Mean absolute error', _DEPLOYED),
        Heading('RMSE', 'Root of the mean square error', _DEPLOYED),
        Heading('MAE %', 'In % of the range', _DEPLOYED),
    )
    return _without_empty(Table('Errors by group', headings, tuple(rows)))


def motion_table(found: Found) -> Table:
    """Return seams, jerk and limit hits of each group and policy; means over the episodes."""
    rows = []
    for group, known, label, figure in _of_groups(found):
        unit = known['unit']
        speed = f'{unit}/s' if unit else None
        rows.append(
            Row(
                (
                    word(group),
                    word(label),
                    word(_unit(unit)),
                    _count(figure('deployed', 'seams', group, 'count')),
                    *(
                        _angle(figure('deployed', 'seams', group, 'asked', key), unit)
                        for key in _SPREAD
                    ),
                    _angle(figure('deployed', 'seams', group, 'position', 'max'), unit),
                    *(
                        _angle(figure('deployed', 'seams', group, 'speed', key), speed)
                        for key in _SPREAD
                    ),
                    _plain(figure('deployed', 'jerk', group, 'rms')),
                    _plain(figure('deployed', 'jerk', group, 'ratio')),
                    _count(figure('deployed', 'limit_hits', group)),
                    _share(figure('deployed', 'moving_share')),
                    _count(figure('deployed', 'restarts')),
                    _count(figure('deployed', 'unanswered')),
                )
            )
        )
    headings = (
        Heading('group', numeric=False),
        Heading('policy', numeric=False),
        Heading('unit', numeric=False),
        Heading('seams'),
        *(Heading(key, over='seam: chunks apart') for key in _SPREAD),
        Heading('max', 'Jump of the published position: what alignment left', 'published'),
        *(Heading(key, over='seam: speed [per s]') for key in _SPREAD),
        Heading('rms', 'Third derivative of the command stream', 'jerk [per s³]'),
        Heading('÷ rec.', 'Jerk over that of the recording', 'jerk [per s³]'),
        Heading('limit hits', 'Of the safety gate'),
        Heading('moving %', 'Share of the time at which a chunk was executed', 'whole robot'),
        Heading(
            'restarts',
            'Holds for which the sensors of the recording were to blame, and after which the '
            'robot was put where the recording’s is',
            'whole robot',
        ),
        Heading('unanswered', 'Inferences under way at the end', 'whole robot'),
    )
    return _without_empty(Table('Motion by group, as deployed', headings, tuple(rows)))


def grippers_table(found: Found) -> Table | None:
    """Return a row for each gripper, evaluation and policy; ``None`` without grippers."""
    rows = []
    keys = (
        *('threshold', 'balanced_accuracy', 'false_open', 'false_closed'),
        *('precision', 'recall', 'f1', 'events_recorded', 'events_predicted'),
    )
    for mode, mode_name in MODES.items():
        for joint in _named(found, 'grippers', mode):
            for label, summaries in found.items():
                values = [
                    over_episodes(summaries, label, mode, at('grippers', joint, key))
                    for key in keys
                ]
                figures_ = (*map(_plain, values[:-2]), *map(_count, values[-2:]))
                cells = (word(joint), word(mode_name), word(label), *figures_)
                rows.append(Row(cells))
    headings = (
        Heading('gripper', numeric=False),
        Heading('evaluation', numeric=False),
        Heading('policy', numeric=False),
        Heading('threshold', 'Above it the gripper counts as open'),
        Heading('balanced accuracy', 'Mean of the shares of open and of closed moments it has'),
        Heading('false open', 'Share of the closed moments at which it is open'),
        Heading('false closed', 'Share of the open moments at which it is closed'),
        *(Heading(key, over='openings and closings') for key in ('precision', 'recall', 'F1')),
        *(Heading(key, over='openings and closings') for key in ('recorded', 'predicted')),
    )
    return Table('Grippers', headings, tuple(rows)) if rows else None


def step_shares(found: Found, label: str) -> dict[str, list[float | None]]:
    """Return the error of each joint at each step, joint → [H] shares of its range."""
    shares: dict[str, list[float | None]] = {}
    for joint in _named(found, 'joints', 'open_loop'):
        rows = []
        for summary in found[label]:
            for source in sources_of(summary, label):
                content = summary['sources'][source].get('open_loop')
                steps = content and content['by_step']['joints'].get(joint)
                figures = content and content['joints'].get(joint)
                if steps and figures and figures['mae']:
                    # Both are errors of one joint: their quotient is the inverse of its span.
                    scale = figures['mae_share'] / figures['mae']
                    rows.append([None if v is None else v * scale for v in steps])
        if rows:
            shares[joint] = [mean(step) for step in zip(*rows, strict=True)]
    return shares


def _of_groups(found: Found) -> Iterator[tuple[str, Mapping[str, Any], str, _Figures]]:
    """Each group and policy: its name, what is said of it, the policy, and its figures."""
    for group, known in _named(found, 'groups').items():
        for label, summaries in found.items():
            yield group, known, label, _Figures(label, summaries)


def _named(found: Found, part: str, *modes: str) -> dict[str, Mapping[str, Any]]:
    """Joints, groups or grippers that any policy has, in order, with what is said of them."""
    known: dict[str, Mapping[str, Any]] = {}
    for label, summaries in found.items():
        for summary in summaries:
            for source in sources_of(summary, label):
                for mode in modes or MODES:
                    content = summary['sources'][source].get(mode, {})
                    for name, each in content.get(part, {}).items():
                        if each is not None:
                            known.setdefault(name, each)
    return known


def _without_empty(table: Table) -> Table:
    """Leave out columns that say nothing."""
    kept = [
        n
        for n, heading in enumerate(table.headings)
        if not heading.numeric or any(row.cells[n].sort is not None for row in table.rows)
    ]
    return Table(
        table.name,
        tuple(table.headings[n] for n in kept),
        tuple(Row(tuple(row.cells[n] for n in kept), row.apart) for row in table.rows),
    )


def _unit(unit: str | None) -> str:
    return 'mixed' if unit is None else 'share' if unit == '1' else unit


def _angle(value: float | None, unit: str | None) -> Cell:
    return Cell(figures(value), value, degrees(value, unit))


def _share(value: float | None) -> Cell:
    return Cell(percent(value), value)


def _plain(value: float | None) -> Cell:
    return Cell(figures(value), value)


def _count(value: float | None) -> Cell:
    return Cell(count(value), value)
