"""Drives sensors, assembler and commander together, with sensors that fail in every way."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
from hostile_robots import JOINTS, ODOMETRY
from hostile_run import Drive

from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.observation.observation import Observation
from pizero_ros.observation.refusal import Refusal
from pizero_ros.policy.chunk import ActionChunk

FINGER = 3
NUMBERS = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e300, 5e-324, -0.0, 4.0, -1.0)
STAMPS_NS = (
    -300_000_000, -150_000_000, -50_000_000, -5_000_000, 30_000_000, 90_000_000, 400_000_000,
    -2_000_000_000,
)  # fmt: skip


class SensorDrive(Drive):
    """A drive whose observations and measured joints come from streams.

    Attributes:
        observations: Number of observations.
        refusals: Number of refused ones by kind.
        resets: Number of clock resets of the assembler.
    """

    def __init__(self, embodiment, seed, **options):
        super().__init__(embodiment, seed, **options)
        self.assembler = ObservationAssembler(embodiment)
        self.assembled = self.assembler.epoch
        self.ticked_ns = self.now_ns
        self.observations, self.resets = 0, 0
        self.refusals = {}
        self.good = [joint.name for joint in embodiment.state[0].joints]
        self.ranges = {
            joint.name: joint.range or (-np.inf, np.inf) for joint in embodiment.state[0].joints
        }
        self.mapped = np.isin(np.arange(18), [j.index for j in embodiment.state_joints])
        scene = self.rng.integers(20, 230, (6, 5, 3))
        self.pictures = (scene + self.rng.integers(-5, 6, (8, 6, 5, 3))).astype(np.uint8)
        self.files = [cv2.imencode(end, self.pictures[0])[1].tobytes() for end in ('.jpg', '.png')]
        self.cameras_work = self.joints_work = True
        self.camera_fault = 0

    # Messages

    def sense(self):
        """Let every stream say something, or nothing."""
        rng = self.rng
        self.cameras_work = rng.random() > (0.004 if self.cameras_work else 0.85)
        self.joints_work = rng.random() > (0.004 if self.joints_work else 0.7)
        if self.cameras_work:
            self.camera_fault = rng.integers(1, 10)
        wrong = 0.01 if self.joints_work else 0.9
        if rng.random() < 0.95:
            self.joint_state(wrong=rng.random() < wrong)
        if rng.random() < 0.9:
            self.odometry(wrong=rng.random() < wrong / 2)
        wrong = 0.01 if self.cameras_work else 0.9
        if rng.random() < 0.9:
            self.image(wrong=rng.random() < wrong)
        if rng.random() < 0.7:
            self.compressed(wrong=rng.random() < wrong)
        if rng.random() < 0.05:
            self.assembler.inspect(self.now_ns)

    def stamp(self, *, wrong):
        """Return a header stamp; a wrong one is off, zero or negative."""
        if not wrong or self.rng.random() < 0.6:
            return self.now_ns - int(self.rng.integers(0, 10_000_000))
        if self.rng.random() < 0.3:
            return int(self.rng.choice([0, -1, 1]))
        return self.now_ns + int(self.rng.choice(STAMPS_NS))

    def joint_state(self, *, wrong):
        rng = self.rng
        names, positions = list(self.good), [*self.arms['arm'].positions, 0.04]
        positions = [float(p) for p in positions]
        velocities, efforts = [], []
        kind = rng.integers(13) if wrong else 0
        one = rng.integers(len(names))
        if kind in (1, 2):
            positions[one] = float(rng.choice(NUMBERS))
        elif kind == 3:
            positions = [-1.0] * len(names)
        elif kind == 4:
            positions[:FINGER] = [-1.0] * FINGER
        elif kind == 5:
            del names[one], positions[one]
        elif kind == 6:
            names[one] = names[one - 1]
        elif kind == 7:
            positions = positions[: rng.integers(len(positions))]
        elif kind == 8:
            velocities, positions = positions, []
        elif kind == 9:
            names, positions = ['other', *names], [9.0, *positions]
            efforts = [float('nan')]
        elif kind == 10:
            names, positions = [], []
        elif kind == 11:
            names, positions = names[one:], positions[one:]
        elif kind == 12:
            # Finite, but not in the units of the state.
            positions[FINGER] = float(rng.choice([-1e308, 1e308]))
        stamp_ns = self.stamp(wrong=wrong)
        self.assembler.joint_state(
            JOINTS, names, np.array(positions), velocities, efforts, stamp_ns, self.now_ns
        )

    def odometry(self, *, wrong):
        values = {'linear.x': 0.1, 'linear.y': 0.0, 'angular.z': 0.0}
        if wrong:
            values['linear.x'] = float(self.rng.choice(NUMBERS))
        self.assembler.odometry(ODOMETRY, values, self.stamp(wrong=wrong), self.now_ns)

    def image(self, *, wrong):
        rng = self.rng
        picture = self.pictures[rng.integers(len(self.pictures))]
        message = SimpleNamespace(
            height=6, width=5, encoding='rgb8', step=15, data=picture.tobytes()
        )
        kind = self.camera_fault if wrong else 0
        if kind == 1:
            message.data = bytes(90)
        elif kind == 2:
            message.data = self.pictures[0].tobytes()
        elif kind == 3:
            message.encoding = str(rng.choice(['', '8UC3', 'rgb16', 'yuv422', 'bgr8', 'mono8']))
        elif kind == 4:
            message.step = int(rng.integers(0, 100))
        elif kind == 5:
            message.data = message.data[: rng.integers(90)]
        elif kind == 6:
            message.height, message.width = (int(n) for n in rng.choice([0, 6, 2**31], 2))
        elif kind == 7:
            message.data = list(message.data)
        elif kind == 8:
            message.data = rng.bytes(90)
        stamp_ns = self.stamp(wrong=wrong and kind == 9)
        self.assembler.image('/base', message, stamp_ns, self.now_ns)

    def compressed(self, *, wrong):
        rng = self.rng
        which = int(rng.integers(2))
        message = SimpleNamespace(format=('jpeg', 'png')[which], data=self.files[which])
        kind = rng.integers(6) if wrong else 0
        if kind == 1:
            message.data = message.data[: rng.integers(len(message.data))]
        elif kind == 2:
            message.data = rng.bytes(rng.integers(200))
        elif kind == 3:
            message.format = str(rng.choice(['', '16UC1; png', 'h264', ';;', 'rgb8; jpeg ']))
        elif kind == 4:
            spoilt = bytearray(message.data)
            spoilt[20 : len(spoilt) // 2] = rng.bytes(len(spoilt) // 2 - 20)
            message.data = bytes(spoilt)
        stamp_ns = self.stamp(wrong=wrong and kind == 5)
        self.assembler.image('/wrist/compressed', message, stamp_ns, self.now_ns)

    # What the node does

    def advance(self, ns):
        super().advance(ns)
        self.sense()

    def measured(self):
        measured = self.assembler.measured()
        assert set(measured) <= set(self.good)
        for name, value in measured.items():
            lower, upper = self.ranges[name]
            assert lower <= value <= upper, f'{name} measured as {value}'
        arm = [measured.get(name) for name in self.arms['arm'].names]
        assert arm != [-1.0] * len(arm), 'joints that were not read'
        return measured

    def tick(self, now_ns=None):
        """Tick as the node does: notice a jump, refuse what is stale, then stream."""
        now_ns = self.now_ns if now_ns is None else now_ns
        stale = self.assembler.stale(now_ns)
        if self.assembler.epoch != self.assembled:
            self.assembled = self.assembler.epoch
            self.resets += 1
            self.restart(max(self.ticked_ns, now_ns))
        self.ticked_ns = now_ns
        if stale and self.commander.status().sequence is not None:
            self.refuse_for(stale[0].kind, '; '.join(map(str, stale)))
            self.advance_epoch()
        super().tick(now_ns)

    def jump_back(self):
        """Set the clock back; the next tick finds out."""
        if self.rng.random() < 0.3:
            self.tick()
            self.set_back()
            self.sense()
            self.tick()

    def deliver(self):
        """Observe, refuse or infer, and take what comes of it."""
        observed_at_ns = self.now_ns
        request = self.begin()
        observed = self.assembler.observe(observed_at_ns, 'pick')
        if isinstance(observed, Refusal):
            kind = observed.reasons[0].kind
            self.refusals[kind] = self.refusals.get(kind, 0) + 1
            assert str(observed)
            self.refuse_for(kind, str(observed))
            self.advance(self.step_ns)
            self.chunks += 1
            return
        self.observations += 1
        self.check(observed, observed_at_ns)
        self.advance(int(self.step_ns * self.rng.uniform(0.0, 3.0)))
        actions = self.maker.draw(self.current())
        epoch = self.epoch if request is None else request.epoch
        rate_hz = self.embodiment.rate_hz
        model = np.zeros((1, 1), np.float32)
        chunk = ActionChunk(observed.stamp_ns, rate_hz, actions, model, {}, self.chunks, epoch)
        self.accept(chunk)

    def check(self, observed, now_ns):
        """Check an observation."""
        assert isinstance(observed, Observation)
        assert observed.state.shape == (18,)
        assert np.isfinite(observed.state).all(), f'state {observed.state}'
        assert (observed.state_mapped == self.mapped).all()
        assert not observed.state[~self.mapped].any(), 'a value where nothing is mapped'
        arm = observed.state[:FINGER]
        assert (np.abs(arm) <= 3.2).all()
        assert not (arm == -1.0).all(), 'joints that were not read'
        assert observed.oldest_ns <= observed.stamp_ns
        assert observed.skew_s <= self.embodiment.max_skew_s
        assert now_ns - observed.oldest_ns <= 200_000_000
        assert observed.stamp_ns - now_ns <= 200_000_000
        assert 'base' in observed.images
        assert set(observed.images) <= {'base', 'wrist'}
        assert not {'/base', JOINTS, ODOMETRY} & set(observed.faults)
        for slot, frame in observed.images.items():
            rgb = frame.rgb()
            assert rgb.dtype == np.uint8
            assert rgb.shape == ((5, 6, 3) if slot == 'base' else (6, 5, 3))
            assert rgb.any()
