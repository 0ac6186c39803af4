"""Small animations of trials, which browsers show by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

QUALITY = 45
LARGEST_BYTES = 400_000
"""A film above this is written with every second picture only."""


def write_video(path: Path, frames: Sequence[npt.NDArray[np.uint8]], rate_hz: float) -> None:
    """Write an animated WebP.

    Args:
        path: Of the file; its folder is made.
        frames: At least one, uint8 [height, width, 3].
        rate_hz: Pictures per second.

    Raises:
        EnvironmentFault: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, frames, rate_hz)
        while path.stat().st_size > LARGEST_BYTES and len(frames) > 1:
            frames, rate_hz = frames[::2], rate_hz / 2
            _write(path, frames, rate_hz)
    except OSError as error:
        raise EnvironmentFault.at(
            path, '', found=str(error), expected='a file that can be written'
        ) from None


def _write(path: Path, frames: Sequence[npt.NDArray[np.uint8]], rate_hz: float) -> None:
    pictures = [Image.fromarray(each) for each in frames]
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / rate_hz),
        loop=0,
        quality=QUALITY,
        method=0,
    )
