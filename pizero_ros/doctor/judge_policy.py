"""Judges the policy node, if one runs, and which clock everybody goes by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.doctor.facts import Facts, PolicyFacts
    from pizero_ros.embodiment.schema import Embodiment

_STATES: dict[str, tuple[str, str]] = {
    'inactive': ('configured, not active', ''),
    'running': ('running', ''),
    'dry_run': ('dry run: nothing is sent', ''),
}


def judge_policy(
    embodiment: Embodiment, facts: Facts, bundle: Path | None = None, node: str = ''
) -> list[Finding]:
    """Return the findings on the policy node.

    Args:
        embodiment: What the robot is expected to be.
        facts: What was gathered.
        bundle: What is expected to run, None for anything.
        node: Full name of the policy node that is expected, empty for none.
    """
    policy = facts.policy
    if policy is None and node:
        remedy = 'See the names: `ros2 node list`.'
        return [Finding('error', 'policy', node, 'node', 'does not run', 'a policy node', remedy)]
    if policy is None:
        found = 'no policy node runs: robot and controllers alone were looked at'
        return [Finding('ok', 'policy', 'policy_node', 'node', found)]
    findings = list(_node(policy))
    findings += _state(policy)
    findings += _same(policy, embodiment, bundle)
    for topic, fault in policy.faults.items():
        found = f'{policy.node} says: {fault}'
        remedy = 'See the findings on this topic, and `ros2 topic echo /diagnostics`.'
        findings.append(
            Finding('warning', 'policy', topic, 'stream', found, 'a healthy stream', remedy)
        )
    return findings


def judge_clock(facts: Facts) -> list[Finding]:
    """Return the findings on /clock and use_sim_time."""
    clock = facts.clock
    names = ', '.join(clock.publishers)
    follows = _follows(facts)
    if clock.ticks == 0 and follows:
        return [
            Finding(
                'error',
                'time',
                '/clock',
                'use_sim_time',
                f'{_policy(facts)} has use_sim_time true, and '
                f'{names + " is silent" if names else "nobody publishes /clock"}: '
                'time stands still',
                'a /clock that ticks, or use_sim_time: false on a real robot',
                f'`ros2 param set {_policy(facts)} use_sim_time false`; or start the simulation '
                'or the bag, and see `ros2 topic hz /clock`.',
            )
        ]
    if clock.ticks == 0:
        return [Finding('ok', 'time', '/clock', 'clock', 'does not tick: system clock')]
    findings = []
    if len(clock.publishers) > 1:
        findings.append(
            Finding(
                'error',
                'time',
                '/clock',
                'publisher',
                f'{len(clock.publishers)} nodes publish it: {names}',
                'one: time would jump to and fro',
                'Stop all but one.',
            )
        )
    if follows is False:
        findings.append(
            Finding(
                'error',
                'time',
                '/clock',
                'use_sim_time',
                f'{names} publishes simulated time, and {_policy(facts)} does not follow it',
                'use_sim_time: true',
                f'`ros2 param set {_policy(facts)} use_sim_time true`.',
            )
        )
    else:
        hint = '' if follows else '; start the policy with use_sim_time:=true'
        found = f'{clock.ticks / facts.listened_s:.0f} ticks a second from {names}{hint}'
        findings.append(Finding('ok', 'time', '/clock', 'clock', found))
    return findings


def _node(policy: PolicyFacts) -> Iterator[Finding]:
    state = f', {policy.lifecycle}' if policy.lifecycle else ''
    yield Finding('ok', 'policy', policy.node, 'node', f'runs{state}')
    if policy.others:
        yield Finding(
            'warning',
            'policy',
            policy.node,
            'node',
            f'{len(policy.others)} more run: {", ".join(policy.others)}',
            'one for each robot',
            'Name the one you mean with --node.',
        )


def _state(policy: PolicyFacts) -> Iterator[Finding]:
    if policy.state in _STATES:
        yield Finding('ok', 'policy', policy.node, 'state', _STATES[policy.state][0])
    elif policy.state == 'holding':
        yield Finding(
            'warning',
            'policy',
            policy.node,
            'state',
            f'holding: {policy.reason or "no reason given"}',
            'running',
            'Mend what it names; it goes on by itself.',
        )
    elif policy.state:
        yield Finding(
            'error',
            'policy',
            policy.node,
            'state',
            f'{policy.state}: {policy.reason or "no reason given"}',
            'running',
            f'Mend what it names, then `ros2 lifecycle set {policy.node} deactivate` and '
            f'`ros2 lifecycle set {policy.node} activate`.',
        )
    elif policy.lifecycle == 'unconfigured':
        yield Finding(
            'warning',
            'policy',
            policy.node,
            'state',
            'unconfigured: no bundle is loaded',
            'inactive or active',
            f'`ros2 lifecycle set {policy.node} configure`; its log says why if it fails.',
        )
    else:
        yield Finding(
            'unknown',
            'policy',
            policy.node,
            'state',
            'no status message came',
            'one a second on ~/status',
            f'`ros2 topic echo {policy.node}/status`.',
        )


def _same(policy: PolicyFacts, embodiment: Embodiment, bundle: Path | None) -> Iterator[Finding]:
    if policy.embodiment and policy.embodiment != embodiment.name:
        yield Finding(
            'error',
            'policy',
            policy.node,
            'embodiment',
            policy.embodiment,
            f'{embodiment.name}, as this look',
            f'Restart it with embodiment:={embodiment.name}, or look with '
            f'--embodiment {policy.embodiment}.',
        )
    running = (policy.parameters or {}).get('bundle')
    if bundle is not None and running and Path(str(running)).resolve() != bundle.resolve():
        yield Finding(
            'warning',
            'policy',
            policy.node,
            'bundle',
            str(running),
            f'{bundle}, as this look',
            'Findings on the bundle are of another one than runs.',
        )


def _follows(facts: Facts) -> bool | None:
    """Return use_sim_time of the policy node, None if it is not known."""
    parameters = facts.policy.parameters if facts.policy else None
    value = (parameters or {}).get('use_sim_time')
    return value if isinstance(value, bool) else None


def _policy(facts: Facts) -> str:
    return facts.policy.node if facts.policy else 'the policy'
