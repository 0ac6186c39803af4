"""One state stream: joints merged by name from the messages of one topic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pizero_ros.observation.refusal import Reason
from pizero_ros.observation.streams import StreamClock, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import StateField, StateSource

UNREAD = -1.0
"""What some servo buses report for every joint of an arm that was not read."""

MOST_LAYOUTS = 16
"""Name lists remembered per topic: one per publisher, unless a driver shuffles its names."""


@dataclass(slots=True)
class Layout:
    """Where one publisher's messages carry the joints that are needed.

    ``parts``: field → (slots in the source, places in the message).
    """

    names: tuple[str, ...]
    parts: dict[str, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]
    problem: str
    newest_ns: int | None = None


@dataclass(frozen=True)
class Reading:
    """A state source at one moment.

    Attributes:
        values: float64 [joints], vector values in the order of the source.
        newest_ns: Newest stamp among the joints.
        oldest_ns: Oldest stamp among them.
        reasons: Why it cannot be used; empty if it can.
    """

    values: npt.NDArray[np.float64]
    newest_ns: int
    oldest_ns: int
    reasons: tuple[Reason, ...] = field(default=())


class _Held(NamedTuple):
    """What the messages so far come to, until the next one.

    ``sound``: nothing is wrong with the values themselves.
    """

    values: npt.NDArray[np.float64]
    newest_ns: int
    oldest_ns: int
    sound: bool


class JointStream:
    """Merges the messages of a topic, joint by joint, each value with its own stamp.

    Several nodes may share a topic and each report some of the joints; the source is then as old
    as its oldest needed joint. Not thread-safe: the assembler's lock guards it.
    """

    def __init__(self, source: StateSource, limbs: Sequence[frozenset[str]]) -> None:
        """Start empty.

        Args:
            source: Topic and joints.
            limbs: Joint names that one device reads together, for the check on unread servos.
        """
        self.source = source
        self.clock = StreamClock(source.topic, source.stamp, source.max_age_s, source.rate_hz)
        joints = source.joints
        self.indices = np.array([joint.index for joint in joints], np.intp)
        self._names = [joint.name for joint in joints]
        self._fields: list[StateField] = [
            'position' if source.interface == 'odometry' else joint.field for joint in joints
        ]
        self._scale = np.array([joint.sign * joint.scale for joint in joints])
        self._offset = np.array([joint.offset for joint in joints])
        ranges = [joint.range or (-np.inf, np.inf) for joint in joints]
        self._low, self._high = np.array(ranges).T
        self._positional = np.array(
            [source.interface == 'joint_state' and f == 'position' for f in self._fields]
        )
        self._limbs = self._limb_slots(limbs)
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._problem = ''
        self._fault = ''
        self._raw = np.full(len(joints), np.nan)
        self._stamps = np.full(len(joints), -1, np.int64)
        self._empty = np.zeros(len(joints), np.bool_)
        self._held: _Held | None = None

    def layout(self, names: Sequence[str]) -> Layout:
        """Return where the needed joints are in a message of these names; built once."""
        key = tuple(names)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._build(key)
            while len(self._layouts) >= MOST_LAYOUTS:
                del self._layouts[next(iter(self._layouts))]
            self._layouts[key] = layout
        return layout

    def merge(
        self,
        layout: Layout,
        fields: Mapping[str, Sequence[float]],
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Take in one message.

        Args:
            layout: Of its names.
            fields: ``position``, ``velocity``, ``effort`` as in the message; empty ones are
                allowed where no joint needs them.
            stamp_ns: Stamp it goes by.
            received_ns: When it arrived.
        """
        if layout.newest_ns is not None and stamp_ns < layout.newest_ns:
            self.clock.counters.out_of_order += 1
            return
        layout.newest_ns = stamp_ns
        if not layout.parts and not layout.problem:
            return
        arrays = {name: np.asarray(fields[name], np.float64) for name in layout.parts}
        self._problem = layout.problem
        for name, values in arrays.items():
            if len(values) not in (0, len(layout.names)):
                self._problem = f'{len(values)} {name} values for {len(layout.names)} names'
        if self._problem:
            self.clock.counters.malformed += 1
            return
        self.clock.advance(stamp_ns, received_ns)
        for name, (slots, places) in layout.parts.items():
            newer = self._stamps[slots] <= stamp_ns
            slots, places = slots[newer], places[newer]
            values = arrays[name]
            self._empty[slots] = not len(values)
            if len(values):
                self._raw[slots] = values[places]
                self._stamps[slots] = stamp_ns
        self._held = None

    def read(self, now_ns: int) -> Reading:
        """Return the source's values and everything that is wrong with them."""
        if self._held is None:
            self._held = self._examine()
        held = self._held
        reasons = () if self._sound(held, now_ns) else tuple(self._reasons(now_ns))
        self._fault = reasons[0].kind if reasons else ''
        return Reading(held.values, held.newest_ns, held.oldest_ns, reasons)

    def positions(self, now_ns: int) -> dict[str, float]:
        """Return joint name → raw position, of joints that report one that is fresh and possible.

        A robot that was never commanded is held there: what a broken sensor says must not pull
        it away.
        """
        limit_ns = self.clock.max_age_s * 1e9
        usable = np.isfinite(self._raw) & (self._raw >= self._low) & (self._raw <= self._high)
        usable &= (np.abs(now_ns - self._stamps) <= limit_ns) & self._positional
        for _, slots in self._limbs:
            if (self._raw[slots] == UNREAD).all():
                usable[slots] = False
        return {self._names[slot]: float(self._raw[slot]) for slot in np.flatnonzero(usable)}

    def reset(self) -> None:
        """Forget everything but the totals and the layouts."""
        self.clock.reset()
        for layout in self._layouts.values():
            layout.newest_ns = None
        self._problem = self._fault = ''
        self._raw[:] = np.nan
        self._stamps[:] = -1
        self._empty[:] = False
        self._held = None

    def status(self, now_ns: int) -> StreamStatus:
        """Return a snapshot."""
        oldest = int(self._stamps.min())
        return self.clock.status(
            now_ns,
            required=True,
            age_s=(now_ns - oldest) * 1e-9 if oldest >= 0 else None,
            fault=self._fault,
        )

    def _build(self, names: tuple[str, ...]) -> Layout:
        places = {name: place for place, name in enumerate(names)}
        twice = [name for name in self._names if names.count(name) > 1]
        pairs: dict[str, list[tuple[int, int]]] = {}
        for slot, name in enumerate(self._names):
            if name in places:
                pairs.setdefault(self._fields[slot], []).append((slot, places[name]))
        parts = {}
        for which, found in pairs.items():
            slots, at = np.array(found, np.intp).T
            parts[which] = (slots, at)
        return Layout(names, parts, f'joint {twice[0]} is named twice' if twice else '')

    def _limb_slots(
        self, limbs: Sequence[frozenset[str]]
    ) -> list[tuple[str, npt.NDArray[np.intp]]]:
        """Positions that belong to one device: three or more of a limb, or the whole source."""
        slots = []
        for limb in limbs:
            members = [
                slot
                for slot, name in enumerate(self._names)
                if name in limb and self._positional[slot]
            ]
            if len(members) >= 3 or len(members) == len(self._names) > 1:
                text = f'{self._names[members[0]]} to {self._names[members[-1]]}'
                slots.append((text, np.array(members, np.intp)))
        return slots

    def _examine(self) -> _Held:
        """Work out all that does not depend on when it is asked for."""
        values, raw = self._values(), self._raw
        values.flags.writeable = False
        oldest_ns, newest_ns = int(self._stamps.min()), int(self._stamps.max())
        sound = not (
            oldest_ns < 0
            or self._empty.any()
            or not (np.isfinite(values) & (raw >= self._low) & (raw <= self._high)).all()
            or (raw == UNREAD).any()
        )
        return _Held(values, newest_ns, oldest_ns, sound)

    def _sound(self, held: _Held, now_ns: int) -> bool:
        """Tell quickly that there are no reasons, as nearly always at each control tick."""
        age_fault = self.clock.age_fault
        return not (
            self._problem
            or not held.sound
            or age_fault(held.oldest_ns, now_ns)
            or age_fault(held.newest_ns, now_ns)
        )

    def _reasons(self, now_ns: int) -> list[Reason]:
        topic = self.source.topic
        reasons = []
        if self._problem:
            reasons.append(Reason('malformed', topic, self._problem))
        never = self._stamps < 0
        if never.all() and not self._empty.any():
            return [*reasons, *([] if reasons else [self._absent()])]
        for slot in np.flatnonzero(never | self._empty):
            reasons.append(self._without(int(slot)))
        if reasons:
            return reasons
        oldest = int(self._stamps.argmin())
        stale = self.clock.age_fault(int(self._stamps[oldest]), now_ns) or self.clock.age_fault(
            int(self._stamps.max()), now_ns
        )
        if stale is not None:
            partial = self._stamps[oldest] < self._stamps.max()
            extra = f', joint {self._names[oldest]}' if partial else ''
            reasons.append(Reason(stale.kind, topic, stale.detail + extra))
        # A finite number may be too large for the map.
        for slot in np.flatnonzero(~np.isfinite(self._values())):
            detail = f'joint {self._names[slot]} is {self._raw[slot]}'
            reasons.append(Reason('nonfinite', topic, detail))
        for slot in np.flatnonzero((self._raw < self._low) | (self._raw > self._high)):
            detail = (
                f'joint {self._names[slot]} is {self._raw[slot]:g}, '
                f'range {self._low[slot]:g} to {self._high[slot]:g}'
            )
            reasons.append(Reason('range', topic, detail))
        for text, slots in self._limbs:
            if (self._raw[slots] == UNREAD).all():
                detail = f'joints {text} are all exactly -1: they were not read'
                reasons.append(Reason('unread', topic, detail))
        return reasons

    def _values(self) -> npt.NDArray[np.float64]:
        """Return float64 [joints], vector values."""
        with np.errstate(over='ignore', invalid='ignore'):
            values: npt.NDArray[np.float64] = self._scale * self._raw + self._offset
        return values

    def _without(self, slot: int) -> Reason:
        name, which = self._names[slot], self._fields[slot]
        if self._empty[slot]:
            detail = (
                f'joint {name} is asked for its {which}, and the message has no {which} values'
            )
            return Reason('field', self.source.topic, detail)
        return Reason('joint', self.source.topic, f'joint {name} is not in {self._seen()}')

    def _absent(self) -> Reason:
        if self._layouts and any(x.newest_ns is not None for x in self._layouts.values()):
            detail = f'no joint of this robot, only {self._seen()}'
            return Reason('joint', self.source.topic, detail)
        return self.clock.absent()

    def _seen(self) -> str:
        """Names that were seen on the topic since the last reset."""
        live = [x for x in self._layouts.values() if x.newest_ns is not None]
        return ', '.join(sorted({name for layout in live for name in layout.names})) or 'nothing'
