"""Judges what inputs say: joints, pictures, and whether observations can be made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding
from pizero_ros.embodiment.schema import Camera
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, InputFacts
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.refusal import Reason

OFTEN = 0.1
"""A fault in more than this share of the looks, or of the time, is not a hiccup."""

_TIMING_KINDS = ('missing', 'stale', 'future')
"""Reasons that the timing of the topic already tells."""


def is_required(each: InputFacts) -> bool:
    """Tell whether there is no observation without this input."""
    return each.stream.required if isinstance(each.stream, Camera) else True


def judge_contents(embodiment: Embodiment, each: InputFacts, facts: Facts) -> Iterator[Finding]:
    """Judge the joints or pictures of one input, of which messages have come."""
    stream, topic = each.stream, each.stream.topic
    reasons = {
        reason: count
        for reason, count in facts.looks.reasons.items()
        if reason.topic == topic and reason.kind not in (*_TIMING_KINDS, 'skew')
    }
    for reason, count in reasons.items():
        often = count > OFTEN * facts.looks.count
        yield Finding(
            'error' if often else 'warning',
            'input',
            topic,
            reason.kind,
            f'{reason.detail} ({count} of {facts.looks.count} looks)',
            _expected(reason),
            _remedy(embodiment, each, reason),
        )
    fault = each.status.fault if each.status else ''
    if not is_required(each) and fault in ('black', 'frozen', 'noisy', 'undecodable'):
        yield Finding(
            'warning',
            'input',
            topic,
            fault,
            f'the picture is {fault}',
            'a picture; the camera is optional, so the policy runs without it',
            f'See it: `ros2 run rqt_image_view rqt_image_view {topic}`.',
        )
    elif isinstance(stream, Camera) and each.picture is not None and not reasons:
        picture = each.picture
        size = f'{picture.width}x{picture.height} ' if picture.width else ''
        found = f'{size}{picture.encoding}, {picture.size_bytes / 1e6:.2f} MB'
        yield Finding('ok', 'input', topic, 'picture', found)
    elif not isinstance(stream, Camera) and facts.looks.count and not _refused(each, facts):
        found = f'all {len(stream.joints)} values finite and within range'
        yield Finding('ok', 'input', topic, 'joints', found)


def _refused(each: InputFacts, facts: Facts) -> bool:
    """Tell whether anything stood against an input: its values may not have been looked at."""
    return any(reason.topic == each.stream.topic for reason in facts.looks.reasons)


def judge_observation(embodiment: Embodiment, facts: Facts) -> Iterator[Finding]:
    """Judge what the inputs are together."""
    looks = facts.looks
    for reason, count in looks.reasons.items():
        if reason.kind == 'skew':
            yield Finding(
                'error' if count > OFTEN * looks.count else 'warning',
                'input',
                reason.topic,
                'skew',
                f'{reason.detail} ({count} of {looks.count} looks)',
                f'stamps within {embodiment.max_skew_s:g} s of each other',
                'Stamp every sensor with the time of its measurement by one clock; if it is '
                f'that slow, raise staleness.max_skew_s in {embodiment.source}.',
            )
    if looks.count == 0:
        return
    found = f'the policy could have used {looks.fit} of {looks.count} looks'
    refused = 1.0 - looks.fit / looks.count
    if looks.fit == looks.count:
        yield Finding('ok', 'input', 'observation', 'fit', found)
    else:
        yield Finding(
            'error' if refused > OFTEN else 'warning',
            'input',
            'observation',
            'fit',
            found,
            'all of them: it holds the robot at the others',
            'See the findings on the inputs.',
        )


def _expected(reason: Reason) -> str:
    return {
        'malformed': 'arrays of one length, names that occur once',
        'joint': 'every joint of the embodiment',
        'field': 'the values that the embodiment asks for',
        'nonfinite': 'a finite value',
        'range': 'a value that the sensor can report',
        'unread': 'values that were read',
        'undecodable': 'a picture that can be read',
        'black': 'a picture of something',
        'frozen': 'a picture that changes when the robot moves',
        'noisy': 'a picture with less noise than scene',
    }.get(reason.kind, '')


def _remedy(embodiment: Embodiment, each: InputFacts, reason: Reason) -> str:
    topic, source = each.stream.topic, embodiment.source
    if reason.kind == 'joint' and not isinstance(each.stream, Camera):
        absent = [joint.name for joint in each.stream.joints if joint.name not in each.names]
        known = {joint.name for joint in each.stream.joints}
        unused = [name for name in each.names if name not in known]
        hint = suggestion(absent[0], unused) if absent and unused else ''
        text = f'Correct the names under {topic} in {source}, or remap those of the driver.'
        return f'{text} {hint}' if hint else text
    look = f'See it: `ros2 run rqt_image_view rqt_image_view {topic}`'
    return {
        'range': f'If the value is right, correct `range` in {source}; else look for a wrong '
        f'unit (rad, m) or sign at the driver: `ros2 topic echo {topic} --once`.',
        'field': f'Ask for another `field` in {source}, or let the driver fill it.',
        'unread': 'Power and cable of the arm: every servo reports -1 when it does not answer.',
        'black': f'{look}: lens cap, light, exposure, or a camera that has stopped.',
        'frozen': f'{look}; restart its driver.',
        'noisy': f'{look}: light, gain, or a bad cable.',
        'undecodable': 'Set the encoding at the driver: rgb8, bgr8 or mono8, or compressed jpeg.',
    }.get(reason.kind, f'See it: `ros2 topic echo {topic} --once`.')
