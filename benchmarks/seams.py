"""Seams between chunks: how smooth the command is, for every way of publishing.

    tools/with_ros python benchmarks/seams.py --check

replays a policy that knows the motion, first with perfect chunks and then with chunks that
disagree by 20 mrad (1 sigma), through a model of joint_trajectory_controller, and prints one
table. Simulated, so no sensors, no inference, and the same figures on every machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import track
from rich.table import Table
from seam_replay import Figures, figures, reference_peak, replay
from seam_task import MS, Setting
from seam_ways import ways

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seam_replay import Controller
    from seam_ways import Way

DISAGREEMENT = 0.020
MOST_RMS_MRAD = 0.3
MOST_PEAK = {'perfect': 1.9, 'disagreeing': 2.5}
"""Largest speed of the command, relative to the reference's."""

COLUMNS = {
    'error rms [mrad]': ('rms_mrad', '.2f'),
    'error max [mrad]': ('max_mrad', '.1f'),
    'peak speed [rad/s]': ('peak', '.2f'),
    'of reference': ('peak_ratio', '.2f'),
    'acc. rms [rad/s²]': ('acceleration', '.2f'),
    'jerk rms [rad/s³]': ('jerk', '.0f'),
}
console = Console(highlight=False, width=170)


@dataclass(frozen=True)
class Row:
    """One way of publishing to one kind of controller; ``judged`` if the targets are about it."""

    way: str
    controller: str
    judged: bool
    perfect: Figures
    disagreeing: Figures


def measure(way: Way, controller: Controller, setting: Setting) -> Row:
    """Run one way with perfect and with disagreeing chunks."""
    perfect, disagreeing = (
        figures(
            replay(
                way.make,
                replace(setting, velocities=way.velocities, disagreement=disagreement),
                controller,
            )
        )
        for disagreement in (0.0, setting.disagreement)
    )
    judged = way.judged and controller.from_desired
    return Row(way.name, controller.name, judged, perfect, disagreeing)


def missed(rows: Iterable[Row]) -> list[str]:
    """Return which targets the rows that are judged do not meet, empty if all is well."""
    found = []
    for row in rows:
        if not row.judged:
            continue
        where = f'{row.way}, {row.controller}'
        if row.perfect.rms_mrad > MOST_RMS_MRAD:
            found.append(f'{where}: {row.perfect.rms_mrad:.3f} mrad rms, target {MOST_RMS_MRAD:g}')
        for chunks, most in MOST_PEAK.items():
            ratio = getattr(row, chunks).peak_ratio
            if ratio > most:
                found.append(f'{where}: {ratio:.2f} times the peak speed, target {most:g}')
    return found


def show(rows: Iterable[Row]) -> None:
    """Print the table, in Markdown so that it can be pasted into a page."""
    table = Table(box=MARKDOWN)
    table.add_column('what is published')
    table.add_column('replacement')
    for title in COLUMNS:
        table.add_column(title, justify='right')
    for row in rows:
        cells = []
        for name, form in COLUMNS.values():
            pair = (getattr(each, name) for each in (row.perfect, row.disagreeing))
            cells.append(' / '.join(format(value, form) for value in pair))
        table.add_row(row.way, row.controller, *cells)
    console.print(table)


def arguments_of(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=20.0, help='simulated, for each row')
    parser.add_argument('--latency-ms', type=int, default=150, help='observation to arrival')
    parser.add_argument(
        '--disagreement-mrad',
        type=float,
        default=1e3 * DISAGREEMENT,
        help="standard deviation of each chunk's own offset",
    )
    parser.add_argument('--seed', type=int, default=0, help='of the disagreement')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='e.g. docs/seams.png')
    parser.add_argument(
        '--check',
        action='store_true',
        help='exit 1 if a mode for continuous motion, with the shipped fade, misses a target: '
        f'perfect chunks at most {MOST_RMS_MRAD:g} mrad rms and {MOST_PEAK["perfect"]:g} times '
        "the reference's peak speed, disagreeing ones at most "
        f'{MOST_PEAK["disagreeing"]:g} times',
    )
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Measure, print, and return 1 if ``--check`` finds a miss."""
    arguments = arguments_of(words)
    setting = Setting(
        disagreement=1e-3 * arguments.disagreement_mrad,
        seconds=arguments.seconds,
        latency_ns=arguments.latency_ms * MS,
        seed=arguments.seed,
    )
    cases = [(way, controller) for way in ways() for controller in way.controllers]
    rows = [
        measure(way, controller, setting)
        for way, controller in track(cases, console=Console(stderr=True), transient=True)
    ]
    console.print(
        f'perfect chunks / chunks that disagree by {arguments.disagreement_mrad:g} mrad; '
        f'{arguments.latency_ms} ms latency, steps of {setting.step_ns / MS:g} ms, replaced '
        f'after {setting.executed_steps}; reference {reference_peak():.2f} rad/s'
    )
    show(rows)
    if arguments.json is not None:
        result = {'setting': asdict(setting), 'rows': [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(result, indent=2))
    if arguments.plot is not None:
        from seam_plot import draw

        draw(arguments.plot, setting)
    if not arguments.check:
        return 0
    found = missed(rows)
    console.print('[red]missed:[/] ' + '; '.join(found) if found else '[green]all targets met[/]')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
