"""Streams to observations: the one place where messages of a robot meet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pizero_ros.observation.cameras import CameraStream, decode_picture
from pizero_ros.observation.joints import JointStream, Reading
from pizero_ros.observation.observation import Frame, Observation
from pizero_ros.observation.refusal import Reason, Refusal
from pizero_ros.observation.streams import jumps_back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Camera, Embodiment
    from pizero_ros.observation.cameras import Decode
    from pizero_ros.observation.streams import StreamClock, StreamStatus

CLOCK_SLACK_NS = 100_000_000
"""Two callbacks may read the node's clock in the other order than they enter here; only a larger
step back means that the clock itself was set back."""


class Span(NamedTuple):
    """Times that one stream contributes to an observation."""

    topic: str
    oldest_ns: int
    newest_ns: int


class ObservationAssembler:
    """Holds the latest of every stream and assembles observations on demand.

    Any thread may call any method. Messages are kept as they are: a callback costs microseconds,
    and an image is decoded when somebody looks at it.
    """

    def __init__(self, embodiment: Embodiment, decode: Decode = decode_picture) -> None:
        """Start empty.

        Args:
            embodiment: Says which streams there are and what is expected of them.
            decode: Decodes pictures; another one than the default may remember what it decoded,
                where several assemblers look at the same messages.
        """
        self.embodiment = embodiment
        groups = [frozenset(joint.name for joint in group.joints) for group in embodiment.actions]
        self._cameras = {
            camera.topic: CameraStream(camera, decode) for camera in embodiment.cameras
        }
        self._joints = {}
        for source in embodiment.state:
            whole = frozenset(joint.name for joint in source.joints)
            limbs = [whole, *(group for group in groups if not whole <= group)]
            self._joints[source.topic] = JointStream(source, limbs)
        self._streams: tuple[CameraStream | JointStream, ...] = (
            *self._cameras.values(),
            *self._joints.values(),
        )
        if len(self._streams) != len(embodiment.cameras) + len(embodiment.state):
            msg = f'two streams of {embodiment.name} share a topic'
            raise ValueError(msg)
        self._mapped = np.zeros(embodiment.vector_dim, np.bool_)
        for stream in self._joints.values():
            self._mapped[stream.indices] = True
        self._mapped.flags.writeable = False
        self._lock = threading.Lock()
        self._now_ns = 0
        self._epoch = 0
        self._last_reset = ''

    @property
    def epoch(self) -> int:
        """Number of resets so far: what was computed in an earlier epoch is void."""
        return self._epoch

    @property
    def last_reset(self) -> str:
        """Why the buffers were last reset, empty if they never were."""
        return self._last_reset

    def image(self, topic: str, message: object, stamp_ns: int, received_ns: int) -> Frame | None:
        """Take in an image message.

        Args:
            topic: Camera topic of the embodiment.
            message: sensor_msgs/Image or CompressedImage, whichever the embodiment says.
            stamp_ns: Its header stamp; 0 if it has none.
            received_ns: Arrival on the node's clock.

        Returns:
            The frame that is now held, not decoded yet; ``None`` if the message was dropped.
        """
        stream = self._cameras[topic]
        with self._lock:
            self._tick(received_ns)
            stamp = stream.clock.stamp(stamp_ns, received_ns)
            if stamp is None:
                return None
            if jumps_back(stamp, stream.clock.newest_ns):
                self._jumped(stream.clock, stamp)
            return stream.hold(message, stamp, received_ns)

    def joint_state(
        self,
        topic: str,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float],
        efforts: Sequence[float],
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Take in a sensor_msgs/JointState; it may carry some of the joints only.

        Args:
            topic: State topic of the embodiment.
            names: Joint names.
            positions: One per name, or empty.
            velocities: One per name, or empty.
            efforts: One per name, or empty.
            stamp_ns: Header stamp; 0 if it has none.
            received_ns: Arrival on the node's clock.
        """
        fields = {'position': positions, 'velocity': velocities, 'effort': efforts}
        self._merge(topic, names, fields, stamp_ns, received_ns)

    def odometry(
        self, topic: str, values: Mapping[str, float], stamp_ns: int, received_ns: int
    ) -> None:
        """Take in odometry.

        Args:
            topic: State topic of the embodiment.
            values: Axis of ``TWIST_AXES`` → value.
            stamp_ns: Header stamp; 0 if it has none.
            received_ns: Arrival on the node's clock.
        """
        fields = {'position': tuple(values.values())}
        self._merge(topic, tuple(values), fields, stamp_ns, received_ns)

    def observe(self, now_ns: int, prompt: str) -> Observation | Refusal:
        """Assemble what is known now; decodes images that nobody has decoded yet.

        Args:
            now_ns: The node's clock.
            prompt: Instruction in force.

        Returns:
            An observation in which every required stream is fresh, sound and close in time to
            the others, or every reason why there is none.
        """
        with self._lock:
            self._tick(now_ns)
            epoch = self._epoch
            readings = [(s, s.read(now_ns)) for s in self._joints.values()]
            cameras = [(s, s.frame) for s in self._cameras.values()]
        reasons = [reason for _, reading in readings for reason in reading.reasons]
        state = None if reasons else self._vector(readings)
        faults: dict[str, str] = {}
        usable: list[tuple[Camera, Frame]] = []
        for stream, frame in cameras:
            camera, reason = stream.camera, stream.judge(frame, now_ns, state)
            if reason is None and frame is not None:
                usable.append((camera, frame))
            elif reason is not None and camera.required:
                reasons.append(reason)
            elif reason is not None:
                faults[camera.topic] = reason.kind
        if reasons or state is None:
            return Refusal(now_ns, tuple(reasons))

        spans = [Span(s.source.topic, r.oldest_ns, r.newest_ns) for s, r in readings]
        spans += [Span(c.topic, f.stamp_ns, f.stamp_ns) for c, f in usable if c.required]
        skew = self._skew(spans)
        if skew is not None:
            return Refusal(now_ns, (skew,))
        images: dict[str, Frame] = {}
        for camera, frame in usable:
            span = Span(camera.topic, frame.stamp_ns, frame.stamp_ns)
            if not camera.required and self._skew([*spans, span]) is not None:
                faults[camera.topic] = 'skewed'
                continue
            spans.append(span)
            images[camera.slot] = frame
        ages = {s.topic: (now_ns - s.oldest_ns) * 1e-9 for s in spans}
        ages |= {s.camera.topic: (now_ns - f.stamp_ns) * 1e-9 for s, f in cameras if f is not None}
        return Observation(
            stamp_ns=max(span.newest_ns for span in spans),
            oldest_ns=min(span.oldest_ns for span in spans),
            images=images,
            state=state,
            state_mapped=self._mapped,
            prompt=prompt,
            stamps_ns={span.topic: span.newest_ns for span in spans},
            ages_s=ages,
            faults=faults,
            epoch=epoch,
        )

    def inspect(self, now_ns: int) -> None:
        """Look at the newest picture of every camera, as an observation would.

        For a slow timer (2 Hz): it keeps the black and frozen faults current while nothing is
        inferred, and costs one decode a camera where nobody else has decoded.
        """
        with self._lock:
            self._tick(now_ns)
            readings = [(s, s.read(now_ns)) for s in self._joints.values()]
            cameras = [(s, s.frame) for s in self._cameras.values()]
        sound = not any(reading.reasons for _, reading in readings)
        state = self._vector(readings) if sound else None
        for stream, frame in cameras:
            stream.judge(frame, now_ns, state)

    def stale(self, now_ns: int) -> tuple[Reason, ...]:
        """Return what is wrong with the required streams, as far as no picture must be looked at.

        Cheap enough for every control tick: joints are checked fully, cameras for their age.
        """
        with self._lock:
            self._tick(now_ns)
            reasons = [r for s in self._joints.values() for r in s.read(now_ns).reasons]
            ages = [s.age_fault(s.frame, now_ns) for s in self._cameras.values() if s.required]
        return (*reasons, *(reason for reason in ages if reason is not None))

    def measured(self) -> dict[str, float]:
        """Return joint name → raw position, where it is known, fresh and possible."""
        with self._lock:
            now_ns = self._now_ns
            known = [s.positions(now_ns) for s in self._joints.values()]
        return {name: value for positions in known for name, value in positions.items()}

    def newest_stamps(self) -> dict[str, int]:
        """Return topic → newest stamp, for the topics that have one."""
        with self._lock:
            clocks = [s.clock for s in self._streams]
            return {c.topic: c.newest_ns for c in clocks if c.newest_ns is not None}

    def frames(self) -> dict[str, Frame]:
        """Return topic → newest frame, looked at or not: work for a thread that waits."""
        with self._lock:
            held = [(topic, stream.frame) for topic, stream in self._cameras.items()]
        return {topic: frame for topic, frame in held if frame is not None}

    def prepare(self, topic: str, frame: Frame) -> None:
        """Look at a picture ahead of the observation that will judge it; changes no verdict.

        Args:
            topic: Camera topic of the embodiment.
            frame: What ``frames`` gave for it.

        Raises:
            ObservationError: If it cannot be decoded.
        """
        self._cameras[topic].prepare(frame)

    def status(self, now_ns: int) -> tuple[StreamStatus, ...]:
        """Return a snapshot of every stream, in the order of the embodiment file."""
        with self._lock:
            return tuple(stream.status(now_ns) for stream in self._streams)

    def _merge(
        self,
        topic: str,
        names: Sequence[str],
        fields: Mapping[str, Sequence[float]],
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        stream = self._joints[topic]
        with self._lock:
            self._tick(received_ns)
            stamp = stream.clock.stamp(stamp_ns, received_ns)
            if stamp is None:
                return
            layout = stream.layout(names)
            if jumps_back(stamp, layout.newest_ns):
                self._jumped(stream.clock, stamp)
            stream.merge(layout, fields, stamp, received_ns)

    def _skew(self, spans: Sequence[Span]) -> Reason | None:
        oldest = min(spans, key=lambda span: span.oldest_ns)
        newest = max(spans, key=lambda span: span.newest_ns)
        skew_s = (newest.newest_ns - oldest.oldest_ns) * 1e-9
        if skew_s <= self.embodiment.max_skew_s:
            return None
        detail = f'{skew_s:.3f} s behind {newest.topic}, limit {self.embodiment.max_skew_s:g} s'
        return Reason('skew', oldest.topic, detail)

    def _vector(self, readings: list[tuple[JointStream, Reading]]) -> npt.NDArray[np.float64]:
        vector = np.zeros(self.embodiment.vector_dim)
        for stream, reading in readings:
            vector[stream.indices] = reading.values
        return vector

    def _tick(self, now_ns: int) -> None:
        """Notice that the node's clock was set back."""
        if now_ns < self._now_ns - CLOCK_SLACK_NS:
            back = (self._now_ns - now_ns) * 1e-9
            self._reset(f"the node's clock went back by {back:.3f} s")
            self._now_ns = now_ns
        self._now_ns = max(self._now_ns, now_ns)

    def _jumped(self, clock: StreamClock, stamp_ns: int) -> None:
        back = ((clock.newest_ns or 0) - stamp_ns) * 1e-9
        self._reset(f'{clock.topic}: stamps went back by {back:.3f} s')

    def _reset(self, why: str) -> None:
        for stream in self._streams:
            stream.reset()
        self._epoch += 1
        self._last_reset = why
