"""What the planner node says about itself: ~/plan as JSON, and /diagnostics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from pizero_ros.nodes.messages import time_message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.planner.execution import PlanView

SCHEMA = 1

SWITCHED_OFF = 'the policy went on without a prompt and was switched off'


def plan_json(
    plan: PlanView, *, planner: str, now_ns: int, switched_off: bool, counts: Mapping[str, int]
) -> str:
    """Return the plan as one line of JSON; ``docs/planner.md`` describes the keys.

    Args:
        plan: The plan.
        planner: Its kind.
        now_ns: The node's clock.
        switched_off: Whether ``~/enable`` of the policy was called.
        counts: Event → how often.
    """
    content: dict[str, Any] = {
        'schema': SCHEMA,
        'stamp_ns': now_ns,
        'planner': planner,
        'state': plan.state,
        'instruction': plan.instruction,
        'step': plan.step,
        'prompt': plan.prompt,
        'until': plan.until,
        'elapsed_s': round(plan.elapsed_s, 3),
        'limit_s': plan.limit_s,
        'finished': [
            {**each._asdict(), 'elapsed_s': round(each.elapsed_s, 3)} for each in plan.finished
        ],
        'reason': plan.reason,
        'policy': plan.policy._asdict(),
        'switched_off': switched_off,
        'counts': dict(counts),
    }
    return json.dumps(content, ensure_ascii=False)


def plan_diagnostics(
    plan: PlanView,
    node_name: str,
    *,
    planner: str,
    now_ns: int,
    switched_off: bool,
    counts: Mapping[str, int],
) -> DiagnosticArray:
    """Return one diagnostic status; arguments as of ``plan_json``."""
    level, text = DiagnosticStatus.OK, str(plan.state)
    if switched_off:
        level, text = DiagnosticStatus.ERROR, SWITCHED_OFF
    elif plan.state == 'failed':
        level, text = DiagnosticStatus.ERROR, f'failed: {plan.reason}'
    elif plan.state == 'running':
        text = f'{plan.prompt!r} for {plan.elapsed_s:.0f} of {plan.limit_s:g} s'
        if plan.policy.state not in ('running', 'dry_run'):
            level = DiagnosticStatus.WARN
            text += f'; the policy is {plan.policy.state} {plan.policy.reason}'.rstrip()
        elif plan.policy.prompt != plan.prompt:
            level = DiagnosticStatus.WARN
            text += f'; the policy follows {plan.policy.prompt!r}'
    values = {
        'planner': planner,
        'state': plan.state,
        'instruction': plan.instruction,
        'prompt': plan.prompt,
        'reason': plan.reason,
        'subtasks finished': len(plan.finished),
        'policy': f'{plan.policy.state} {plan.policy.reason}'.rstrip(),
        **counts,
    }
    message = DiagnosticArray()
    message.header.stamp = time_message(now_ns)
    message.status = [
        DiagnosticStatus(
            level=level,
            name=f'{node_name}: plan',
            message=text,
            hardware_id='pizero_ros',
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
    ]
    return message
