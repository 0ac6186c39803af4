"""One robot's run, simulated or from a bag: processes up, a measured stretch, processes down."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pizero_ros.demo.installation import free_domain
from pizero_ros.demo.metrics import (
    Window,
    group_results,
    joint_results,
    largest_speed,
    stream_results,
)
from pizero_ros.demo.observer import Observer
from pizero_ros.demo.processes import Processes
from pizero_ros.demo.results import ProcessResult, RobotResult, TopicResult
from pizero_ros.demo.stages import (
    POLICY,
    REPLAY,
    ROBOT,
    STARTUP_LIMIT_S,
    TICK_S,
    Measured,
    RunFailed,
    Stages,
)
from pizero_ros.msg import PolicyStatus
from pizero_ros.replay.recording import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pizero_ros.demo.processes import Exit
    from pizero_ros.demo.recording import Recording, Status
    from pizero_ros.demo.stages import Plan, Progress
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.bag import Bag

SETTLE_S = 0.5
"""Time in which a robot that was told to hold comes to rest."""

CLOSING_S = 0.2
"""What a bag's last messages need to get through the policy node."""

_STATES = {
    PolicyStatus.STATE_INACTIVE: 'inactive',
    PolicyStatus.STATE_RUNNING: 'running',
    PolicyStatus.STATE_HOLDING: 'holding',
    PolicyStatus.STATE_DRY_RUN: 'dry run',
    PolicyStatus.STATE_FAULT: 'fault',
}


def run_simulated(plan: Plan, progress: Progress) -> tuple[RobotResult, Recording, Window]:
    """Run robot and policy for ``plan.seconds`` from the first trajectory on."""
    embodiment = plan.embodiment
    domain = free_domain()
    stats_file = plan.out / 'logs' / f'{embodiment.name}.{ROBOT}.json'
    stats_file.unlink(missing_ok=True)
    measured = Measured()
    with (
        Observer(embodiment, domain) as observer,
        Processes({**plan.env, 'ROS_DOMAIN_ID': str(domain)}, plan.out / 'logs') as processes,
    ):
        run = Stages(plan, processes, observer, measured, progress)
        robot = run.start(ROBOT, {'embodiment': embodiment.source, 'stats_file': str(stats_file)})
        policy = run.start(POLICY, _policy_parameters(plan))
        try:
            run.activate()
            run.wait_for_first(lambda: _moves(embodiment, observer.recording), 'trajectory')
            run.measure(lambda elapsed_s: elapsed_s / plan.seconds, [robot, policy])
            run.wait_for_status()
        except RunFailed as failure:
            measured.error, measured.tail = str(failure), failure.tail
        exits = [policy.stop()]
        measured.stopped_ns = time.time_ns()
        time.sleep(SETTLE_S)
        exits.insert(0, robot.stop())
        last_ns = time.time_ns()
    stats = _read(stats_file)
    recording = observer.recording
    result = _result(
        plan,
        measured,
        recording,
        exits,
        mode='simulated',
        counts=stats.get('groups', {}),
        # Joint states are sent reliably, so what the observer has is what was sent.
        stamps={**recording.state_stamps, **stats.get('frame_stamps_ns', {})},
        domain=domain,
    )
    names = [joint.name for joint in embodiment.action_joints]
    rest = Window(measured.stopped_ns + round((SETTLE_S - 0.1) * 1e9), last_ns)
    simulator: dict[str, Any] = {
        key: stats[key] for key in ('sim_wall_ratio', 'frames_skipped', 'faults') if key in stats
    }
    after = largest_speed(recording.velocities, names, rest)
    result = replace(result, simulator=simulator, after_stop_speed=after)
    return result, recording, measured.window or Window(0, last_ns)


