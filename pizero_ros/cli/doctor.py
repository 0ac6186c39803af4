"""``pizero doctor``: a live ROS graph against an embodiment, before anything moves."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.cli.bundle_argument import open_bundle
from pizero_ros.cli.exit_codes import FINDING, SUCCESS
from pizero_ros.cli.output import add_json, console, progress_console, write_json
from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.resources import embodiment_names

if TYPE_CHECKING:
    import argparse

    from pizero_ros.doctor.facts import Facts
    from pizero_ros.doctor.finding import Finding
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.bundle import Bundle

_MARKS = {
    'ok': '[green]ok[/]',
    'unknown': '[cyan]?[/]',
    'warning': '[yellow]warn[/]',
    'error': '[red]fail[/]',
}
_LONGEST_S = 3600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.epilog = (
        'Example: pizero doctor --embodiment ur5e --bundle pi0_ur5e. Nothing is published and '
        'nothing is changed: it only listens, and asks nodes for their parameters. Exit status 1 '
        'if anything fails; warnings and what could not be looked at do not fail.'
    )
    embodiment = parser.add_argument(
        '--embodiment', metavar='E', required=True, help='the robot: a shipped name or a file'
    )
    embodiment.completer = _complete  # type: ignore[attr-defined]
    parser.add_argument(
        '--bundle', metavar='B', type=Path, help='bundle that is to run: checked against the robot'
    )
    parser.add_argument(
        '--seconds',
        type=_seconds,
        default=5.0,
        metavar='N',
        help='how long to listen after discovery (default: 5)',
    )
    parser.add_argument(
        '--node',
        default='',
        metavar='NAME',
        help='full name of the policy node, where several run (default: the one there is)',
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Look, judge, and print a table."""
    from pizero_ros.doctor.finding import SCHEMA, as_json, failed
    from pizero_ros.embodiment.load import load_embodiment

    embodiment = load_embodiment(arguments.embodiment)
    bundle: Bundle | BundleError | None = None
    if arguments.bundle is not None:
        try:
            bundle = open_bundle(arguments.bundle)
        except BundleError as error:
            bundle = error
    node = _full(arguments.node)
    facts = _gather(embodiment, arguments.seconds, node)

    from pizero_ros.doctor.examination import judge, judge_bundle

    findings = judge(embodiment, facts, arguments.bundle, node)
    if bundle is not None:
        findings += judge_bundle(embodiment, bundle)
    _print(findings)
    wrong = failed(findings)
    write_json(
        arguments.json,
        {
            'schema': SCHEMA,
            'embodiment': embodiment.name,
            'source': embodiment.source,
            'bundle': None if arguments.bundle is None else str(arguments.bundle),
            'domain': facts.domain,
            'policy_node': facts.policy.node if facts.policy else None,
            'listened_s': round(facts.listened_s, 3),
            'passed': not wrong,
            'findings': as_json(findings),
        },
    )
    return FINDING if wrong else SUCCESS


def _gather(embodiment: Embodiment, seconds: float, node: str) -> Facts:
    """Listen behind a progress bar."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    try:
        from pizero_ros.doctor.probe import Probe
    except ImportError as error:
        raise EnvironmentFault.at(
            'pizero_ros',
            '',
            found=str(error),
            expected='ROS 2 and the built package',
            remedy='Source them in this shell: `. install/setup.bash`.',
        ) from None
    columns = (
        SpinnerColumn(),
        TextColumn('{task.description}'),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, console=progress_console, transient=True) as progress,
        Probe(node) as probe,
    ):
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        task = progress.add_task(f'discovering, domain {domain}', total=1.0)
        probe.discover(embodiment, lambda share: progress.update(task, completed=share))
        progress.reset(task, description=f'listening to {embodiment.name}')
        return probe.gather(
            embodiment, seconds, lambda share: progress.update(task, completed=share)
        )


def _print(findings: list[Finding]) -> None:
    """Print one line for what is right about a subject, and one for each thing that is not."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column('')
    table.add_column('what', style='bold', overflow='fold')
    table.add_column('finding', overflow='fold')
    for subject, group in groupby(findings, key=lambda each: each.subject):
        all_of_it = list(group)
        right = [each.found for each in all_of_it if each.severity == 'ok']
        if right:
            table.add_row(_MARKS['ok'], escape(subject), escape('; '.join(right)))
        for each in all_of_it:
            if each.severity != 'ok':
                table.add_row(_MARKS[each.severity], escape(subject), _sentence(each))
    console.print(table)
    counts = [sum(each.severity == kind for each in findings) for kind in _MARKS]
    right_, unknown, warnings, errors = counts
    console.print(
        f'{errors} errors, {warnings} warnings, {unknown} not known, {right_} right', style='bold'
    )


def _sentence(each: Finding) -> str:
    from rich.markup import escape

    expected = f'; expected {each.expected}' if each.expected else ''
    remedy = f'\n[dim]→ {escape(each.remedy)}[/]' if each.remedy else ''
    return f'{escape(each.check)}: {escape(each.found + expected)}{remedy}'


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= _LONGEST_S:
        msg = f'{value:g} is not within 0.5 and {_LONGEST_S:g}'
        raise ValueError(msg)
    return value


def _full(node: str) -> str:
    return node if not node or node.startswith('/') else f'/{node}'


def _complete(**_: object) -> list[str]:
    return embodiment_names()
