"""Chunks that a live policy made, made again from the recording of what it heard."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pizero_ros.errors import BagError
from pizero_ros.observation.intake import stamp_ns
from pizero_ros.policy.noise import ContinuousNoise, make_noise
from pizero_ros.replay.rebuild import Seen, rebuild
from pizero_ros.replay.recording import decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.noise import NoiseSource
    from pizero_ros.policy.opened import Predictor
    from pizero_ros.replay.bag import Bag

CHUNK = 'pizero_ros/msg/ActionChunk'


class Reproduced(NamedTuple):
    """One chunk, made again.

    Attributes:
        sequence: Its number since the node was activated.
        stamp_ns: Stamp of its observation.
        difference: Largest difference between an action of it as recorded and as made again,
            in the robot vector's units (m, rad, m/s, rad/s).
    """

    sequence: int
    stamp_ns: int
    difference: float


def reproduce(
    source: Bag,
    recording: Bag,
    embodiment: Embodiment,
    predictor: Predictor,
    *,
    noise: str = 'auto',
    noise_seed: int = 0,
    topic: str = '',
) -> list[Reproduced]:
    """Make every recorded chunk again: the same observation, the same noise, the same policy.

    Args:
        source: What the policy node heard.
        recording: What it said; may be the same recording.
        embodiment: Its robot.
        predictor: Its policy, with its provider and number of Euler steps.
        noise: Its parameter ``noise``.
        noise_seed: Its parameter ``noise_seed``.
        topic: Topic of the chunks; empty where the recording has only one.

    Returns:
        One entry for each chunk, in the order of the recording.

    Raises:
        BagError: There is no chunk; one is of another robot, or was made to agree with the chunk
            before it (``leftover_steps``, scheduling ``rtc``), which a recording does not tell in
            full; its messages are not in ``source``; or the origin of its noise is unknown.
        PizeroError: An observation cannot become model inputs.
    """
    topic = topic or _only_topic(recording)
    chunks = [sensed.message for sensed in decoded(recording, [topic])]
    if not chunks:
        raise BagError.at(recording.path, topic, found='no message', expected='a chunk')
    for chunk in chunks:
        _check(recording, topic, chunk, embodiment)

    def new_noise() -> NoiseSource:
        return make_noise(noise, noise_seed, embodiment.rate_hz, untrained=predictor.untrained)

    noises = _noises(f'{recording.path}: {topic}', chunks, new_noise)
    differences = [0.0] * len(chunks)
    for index, observations in rebuild(source, embodiment, [_seen(chunk) for chunk in chunks]):
        predictor.noise = noises[index]
        differences[index] = min(_difference(chunks[index], predictor, o) for o in observations)
    return [
        Reproduced(int(chunk.sequence), stamp_ns(chunk.header.stamp), difference)
        for chunk, difference in zip(chunks, differences, strict=True)
    ]


def _only_topic(recording: Bag) -> str:
    topics = [t.name for t in recording.topics.values() if t.msgtype == CHUNK and t.count]
    if len(topics) != 1:
        raise BagError.at(
            recording.path,
            CHUNK,
            found=', '.join(topics) or 'no message of this type',
            expected='one topic of chunks',
            remedy='Choose one.' if topics else 'Record ~/chunk of the policy node.',
        )
    return topics[0]


def _check(recording: Bag, topic: str, chunk: Any, embodiment: Embodiment) -> None:
    where = f'{recording.path}: {topic}'
    if not len(getattr(chunk, 'streams', ())):
        raise BagError.at(
            where,
            'streams',
            found='nothing',
            expected='the stamps of what the chunk was made from',
            remedy='Record it with a policy node of this version.',
        )
    if chunk.embodiment != embodiment.name:
        raise BagError.at(where, 'embodiment', found=chunk.embodiment, expected=embodiment.name)
    if chunk.leftover_steps:
        raise BagError.at(
            where,
            'leftover_steps',
            found=f'{chunk.leftover_steps} in chunk {chunk.sequence}',
            expected='0: a chunk that follows from its observation and noise alone',
            remedy='Run the node with another scheduling than rtc: what its chunks were made to '
            'agree with, and from which step on, is in no recording.',
        )


def _seen(chunk: Any) -> Seen:
    stamp = stamp_ns(chunk.header.stamp)
    now_ns = stamp + round(chunk.newest_age_s * 1e9)
    return Seen(
        stamps_ns=dict(zip(chunk.streams, map(stamp_ns, chunk.stream_stamps), strict=True)),
        now_ns=now_ns,
        oldest_ns=now_ns - round(chunk.oldest_age_s * 1e9),
        prompt=chunk.prompt,
    )


def _noises(
    where: str, chunks: list[Any], new_noise: Callable[[], NoiseSource]
) -> list[NoiseSource]:
    """Return the noise of each chunk; a node starts it anew with each activation."""
    found: dict[int, NoiseSource] = {}
    activations = _activations([int(chunk.sequence) for chunk in chunks])
    for activation in set(activations):
        own = [c for c, a in zip(chunks, activations, strict=True) if a == activation]
        first = min(own, key=lambda chunk: int(chunk.sequence))
        noise = found[activation] = new_noise()
        if isinstance(noise, ContinuousNoise):
            if first.sequence:
                raise BagError.at(
                    where,
                    'sequence',
                    found=f'{first.sequence} first',
                    expected='0: continuous noise counts from the first observation',
                    remedy='Start to record before the policy is activated.',
                )
            noise(stamp_ns(first.header.stamp), 1, 1)
    return [found[activation] for activation in activations]


def _activations(sequences: list[int]) -> list[int]:
    """Number the activations that chunks belong to; each counts its chunks from 0.

    As long as no number comes twice there was one, in whatever order: on a clock that was set
    back, as by a looped recording, later chunks are recorded among earlier ones.
    """
    if len(set(sequences)) == len(sequences):
        return [0] * len(sequences)
    again = [later <= earlier for earlier, later in pairwise(sequences)]
    return [0, *accumulate(map(int, again))]


def _difference(chunk: Any, predictor: Predictor, observation: Observation) -> float:
    recorded = np.reshape(chunk.actions, (chunk.horizon, chunk.width))
    actions = predictor(observation).actions
    if actions.shape != recorded.shape:
        raise BagError.at(
            'actions',
            '',
            found=f'{recorded.shape} in the recording',
            expected=f'{actions.shape}, as this policy gives them',
            remedy='Name the bundle that the node ran.',
        )
    return float(np.abs(actions - recorded).max())
