"""Faults that real robots show, applied where the simulated one reports and listens."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import PizeroError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment

KINDS = {
    'black': 'black:camera topic; its pictures are black but fresh',
    'frozen': 'frozen:camera topic; its next picture is repeated with fresh stamps',
    'noisy': 'noisy:camera topic=sigma; Gaussian noise of so many grey levels of 255',
    'dropped': 'dropped:topic=fraction; this share of its messages is not sent',
    'missing': 'missing:topic, nothing is sent; missing:joint, left out of its messages',
    'slow': 'slow:topic=hertz; sent no faster than this',
    'nan': 'nan:joint, or a topic for all its joints; position is not a number',
    'minus_one': 'minus_one:joint, or a topic for all its joints; position is -1',
    'stuck': 'stuck:joint, or a topic for all its joints; the next position is repeated',
    'deaf': 'deaf:action group; its controller takes no notice of messages',
    'rejecting': 'rejecting:action group; its controller refuses every message',
    'clock_jump': 'clock_jump=seconds; the clock is set by so much, and back when it is cleared',
}
"""Kind of fault → how it is written and what it does."""

_CAMERA_KINDS = ('black', 'frozen', 'noisy')
_JOINT_KINDS = ('nan', 'minus_one', 'stuck')
_GROUP_KINDS = ('deaf', 'rejecting')
_JOINT_VALUES = {'nan': math.nan, 'minus_one': -1.0}
_AMOUNTS: dict[str, tuple[Callable[[float], bool], str]] = {
    'noisy': (lambda sigma: 0.0 < sigma <= 255.0, 'above 0 and at most 255 grey levels'),
    'dropped': (lambda fraction: 0.0 <= fraction <= 1.0, 'a fraction between 0 and 1'),
    'slow': (lambda hertz: 0.0 < hertz < math.inf, 'a rate above 0 Hz'),
    'clock_jump': (lambda s: math.isfinite(s) and s != 0.0, 'seconds, positive or negative'),
}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of ``KINDS``.
        target: Topic, joint or action group; empty for the clock.
        amount: Standard deviation, fraction, rate in Hz or seconds, 0 where there is none.
    """

    kind: str
    target: str
    amount: float = 0.0

    def __str__(self) -> str:
        """Return the text that ``parse_fault`` reads."""
        target = f':{self.target}' if self.target else ''
        return f'{self.kind}{target}' + (f'={self.amount:g}' if self.kind in _AMOUNTS else '')


def parse_fault(text: str) -> Fault:
    """Read a fault from ``kind:target``, ``kind:target=amount`` or ``clock_jump=seconds``.

    Args:
        text: For example ``black:/wrist_camera/image_raw`` or ``slow:/joint_states=5``.

    Returns:
        The fault.

    Raises:
        PizeroError: If the kind is unknown, or the target or the amount absent, superfluous or
            out of range.
    """
    head, equals, amount = text.partition('=')
    kind, colon, target = head.partition(':')
    if kind not in KINDS:
        raise _wrong(text, 'kind', 'one of ' + ', '.join(KINDS))
    if bool(colon) == (kind == 'clock_jump') or bool(colon) != bool(target):
        raise _wrong(text, 'target', KINDS[kind])
    if (kind in _AMOUNTS) != bool(equals):
        raise _wrong(text, 'amount', KINDS[kind])
    if not equals:
        return Fault(kind, target)
    within, expected = _AMOUNTS[kind]
    try:
        value = float(amount)
    except ValueError:
        raise _wrong(text, 'amount', f'a number ({KINDS[kind]})') from None
    if not within(value):
        raise _wrong(text, 'amount', expected)
    return Fault(kind, target, value)


@dataclass
class _Active:
    """A fault at work, and what it remembers of the time when it began."""

    fault: Fault
    picture: npt.NDArray[np.uint8] | None = None
    positions: dict[str, float] = field(default_factory=dict)
    due_ns: int | None = None


