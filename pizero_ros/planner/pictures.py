"""Camera pictures as data URLs, small enough to be sent every other second."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pizero_ros.planner.plan import Rgb

JPEG_QUALITY = 85


def data_url(rgb: Rgb, longest_side: int) -> str:
    """Return a picture as JPEG in a data URL.

    Args:
        rgb: uint8 [H, W, 3] RGB.
        longest_side: It is shrunk to this many pixels, never enlarged.
    """
    height, width = rgb.shape[:2]
    scale = longest_side / max(height, width)
    if scale < 1.0:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    made, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not made:
        msg = f'no JPEG of a picture of shape {rgb.shape}'
        raise ValueError(msg)
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg.tobytes()).decode('ascii')