def run_recorded(
    plan: Plan, bag: Bag, progress: Progress
) -> tuple[RobotResult, Recording, Window]:
    """Play a whole bag to the policy; controller models judge what it sends."""
    embodiment = plan.embodiment
    domain = free_domain()
    stats_file = plan.out / 'logs' / f'{embodiment.name}.{REPLAY}.json'
    stats_file.unlink(missing_ok=True)
    measured = Measured()
    length_s = max((bag.end_ns - bag.start_ns) * 1e-9, TICK_S)
    inputs = [camera.topic for camera in embodiment.cameras]
    inputs += [source.topic for source in embodiment.state]
    with (
        Observer(embodiment, domain, bag) as observer,
        Processes({**plan.env, 'ROS_DOMAIN_ID': str(domain)}, plan.out / 'logs') as processes,
    ):
        run = Stages(plan, processes, observer, measured, progress)
        remaps = {'~/prompt': INSTRUCTION} if INSTRUCTION in bag.topics else {}
        parameters = _policy_parameters(plan) | {'use_sim_time': True, 'replay': True}
        policy = run.start(POLICY, parameters, {} if plan.prompt else remaps)
        exits: list[Exit] = []
        try:
            run.activate()
            replay = run.start(
                REPLAY,
                {
                    'bag': str(bag.path.resolve()),
                    'wait_for': [topic for topic in inputs if topic in bag.topics],
                    'start_delay_s': 1.0,
                    'stats_file': str(stats_file),
                },
                finite=True,
            )
            recording = observer.recording
            run.wait_for_first(lambda: recording.messages, 'message of the bag')
            # The replay node says when the bag is over; the limit is for one that never does.
            run.measure(
                lambda elapsed_s: (
                    1.0
                    if not replay.running or elapsed_s > length_s + STARTUP_LIMIT_S
                    else min(elapsed_s / length_s, 0.99)
                ),
                [policy],
                picture_share_s=length_s,
            )
            time.sleep(CLOSING_S)
            run.wait_for_status()
            exits.append(replay.stop())
        except RunFailed as failure:
            measured.error, measured.tail = str(failure), failure.tail
        exits.append(policy.stop())
        time.sleep(SETTLE_S)
    stats = _read(stats_file)
    recording = observer.recording
    sent = stats.get('sent', {})
    measured.window = Window(bag.start_ns, bag.end_ns)
    result = _result(
        plan,
        measured,
        recording,
        exits,
        mode='recorded',
        counts=observer.counts(),
        totals=sent,
        domain=domain,
    )
    topics = tuple(
        TopicResult(name, topic.count, sent.get(name, 0), recording.messages[name])
        for name, topic in bag.topics.items()
    )
    configuration = {**result.configuration, 'bag': str(bag.path), 'bag_seconds': length_s}
    result = replace(result, bag_topics=topics, configuration=configuration)
    return result, recording, measured.window


def _policy_parameters(plan: Plan) -> dict[str, object]:
    return {
        'embodiment': plan.embodiment.source,
        'bundle': str(plan.bundle.resolve()),
        'prompt': plan.prompt,
    }


def _moves(embodiment: Embodiment, recording: Recording) -> bool:
    """Tell whether an arm has been sent a trajectory that is not a hold."""
    arms = {group.name for group in embodiment.actions if group.output == 'joint_trajectory'}
    return any(each.group in arms and not each.is_hold for each in recording.trajectories)


def _read(path: Path) -> dict[str, Any]:
    """Return the statistics that a node wrote; nothing if it ended before it could."""
    if not path.is_file():
        return {}
    stats: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    return stats


def _result(
    plan: Plan,
    measured: Measured,
    recording: Recording,
    exits: Sequence[Exit],
    *,
    mode: str,
    counts: Mapping[str, Mapping[str, Any]],
    domain: int,
    stamps: Mapping[str, Sequence[int]] | None = None,
    totals: Mapping[str, int] | None = None,
) -> RobotResult:
    embodiment = plan.embodiment
    active = [s for s in recording.statuses if s.state != PolicyStatus.STATE_INACTIVE]
    last: Status | None = active[-1] if active else None
    cpu = measured.cpu_percent or {}
    window = measured.window or Window(0, 2**63 - 1)
    return RobotResult(
        embodiment=embodiment.name,
        description=embodiment.description,
        mode=mode,
        error=measured.error,
        log_tail=measured.tail,
        horizon_expected=embodiment.horizon,
        chunk_horizon=recording.chunks[0].horizon if recording.chunks else None,
        chunks=len(recording.chunks),
        chunks_sent=sum(chunk.sent for chunk in recording.chunks),
        groups=group_results(recording, embodiment, counts),
        streams=stream_results(
            embodiment,
            recording.statuses if totals is not None else active,
            recording.stream_counters,
            stamps=stamps,
            totals=totals,
        ),
        joints=joint_results(recording, embodiment, window),
        latency_ms={
            phase: {'p50': p50, 'p95': p95}
            for phase, (p50, p95) in (last.latency_ms if last else {}).items()
        },
        counters=last.counters if last else {},
        interventions=last.interventions if last else {},
        policy_state=_STATES[last.state] if last else '',
        policy_reason=last.reason if last else '',
        processes=tuple(
            ProcessResult(each.name, each.code, each.signal, cpu.get(each.name)) for each in exits
        ),
        startup_s=measured.startup_s,
        measured_s=measured.seconds,
        configuration={
            'embodiment_file': embodiment.source,
            'bundle': str(plan.bundle),
            'prompt': last.prompt if last else plan.prompt,
            'provider': last.provider if last else '',
            'scheduling': last.scheduling if last else '',
            'rate_hz': embodiment.rate_hz,
            'executed_steps': embodiment.executed_steps,
            'published_steps': embodiment.published_steps,
            'lead_steps': embodiment.lead_steps,
            'ros_domain_id': domain,
        },
    )
