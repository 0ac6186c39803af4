"""Judges speed scaling: controllers that run slower than chunks are timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.control.speed import HIGHEST, PAUSED_BELOW
from pizero_ros.doctor.finding import Finding
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, GroupFacts, SpeedFacts
    from pizero_ros.doctor.finding import Severity
    from pizero_ros.embodiment.schema import Embodiment

FULL = 0.999
"""What is above counts as 1: factors are computed, some as a percentage in single precision."""


def judge_speed(embodiment: Embodiment, facts: Facts) -> list[Finding]:
    """Return the findings on how fast the controllers run."""
    if facts.speed is not None:
        return list(_named(embodiment, facts.speed))
    return [finding for each in facts.groups for finding in _unnamed(embodiment, each)]


def _named(embodiment: Embodiment, speed: SpeedFacts) -> Iterator[Finding]:
    """Judge the source that the embodiment names."""
    source = speed.source
    topic = source.topic
    wrong: Severity = 'error' if source.required else 'warning'
    types = {publisher.type for publisher in speed.publishers}
    if speed.factor is None:
        found = 'nobody publishes it' if not types else f'{" and ".join(sorted(types))}, no factor'
        others = f' Others of this type: {", ".join(speed.elsewhere)}.' if speed.elsewhere else ''
        hint = suggestion(topic, speed.elsewhere)
        yield Finding(
            wrong,
            'controller',
            topic,
            'speed scaling',
            found,
            f'{speed.type} with a factor'
            + (': the robot is held without one' if source.required else ''),
            f'Start its broadcaster, or correct speed_scaling in {embodiment.source}.{others} '
            f'{hint}'.rstrip(),
        )
        return
    if speed.rate_hz * source.max_age_s < 1.0:
        yield Finding(
            'error',
            'controller',
            topic,
            'speed scaling rate',
            f'{speed.rate_hz:.1f} Hz',
            f'a factor at least every {source.max_age_s:g} s: the robot is held in between',
            f'Raise its rate, or speed_scaling.max_age_s in {embodiment.source}.',
        )
    if speed.factor > HIGHEST:
        yield Finding(
            'error',
            'controller',
            topic,
            'speed scaling',
            f'factor {speed.factor:g}: the robot is held',
            'at most 1',
            f'If the topic carries a percentage, set `unit: percent` under speed_scaling in '
            f'{embodiment.source}.',
        )
    elif speed.factor < PAUSED_BELOW:
        yield Finding(
            'warning',
            'controller',
            topic,
            'speed scaling',
            f'factor {speed.factor:.2f}: the controllers are paused, and the robot is held',
            f'at least {PAUSED_BELOW:g}',
            'Release the stop, or raise the speed slider.',
        )
    else:
        found = f'factor {speed.factor:.2f}, followed'
        yield Finding('ok', 'controller', topic, 'speed scaling', found)


def _unnamed(embodiment: Embodiment, each: GroupFacts) -> Iterator[Finding]:
    """Judge what a controller says of itself, which the policy does not listen to."""
    topic = each.group.topic
    state = f'{topic.rpartition("/")[0]}/controller_state'
    if each.speed_problem:
        yield Finding(
            'unknown',
            'controller',
            topic,
            'speed scaling',
            each.speed_problem,
            'a factor of 1',
            'Install it: `sudo apt install ros-$ROS_DISTRO-control-msgs`.',
        )
    elif each.speed is not None and each.speed >= FULL:
        found = f'factor {each.speed:.2f}'
        yield Finding('ok', 'controller', topic, 'speed scaling', found)
    elif each.speed is not None:
        yield Finding(
            'warning',
            'controller',
            topic,
            'speed scaling',
            f'factor {each.speed:.2f}, and {embodiment.name} does not follow it',
            '1: chunks are timed for full speed',
            f'Add `speed_scaling: {{topic: {state}, message: controller_state}}` to '
            f'{embodiment.source}; or set the speed slider to 100 %.',
        )
