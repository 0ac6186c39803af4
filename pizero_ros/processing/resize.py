"""Camera image to model image: resize, centre on a black square, scale to [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import ObservationError
from pizero_ros.processing.resample import resampler

if TYPE_CHECKING:
    from pizero_ros.processing.spec import ResizeRule


class Content(NamedTuple):
    """Where the picture lies inside the padded image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class ResizeWithPad:
    """Resize to fit ``size`` with the aspect ratio kept, on black.

    ``antialias`` is openpi's rule (Pillow BILINEAR on 8-bit images, then ``/255*2-1``) to one grey
    level. ``lerobot`` is ``F.interpolate(mode='bilinear')`` without antialiasing on floats. The
    two differ by up to 134 levels on noise, so the checkpoint decides, not taste. Both centre the
    picture; ``lerobot_left_top``, lerobot's rule up to 0.3.3, pads on the left and the top only.

    Attributes:
        size: Height and width of the result.
        rule: Which of them.
    """

    size: tuple[int, int]
    rule: ResizeRule

    def __call__(
        self, rgb: npt.NDArray[np.uint8], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the model's image.

        Args:
            rgb: uint8 [H, W, 3].
            out: float32 [3, size] that is to become the image; None for new memory.

        Returns:
            float32 [3, size] in [-1, 1], the padding is -1; ``out``, or a C-contiguous array.

        Raises:
            ObservationError: If the image is not RGB, or so elongated that nothing is left.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ObservationError.at(
                'image', '', found=f'{rgb.dtype} {list(rgb.shape)}', expected='uint8 [H, W, 3]'
            )
        return self._fit(rgb, out)

    def of_levels(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the model's image of a picture whose grey levels are not whole.

        Args:
            levels: float32 [H, W, 3] RGB in [0, 255]. ``antialias`` cuts off the fractions first,
                as openpi does.

        Returns:
            As a call returns it.

        Raises:
            ObservationError: As a call raises it.
        """
        if levels.ndim != 3 or levels.shape[2] != 3 or levels.dtype != np.float32:
            raise ObservationError.at(
                'image',
                '',
                found=f'{levels.dtype} {list(levels.shape)}',
                expected='float32 [H, W, 3]',
            )
        return self._fit(levels.astype(np.uint8) if self.rule == 'antialias' else levels)

    def _fit(
        self,
        rgb: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
        out: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Resize, centre and scale a picture of whole or fractional grey levels."""
        height, width = rgb.shape[:2]
        box = self.content(height, width)
        image = np.empty((3, *self.size), np.float32) if out is None else out
        bottom, right = box.top + box.height, box.left + box.width
        image[:, : box.top] = image[:, bottom:] = -1
        image[:, box.top : bottom, : box.left] = image[:, box.top : bottom, right:] = -1
        inside = image[:, box.top : bottom, box.left : right]
        resample = resampler(height, width, box.height, box.width, self.rule)
        resample(rgb, inside, whole_levels=self.rule == 'antialias')
        return image

    def content(self, height: int, width: int) -> Content:
        """Return where an image of ``height`` x ``width`` comes to lie."""
        out_height, out_width = self.size
        if min(height, width) > 0:
            # Written as upstream writes it: int(x / ratio) and int(x * (1 / ratio)) can differ.
            ratio = max(width / out_width, height / out_height)
            inner = int(height / ratio), int(width / ratio)
            if min(inner) > 0:
                top, left = out_height - inner[0], out_width - inner[1]
                if self.rule != 'lerobot_left_top':
                    top, left = top // 2, left // 2
                return Content(top, left, *inner)
        raise ObservationError.at(
            'image',
            'size',
            found=f'{width}x{height}',
            expected=f'a picture of which a row and a column remain in {out_width}x{out_height}',
        )

    def inverse(
        self, image: npt.NDArray[np.float32], height: int, width: int
    ) -> npt.NDArray[np.uint8]:
        """Return what the model saw of an image of ``height`` x ``width``, without the padding.

        Args:
            image: float32 [3, size] in [-1, 1].
            height: Height of the camera image.
            width: Width of the camera image.

        Returns:
            uint8 [h, w, 3] RGB; the resolution that the resize took away stays away.
        """
        box = self.content(height, width)
        inside = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
        levels = np.rint((inside.transpose(1, 2, 0) + 1) * 127.5)
        return np.ascontiguousarray(levels.clip(0, 255).astype(np.uint8))
