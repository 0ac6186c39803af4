"""The rules of twists and gripper goals, written apart from the streams that they judge."""

from __future__ import annotations

import math

import numpy as np
from hostile_arms import ROUNDING


class BaseWatch:
    """One base: what was sent, where that has taken it, and the rules of its twists."""

    def __init__(self, group, step_ns):
        self.name = group.name
        self.axes = tuple(joint.name for joint in group.joints)
        self.velocity = np.array([joint.velocity for joint in group.joints])
        self.acceleration = np.array(
            [math.inf if each.acceleration is None else each.acceleration for each in group.joints]
        )
        self.workspace = group.workspace
        self.step_ns = step_ns
        self.sent = np.zeros(len(self.axes))
        self.sent_ns = None
        self.stamp_ns = None
        self.driving = False
        self.streaming = False
        self.accepted_ns, self.end_ns = 0, None
        self.located = None
        self.pose = np.zeros(3)
        self.outside_m = 0.0
        self._moved_ns = 0

    def reset(self, now_ns):
        """Forget what was sent: the stream starts anew, from rest."""
        self.sent, self.sent_ns, self.stamp_ns = np.zeros(len(self.axes)), None, None
        self.driving = self.streaming = False
        self.located = None
        self._moved_ns = now_ns

    def move(self, now_ns):
        """Drive as told until now; a base stops by itself one step after its last command."""
        seconds = max(min(now_ns - self._moved_ns, self.step_ns), 0) * 1e-9
        self._moved_ns = now_ns
        motion = dict(zip(self.axes, self.sent * seconds, strict=True))
        x, y = motion.get('linear.x', 0.0), motion.get('linear.y', 0.0)
        cos, sin = math.cos(self.pose[2]), math.sin(self.pose[2])
        self.pose += [cos * x - sin * y, sin * x + cos * y, motion.get('angular.z', 0.0)]
        if self.workspace is not None:
            for at, (lower, upper) in zip(
                self.pose, (self.workspace.x, self.workspace.y), strict=False
            ):
                self.outside_m = max(self.outside_m, lower - at, at - upper)

    def check(self, command, now_ns, at_ns, timeout_ns):
        """Check a twist of a tick; ``at_ns`` is the controllers' time of it."""
        values = command.values
        assert command.axes == self.axes
        assert command.stamp_ns == now_ns
        assert self.stamp_ns is None or now_ns >= self.stamp_ns, 'time goes back'
        assert self.streaming, 'a twist from a stream that is silent'
        assert np.isfinite(values).all()
        assert (np.abs(values) <= self.velocity * (1 + ROUNDING)).all(), f'{values} too fast'
        if values.any():
            assert self.driving, 'motion without a chunk'
            assert timeout_ns is None or at_ns - self.accepted_ns <= timeout_ns, 'timed out'
            assert self.end_ns is None or at_ns < self.end_ns, 'after the published steps'
            self._check_ramp(values, now_ns)
        self.sent, self.sent_ns, self.stamp_ns = values, now_ns, now_ns

    def stop(self, command, now_ns):
        """Check the twist of a stop, None if there was none."""
        if self.streaming:
            assert command is not None, 'no zero on stop'
            assert not command.values.any()
            assert command.stamp_ns == now_ns
            self.sent, self.sent_ns, self.stamp_ns = command.values, now_ns, now_ns
        else:
            assert command is None
        self.driving = self.streaming = False

    def _check_ramp(self, values, now_ns):
        elapsed_ns = self.step_ns
        if self.sent_ns is not None:
            elapsed_ns = max(min(now_ns - self.sent_ns, self.step_ns), 1)
        most = self.acceleration * elapsed_ns * 1e-9 * (1 + ROUNDING) + 1e-12
        change = np.abs(values - self.sent)
        assert (change <= most).all(), f'ramp of {change}, at most {most}'
        if self.workspace is None or self._located_well(now_ns):
            return
        linear = [i for i, axis in enumerate(self.axes) if axis.startswith('linear')]
        rest = np.maximum(np.abs(self.sent) - most, 0.0) + 1e-9
        assert (np.abs(values) <= rest)[linear].all(), f'{values} without a position'

    def _located_well(self, now_ns):
        pose = self.located
        if pose is None or not np.isfinite(pose[:3]).all():
            return False
        return abs(now_ns - pose.stamp_ns) <= 100_000_000


class GripperWatch:
    """One gripper: what it was told last, and the rules of its goals."""

    def __init__(self, group):
        self.name = group.name
        self.names = tuple(joint.name for joint in group.joints)
        self.lower, self.upper = np.array([joint.position for joint in group.joints]).T
        self.deadband = group.deadband
        self.sent = None
        self.active = False
        self.stamp_ns = None

    def reset(self):
        """Forget what was sent."""
        self.sent = self.stamp_ns = None
        self.active = False

    def check(self, command, now_ns):
        """Check a goal."""
        values = command.positions
        assert self.active, 'a goal without a chunk'
        assert command.joint_names == self.names
        assert command.stamp_ns == now_ns
        assert self.stamp_ns is None or now_ns >= self.stamp_ns, 'time goes back'
        assert np.isfinite(values).all()
        assert ((values >= self.lower) & (values <= self.upper)).all(), f'{values} outside'
        if self.sent is not None:
            assert (np.abs(values - self.sent) > self.deadband).any(), 'a goal without change'
        self.sent, self.stamp_ns = values, now_ns
