"""Cameras that deliver, and show nothing: black, frozen and noisy pictures."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pizero_ros.observation.streams import JUMP_NS

if TYPE_CHECKING:
    from pizero_ros.observation.observation import Frame

PictureFault = Literal['', 'black', 'frozen', 'noisy']

BLACK_LEVEL = 8
"""A picture all of whose values lie below this is black: a covered sensor still shows some noise
and JPEG some ringing, while the darkest real scene has one brighter pixel."""

FROZEN_NS = 500_000_000
FROZEN_PICTURES = 3
"""Equal pictures over at least this time and this many looks stand still."""

MOVED = 0.1
"""Change of one state value (rad, m) that some pixel of every working camera must show. A picture
that stands still before a robot that stands still is no fault: rendered scenes have no noise."""

NOISE_LEVEL = 25.0
"""Standard deviation, in grey levels, from which noise is a fault: a camera at high gain has up to
10, and coarse texture that moves past it counts for about as much."""

NOISY_PICTURES = 2
"""Successive changes of the picture that must be noise: one may be a cut or a flash."""

NOISE_ROWS = 64
"""Every 64th row tells the noise; a median needs no more."""

COARSE = NOISE_ROWS
"""So many rows decide nearly always whether a picture is black or the one before, and those that
tell the noise are at hand."""


class _Pixels(NamedTuple):
    """What the values of a picture say, beside those of the one before; the picture itself too."""

    rgb: npt.NDArray[np.uint8]
    before: npt.NDArray[np.uint8] | None
    black: bool
    same: bool
    noisy: bool


class PictureWatch:
    """Judges the pictures of one camera, in the order of their stamps; thread-safe."""

    def __init__(self) -> None:
        """Start without an opinion."""
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget all pictures."""
        self.fault: PictureFault = ''
        self._looked_ns = -1
        self._picture: npt.NDArray[np.uint8] | None = None
        self._since_ns = 0
        self._equal = 0
        self._state: npt.NDArray[np.float64] | None = None
        self._moved = False
        self._noisy = 0
        self._read: _Pixels | None = None

    def prepare(self, frame: Frame) -> None:
        """Read the pixels of a frame ahead of ``look``, which then finds that work done.

        Args:
            frame: A frame that may be judged next; decodes it.

        Raises:
            ObservationError: If the frame cannot be decoded.
        """
        rgb = frame.rgb()
        with self._lock:
            if frame.stamp_ns > self._looked_ns:
                self._pixels(rgb)

    def look(self, frame: Frame, state: npt.NDArray[np.float64] | None) -> PictureFault:
        """Judge a frame; decodes it.

        Args:
            frame: A frame; one that was judged before, or an older one, changes nothing.
            state: float64 [vector_dim], robot state now, ``None`` if unknown.

        Returns:
            What is wrong with the picture, empty if nothing.

        Raises:
            ObservationError: If the frame cannot be decoded.
        """
        rgb = frame.rgb()
        with self._lock:
            if frame.stamp_ns < self._looked_ns - JUMP_NS:
                # A thread that still held a frame of before the jump must not close our eyes.
                self.reset()
            if frame.stamp_ns > self._looked_ns:
                self._looked_ns = frame.stamp_ns
                pixels = self._pixels(rgb)
                self._read = None
                self._compare(pixels, frame.stamp_ns, state)
                frozen = (
                    self._moved
                    and self._equal >= FROZEN_PICTURES
                    and frame.stamp_ns - self._since_ns >= FROZEN_NS
                )
                noisy = self._noisy >= NOISY_PICTURES
                self.fault = (
                    'black' if pixels.black else 'frozen' if frozen else 'noisy' if noisy else ''
                )
            return self.fault

    def _pixels(self, rgb: npt.NDArray[np.uint8]) -> _Pixels:
        """Return what was read of a picture ahead, or read it now."""
        read, before = self._read, self._picture
        if read is None or read.rgb is not rgb or read.before is not before:
            same = before is not None and _same(rgb, before)
            noisy = before is not None and not same and noisier_than(NOISE_LEVEL, before, rgb)
            read = self._read = _Pixels(rgb, before, is_black(rgb), same, noisy)
        return read

    def _compare(
        self, pixels: _Pixels, stamp_ns: int, state: npt.NDArray[np.float64] | None
    ) -> None:
        if not pixels.same:
            self._noisy = self._noisy + 1 if pixels.noisy else 0
            self._picture, self._since_ns, self._equal = pixels.rgb, stamp_ns, 1
            self._state, self._moved = state, False
            return
        self._equal += 1
        self._noisy = 0
        if self._state is None:
            self._state = state
        elif state is not None:
            # Latched: a robot that comes back to where it was has moved all the same.
            self._moved |= bool(np.abs(state - self._state).max() >= MOVED)


def is_black(rgb: npt.NDArray[np.uint8]) -> bool:
    """Return whether every value of uint8 [H, W, 3] is black."""
    return bool(rgb[::COARSE].max() < BLACK_LEVEL and rgb.max() < BLACK_LEVEL)


def noisier_than(level: float, one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    """Return whether a camera is noisier than a level, by two of its pictures.

    What moves changes the steps between neighbouring pixels where there are edges, noise changes
    all of them, and the median tells the two apart. Counting finds the side of the median in a
    third of the time that the median takes, and every inference waits for this.

    Args:
        level: Standard deviation in grey levels.
        one: uint8 [H, W, 3].
        other: The same camera at another time.

    Returns:
        False if the sizes differ.
    """
    if one.shape != other.shape or one.shape[1] < 2:
        return False
    change = one[::NOISE_ROWS, :, 1].astype(np.int16) - other[::NOISE_ROWS, :, 1]
    # Four independent values make one difference; 0.6745 is the median of |N(0, 1)|.
    above = np.abs(np.diff(change, axis=1)) > 2.0 * 0.6745 * level
    return bool(2 * np.count_nonzero(above) > above.size)


def _same(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    return np.array_equal(one[::COARSE], other[::COARSE]) and np.array_equal(one, other)
