"""The rules of trajectories and holds, written apart from the gate that they judge.

Only the controller model is shared with the package. A rule that is broken is an AssertionError.
"""

from __future__ import annotations

import math

import numpy as np

from pizero_ros.control.controller import JointTrajectoryController

ROUNDING = 1e-9
"""Relative slack: speeds are differences of positions, and times are whole nanoseconds."""

CUBIC_PEAK = 2.0
"""A cubic whose mean speed is s and whose ends have v0 and v1 reaches 1.5 s - (v0 + v1) / 4 in
its middle. With s at the limit, v1 zero or along s, and v0 such a peak of before the other way
round, the peak x is at most 1.5 + x / 4 limits: 2. Positions are what bounds a cubic."""

SWING = 1e-9
"""How far a cubic may swing over a position limit by rounding, in raw units."""

FRACTIONS = np.linspace(0.0, 1.0, 9)[None, 1:-1, None]


class ArmWatch:
    """One arm: its two controller models, and the rules of its trajectories."""

    def __init__(self, group, rng):
        joints = group.joints
        self.name = group.name
        self.names = tuple(joint.name for joint in joints)
        self.lower, self.upper = np.array([joint.position for joint in joints]).T
        self.velocity = np.array([joint.velocity for joint in joints])
        self.acceleration = np.array(
            [math.inf if joint.acceleration is None else joint.acceleration for joint in joints]
        )
        self.max_step = np.array([joint.max_step for joint in joints])
        self._index = [joint.index for joint in joints]
        self._offset = np.array([joint.offset for joint in joints])
        self._factor = np.array([joint.sign * joint.scale for joint in joints])
        self.with_velocities = group.velocities
        self.commanded = False
        start = rng.uniform(self.lower, self.upper)
        self.models = [
            JointTrajectoryController(self.names, start, replacement=replacement)
            for replacement in ('discard', 'blend')
        ]
        self._place(start)

    def _place(self, positions):
        self.positions, self.velocities = positions, np.zeros_like(positions)
        self._bound(np.minimum(self.lower, positions), np.maximum(self.upper, positions))

    def _bound(self, lower, upper):
        """Note between what and how fast the controllers may go."""
        most = self.velocity * (CUBIC_PEAK if self.with_velocities else 1.0) * (1 + 1e-6) + 1e-6
        self._bounds = lower.tolist(), upper.tolist(), most.tolist()

    def measure(self, measured):
        """Until it is commanded an arm is where it is measured; return whether that is known."""
        if self.commanded:
            return True
        positions = np.array([measured.get(name, np.nan) for name in self.names])
        if not np.isfinite(positions).all():
            return False
        self.restart(positions)
        return True

    def restart(self, positions=None):
        """Forget what was commanded: at ``positions``, or where the arm is."""
        positions = self.positions if positions is None else positions
        self.commanded = False
        for model in self.models:
            model.reset(positions)
        self._place(positions)

    def sample(self, at_ns):
        """Follow the controllers' commands to a time, and check them between the waypoints."""
        if not self.commanded:
            return
        self.positions, self.velocities = self.models[0].sample(at_ns)
        others, _ = self.models[1].sample(at_ns)
        slack = SWING if self.with_velocities else 1e-12
        # Plain floats, because arrays of two are slower by far, and this is done most.
        for position, speed, other, lower, upper, most in zip(
            self.positions.tolist(), self.velocities.tolist(), others.tolist(), *self._bounds,
            strict=True,
        ):  # fmt: skip
            size = max(1.0, abs(position))
            assert abs(other - position) <= 1e-9 * size, 'the controllers disagree'
            assert lower - slack * size <= position <= upper + slack * size, (
                f'{position} between waypoints, at most {lower} to {upper}'
            )
            assert abs(speed) <= most, f'{speed} between waypoints, at most {most}'

    def hold(self, command, at_ns):
        """Check a hold, and hand it to the controllers."""
        assert command.joint_names == self.names
        assert command.stamp_ns == 0
        assert command.positions.shape == (1, len(self.names))
        slack = 1e-9 * (1.0 + np.abs(self.positions))
        moved = np.abs(command.positions[0] - self.positions)
        assert (moved <= slack).all(), f'a hold {moved} away from the current command'
        if command.velocities is not None:
            assert not command.velocities.any()
        self._take(command, at_ns)

    def near(self, actions):
        """Check that what a chunk asks for first is not further away than ``max_step``."""
        asked = (actions[self._index] - self._offset) / self._factor
        distance = np.abs(asked - self.positions)
        assert (distance <= self.max_step * (1 + ROUNDING) + 1e-12).all(), f'a leap of {distance}'

    def trajectory(self, command, now_ns, at_ns):
        """Check a trajectory that starts from the current command, and hand it on."""
        times = command.time_from_start_ns
        positions = command.positions
        assert command.joint_names == self.names
        assert command.stamp_ns == now_ns, 'not stamped now'
        assert positions.shape == (len(times), len(self.names))
        assert times.dtype == np.int64
        assert times[0] > 0, 'a waypoint that is not in the future'
        assert (np.diff(times) > 0).all(), 'times do not increase'
        assert np.isfinite(positions).all(), 'positions that are not finite'
        if command.velocities is None:
            assert not self.with_velocities or self._would_overshoot(command)
        else:
            self._check_velocities(command)
        self._check_positions(positions)
        self._check_speed(positions, times * 1e-9)
        self._check_acceleration(positions, times * 1e-9)
        self._take(command, at_ns)

    def _take(self, command, at_ns):
        """Hand a command to both controllers, on their clock."""
        stamped = command.stamp_ns and at_ns
        received = command.__class__(**{**vars(command), 'stamp_ns': stamped})
        inside = np.minimum(self.positions, command.positions.min(axis=0))
        beyond = np.maximum(self.positions, command.positions.max(axis=0))
        self._bound(np.minimum(self.lower, inside), np.maximum(self.upper, beyond))
        self._check_between(command)
        for model in self.models:
            rejection = model.accept(received, at_ns)
            assert rejection is None, f'controller refuses: {rejection}'
        self.commanded = True
        self.sample(at_ns)
        # Samples in between are seldom near the end.
        end_ns = at_ns + int(command.time_from_start_ns[-1])
        assert self.models[0].end_ns == end_ns

    def _check_velocities(self, command):
        velocities = command.velocities
        assert self.with_velocities
        assert velocities.shape == command.positions.shape
        assert np.isfinite(velocities).all(), 'velocities that are not finite'
        assert not velocities[-1].any(), 'the last velocity is not zero'
        assert (np.abs(velocities) <= self.velocity * (1 + ROUNDING)).all()

    def _check_positions(self, positions):
        """Inside the limits, exactly; from outside, inwards at every step."""
        path = np.concatenate([self.positions[None], positions])
        moved = np.diff(path, axis=0)
        for outside, inwards in (
            (positions > self.upper, moved <= 0.0),
            (positions < self.lower, moved >= 0.0),
        ):
            # An earlier step outside is judged too, and the way so far must have been inwards.
            so_far = np.logical_and.accumulate(inwards, axis=0)
            wrong = outside & ~so_far
            assert not wrong.any(), (
                f'{positions[wrong]} outside [{self.lower}, {self.upper}] from {self.positions}'
            )

    def _check_speed(self, positions, times_s):
        step_s = np.diff(times_s, prepend=0.0)[:, None]
        moved = np.abs(np.diff(positions, axis=0, prepend=self.positions[None]))
        slack = _rounding_of(positions, self.positions)
        most = self.velocity * step_s * (1 + ROUNDING) + slack
        assert (moved <= most).all(), f'faster than the limit by {(moved - most).max()}'
        most = self.max_step * (1 + ROUNDING) + slack
        assert (moved[0] <= most).all(), f'first waypoint {moved[0]} away, at most {most}'

    def _check_acceleration(self, positions, times_s):
        """Speed changes, middle to middle of steps, are within the limit or had to exceed it.

        Position is stronger than speed, speed than acceleration: more braking than the limit
        allows is right where less would end beyond a position limit or above the speed limit or
        ``max_step``. More of anything else is wrong. Behind the first step, which starts with a
        speed that was not chosen in view of this path, only steps of another length are an
        excuse: a step must leave room for braking by steps like it.
        """
        if np.isinf(self.acceleration).all():
            return
        step_s = np.diff(times_s, prepend=0.0)
        speed = np.diff(positions, axis=0, prepend=self.positions[None]) / step_s[:, None]
        before = np.concatenate([self.velocities[None], speed[:-1]])
        earlier_s = np.concatenate([step_s[1:2] if len(step_s) > 1 else step_s, step_s[:-1]])
        most = self.acceleration * ((step_s + earlier_s) / 2.0)[:, None]
        noise = _rounding_of(positions, self.positions) / np.minimum(step_s, earlier_s)[:, None]
        change = speed - before
        beyond = np.abs(change) > most * (1 + 1e-6) + 4.0 * noise + 1e-9
        for k, j in np.argwhere(beyond):
            towards = np.sign(before[k, j])
            assert change[k, j] * towards < 0.0, f'accelerates by {change[k, j]} at {k}, {j}'
            assert speed[k, j] * towards >= -1e-9 - noise[k, 0], f'brakes back at {k}, {j}'
            least = abs(before[k, j]) - most[k, j]
            start = positions[k - 1, j] if k else self.positions[j]
            alike = k > 0 and abs(step_s[k] - step_s[k - 1]) < 1e-6 * step_s[k]
            assert not alike, f'brakes too late: {change[k, j]} at {k}, {j}'
            room = max(self.upper[j] - start if towards > 0 else start - self.lower[j], 0.0)
            needed = _way_to_rest(least, step_s[k], self.acceleration[j])
            fast = self.velocity[j]
            if k == 0:
                fast = min(fast, self.max_step[j] / step_s[0])
            assert needed >= room - 1e-9 * (1.0 + abs(start)) or least >= fast * (1 - 1e-6), (
                f'brakes by {change[k, j]} at {k}, {j} with {room} left, {needed} needed'
            )

    def _check_between(self, command):
        """The cubics of a command stay within the limits, or where the arm has been outside."""
        if command.velocities is None:
            return
        lower, upper = np.array(self._bounds[:2])
        at = self._cubics(command)
        assert (at >= lower - SWING).all(), f'a cubic to {at.min(axis=(0, 1))} below {lower}'
        assert (at <= upper + SWING).all(), f'a cubic to {at.max(axis=(0, 1))} above {upper}'

    def _would_overshoot(self, command):
        """Whether the cubic to the first waypoint could leave the limits, whatever its end."""
        length = command.time_from_start_ns[0] * 1e-9
        ahead = self.positions + self.velocities * length
        return bool(((ahead > self.upper) | (ahead < self.lower)).any())

    def _cubics(self, command):
        """Return float64 [N, 7, J]: Hermite's cubics between the waypoints, from now on."""
        p1, v1 = command.positions[:, None], command.velocities[:, None]
        p0 = np.concatenate([self.positions[None, None], p1[:-1]])
        v0 = np.concatenate([self.velocities[None, None], v1[:-1]])
        length = np.diff(command.time_from_start_ns, prepend=0)[:, None, None] * 1e-9
        u = FRACTIONS
        return (
            (1 + 2 * u) * (1 - u) ** 2 * p0
            + u * (1 - u) ** 2 * length * v0
            + u**2 * (3 - 2 * u) * p1
            + u**2 * (u - 1) * length * v1
        )


def _rounding_of(positions, start):
    """Return what differences of these positions may be off by."""
    return 8.0 * np.finfo(np.float64).eps * max(np.abs(positions).max(), np.abs(start).max(), 1e-3)


def _way_to_rest(speed, step_s, acceleration):
    """Return the way of steps, the first at a speed, each slower than the last by the limit."""
    way, per_step = 0.0, acceleration * step_s
    if speed <= 0.0:
        return 0.0
    if speed > 1000.0 * per_step:
        return speed**2 / (2.0 * acceleration)
    while speed > 0.0:
        way += speed * step_s
        speed -= per_step
    return way
