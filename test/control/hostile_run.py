"""Drives a commander with hostile chunks, clocks and calls, and checks all that leaves it."""

from __future__ import annotations

import numpy as np
from hostile_arms import ArmWatch
from hostile_calls import Calls
from hostile_chunks import ChunkMaker
from hostile_streams import BaseWatch, GripperWatch

from pizero_ros.control.commander import Commander
from pizero_ros.control.commands import GripperGoal, TrajectoryCommand, TwistCommand
from pizero_ros.control.modes import make_scheduler
from pizero_ros.control.seam import SeamFade
from pizero_ros.control.workspace import PlanarPose
from pizero_ros.policy.chunk import ActionChunk

START_NS = 1_700_000_000_000_000_000


class Drive(Calls):
    """One robot under one commander, and everything that is known about it from outside.

    Attributes:
        chunks: Number of chunks that were delivered.
        reasons: Number of decisions by reason.
    """

    def __init__(
        self, embodiment, seed, *, mode='async', fade=8, trained_prefix=False, honest=False
    ):
        self.rng = np.random.default_rng(seed)
        self.embodiment, self.mode = embodiment, mode
        self.step_ns = round(1e9 / embodiment.rate_hz)
        self.timeout_ns = 20 * self.step_ns if seed % 2 else None
        self.commander = Commander(
            embodiment,
            make_scheduler(mode, embodiment, trained_prefix=trained_prefix),
            base_timeout_ns=self.timeout_ns,
            fade=SeamFade(fade),
        )
        self.honest = honest
        self.maker = ChunkMaker(embodiment, self.rng)
        groups = {'joint_trajectory': [], 'twist': [], 'gripper': []}
        for group in embodiment.actions:
            groups[group.output].append(group)
        self.arms = {group.name: ArmWatch(group, self.rng) for group in groups['joint_trajectory']}
        self.bases = {g.name: BaseWatch(g, self.step_ns) for g in groups['twist']}
        self.grippers = {g.name: GripperWatch(g) for g in groups['gripper']}
        self.now_ns = START_NS
        self.at_ns = self.commander.controller_ns(self.now_ns)
        self.scaled, self.factor = embodiment.speed_scaling is not None, 1.0
        self.epoch = self.commander.status().epoch
        self.past = []
        self.chunks = 0
        self.held = self.stopped = False
        self.reasons = {}
        self.last = ''

    def run(self, count):
        """Deliver ``count`` chunks."""
        odd = (
            self.hold, self.stop, self.refuse, self.overdue, self.advance_epoch, self.reset,
            self.jump_back, self.jump_forward, self.begin_only, self.fail, self.resend, self.note,
            self.tick_late, self.look, self.flicker,
        )  # fmt: skip
        while self.chunks < count:
            self.pass_time()
            if self.rng.random() < 0.15:
                call = odd[self.rng.integers(len(odd))]
                self.last = call.__name__
                call()
            if self.scaled and self.rng.random() < 0.2:
                self.last = 'scale_speed'
                self.scale_speed(0.9)
            self.last = 'deliver'
            self.deliver()

    # Time

    def pass_time(self):
        """Let time pass, with control ticks on the way, at odd moments now and then."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.05:
            return
        if kind < 0.1:
            self.advance(int(rng.integers(1, 1000)))
        elif kind < 0.15:
            self.advance(int(rng.integers(1, 200)) * self.step_ns)
            self.tick()
        else:
            for _ in range(rng.integers(1, 3)):
                self.advance(int(self.step_ns * rng.uniform(0.2, 1.8)))
                self.tick()

    def advance(self, ns):
        """Go on in time; what the controllers do meanwhile is checked at two moments."""
        before_ns, at_ns = self.now_ns, self.at_ns
        if self.arms and ns > 1 and self.rng.random() < 0.5:
            middle_ns = before_ns + int(self.rng.integers(1, ns))
            self.follow(self.commander.controller_ns(middle_ns))
        self.now_ns = before_ns + ns
        self.follow(self.commander.controller_ns(self.now_ns))
        factor = (self.at_ns - at_ns) / ns
        assert -1e-9 <= factor <= 1.0 + 2.0 / ns, f'the controllers run at {factor}'
        for base in self.bases.values():
            base.move(self.now_ns)

    def follow(self, at_ns):
        """Let the controllers run up to a time of theirs."""
        assert at_ns >= self.at_ns, f"the controllers' clock goes back by {self.at_ns - at_ns} ns"
        self.at_ns = at_ns
        for arm in self.arms.values():
            arm.sample(at_ns)

    def tick(self, now_ns=None):
        """Run a control tick, with odometry before it."""
        if now_ns is None:
            now_ns = self.now_ns
            if self.scaled and self.rng.random() < 0.9:
                self.scale_speed()
        self.locate(now_ns)
        before = self.commander.status()
        commands = self.commander.tick(now_ns)
        after = self.commander.status()
        if after.blocked is not None:
            # Discards the plan once: when it begins, or its reason changes.
            assert after.epoch - self.epoch in (0, 1)
            self.epoch = after.epoch
            self.halted()
        if after.starved and not before.starved:
            self.expect_holds(commands, {name: arm.commanded for name, arm in self.arms.items()})
        self.take(commands, now_ns)
        streaming = {name for name, base in self.bases.items() if base.streaming}
        sent = {c.group for c in commands if isinstance(c, TwistCommand)}
        assert sent == streaming, 'a tick without a twist'

    def locate(self, now_ns):
        """Tell where the base is, and lie about it unless the run is an honest one."""
        rng = self.rng
        for base in self.bases.values():
            if base.workspace is None or (not self.honest and rng.random() < 0.2):
                continue
            x, y, yaw = base.pose
            stamp_ns = now_ns
            if not self.honest:
                kind = rng.integers(8)
                if kind == 0:
                    x, y, yaw = rng.choice([np.nan, np.inf, 0.0], 3)
                elif kind == 1:
                    x, y = rng.uniform(-3.0, 3.0, 2)
                elif kind == 2:
                    stamp_ns += int(rng.integers(-300, 300)) * 1_000_000
            pose = PlanarPose(float(x), float(y), float(yaw), stamp_ns)
            self.commander.locate(base.workspace.topic, pose)
            base.located = pose
            self.commander.locate('/elsewhere', PlanarPose(9.0, 9.0, 0.0, now_ns))

    # Chunks

    def deliver(self):
        """Infer, as late and as wrong as it gets, and take what comes of it."""
        rng = self.rng
        observed_ns = self.now_ns
        epoch = self.epoch
        if rng.random() < 0.9:
            request = self.begin()
            if request is not None:
                epoch = request.epoch
        if rng.random() < 0.8:
            self.advance(int(self.step_ns * rng.uniform(0.0, 3.0)))
        self.accept(self.chunk(observed_ns, epoch))

    def accept(self, chunk):
        """Hand a chunk to the commander, and check what it makes of it."""
        measured = self.measured()
        known = self.known(measured)
        decision = self.commander.accept(chunk, self.now_ns, measured)
        self.chunks += 1
        self.reasons[decision.reason] = self.reasons.get(decision.reason, 0) + 1
        if decision.reason == 'accepted':
            assert np.isfinite(chunk.actions).all(), 'a chunk that is not finite'
            assert chunk.epoch == self.epoch
            # At a hundredth of full speed 100 ns are one.
            slack_ns = 100 if self.scaled else 0
            assert chunk.observed_ns <= self.now_ns + slack_ns
            assert all(known.values()), 'an arm moves from nowhere'
            assert not self.stopped
            assert 0 < len(decision.steps) <= self.embodiment.published_steps
            assert {c.group for c in decision.commands} == set(self.arms)
            self.accepted(decision, chunk)
        elif decision.reason == 'refused':
            self.halted()
            self.expect_holds(decision.commands, known)
        else:
            assert decision.commands == ()
        self.take(decision.commands, self.now_ns)

    def chunk(self, observed_ns, epoch):
        """Draw a chunk; of another time, another epoch, or one that was there before."""
        rng = self.rng
        if self.past and rng.random() < 0.05:
            return self.past[rng.integers(len(self.past))]
        actions = self.maker.draw(self.current())
        rate_hz = self.embodiment.rate_hz
        if rng.random() < 0.1:
            rate_hz *= rng.uniform(0.7, 1.4)
        odd = rng.integers(30)
        if odd == 0:
            observed_ns = self.now_ns - int(rng.integers(0, 100)) * self.step_ns
        elif odd == 1:
            observed_ns = self.now_ns + int(rng.integers(1, 10)) ** 9
        elif odd == 2:
            epoch += int(rng.integers(-3, 4))
        elif odd == 3:
            observed_ns = int(rng.integers(0, 2))
        chunk = ActionChunk(
            observed_ns, rate_hz, actions, np.zeros((1, 1), np.float32), {}, self.chunks, epoch
        )
        self.past = [*self.past[-5:], chunk]
        return chunk

    def current(self):
        """Return float64 [W]: where the arms are commanded to be, the rest somewhere."""
        at = self.rng.uniform(-0.5, 0.5, self.maker.width)
        for group in self.embodiment.actions:
            if group.output == 'joint_trajectory':
                columns = [joint.index for joint in group.joints]
                at[columns] = self.arms[group.name].positions
        return at

    def measured(self):
        """Return what the sensors say of the joints: mostly the truth."""
        rng = self.rng
        names = [name for arm in self.arms.values() for name in arm.names]
        truth = [float(p) for arm in self.arms.values() for p in arm.positions]
        measured = dict(zip(names, truth, strict=True))
        if not names or rng.random() < 0.7:
            return measured
        kind = rng.integers(6)
        name = names[rng.integers(len(names))]
        if kind == 0:
            return {}
        if kind == 1:
            return dict.fromkeys(names, -1.0)
        if kind == 2:
            del measured[name]
        elif kind == 3:
            measured[name] = float(rng.choice([np.nan, np.inf, -np.inf]))
        else:
            arm = next(arm for arm in self.arms.values() if name in arm.names)
            joint = arm.names.index(name)
            far = rng.uniform(0.0, 3.0) * arm.max_step[joint]
            measured[name] = float(
                arm.upper[joint] + far if rng.random() < 0.5 else arm.lower[joint] - far
            )
        return measured

    def known(self, measured):
        """Return arm name → whether it is known where it is commanded to be."""
        return {name: arm.measure(measured) for name, arm in self.arms.items()}

    def begin(self):
        """Start an inference, unless one is under way."""
        self.commander.wants_inference(self.now_ns)
        try:
            request = self.commander.begin(self.now_ns)
        except ValueError:
            return None
        assert request.epoch == self.epoch
        return request

    def accepted(self, decision, chunk):
        """Note that a chunk moves the robot from now on."""
        self.held = False
        steps, rate_hz = decision.steps, chunk.rate_hz
        for command in decision.commands:
            times = command.time_from_start_ns
            assert times[-1] >= round(1e9 / rate_hz), 'ends at once'
            if not self.scaled:
                due_ns = [decision.start_ns + round(k * 1e9 / rate_hz) for k in steps]
                assert (self.now_ns + times)[-len(steps) :].tolist() == due_ns
            if self.mode != 'ensemble':
                self.arms[command.group].near(chunk.actions[steps.start])
        last_ns = decision.start_ns + round(steps.stop * 1e9 / rate_hz)
        for base in self.bases.values():
            base.driving = base.streaming = True
            base.accepted_ns = self.at_ns
            base.end_ns = None if self.scaled else last_ns
        for gripper in self.grippers.values():
            gripper.active = True

    def halted(self):
        """Note that nothing moves any more."""
        self.held = True
        for base in self.bases.values():
            base.driving = False
        for gripper in self.grippers.values():
            gripper.active = False

    def take(self, commands, now_ns):
        """Check commands and carry them out."""
        for command in commands:
            if isinstance(command, TrajectoryCommand):
                arm = self.arms[command.group]
                if command.stamp_ns == 0:
                    arm.hold(command, self.at_ns)
                else:
                    arm.trajectory(command, now_ns, self.at_ns)
            elif isinstance(command, TwistCommand):
                base = self.bases[command.group]
                base.check(command, now_ns, self.commander.controller_ns(now_ns), self.timeout_ns)
            else:
                assert isinstance(command, GripperGoal)
                self.grippers[command.group].check(command, now_ns)
        known = self.commander.current(self.now_ns, {})
        commanded = [arm for arm in self.arms.values() if arm.commanded]
        assert set(known) == {name for arm in commanded for name in arm.names}
        for arm in commanded:
            for name, position in zip(arm.names, arm.positions, strict=True):
                off = abs(known[name] - position)
                assert off <= 1e-9 * (1.0 + abs(position)), f'{name}: {off} from the controller'

    def expect_holds(self, commands, known):
        """Every arm that is known somewhere must hold."""
        holds = {c.group for c in commands if isinstance(c, TrajectoryCommand)}
        assert holds == {name for name, at in known.items() if at}
        assert all(c.stamp_ns == 0 for c in commands if isinstance(c, TrajectoryCommand))


def drive(embodiment, count, seed, *, build=Drive, **options):
    """Run one drive; what breaks a rule is reported with what repeats it.

    Args:
        embodiment: The robot.
        count: Number of chunks.
        seed: Of the random numbers.
        build: ``Drive`` or a kind of it.
        options: Of ``Drive``.

    Returns:
        The drive.
    """
    robot = build(embodiment, seed, **options)
    try:
        with np.errstate(over='ignore', invalid='ignore'):
            robot.run(count)
    except Exception as error:
        where = f'seed {seed}, chunk {robot.chunks}, {robot.last}'
        raise AssertionError(f'{where}: {type(error).__name__}: {error}') from error
    return robot
