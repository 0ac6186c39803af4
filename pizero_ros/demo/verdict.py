"""Whether a run is good: what fails it, and what a reader must know all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.demo.results import RobotResult

LEAST_MOTION = 0.005
"""rad or m: well above what a servo at rest shows, well below what any policy does in a second."""

SLOWEST_SIMULATION = 0.95
"""Simulated seconds per second below which timing figures are not those of a real robot."""


def failures(result: RobotResult) -> tuple[str, ...]:
    """Return every reason why the run failed, empty if it is good."""
    return tuple(_failures(result))


def warnings(result: RobotResult) -> tuple[str, ...]:
    """Return what is wrong and does not fail the run."""
    return tuple(_warnings(result))


def _failures(result: RobotResult) -> Iterator[str]:
    if result.error:
        yield result.error
    for process in result.processes:
        if process.ended_by in ('SIGTERM', 'SIGKILL'):
            yield f'{process.name} did not end on SIGINT, {process.ended_by} was needed'
        elif process.exit_code and process.name not in result.error:
            yield f'{process.name} ended with {_status(process.exit_code)}'
    if result.startup_s is None:
        return
    if result.chunk_horizon != result.horizon_expected:
        found = f'of {result.chunk_horizon} steps' if result.chunk_horizon else 'at all'
        yield f'no chunk {found}, {result.horizon_expected} expected'
    elif not result.chunks_sent:
        yield f'none of {result.chunks} chunks was sent'
    for arm in result.arms:
        if not arm.points:
            yield f'{arm.group}: no trajectory from a chunk'
        elif arm.accepted <= arm.holds:
            yield f'{arm.group}: no accepted trajectory of {arm.sent}'
    if result.mode == 'simulated' and result.motion < LEAST_MOTION:
        yield f'nothing moved: the largest motion of a joint is {result.motion:.4f}'
    for topic in result.bag_topics:
        if not topic.in_bag == topic.sent == topic.received:
            yield (
                f'{topic.topic}: {topic.in_bag} messages in the bag, {topic.sent} sent, '
                f'{topic.received} received'
            )


def _warnings(result: RobotResult) -> Iterator[str]:
    for stream in result.streams:
        if stream.lost > 0:
            yield f'{stream.topic}: {stream.lost} of {stream.sent} messages lost'
        for fault, shown in stream.faults.items():
            yield f'{stream.topic}: {fault} in {shown} status messages'
        for counter in ('black', 'frozen', 'undecodable', 'malformed', 'unstamped'):
            count = stream.counters.get(counter, 0)
            if count and counter not in stream.faults:
                yield f'{stream.topic}: {count} {counter} messages among those looked at'
    for group in result.groups:
        if lost := group.sent - group.accepted - group.rejected:
            yield f'{group.group}: {group.sent} commands sent, {group.sent - lost} judged'
        if group.rejected:
            reasons = ', '.join(f'{why} {count}' for why, count in group.rejections.items())
            yield f'{group.group}: {group.rejected} of {group.sent} commands rejected: {reasons}'
    if result.policy_state in ('holding', 'fault'):
        yield f'at the end the policy node was {result.policy_state}: {result.policy_reason}'
    ratio = result.simulator.get('sim_wall_ratio')
    if ratio is not None and ratio < SLOWEST_SIMULATION:
        yield f'the simulation ran at {ratio:.2f} times real time: this machine is too slow for it'


def _status(code: int) -> str:
    return f'signal {-code}' if code < 0 else f'exit code {code}'
