"""Camera pictures as text within a page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def jpeg_base64(rgb: npt.NDArray[np.uint8], *, width: int = 320, quality: int = 85) -> str:
    """Return a picture as base64 of JPEG.

    Args:
        rgb: uint8 [height, width, 3].
        width: Largest width in pixels; a broader picture is made smaller.
        quality: Of the JPEG, up to 100.

    Returns:
        What goes behind ``data:image/jpeg;base64,``.
    """
    if rgb.shape[1] > width:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    return base64.b64encode(encoded.tobytes()).decode('ascii')
