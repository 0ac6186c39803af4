"""Separable bilinear resampling as banded matrix products: PIL's antialiased result, faster.

Each output row (column) is a weighted sum of a few neighbouring input rows (columns), so one pass
is a product with a banded matrix. Cutting the band into small blocks makes the products tiny, and
the second pass works on planes, so that the result is channel-first without a transposition.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pizero_ros.processing.spec import ResizeRule

COLUMN_BLOCK = 16
"""Output columns of one product; measured best of 8, 16 and 32 for 640 -> 224."""

BLOCK_WORK = 400_000
"""Largest rows x columns x depth of one product: above about twice this OpenBLAS wakes its thread
pool, which costs four times what it saves."""


class Block(NamedTuple):
    """Outputs ``first:last`` as weights, float32, on inputs ``low:high``."""

    first: int
    last: int
    low: int
    high: int
    weights: npt.NDArray[np.float32]


def antialias_weights(size_in: int, size_out: int) -> npt.NDArray[np.float64]:
    """Return PIL's BILINEAR filter as float64 [size_out, size_in]; each row sums to one.

    A triangle whose support grows with the reduction (Pillow, ``precompute_coeffs``).
    """
    scale = size_in / size_out
    width = max(scale, 1.0)
    centres = (np.arange(size_out)[:, None] + 0.5) * scale
    pixels = np.arange(size_in)[None, :]
    # Pillow cuts the window to whole pixels before it weighs them.
    inside = (pixels >= np.floor(np.maximum(centres - width + 0.5, 0))) & (
        pixels < np.floor(centres + width + 0.5)
    )
    weights = np.where(inside, np.maximum(0.0, 1 - np.abs(pixels + 0.5 - centres) / width), 0.0)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float64)


def two_tap_weights(size_in: int, size_out: int) -> npt.NDArray[np.float64]:
    """Return torch's ``interpolate(mode='bilinear', align_corners=False)`` as a matrix."""
    # In float32, as torch computes it: at 1280 columns its rounding moves a weight by 1e-5.
    centres = np.arange(size_out, dtype=np.float32) + np.float32(0.5)
    scale = np.float32(size_in) / np.float32(size_out)
    source = np.maximum(scale * centres - np.float32(0.5), np.float32(0))
    low = np.minimum(source.astype(np.int64), size_in - 1)
    high = np.minimum(low + 1, size_in - 1)
    fraction = source - low
    weights = np.zeros((size_out, size_in))
    rows = np.arange(size_out)
    np.add.at(weights, (rows, low), 1 - fraction)
    np.add.at(weights, (rows, high), fraction)
    return weights


def _blocks(weights: npt.NDArray[np.float64], length: int, *, transpose: bool) -> list[Block]:
    blocks = []
    for first in range(0, len(weights), length):
        rows = weights[first : first + length]
        used = np.flatnonzero(rows.any(axis=0))
        low, high = int(used[0]), int(used[-1]) + 1
        part = rows[:, low:high].T if transpose else rows[:, low:high]
        block = np.ascontiguousarray(part, np.float32)
        blocks.append(Block(first, first + len(rows), low, high, block))
    return blocks


class _Scratch(NamedTuple):
    """Buffers of one call in flight; fresh pages for them would double its time."""

    band: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    planes: npt.NDArray[np.float32]
    levels: npt.NDArray[np.float32]


class Resampler:
    """Resample RGB images of one size to another; safe to call from several threads."""

    def __init__(
        self, height: int, width: int, out_height: int, out_width: int, rule: ResizeRule
    ) -> None:
        """Precompute the blocks for ``height`` x ``width`` -> ``out_height`` x ``out_width``."""
        self.height, self.width = height, width
        self.out_height, self.out_width = out_height, out_width
        weigh = antialias_weights if rule == 'antialias' else two_tap_weights
        reduction = height / out_height
        row_block = next(
            (n for n in (8, 4, 2) if n * 3 * width * ((n + 1) * reduction + 1) <= BLOCK_WORK), 1
        )
        self._rows = _blocks(weigh(height, out_height), row_block, transpose=False)
        self._columns = _blocks(weigh(width, out_width), COLUMN_BLOCK, transpose=True)
        self._idle: deque[_Scratch] = deque()

    def __call__(
        self,
        rgb: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
        out: npt.NDArray[np.float32],
        *,
        whole_levels: bool,
    ) -> None:
        """Write the resampled image into ``out``, scaled from 0..255 to -1..1.

        Args:
            rgb: uint8 or float32 [height, width, 3] in 0..255, rows may be padded.
            out: float32 [3, out_height, out_width], any strides.
            whole_levels: Round to whole grey levels before scaling, as an 8-bit resize does.
        """
        if (self.height, self.width) == (self.out_height, self.out_width):
            planes = np.stack(cv2.split(rgb))
            np.multiply(planes, np.float32(2 / 255), out=out)
            np.subtract(out, np.float32(1), out=out)
            return
        flat = rgb.reshape(self.height, 3 * self.width)
        scratch = self._borrow()
        for first, last, low, high, weights in self._rows:
            band = scratch.band[: high - low]
            band[...] = flat[low:high]
            np.matmul(weights, band, out=scratch.rows[first:last])
        interleaved = scratch.rows.reshape(self.out_height, self.width, 3)
        cv2.split(interleaved, list(scratch.planes))
        planes = scratch.planes.reshape(3 * self.out_height, self.width)
        for first, last, low, high, weights in self._columns:
            np.matmul(planes[:, low:high], weights, out=scratch.levels[:, first:last])
        levels = scratch.levels
        if whole_levels:
            np.rint(levels, out=levels)
        np.multiply(levels, np.float32(2 / 255), out=levels)
        np.subtract(levels.reshape(3, self.out_height, self.out_width), np.float32(1), out=out)
        self._idle.append(scratch)

    def _borrow(self) -> _Scratch:
        try:
            return self._idle.pop()
        except IndexError:
            deepest = max(block.high - block.low for block in self._rows)
            return _Scratch(
                band=np.empty((deepest, 3 * self.width), np.float32),
                rows=np.empty((self.out_height, 3 * self.width), np.float32),
                planes=np.empty((3, self.out_height, self.width), np.float32),
                levels=np.empty((3 * self.out_height, self.out_width), np.float32),
            )


@lru_cache(maxsize=16)
def resampler(
    height: int, width: int, out_height: int, out_width: int, rule: ResizeRule
) -> Resampler:
    """Return the resampler of these sizes, built once: a robot has few camera sizes."""
    return Resampler(height, width, out_height, out_width, rule)
