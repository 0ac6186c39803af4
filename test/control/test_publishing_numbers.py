"""How well ways of publishing a chunk follow it: the table of reference/ros2.md section 2.1.

One joint, perfect chunks (action k is the reference at its time), controller at 500 Hz, plant
with a first-order lag of 60 ms, 50 steps at 50 Hz, replanned every 0.4 s, inference 150 ms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pizero_ros.control.asynchronous import Asynchronous
from pizero_ros.control.commander import Commander
from pizero_ros.control.controller import JointTrajectoryController
from pizero_ros.control.joint_values import JointValues
from pizero_ros.control.open_loop import OpenLoop
from pizero_ros.control.trajectory import build, trim

MS = 1_000_000
RATE_HZ = 50.0


def reference(time_ns):
    """Largest speed 1.2 rad/s, accelerations 1.5 rad/s² rms, as in the table."""
    t = np.asarray(time_ns) * 1e-9
    return 0.45 * np.sin(2 * np.pi * 0.3 * t) + 0.07 * np.sin(2 * np.pi * 0.7 * t + 1.0)


def rms_mrad(make, publish, replacement, from_desired=True, seconds=12):
    values = JointValues(make.group('arm', [make.joint('a', 0, velocity=100.0)]))
    start = 1_000 * MS  # a stamp of 0 would mean "now"
    plant = np.array([reference(start)])
    model = JointTrajectoryController(
        ('a',),
        plant.copy(),
        replacement=replacement,
        interpolate_from_desired_state=from_desired,
    )
    errors = []
    for tick in range(seconds * 500):
        now = start + tick * 2 * MS
        elapsed = now - start
        if elapsed % (400 * MS) == 150 * MS:
            observed = now - 150 * MS
            times = observed + np.arange(50) * 20 * MS
            chunk = make.chunk(reference(times)[:, None], observed_ns=observed)
            message = publish(values, chunk, now)
            assert model.accept(message, now) is None
        commanded, _ = model.sample(now, plant)
        plant = plant + (commanded - plant) * (0.002 / 0.060)
        if elapsed > 1_000 * MS:
            errors.append(commanded[0] - reference(now))
    return 1e3 * float(np.sqrt(np.mean(np.square(errors))))


def trimmed(lead):
    def publish(values, chunk, now):
        steps = trim(chunk, now, lead_steps=lead, limit=50)
        return build(values, chunk, steps, now, current=np.zeros(1))

    return publish


def whole(values, chunk, now):
    command = build(values, chunk, range(50), chunk.observed_ns - 1, current=np.zeros(1))
    return replace(command, stamp_ns=0)


def at_observation(values, chunk, now):
    return replace(whole(values, chunk, now), stamp_ns=chunk.observed_ns)


@pytest.mark.parametrize(
    ('publish', 'replacement', 'from_desired', 'low', 'high'),
    [
        (trimmed(2), 'discard', True, 0.0, 0.35),
        (trimmed(2), 'blend', True, 0.0, 0.35),
        (trimmed(0), 'discard', True, 0.0, 0.2),
        (trimmed(0), 'blend', True, 0.0, 0.2),
        (trimmed(0), 'discard', False, 1.0, 5.0),
        (whole, 'discard', False, 85.0, 105.0),
        (whole, 'discard', True, 85.0, 105.0),
        (at_observation, 'discard', True, 0.0, 0.1),
        (at_observation, 'blend', True, 85.0, 105.0),
    ],
    ids=[
        'trimmed_with_lead_discard',
        'trimmed_with_lead_blend',
        'trimmed_discard',
        'trimmed_blend',
        'trimmed_from_measured',
        'whole_at_zero_from_measured',
        'whole_at_zero_from_desired',
        'observation_stamp_discard',
        'observation_stamp_blend',
    ],
)
def test_tracking_error(make, publish, replacement, from_desired, low, high):
    assert low <= rms_mrad(make, publish, replacement, from_desired) <= high


@pytest.mark.parametrize('seed', range(40))
def test_every_message_is_accepted_under_both_rules(make, seed):
    """Random rates, leads, latencies, transport delays and modes, limits hit on purpose."""
    rng = np.random.default_rng(seed)
    rate = float(rng.choice([10.0, 15.0, 18.5, 20.0, 30.0, 50.0, 100.0]))
    horizon = int(rng.integers(8, 60))
    robot = make.robot(
        make.group('arm', [make.joint(f'j{i}', i) for i in range(3)], velocities=bool(seed % 2)),
        rate_hz=rate,
        horizon=horizon,
        executed_steps=int(rng.integers(1, horizon + 1)),
        published_steps=int(rng.integers(1, horizon + 1)),
        lead_steps=int(rng.integers(0, 4)),
    )
    scheduler = (OpenLoop if seed % 3 == 0 else Asynchronous)(robot)
    commander = Commander(robot, scheduler)
    names = ('j0', 'j1', 'j2')
    models = [
        JointTrajectoryController(names, np.zeros(3), replacement=rule)
        for rule in ('discard', 'blend')
    ]
    now = int(rng.integers(1, 10**9)) + 1_700_000_000_000_000_000
    level = np.zeros(3)
    reasons = set()
    for _ in range(60):
        now += int(rng.integers(1, 2 * 10**8))
        request = commander.begin(now)
        arrived = now + int(rng.integers(1, int(1.2e9 * horizon / rate)))
        level = rng.uniform(-0.3, 0.3, 3) if rng.random() < 0.1 else level
        actions = level + np.cumsum(rng.normal(0.0, 0.05, (horizon, 3)), axis=0)
        if rng.random() < 0.05:
            actions[-1, -1] = np.nan
        chunk = make.chunk(actions, observed_ns=now, rate_hz=rate, epoch=request.epoch)
        measured = dict(zip(names, models[0].sample(now)[0], strict=True))
        models[1].sample(now)
        decision = commander.accept(chunk, arrived, measured)
        reasons.add(decision.reason)
        commands = list(decision.commands)
        # A message may travel for up to one step.
        delay = int(rng.integers(0, int(1e9 / rate)))
        commands += [c for c in commander.tick(arrived) if hasattr(c, 'time_from_start_ns')]
        for command in commands:
            for model in models:
                assert model.accept(command, arrived + delay) is None
                model.sample(arrived + delay)
        now = arrived + delay
    assert 'accepted' in reasons
    assert reasons <= {'accepted', 'late', 'refused'}
    assert models[0].accepted == models[1].accepted
    assert not models[0].rejected
