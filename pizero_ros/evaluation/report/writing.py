"""Writes ``report.json``, ``report.html`` and the plot of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pizero_ros.errors import EnvironmentFault
from pizero_ros.evaluation.report import words
from pizero_ros.evaluation.report.figures import scores_figure
from pizero_ros.evaluation.report.tables import pairs_table, scores_table, timing_table
from pizero_ros.page.drawing import save_png, svg_text
from pizero_ros.page.templates import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REPORT = 'report'


def write_report(
    out: Path,
    scores: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the report into the folder of an evaluation.

    Args:
        out: The folder; videos are in it.
        scores: What ``scores_of`` returned.
        records: Of all trials.
        run: ``created``, ``command``, ``settings``, ``policies``, ``versions`` and ``machine``, as
            they go into ``report.json``.

    Returns:
        The content of ``report.json``, without the trials.

    Raises:
        EnvironmentFault: If it cannot be written.
    """
    content = {**scores, **run}
    try:
        text = json.dumps(
            {**content, 'trials_run': list(records)},
            indent=1,
            ensure_ascii=False,
            allow_nan=False,
        )
        (out / f'{_REPORT}.json').write_text(f'{text}\n', encoding='utf-8')
        plots = []
        for title, chosen in _plotted(scores['scores']).items():
            name = f'scores_{title.replace(", ", "_").replace("-", "_")}'
            figure = scores_figure(chosen)
            save_png(figure, out / f'{name}.png')
            plots.append((title, Markup(svg_text(figure, title, name=name))))
        (out / f'{_REPORT}.html').write_text(_page(content, records, plots), encoding='utf-8')
    except OSError as error:
        raise EnvironmentFault.at(
            error.filename or out, '', found=error.strerror, expected='a file that can be written'
        ) from None
    return content


def _plotted(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return title → the scores that belong into one plot."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in scores:
        if each['task'] is None:
            kind = words.tasks_of(each)
            title = kind if each['steps'] == 1 else f'{each["embodiment"]}, {kind}'
            found.setdefault(title, []).append(each)
    return dict(sorted(found.items(), key=lambda item: item[1][0]['steps']))


def _page(
    content: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    plots: Sequence[tuple[str, Markup]],
) -> str:
    return (
        environment(Path(__file__).parent)
        .get_template('page.html')
        .render(
            content=content,
            plots=plots,
            overview=scores_table(content['scores'], by_task=False),
            by_task=scores_table(content['scores'], by_task=True),
            pairs=pairs_table(content['pairs']),
            timing=timing_table(content['timing']),
            broken=[each for each in records if each['ended'] in ('fault', 'crash')],
            skipped=sum(each['frames_skipped'] for each in records),
            sections=_sections(records),
            told=words.TOLD,
        )
    )


def _sections(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials as they are shown: robot and policy → task → its trials by scene."""
    found: dict[tuple[str, str, str, int], dict[str, list[Mapping[str, Any]]]] = {}
    for each in records:
        key = each['embodiment'], each['policy'], each['condition'], each['steps']
        found.setdefault(key, {}).setdefault(each['task'], []).append(each)
    return [
        {
            'embodiment': embodiment,
            'policy': policy,
            'condition': condition,
            'steps': steps,
            'succeeded': sum(each['success'] for trials in tasks.values() for each in trials),
            'count': sum(map(len, tasks.values())),
            'tasks': [
                {'task': task, 'trials': [_shown(each) for each in _by_seed(trials)]}
                for task, trials in tasks.items()
            ],
        }
        for (embodiment, policy, condition, steps), tasks in found.items()
    ]


def _by_seed(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(trials, key=lambda each: int(each['seed']))


def _shown(each: Mapping[str, Any]) -> dict[str, Any]:
    if each['success']:
        said = f'{each["done_s"]:.1f} s'
    elif each['ended'] in ('fault', 'crash'):
        said = each['ended']
    else:
        said = f'{100 * each["progress"]:.0f} % of the way'
    hints = [f'scene {each["seed"]}']
    if not each['success']:
        near = [name or 'nothing' for name in each['approached']]
        hints.append(f'approached: {", ".join(near)}')
    hints += [text for text in (each['reason'], *each.get('holds', ())) if text]
    return {
        'success': each['success'],
        'wrong': not each['followed'],
        'said': said,
        'hint': '\n'.join(hints),
        'video': each['video'],
    }
