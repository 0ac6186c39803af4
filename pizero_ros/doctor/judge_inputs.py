"""Judges input topics: who publishes what, how often, and how old it is on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding
from pizero_ros.doctor.judge_observation import (
    OFTEN,
    is_required,
    judge_contents,
    judge_observation,
)
from pizero_ros.embodiment.schema import Camera
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, InputFacts, Timing
    from pizero_ros.doctor.finding import Severity
    from pizero_ros.embodiment.schema import Embodiment

RATE_SHARE = 0.8
"""A rate further from the declared one than this share, either way, is worth a word."""

MISSING_SHARE = 0.01
"""The share of missing messages from which the policy node warns, too."""

OTHER_CLOCK_S = 60.0
"""No transport delays a message by this much: the stamp is of another clock."""


def judge_inputs(embodiment: Embodiment, facts: Facts) -> list[Finding]:
    """Return the findings on every input, in the order of the embodiment file."""
    findings: list[Finding] = []
    for each in facts.inputs:
        findings += _input(embodiment, each, facts)
    return [*findings, *judge_observation(embodiment, facts)]


def _input(embodiment: Embodiment, each: InputFacts, facts: Facts) -> Iterator[Finding]:
    topic = each.stream.topic
    wrong: Severity = 'error' if is_required(each) else 'warning'
    if each.taken is False and facts.policy is not None:
        yield Finding(
            wrong,
            'input',
            topic,
            'subscription',
            f'{facts.policy.node} does not listen to it',
            'its subscription: the topic has been remapped, or it runs another embodiment',
            f'See what it listens to: `ros2 node info {facts.policy.node}`.',
        )
    if not each.publishers:
        yield Finding(
            wrong,
            'input',
            topic,
            'publisher',
            'nobody publishes it',
            f'a publisher of {each.type}',
            _elsewhere(embodiment, each),
        )
        return
    yield from _publishers(embodiment, each, wrong)
    if not any(p.type == each.type and not p.mismatch for p in each.publishers):
        return
    if each.timing is None:
        yield Finding(
            wrong,
            'input',
            topic,
            'messages',
            f'none in {facts.listened_s:.1f} s',
            f'{each.stream.rate_hz:g} a second',
            f'See whether the driver works: `ros2 topic hz {topic}`; across machines, whether '
            'multicast and the firewall let it through.',
        )
        return
    yield from _timing(embodiment, each, each.timing, facts)
    yield from judge_contents(embodiment, each, facts)


def _publishers(embodiment: Embodiment, each: InputFacts, wrong: Severity) -> Iterator[Finding]:
    topic = each.stream.topic
    types = sorted({publisher.type for publisher in each.publishers})
    names = ', '.join(sorted({p.node or 'a nameless node' for p in each.publishers}))
    right = [publisher for publisher in each.publishers if publisher.type == each.type]
    if types == [each.type]:
        yield Finding('ok', 'input', topic, 'publisher', f'{names} publishes {each.type}')
    else:
        yield Finding(
            'warning' if right else wrong,
            'input',
            topic,
            'type',
            f'{names} publishes {" and ".join(types)}',
            each.type,
            _elsewhere(embodiment, each),
        )
    if isinstance(each.stream, Camera) and len(right) > 1:
        yield Finding(
            'warning',
            'input',
            topic,
            'publisher',
            f'{len(right)} publishers: {names}',
            'one: pictures of several would alternate',
            f'See who they are: `ros2 topic info -v {topic}`; stop all but one.',
        )
    for publisher in right:
        if publisher.mismatch:
            yield Finding(
                wrong,
                'input',
                topic,
                'qos',
                f'{publisher.node}: {publisher.mismatch}',
                'a publisher that fits a best-effort, volatile subscription',
                f'Change the QoS of {publisher.node or "the publisher"}.',
            )
    for deaf in each.deaf:
        yield Finding(
            'warning',
            'input',
            topic,
            'qos',
            f'{deaf.node or "a subscription"} gets nothing: {deaf.mismatch}',
            'a subscription that fits the publisher; the policy has one',
            f'Let {deaf.node or "it"} subscribe best effort and volatile.',
        )


def _timing(
    embodiment: Embodiment, each: InputFacts, timing: Timing, facts: Facts
) -> Iterator[Finding]:
    stream = each.stream
    topic, nominal = stream.topic, stream.rate_hz
    wrong: Severity = 'error' if is_required(each) else 'warning'
    if timing.received > 1 and timing.longest_gap_s == 0.0:
        pass  # The clock stands still, which is told elsewhere.
    elif RATE_SHARE * nominal <= timing.rate_hz <= nominal / RATE_SHARE:
        yield Finding('ok', 'input', topic, 'rate', f'{timing.rate_hz:.1f} Hz')
    else:
        yield Finding(
            'warning',
            'input',
            topic,
            'rate',
            f'{timing.rate_hz:.1f} Hz, longest gap {timing.longest_gap_s:.3f} s',
            f'{nominal:g} Hz',
            f'Let the driver publish at {nominal:g} Hz, or set rate_hz of {topic} in '
            f'{embodiment.source}.',
        )
    counters = each.status.counters if each.status else None
    if counters is not None and timing.rate_hz >= RATE_SHARE * nominal:
        share = counters.missing / max(counters.missing + counters.received, 1)
        # One gap or two are more than that share of a short look, and say nothing.
        if share > MISSING_SHARE and counters.missing > 2:
            yield Finding(
                'warning',
                'input',
                topic,
                'missing',
                f'{counters.missing} of {counters.missing + counters.received} messages, by '
                'the gaps between stamps',
                f'at most {MISSING_SHARE:.0%}',
                'See the findings on transport; if there are none, the publisher skips frames.',
            )
    if counters is not None and counters.out_of_order:
        yield Finding(
            'warning',
            'input',
            topic,
            'order',
            f'{counters.out_of_order} of {counters.received} messages stamped no later than '
            'the one before, and dropped',
            'stamps that grow',
            f'See the stamps: `ros2 topic echo {topic} --field header.stamp`.',
        )
    if stream.stamp == 'header' and timing.unstamped:
        yield Finding(
            wrong if timing.unstamped == timing.received else 'warning',
            'input',
            topic,
            'stamp',
            f'{timing.unstamped} of {timing.received} messages have a zero stamp, and are dropped',
            'the time of the measurement',
            f"Let the driver stamp them, or set 'stamp: receive' for {topic} in "
            f'{embodiment.source}.',
        )
    if stream.stamp == 'header' and timing.age_s is not None:
        yield _age(embodiment, each, timing, facts)
    elif stream.stamp == 'receive' and timing.stale_share > 0:
        yield Finding(
            wrong if timing.stale_share > OFTEN else 'warning',
            'input',
            topic,
            'age',
            f'nothing for up to {timing.longest_gap_s:.3f} s',
            f'at most {stream.max_age_s:g} s between messages',
            f'See the rate: `ros2 topic hz {topic}`.',
        )


def _age(embodiment: Embodiment, each: InputFacts, timing: Timing, facts: Facts) -> Finding:
    stream, topic = each.stream, each.stream.topic
    low, middle, high = timing.age_s or (0.0, 0.0, 0.0)
    wrong: Severity = 'error' if is_required(each) else 'warning'
    clock = f'the {facts.clock.used} clock'
    limit = f'at most {stream.max_age_s:g} s by {clock}'
    if abs(middle) > OTHER_CLOCK_S:
        remedy = (
            'Set use_sim_time alike on every node: true exactly if /clock is published.'
            if facts.clock.publishers or facts.clock.used == 'simulated' or middle > 1e6
            else 'Synchronise the clocks of the machines (chrony), or set '
            f"'stamp: receive' for {topic} in {embodiment.source}."
        )
        found = f'{abs(middle):.1f} s in the {"past" if middle > 0 else "future"}: another clock'
        return Finding(wrong, 'input', topic, 'age', found, limit, remedy)
    if low < -stream.max_age_s:
        return Finding(
            wrong if middle < -stream.max_age_s else 'warning',
            'input',
            topic,
            'age',
            f'stamped up to {-low:.3f} s in the future',
            f'no later than now by {clock}',
            "Synchronise the machines' clocks (chrony), or set 'stamp: receive' for "
            f'{topic} in {embodiment.source}.',
        )
    found = f'{middle * 1e3:.0f} ms on arrival, at most {high * 1e3:.0f} ms'
    if timing.stale_share == 0.0:
        return Finding('ok', 'input', topic, 'age', found)
    found += f'; too old for {timing.stale_share:.1%} of the time'
    remedy = f'See the delay: `ros2 topic delay {topic}`.'
    if middle < stream.max_age_s:
        remedy += f' The longest gap between messages was {timing.longest_gap_s:.3f} s.'
    else:
        remedy += f' If that is the sensor, raise its max_age_s in {embodiment.source}.'
    severity: Severity = wrong if timing.stale_share > OFTEN else 'warning'
    return Finding(severity, 'input', topic, 'age', found, limit, remedy)


def _elsewhere(embodiment: Embodiment, each: InputFacts) -> str:
    """Say where such messages are to be had."""
    topic = each.stream.topic
    if not each.elsewhere:
        return f'Start its driver; no topic has messages of {each.type}.'
    hint = suggestion(topic, each.elsewhere)
    listed = ', '.join(each.elsewhere[:8]) + (', …' if len(each.elsewhere) > 8 else '')
    text = f'Start its driver, or name another topic in {embodiment.source}: {listed}.'
    return f'{text} {hint}' if hint else text
