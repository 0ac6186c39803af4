"""The observations that recorded chunks answer, rebuilt from the recording of their sensors."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import BagError
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.intake import Intake
from pizero_ros.observation.refusal import Refusal
from pizero_ros.replay.recording import decoded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from pizero_ros.embodiment.schema import Camera, Embodiment, StateSource
    from pizero_ros.observation.observation import Observation
    from pizero_ros.replay.bag import Bag
    from pizero_ros.replay.recording import Sensed

_OTHER = 'The node lost messages, or heard others than those of this recording.'


@dataclass(frozen=True)
class Seen:
    """What a recorded chunk says about its observation.

    Attributes:
        stamps_ns: Stream (topic) → newest stamp used.
        now_ns: When the observation was taken, node clock.
        oldest_ns: Oldest stamp used.
        prompt: Instruction in force.
    """

    stamps_ns: Mapping[str, int]
    now_ns: int
    oldest_ns: int
    prompt: str


def rebuild(
    source: Bag, embodiment: Embodiment, seen: Sequence[Seen]
) -> Iterator[tuple[int, list[Observation]]]:
    """Rebuild observations in one pass over a recording, holding only what is still needed.

    Streams reach a node in an order of their own, so each is wound to its stamp by itself. Where
    several messages of a state topic fit one stamp, as of two drivers that stamp alike, there is
    more than one observation: the recorded chunk answers one of them.

    Args:
        source: The recording that the node heard.
        embodiment: Its robot.
        seen: What to rebuild.

    Yields:
        Index into ``seen``, and the observations that fit, at least one. In the order of their
        stamps, not of ``seen``.

    Raises:
        BagError: A message is not in the recording, or a stream goes by its arrival.
    """
    topics = _topics(embodiment, seen)
    order = sorted(range(len(seen)), key=lambda index: max(seen[index].stamps_ns.values()))
    pending = deque(order)
    streams = _Streams(embodiment, seen)
    for sensed in decoded(source, topics):
        streams.take(sensed)
        while streams.passed(seen[pending[0]]):
            index = pending.popleft()
            yield index, streams.observations(source.path, seen[index])
            if not pending:
                return
            streams.forget(seen[index], seen[pending[0]])
    for index in pending:
        yield index, streams.observations(source.path, seen[index])


def _all(embodiment: Embodiment) -> list[Camera | StateSource]:
    return [*embodiment.cameras, *embodiment.state]


def _topics(embodiment: Embodiment, seen: Sequence[Seen]) -> list[str]:
    streams = {each.topic: each.stamp for each in _all(embodiment)}
    topics = list(dict.fromkeys(topic for each in seen for topic in each.stamps_ns))
    for topic in topics:
        stamp = streams.get(topic)
        if stamp != 'header':
            raise BagError.at(
                'stream_stamps',
                topic,
                found='no stream of this robot' if stamp is None else 'stamps of arrival',
                expected=f"a stream of {embodiment.source} with 'stamp: header'",
                remedy=''
                if stamp is None
                else 'Which message was used can be told only by the stamp in its header.',
            )
    return topics


class _Streams:
    """Messages by stream, from the oldest that is still needed on."""

    def __init__(self, embodiment: Embodiment, seen: Sequence[Seen]) -> None:
        self._embodiment = embodiment
        self._cameras = {camera.topic for camera in embodiment.cameras}
        self._sources = {source.topic: source for source in embodiment.state}
        self._wanted = Counter(
            (topic, stamp_ns)
            for each in seen
            for topic, stamp_ns in each.stamps_ns.items()
            if topic in self._cameras
        )
        self._pictures: dict[tuple[str, int], Sensed] = {}
        self._states: dict[str, deque[Sensed]] = {topic: deque() for topic in self._sources}
        self._newest: dict[str, int] = {}
        self._max_age_ns = round(max(each.max_age_s for each in _all(embodiment)) * 1e9)

    def take(self, sensed: Sensed) -> None:
        """Keep a message if anything may be made of it."""
        topic, stamp_ns = sensed.topic, sensed.header_ns
        if topic in self._cameras:
            if (topic, stamp_ns) in self._wanted:
                self._pictures.setdefault((topic, stamp_ns), sensed)
        elif _concerns(self._sources[topic], sensed):
            self._states[topic].append(sensed)
        else:
            return
        self._newest[topic] = max(stamp_ns, self._newest.get(topic, 0))

    def passed(self, seen: Seen) -> bool:
        """Tell whether nothing more can come that belongs to an observation."""
        return all(self._newest.get(t, -1) > stamp for t, stamp in seen.stamps_ns.items())

    def forget(self, seen: Seen, following: Seen) -> None:
        """Drop what only this observation needed, when ``following`` is the next one."""
        for topic, stamp_ns in seen.stamps_ns.items():
            self._wanted[topic, stamp_ns] -= 1
            if self._wanted[topic, stamp_ns] <= 0:
                self._pictures.pop((topic, stamp_ns), None)
        for held in self._states.values():
            # The state of a later observation may be older than its pictures, and those than the
            # state of this one, each by no more than the age at which it is stale.
            while held and held[0].header_ns < following.oldest_ns - 2 * self._max_age_ns:
                held.popleft()

    def observations(self, path: Path, seen: Seen) -> list[Observation]:
        """Return every different observation that has these stamps."""
        pictures = [self._picture(path, *each) for each in self._split(seen, self._cameras)]
        ways = [self._prefixes(path, *each) for each in self._split(seen, self._sources)]
        fitting: list[Observation] = []
        refused = ''
        for way in product(*ways):
            observed = self._observe(seen, [each for prefix in way for each in prefix] + pictures)
            if isinstance(observed, Refusal):
                refused = str(observed)
            elif (observed.stamps_ns, observed.oldest_ns) != (seen.stamps_ns, seen.oldest_ns):
                continue
            elif not any(np.array_equal(observed.state, each.state) for each in fitting):
                fitting.append(observed)
        if not fitting:
            raise BagError.at(
                path,
                ', '.join(seen.stamps_ns),
                found=refused or 'other messages than the chunk was made from',
                expected=f'messages up to the stamps {list(seen.stamps_ns.values())}, in ns, of '
                f'which the oldest that counts is {seen.oldest_ns}',
                remedy=_OTHER,
            )
        return fitting

    def _observe(self, seen: Seen, messages: list[Sensed]) -> Observation | Refusal:
        assembler = ObservationAssembler(self._embodiment)
        intake = Intake(self._embodiment, assembler)
        for sensed in messages:
            intake.take(sensed.topic, sensed.message, sensed.header_ns, seen.now_ns)
        return assembler.observe(seen.now_ns, seen.prompt)

    def _split(self, seen: Seen, topics: Collection[str]) -> list[tuple[str, int]]:
        return [(topic, stamp) for topic, stamp in seen.stamps_ns.items() if topic in topics]

    def _picture(self, path: Path, topic: str, stamp_ns: int) -> Sensed:
        if (topic, stamp_ns) not in self._pictures:
            raise _absent(path, topic, stamp_ns)
        return self._pictures[topic, stamp_ns]

    def _prefixes(self, path: Path, topic: str, stamp_ns: int) -> list[list[Sensed]]:
        """Return the messages of a stream up to each point at which this stamp was the newest."""
        newest, prefixes, held = 0, [], list(self._states[topic])
        for count, sensed in enumerate(held, 1):
            newest = max(newest, sensed.header_ns)
            if newest > stamp_ns:
                break
            if newest == stamp_ns:
                prefixes.append(held[:count])
        if not prefixes:
            raise _absent(path, topic, stamp_ns)
        return prefixes


def _concerns(source: StateSource, sensed: Sensed) -> bool:
    """Tell whether a state message has any joint of the robot; others do not count."""
    if source.interface == 'odometry':
        return True
    return not {joint.name for joint in source.joints}.isdisjoint(sensed.message.name)


def _absent(path: Path, topic: str, stamp_ns: int) -> Exception:
    return BagError.at(
        path,
        topic,
        found='no message with the stamp that a chunk was made from',
        expected=f'one stamped {stamp_ns} ns',
        remedy=_OTHER,
    )
