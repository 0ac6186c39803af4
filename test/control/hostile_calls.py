"""What else may happen to a commander between two chunks, at any moment and in any order."""

from __future__ import annotations

import numpy as np

from pizero_ros.control.commands import TwistCommand

SPEEDS = (1.0, 1.0005, 0.9, 0.7, 0.3, 0.05, 0.01)
WRONG_SPEEDS = (0.009, 0.0, -0.0, 1e-320, -1.0, 2.0, np.nan, np.inf)


class Calls:
    """The part of a ``Drive`` that holds, stops, resets, sets clocks back, and scales speeds."""

    def halting(self, call, *arguments):
        """Make a call that holds all arms, and check that it does."""
        measured = self.measured()
        known = self.known(measured)
        commands = call(*arguments, self.now_ns, measured)
        self.halted()
        self.expect_holds(commands, known)
        return commands

    def hold(self):
        self.take(self.halting(self.commander.hold), self.now_ns)

    def overdue(self):
        self.take(self.halting(self.commander.overdue, 'late'), self.now_ns)
        self.epoch += 1

    def refuse(self):
        self.refuse_for('stale', 'old')

    def refuse_for(self, kind, text):
        """Refuse an observation: a robot that holds already is told nothing."""
        if self.commander.status().holding:
            assert self.commander.refuse(kind, text, self.now_ns, self.measured()) == []
            return
        self.take(self.halting(self.commander.refuse, kind, text), self.now_ns)

    def stop(self):
        """Stop, try to move all the same, and start anew."""
        self.end(self.halting(self.commander.stop), self.now_ns)
        for _ in range(self.rng.integers(0, 3)):
            self.deliver()
            self.advance(self.step_ns)
            self.tick()
        self.reset()

    def end(self, commands, now_ns):
        """Take what a stop returned."""
        twists = {c.group: c for c in commands if isinstance(c, TwistCommand)}
        self.take([c for c in commands if not isinstance(c, TwistCommand)], now_ns)
        for name, base in self.bases.items():
            base.stop(twists.get(name), now_ns)
        self.stopped = True
        self.epoch += 1

    def reset(self):
        self.epoch += 1
        assert self.commander.reset() == self.epoch
        self.forget()

    def forget(self):
        """Note that nothing counts any more that was commanded."""
        for arm in self.arms.values():
            arm.restart()
        for base in self.bases.values():
            base.reset(self.now_ns)
        for gripper in self.grippers.values():
            gripper.reset()
        self.held = self.stopped = False

    def jump_back(self):
        """Set the clock back, and do what the node does when it notices."""
        ticked_ns = self.now_ns
        self.set_back()
        self.restart(ticked_ns)

    def set_back(self):
        """Set the clock back."""
        self.now_ns -= int(self.rng.choice([150_000_000, 3_000_000_000, 900_000_000_000]))

    def restart(self, ticked_ns):
        """Hold where the robot was at the last tick, stop, and start anew."""
        self.commander.hold(ticked_ns, {})
        self.halted()
        for arm in self.arms.values():
            arm.sample(self.at_ns)
            commanded = arm.commanded
            arm.restart()
            arm.commanded = commanded
        for base in self.bases.values():
            base.stamp_ns = None
        self.at_ns = self.commander.controller_ns(self.now_ns)
        commands = self.commander.stop(self.now_ns, {})
        self.expect_holds(commands, {name: arm.commanded for name, arm in self.arms.items()})
        self.end(commands, self.now_ns)
        self.reset()
        self.past = []

    def jump_forward(self):
        self.advance(int(self.rng.choice([2_000_000_000, 3_600_000_000_000])))
        if self.rng.random() < 0.5:
            self.tick()

    def advance_epoch(self):
        self.epoch += 1
        assert self.commander.advance_epoch() == self.epoch

    def begin_only(self):
        self.begin()

    def fail(self):
        self.commander.fail()

    def resend(self):
        for name, gripper in self.grippers.items():
            self.commander.resend(name)
            gripper.sent = None

    def note(self):
        self.commander.note('gripper', 'no_server', 'nobody')

    def tick_late(self):
        """A tick whose time was read before another thread's call."""
        streams = (*self.bases.values(), *self.grippers.values())
        times = [stream.stamp_ns for stream in streams]
        now_ns = self.now_ns - int(self.rng.integers(0, 2_000_000))
        self.tick(max([now_ns, *(t for t in times if t is not None)]))

    def look(self):
        self.commander.next_request_ns()
        status = self.commander.status()
        assert status.epoch == self.epoch
        assert status.stopped == self.stopped

    def flicker(self):
        """The controllers pause, run for one chunk between two ticks, and pause again."""
        if not self.scaled:
            return
        for factor, then in ((0.0, self.tick), (1.0, self.deliver), (0.0, self.tick)):
            self.factor = factor
            self.scale_speed(0.0)
            then()
            self.advance(self.step_ns)

    def scale_speed(self, change=0.15):
        """Say how fast the controllers run, which has changed with some probability."""
        rng = self.rng
        if rng.random() < change:
            self.factor = float(rng.choice(SPEEDS if rng.random() < 0.85 else WRONG_SPEEDS))
        factor = self.factor
        self.commander.scale_speed(factor, self.now_ns)
        at_ns = self.commander.controller_ns(self.now_ns)
        jump_ns = at_ns - self.at_ns
        assert abs(jump_ns) <= 1, f"the controllers' clock jumps by {jump_ns} ns"
        self.at_ns = max(at_ns, self.at_ns)
        if not 0.0 <= factor <= 1.0:
            self.factor = 1.0
        self.look()
