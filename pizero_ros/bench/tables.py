"""What a bench says to people: tables of latency, of sweeps and of the distance to the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SWEPT = ('chunk', 'whole', 'observe', 'denoise')


def tables(result: Mapping[str, Any]) -> Iterator[Table | str]:
    """Return what is printed, in order.

    Args:
        result: What ``pizero bench --json`` writes.
    """
    yield _latency(result)
    yield (
        f'{result["cameras"]} cameras, {result["tokens"]} tokens, {result["steps"]} steps, '
        f'{result["runs"]} runs; loaded in {result["load_s"]:.2f} s, warm after '
        f'{len(result["warm_up_s"])} runs, peak memory {result["peak_rss_bytes"] / 1e6:.0f} MB'
    )
    if 'torch_over_bundle' in result:
        yield f'eager torch takes {result["torch_over_bundle"]:.2f} times as long'
    for axis, points in result.get('scale', {}).items():
        yield _sweep(axis, points)
    if 'roofline' in result:
        yield from _roofline(result['roofline'])


def _plain(title: str) -> Table:
    return Table(title=title, title_justify='left', box=None)


def _latency(result: Mapping[str, Any]) -> Table:
    table = _plain(f'{result["provider"]}, {result["variant"]}, ms')
    table.add_column('phase')
    rows = result['latency_ms']
    for name in next(iter(rows.values())):
        table.add_column(name, justify='right')
    for name, row in rows.items():
        table.add_row(name, *(f'{value:.2f}' for value in row.values()))
    return table


def _sweep(axis: str, points: list[Mapping[str, Any]]) -> Table:
    table = _plain(f'over {axis}, ms')
    table.add_column(axis, justify='right')
    shown = [name for name in SWEPT if name in points[0]['latency_ms']]
    for name in shown:
        table.add_column(f'{name} p50', justify='right')
        table.add_column('p95', justify='right')
    for point in points:
        rows = [point['latency_ms'][name] for name in shown]
        cells = (f'{row[key]:.2f}' for row in rows for key in ('p50', 'p95'))
        table.add_row(str(point[axis]), *cells)
    return table


def _roofline(roofline: Mapping[str, Any]) -> Iterator[Table | str]:
    table = _plain('beside the limit of this machine')
    for name in ('phase', 'GFLOP', 'MB', 'GFLOP/s', 'floor ms', 'measured ms', 'of the floor'):
        table.add_column(name, justify='left' if name == 'phase' else 'right')
    for name, row in roofline['phases'].items():
        table.add_row(
            name,
            f'{row["gflop"]:.2f}',
            f'{row["moved_mb"]:.1f}',
            f'{row["gflop_s"]:.1f}',
            f'{row["floor_ms"]:.2f}',
            f'{row["measured_ms"]:.2f}',
            f'{row["of_floor"]:.0%}',
        )
    yield table
    yield (
        f'measured here: {roofline["copy_gb_s"]:.1f} GB/s copied, '
        f'{roofline["matmul_gflop_s"]:.0f} GFLOP/s in {roofline["precision"]} products'
    )
