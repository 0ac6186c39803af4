"""Camera frame to the image input of a chunk policy's graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import ObservationError
from pizero_ros.processing.resample import resampler
from pizero_ros.processing.resize import ResizeWithPad

if TYPE_CHECKING:
    from pizero_ros.observation.observation import Frame
    from pizero_ros.policy.foreign.manifest import ImageInput

_Image = npt.NDArray[np.float32]


class _Resize(Protocol):
    """uint8 [H, W, 3] RGB to float32 [3, size] in [-1, 1]; hashable, the key of its result."""

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> _Image: ...


@dataclass(frozen=True)
class Unresized:
    """Take pictures of exactly one size, as policies do that saw cameras as they are."""

    size: tuple[int, int]

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> _Image:
        """Return the picture, float32 [3, size] in [-1, 1].

        Raises:
            ObservationError: It has another size.
        """
        if rgb.shape[:2] != self.size:
            (height, width), (wanted_height, wanted_width) = rgb.shape[:2], self.size
            raise ObservationError.at(
                'image',
                'size',
                found=f'{width}x{height}',
                expected=f'{wanted_width}x{wanted_height}, which the policy takes unresized',
                remedy='Set the camera to that size, or name the resize rule that the policy was '
                'trained with in its policy.yaml.',
            )
        return Stretch(self.size, antialias=False)(rgb)


@dataclass(frozen=True)
class Stretch:
    """Resize to ``size``, whatever becomes of the aspect ratio; bilinear.

    With ``antialias`` as Pillow does it on 8-bit images; without, as ``F.interpolate`` and OpenCV
    do it, on fractional levels.
    """

    size: tuple[int, int]
    antialias: bool

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> _Image:
        """Return the picture, float32 [3, size] in [-1, 1].

        Raises:
            ObservationError: It is not RGB, or empty.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise ObservationError.at(
                'image', '', found=f'{rgb.dtype} {list(rgb.shape)}', expected='uint8 [H, W, 3]'
            )
        image = np.empty((3, *self.size), np.float32)
        rule = 'antialias' if self.antialias else 'lerobot'
        resample = resampler(*rgb.shape[:2], *self.size, rule)
        resample(rgb, image, whole_levels=self.antialias)
        return image


class Picture:
    """Everything between a camera and one image input: resize, scale, reorder."""

    def __init__(self, spec: ImageInput) -> None:
        """Choose the resize rule.

        Args:
            spec: The input.
        """
        self.spec = spec
        self._resize = _resize(spec)
        # On levels in [-1, 1], which is what resizing returns.
        self._gain = np.array(spec.gain)[:, None, None] / 2
        self._offset = np.array(spec.offset)[:, None, None] + self._gain

    def __call__(self, frame: Frame) -> _Image:
        """Return the picture as the graph takes it, without batch: float32 ``spec.shape``.

        Resizing is done once per frame and rule, however many policies ask.

        Raises:
            ObservationError: The frame cannot be decoded, or has a size that cannot be taken.
        """
        levels = frame.derived(self._resize, lambda each: self._resize(each.rgb()))
        ordered = levels if self.spec.channels == 'rgb' else levels[::-1]
        image = (ordered * self._gain + self._offset).astype(np.float32)
        return image if self.spec.layout == 'nchw' else image.transpose(1, 2, 0)


def _resize(spec: ImageInput) -> _Resize:
    if spec.resize == 'none':
        return Unresized(spec.size)
    if spec.resize == 'stretch' or spec.resize == 'stretch_antialias':
        return Stretch(spec.size, antialias=spec.resize == 'stretch_antialias')
    return ResizeWithPad(spec.size, spec.resize)
