"""Faults that real recordings show, applied where the simulated sensors report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import PizeroError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment

KINDS = {
    'black': 'camera topic; its pictures are black but fresh',
    'frozen': 'camera topic; its first picture is repeated with fresh stamps',
    'dropped': 'topic=fraction; this share of its messages is not sent',
    'missing': 'topic; nothing is sent',
    'slow': 'topic=hertz; sent no faster than this',
    'nan': 'joint, or topic for all its joints; position is not a number',
    'minus_one': 'joint, or topic for all its joints; position is -1 in every message',
}
"""Kind of fault → what it applies to."""

_CAMERA_KINDS = ('black', 'frozen')
_JOINT_KINDS = ('nan', 'minus_one')
_JOINT_VALUES = {'nan': float('nan'), 'minus_one': -1.0}


@dataclass(frozen=True)
class Fault:
    """One fault: ``kind`` of ``KINDS``, the topic or joint, and a fraction or a rate in Hz."""

    kind: str
    target: str
    amount: float = 0.0


def parse_fault(text: str) -> Fault:
    """Read a fault from ``kind:target`` or ``kind:target=amount``.

    Args:
        text: For example ``black:/wrist_camera/image_raw`` or ``slow:/joint_states=5``.

    Returns:
        The fault.

    Raises:
        PizeroError: If the kind is unknown, or the amount absent, superfluous or out of range.
    """
    kind, colon, rest = text.partition(':')
    target, equals, amount = rest.partition('=')
    if kind not in KINDS or not colon or not target:
        raise _wrong(text, 'kind:target', 'a fault: ' + ', '.join(KINDS))
    if (kind in ('dropped', 'slow')) != bool(equals):
        raise _wrong(text, 'amount', f'{kind}: {KINDS[kind]}')
    try:
        value = float(amount) if equals else 0.0
    except ValueError:
        raise _wrong(text, 'amount', f'a number ({KINDS[kind]})') from None
    if kind == 'dropped' and not 0.0 <= value <= 1.0:
        raise _wrong(text, 'amount', 'a fraction between 0 and 1')
    if kind == 'slow' and not 0.0 < value < float('inf'):
        raise _wrong(text, 'amount', 'a rate above 0 Hz')
    return Fault(kind, target, value)


class SensorFaults:
    """The faults of one simulated robot; without any, everything passes unchanged.

    Cameras and joint topics may be used from different threads, one thread per topic.
    """

    def __init__(self, faults: Iterable[Fault], embodiment: Embodiment, seed: int = 0) -> None:
        """Check each fault against the robot.

        Args:
            faults: What is to go wrong.
            embodiment: The robot, for its topics and joints.
            seed: Seed of the dropped messages; each topic draws from a stream of its own.

        Raises:
            PizeroError: If a target is neither topic nor joint of this robot.
        """
        self.faults = tuple(faults)
        cameras = {camera.topic for camera in embodiment.cameras}
        states = {source.topic for source in embodiment.state}
        joints = {joint.name for joint in embodiment.state_joints}
        for fault in self.faults:
            if fault.kind in _CAMERA_KINDS:
                known = cameras
            elif fault.kind in _JOINT_KINDS:
                known = joints | states
            else:
                known = cameras | states
            if fault.target not in known:
                raise _wrong(f'{fault.kind}:{fault.target}', 'target', f'one of {sorted(known)}')
        topics = sorted(cameras | states)
        seeds = np.random.SeedSequence(seed).spawn(len(topics))
        self._random = {
            topic: np.random.default_rng(seed) for topic, seed in zip(topics, seeds, strict=True)
        }
        self._first: dict[str, npt.NDArray[np.uint8]] = {}
        self._due_ns: dict[str, int] = {}

    def sends(self, topic: str, now_ns: int) -> bool:
        """Tell whether a message of ``topic`` goes out at ``now_ns``; ask once per message."""
        for fault in self._of(topic):
            if fault.kind == 'missing':
                return False
            if fault.kind == 'dropped' and self._random[topic].random() < fault.amount:
                return False
            if fault.kind == 'slow' and not self._is_due(topic, now_ns, fault.amount):
                return False
        return True

    def picture(self, topic: str, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture, uint8 [H, W, 3], that the camera of ``topic`` reports."""
        for fault in self._of(topic):
            if fault.kind == 'black':
                return np.zeros_like(rgb)
            if fault.kind == 'frozen':
                return self._first.setdefault(topic, rgb)
        return rgb

    def positions(
        self, topic: str, names: Sequence[str], positions: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the positions, float64 [J], that ``topic`` reports for the joints ``names``."""
        reported = positions
        for fault in self.faults:
            if fault.kind not in _JOINT_KINDS:
                continue
            hit = [fault.target in (topic, name) for name in names]
            reported = np.where(hit, _JOINT_VALUES[fault.kind], reported)
        return reported

    def _of(self, topic: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.target == topic]

    def _is_due(self, topic: str, now_ns: int, rate_hz: float) -> bool:
        """Keep the wanted rate on average, whatever the rate of the calls."""
        due = self._due_ns.get(topic, now_ns)
        if now_ns < due:
            return False
        period = round(1e9 / rate_hz)
        self._due_ns[topic] = max(due + period, now_ns)
        return True


def _wrong(text: str, key: str, expected: str) -> PizeroError:
    return PizeroError.at('fault', key, found=repr(text), expected=expected)
