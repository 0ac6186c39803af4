"""One look at a live robot, from the graph to the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding
from pizero_ros.doctor.judge_controllers import judge_controllers
from pizero_ros.doctor.judge_inputs import judge_inputs
from pizero_ros.doctor.judge_policy import judge_clock, judge_policy
from pizero_ros.doctor.judge_speed import judge_speed
from pizero_ros.doctor.judge_transport import judge_transport
from pizero_ros.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.doctor.facts import Facts
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.bundle import Bundle


def judge(
    embodiment: Embodiment, facts: Facts, bundle: Path | None = None, node: str = ''
) -> list[Finding]:
    """Return every finding on a live graph.

    Args:
        embodiment: What the robot is expected to be.
        facts: What was gathered.
        bundle: Bundle that is expected to run, None for any.
        node: Full name of the policy node that is expected, empty for none.
    """
    return [
        *judge_policy(embodiment, facts, bundle, node),
        *judge_clock(facts),
        *judge_inputs(embodiment, facts),
        *judge_controllers(embodiment, facts),
        *judge_speed(embodiment, facts),
        *judge_transport(facts),
    ]


def judge_bundle(embodiment: Embodiment, bundle: Bundle | BundleError) -> list[Finding]:
    """Return the findings on a bundle for this robot, or on one that does not open."""
    from pizero_ros.policy.compatibility import examine

    if isinstance(bundle, BundleError):
        remedy = 'Export it again: `pizero export --help`.'
        return [Finding('error', 'bundle', 'bundle', 'open', str(bundle), 'a bundle', remedy)]
    remedy = f'`pizero check {bundle.path} --embodiment {embodiment.name}` says more.'
    return [
        Finding(
            each.severity,
            'bundle',
            each.subject,
            'fit',
            each.message,
            remedy='' if each.severity == 'ok' else remedy,
        )
        for each in examine(bundle, embodiment)
    ]