class RobotFaults:
    """The faults of one simulated robot; without any, everything passes unchanged.

    Cameras, joint topics and controllers may be used from different threads, one thread per
    topic, and ``replace`` may be called from any.
    """

    def __init__(self, faults: Iterable[Fault], embodiment: Embodiment, seed: int = 0) -> None:
        """Check each fault against the robot.

        Args:
            faults: What is to go wrong from the beginning.
            embodiment: The robot, for its topics, joints and action groups.
            seed: Seed of dropped messages and noise; each topic draws from a stream of its own.

        Raises:
            PizeroError: If the robot lacks a target.
        """
        cameras = {camera.topic for camera in embodiment.cameras}
        states = {source.topic for source in embodiment.state}
        joints = {joint.name for joint in embodiment.state_joints}
        groups = {group.name for group in embodiment.actions}
        named = {
            joint.name
            for source in embodiment.state
            if source.interface == 'joint_state'
            for joint in source.joints
        }
        topics = cameras | states
        self._known: dict[str, set[str]] = {
            **dict.fromkeys(_CAMERA_KINDS, cameras),
            **dict.fromkeys(_JOINT_KINDS, joints | states),
            **dict.fromkeys(_GROUP_KINDS, groups),
            **dict.fromkeys(('dropped', 'slow'), topics),
            # An odometry message has all its axes, whatever happens.
            'missing': topics | named,
        }
        seeds = zip(sorted(topics), np.random.SeedSequence(seed).spawn(len(topics)), strict=True)
        self._random = {topic: np.random.default_rng(each) for topic, each in seeds}
        self._active: tuple[_Active, ...] = ()
        self.replace(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What goes wrong now."""
        return tuple(active.fault for active in self._active)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Let exactly these faults be at work; one that was at work already goes on.

        Args:
            faults: What is to go wrong from now on.

        Raises:
            PizeroError: If the robot lacks a target; nothing has changed then.
        """
        wanted = tuple(dict.fromkeys(faults))
        for fault in wanted:
            known = self._known.get(fault.kind)
            if known is not None and fault.target not in known:
                raise _wrong(str(fault), 'target', f'one of {sorted(known)}')
        present = {active.fault: active for active in self._active}
        self._active = tuple(present.get(fault) or _Active(fault) for fault in wanted)

    def sends(self, topic: str, now_ns: int) -> bool:
        """Tell whether a message of ``topic`` goes out at ``now_ns``; ask once per message."""
        for active in self._of(topic):
            kind, amount = active.fault.kind, active.fault.amount
            if kind == 'missing':
                return False
            if kind == 'dropped' and self._random[topic].random() < amount:
                return False
            if kind == 'slow' and not _is_due(active, now_ns):
                return False
        return True

    def picture(self, topic: str, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture, uint8 [H, W, 3], that the camera of ``topic`` reports."""
        for active in self._of(topic):
            kind = active.fault.kind
            if kind == 'black':
                rgb = np.zeros_like(rgb)
            elif kind == 'frozen':
                active.picture = rgb if active.picture is None else active.picture
                rgb = active.picture
            elif kind == 'noisy':
                noise = self._random[topic].normal(0.0, active.fault.amount, rgb.shape)
                rgb = np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
        return rgb

    def present(self, names: Sequence[str]) -> list[int]:
        """Return which of the joints ``names`` their messages have."""
        absent = {a.fault.target for a in self._active if a.fault.kind == 'missing'}
        return [place for place, name in enumerate(names) if name not in absent]

    def positions(
        self, topic: str, names: Sequence[str], positions: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the positions, float64 [J], that ``topic`` reports for the joints ``names``."""
        reported = positions
        for active in self._active:
            kind, target = active.fault.kind, active.fault.target
            if kind not in _JOINT_KINDS:
                continue
            hit = [target in (topic, name) for name in names]
            if not any(hit):
                continue
            value: object = _JOINT_VALUES.get(kind)
            if kind == 'stuck':
                first = zip(names, reported.tolist(), strict=True)
                value = [active.positions.setdefault(name, now) for name, now in first]
            reported = np.where(hit, np.asarray(value, np.float64), reported)
        return reported

    def hears(self, group: str) -> bool:
        """Tell whether the controller of an action group takes notice of messages."""
        return Fault('deaf', group) not in self.faults

    def refuses(self, group: str) -> bool:
        """Tell whether the controller of an action group refuses every message."""
        return Fault('rejecting', group) in self.faults

    @property
    def clock_offset_ns(self) -> int:
        """How far the clock is off, in ns."""
        jumps = (fault.amount for fault in self.faults if fault.kind == 'clock_jump')
        return round(sum(jumps) * 1e9)

    def _of(self, topic: str) -> list[_Active]:
        return [active for active in self._active if active.fault.target == topic]


def _is_due(active: _Active, now_ns: int) -> bool:
    """Keep the wanted rate on average, whatever the rate of the calls and of the clock's jumps."""
    period_ns = round(1e9 / active.fault.amount)
    due_ns = now_ns if active.due_ns is None else active.due_ns
    if now_ns < due_ns <= now_ns + period_ns:
        return False
    active.due_ns = max(min(due_ns, now_ns) + period_ns, now_ns)
    return True


def _wrong(text: str, key: str, expected: str) -> PizeroError:
    return PizeroError.at('fault', key, found=repr(text), expected=expected)
