"""One camera stream: the latest frame, and whether it can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.errors import ObservationError
from pizero_ros.observation.images import decode_compressed, decode_image, orient
from pizero_ros.observation.observation import Frame
from pizero_ros.observation.pictures import PictureWatch
from pizero_ros.observation.refusal import Reason
from pizero_ros.observation.streams import StreamClock, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Camera

    Decode = Callable[[Camera, Any], npt.NDArray[np.uint8]]


def decode_picture(camera: Camera, message: Any) -> npt.NDArray[np.uint8]:
    """Return the picture of a camera message, upright: uint8 [H, W, 3] RGB.

    Raises:
        ObservationError: If it cannot be decoded.
    """
    decode = decode_image if camera.transport == 'raw' else decode_compressed
    return orient(decode(message, camera.topic), camera.rotation_deg, camera.flip)


class CameraStream:
    """Holds the newest frame of a camera; decoding waits until somebody looks.

    ``hold`` and ``reset`` are called under the assembler's lock, ``judge`` outside it, as it may
    decode for milliseconds.
    """

    def __init__(self, camera: Camera, decode: Decode) -> None:
        """Start empty."""
        self.camera = camera
        self._decode = decode
        self.clock = StreamClock(camera.topic, camera.stamp, camera.max_age_s, camera.rate_hz)
        self.frame: Frame | None = None
        self._watch = PictureWatch()
        self._judged: Frame | None = None
        self._fault = ''

    @property
    def required(self) -> bool:
        """Whether there is no observation without it."""
        return self.camera.required

    def hold(self, message: object, stamp_ns: int, received_ns: int) -> Frame | None:
        """Keep ``message`` if it is newer than what is held; count it if not."""
        newest = self.clock.newest_ns
        if newest is not None and stamp_ns <= newest:
            self.clock.counters.out_of_order += 1
            return None
        self.clock.advance(stamp_ns, received_ns)
        self.frame = Frame(stamp_ns, received_ns, lambda: self._decode(self.camera, message))
        return self.frame

    def reset(self) -> None:
        """Forget everything but the totals."""
        self.clock.reset()
        self.frame = self._judged = None
        self._fault = ''
        self._watch = PictureWatch()

    def prepare(self, frame: Frame) -> None:
        """Do the part of ``judge`` that needs the picture alone.

        Raises:
            ObservationError: If it cannot be decoded.
        """
        self._watch.prepare(frame)

    def judge(
        self, frame: Frame | None, now_ns: int, state: npt.NDArray[np.float64] | None
    ) -> Reason | None:
        """Return why ``frame`` cannot be used, ``None`` if it can.

        Args:
            frame: What was held when the observation was taken.
            now_ns: Time of the observation.
            state: Robot state, against which a frozen picture shows.
        """
        reason = self.age_fault(frame, now_ns)
        if reason is None and frame is not None:
            reason = self._picture(frame, state)
        self._fault = reason.kind if reason else ''
        return reason

    def age_fault(self, frame: Frame | None, now_ns: int) -> Reason | None:
        """Return what is wrong with ``frame`` before anybody looks at it."""
        if frame is None:
            return self.clock.absent()
        return self.clock.age_fault(frame.stamp_ns, now_ns)

    def status(self, now_ns: int) -> StreamStatus:
        """Return a snapshot."""
        frame = self.frame
        return self.clock.status(
            now_ns,
            required=self.camera.required,
            age_s=(now_ns - frame.stamp_ns) * 1e-9 if frame else None,
            fault=self._fault,
        )

    def _picture(self, frame: Frame, state: npt.NDArray[np.float64] | None) -> Reason | None:
        topic, counters = self.camera.topic, self.clock.counters
        new, self._judged = frame is not self._judged, frame
        try:
            fault = self._watch.look(frame, state)
        except ObservationError as error:
            counters.undecodable += new
            return Reason('undecodable', topic, str(error).removeprefix(f'{topic}: '))
        if fault == 'black':
            counters.black += new
            return Reason('black', topic, 'the picture is black')
        if fault == 'frozen':
            counters.frozen += new
            return Reason('frozen', topic, 'the picture stands still while the robot moves')
        if fault == 'noisy':
            counters.noisy += new
            return Reason('noisy', topic, 'the picture is mostly noise')
        return None
