"""Judges what messages travel on: shared memory large enough for images, socket buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, InputFacts, TransportFacts

DEFAULT_SEGMENT_BYTES = 512 * 1024
"""Fast DDS without a profile (SharedMemTransportDescriptor, Fast DDS 2 and 3)."""

ROOM = 8
"""Pictures of all cameras of a process that must fit into its segment: readers hold some while
the next ones are written. Frames of 0.9 MB got lost with the default, none did with 32 MiB
(measured, 3 cameras at 30 Hz)."""

LARGE_BYTES = 64 * 1024
"""What fits one UDP datagram needs no room."""

RMEM_BYTES = 4 * 1024 * 1024
"""Receive buffer that the shipped profile asks for; a kernel limit below cuts it silently."""


def judge_transport(facts: Facts) -> list[Finding]:
    """Return the findings on the middleware."""
    transport = facts.transport
    findings = [
        Finding('ok', 'transport', 'rmw', 'implementation', f'{transport.rmw}, {_domain(facts)}')
    ]
    if transport.rmw.startswith('rmw_fastrtps'):
        findings += _profiles(facts)
        findings += _segments(facts)
    elif _large(facts):
        findings.append(
            Finding(
                'unknown',
                'transport',
                'rmw',
                'buffers',
                f'{transport.rmw}: its buffers cannot be looked into',
                'room for several images',
                'For Cyclone DDS set net.core.rmem_max, and SocketReceiveBufferSize in '
                '$CYCLONEDDS_URI; then look at the share of missing messages.',
            )
        )
    return [*findings, *_discovery(facts), *_sockets(facts), *_load(facts)]


def _domain(facts: Facts) -> str:
    return f'domain {facts.domain}'


def _profiles(facts: Facts) -> Iterator[Finding]:
    """What a policy started from this shell would have."""
    transport = facts.transport
    read = transport.profile_variable
    needed = _needed(facts)
    taken = None
    for profile in transport.profiles:
        if profile.variable == read and not profile.problem:
            taken = profile
        elif profile.variable == read:
            yield Finding(
                'error',
                'transport',
                profile.variable,
                'profile',
                f'{profile.path}: {profile.problem}',
                'a Fast DDS profile; this one is ignored without a word',
                _remedy(transport),
            )
            return
    if taken is None:
        if needed > DEFAULT_SEGMENT_BYTES:
            yield Finding(
                'warning',
                'transport',
                read,
                'profile',
                f'not set: the segment has {_mb(DEFAULT_SEGMENT_BYTES)}',
                f'at least {_mb(needed)}, for the images that are published',
                _remedy(transport),
            )
        return
    segment = taken.segment_bytes
    if segment is None:
        segment = DEFAULT_SEGMENT_BYTES
    found = f'{taken.path}: shared-memory segment of {_mb(segment)}'
    if segment >= needed:
        yield Finding('ok', 'transport', read, 'profile', found)
    else:
        yield Finding(
            'warning',
            'transport',
            read,
            'profile',
            found,
            f'at least {_mb(needed)}, for the images that are published',
            f'Raise segment_size in {taken.path}, or: {_remedy(transport)}',
        )


def _segments(facts: Facts) -> Iterator[Finding]:
    """What the processes that publish images have: theirs is the segment images lie in."""
    for each in facts.inputs:
        if each.picture is None or each.picture.size_bytes <= LARGE_BYTES:
            continue
        for publisher in each.publishers:
            if publisher.segment_bytes is None:
                continue
            needed = ROOM * sum(
                other.picture.size_bytes
                for other in facts.inputs
                if other.picture is not None
                and any(p.node == publisher.node for p in other.publishers)
            )
            found = f'{publisher.node} has a shared-memory segment of '
            found += _mb(publisher.segment_bytes)
            if publisher.segment_bytes >= needed:
                yield Finding('ok', 'transport', each.stream.topic, 'segment', found)
            else:
                yield Finding(
                    'warning',
                    'transport',
                    each.stream.topic,
                    'segment',
                    found,
                    f'at least {_mb(needed)}, {ROOM} images of each of its cameras: below, '
                    'frames get lost',
                    f'Where {publisher.node} is started: {_remedy(facts.transport)}',
                )


def _discovery(facts: Facts) -> Iterator[Finding]:
    """Say when nodes of other machines cannot be seen."""
    confined = facts.transport.confined
    if confined:
        missed = any(not each.publishers for each in facts.inputs)
        yield Finding(
            'warning' if missed else 'ok',
            'transport',
            'discovery',
            'range',
            f'{confined}: nodes of other machines are not seen',
            'SUBNET, if the robot is another machine' if missed else '',
            f'`unset {confined.partition("=")[0]}`, on every machine.' if missed else '',
        )


def _sockets(facts: Facts) -> Iterator[Finding]:
    limit = facts.transport.rmem_max_bytes
    remote = [each for each in _large(facts) if any(p.local is False for p in each.publishers)]
    if limit is None:
        return
    if limit >= RMEM_BYTES:
        yield Finding('ok', 'transport', 'net.core.rmem_max', 'socket', _mb(limit))
        return
    topics = ', '.join(each.stream.topic for each in remote)
    yield Finding(
        'warning' if remote else 'ok',
        'transport',
        'net.core.rmem_max',
        'socket',
        _mb(limit) + (f'; {topics} comes from another machine' if remote else ', all is local'),
        f'{_mb(RMEM_BYTES)} or more for images over the network' if remote else '',
        f'Set it: `sudo sysctl -w net.core.rmem_max={16 * 1024 * 1024}`.' if remote else '',
    )


def _load(facts: Facts) -> Iterator[Finding]:
    """Say when rates and ages may be those of a busy machine."""
    load = facts.transport.load
    busy = load > 1.0
    yield Finding(
        'warning' if busy else 'ok',
        'transport',
        'cpu',
        'load',
        f'{load:.2f} per core',
        'at most 1: above, messages are late whatever the sensors do' if busy else '',
        'See what runs: `top`.' if busy else '',
    )


def _large(facts: Facts) -> list[InputFacts]:
    return [
        each
        for each in facts.inputs
        if each.picture is not None and each.picture.size_bytes > LARGE_BYTES
    ]


def _needed(facts: Facts) -> int:
    """Return the room for the largest images seen, in bytes; 0 if all are small."""
    return ROOM * max(
        (each.picture.size_bytes for each in _large(facts) if each.picture), default=0
    )


def _remedy(transport: TransportFacts) -> str:
    return (
        f'`export {transport.profile_variable}=$(ros2 pkg prefix --share pizero_ros)'
        '/config/fastdds_shm.xml`.'
    )


def _mb(size: int) -> str:
    return f'{size / 1e6:.1f} MB'
