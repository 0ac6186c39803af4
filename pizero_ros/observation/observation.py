"""The values that leave the observation layer: one frame, one observation."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt

Result = TypeVar('Result')


class Frame:
    """One camera image, decoded at most once, whoever asks first.

    Decoding and whatever is derived from it (the resized model input) is memoised under a lock,
    so that a prefetch thread and the inference thread never do the same work twice.
    """

    def __init__(
        self, stamp_ns: int, received_ns: int, decode: Callable[[], npt.NDArray[np.uint8]]
    ) -> None:
        """Hold a frame.

        Args:
            stamp_ns: Capture time in nanoseconds on the node's clock.
            received_ns: Arrival time in nanoseconds on the same clock.
            decode: Returns uint8 [H, W, 3] RGB, rotation and flip applied; raises
                ``ObservationError``.
        """
        self.stamp_ns = stamp_ns
        self.received_ns = received_ns
        self._decode = decode
        self._lock = threading.RLock()
        self._results: dict[object, object] = {}

    @classmethod
    def of(cls, rgb: npt.NDArray[np.uint8], stamp_ns: int = 0) -> Frame:
        """Wrap an image that is already decoded, uint8 [H, W, 3] RGB."""
        return cls(stamp_ns, stamp_ns, lambda: rgb)

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Return the image, uint8 [H, W, 3] RGB."""
        return self.derived('rgb', lambda _: self._decode())

    def has(self, key: object) -> bool:
        """Return whether ``derived`` has computed ``key``."""
        return key in self._results

    def derived(self, key: object, compute: Callable[[Frame], Result]) -> Result:
        """Return ``compute(self)``, computed once per ``key``."""
        with self._lock:
            if key not in self._results:
                self._results[key] = compute(self)
            return self._results[key]  # type: ignore[return-value]


@dataclass(frozen=True)
class Observation:
    """What the robot perceived at one moment.

    Attributes:
        stamp_ns: Newest header stamp among the streams used: waypoint k of the chunk belongs to
            ``stamp_ns + k / rate``.
        oldest_ns: Oldest stamp among them.
        images: Slot → frame. A slot that is absent has no usable camera.
        state: float64 [vector_dim], robot vector after scale, sign and offset; 0 where unmapped.
        state_mapped: bool [vector_dim], True where a joint wrote the value.
        prompt: Instruction in force.
        stamps_ns: Stream (topic) → newest stamp used, of every stream that is part of it.
        ages_s: Stream (topic) → age in seconds when the observation was taken.
        faults: Stream (topic) → why an optional camera was left out: ``missing``, ``stale``,
            ``future``, ``skewed``, ``undecodable``, ``black``, ``frozen`` or ``noisy``.
        epoch: Number of clock resets before it; a chunk of an earlier epoch belongs to a
            timeline that is gone.
    """

    stamp_ns: int
    oldest_ns: int
    images: Mapping[str, Frame]
    state: npt.NDArray[np.float64]
    state_mapped: npt.NDArray[np.bool_]
    prompt: str
    stamps_ns: Mapping[str, int] = field(default_factory=dict)
    ages_s: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0

    @property
    def skew_s(self) -> float:
        """Newest minus oldest stamp, in seconds."""
        return (self.stamp_ns - self.oldest_ns) * 1e-9
