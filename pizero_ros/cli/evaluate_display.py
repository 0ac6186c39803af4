"""Scores of an evaluation as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.evaluation.report import words
from pizero_ros.evaluation.scores import broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


def show(content: Mapping[str, Any], console: Console) -> None:
    """Print what ``scores_of`` returned: a table for each robot, policy and condition."""
    from rich.table import Table

    table: Table | None = None
    for each in content['scores']:
        if each['task'] is None:
            if table is not None:
                console.print(table)
            told = f', told {words.TOLD[each["condition"]]}' if each['steps'] > 1 else ''
            console.print(f'\n{each["embodiment"]}, {each["policy"]}{told}', style='bold')
            table = Table(box=None, pad_edge=False)
            table.add_column('', overflow='fold')
            for title in ('trials', 'success %', 'progress', 'followed %', 'time s'):
                table.add_column(title, justify='right', no_wrap=True)
        assert table is not None
        table.add_row(
            words.tasks_of(each) if each['task'] is None else f'  {each["task"]}',
            str(each['success']['n']),
            _share(each['success']),
            words.mean(each['progress']),
            _share(each['followed']),
            words.seconds(each['done_s']),
        )
    if table is not None:
        console.print(table)
    if ended := broken(content):
        console.print(f'{ended} trials ended because a node failed', style='red')
    if skipped := sum(each['frames_skipped'] for each in content['timing']):
        console.print(
            f'the simulation left out {skipped} pictures: the machine was busy; see --speed',
            style='yellow',
            soft_wrap=True,
        )


def _share(share: Mapping[str, Any] | None) -> str:
    return f'{words.percent(share)} {words.percent_between(share)}'
