"""Separable bilinear resampling as banded matrix products: PIL's antialiased result, faster.

Each output row (column) is a weighted sum of a few neighbouring input rows (columns), so one pass
is a product with a banded matrix. The band is cut into blocks whose inputs start at a constant
stride: a pass is then one batched product over overlapping windows of the picture, one call that
keeps no interpreter's lock. The second pass works on planes, so that the result is channel-first
without a transposition.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pizero_ros.processing.spec import ResizeRule

ROW_BLOCKS = range(4, 9)
COLUMN_BLOCKS = (16,)
"""Outputs of one product; measured best for 640x480, 848x480 and 1280x720 -> 224."""

BAND_VALUES = 300_000
"""Input values that are in work at once: what a second-level cache holds as float32."""

BLOCK_WORK = 400_000
"""Largest rows x columns x depth of one product: above about twice this OpenBLAS wakes its thread
pool, which costs four times what it saves."""


class Band(NamedTuple):
    """A banded matrix as blocks of equal size: block b reads ``depth`` inputs from b * stride on.

    Attributes:
        weights: float32 [blocks, outputs of a block, depth]; what is no output or no input is 0.
        stride: Inputs between the starts of two blocks.
        before: Inputs that the first block reads before the first one there is.
        after: Inputs that the last block reads behind the last one there is.
    """

    weights: npt.NDArray[np.float32]
    stride: int
    before: int
    after: int

    @property
    def outputs(self) -> int:
        """Outputs of all blocks; the last ones may be padding."""
        blocks, length, _ = self.weights.shape
        return int(blocks * length)


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


def banded(weights: npt.NDArray[np.float64], lengths: Iterable[int]) -> Band:
    """Cut a banded matrix into blocks of the length that costs the fewest products.

    Args:
        weights: float64 [outputs, inputs]; the non-zero values of a row lie side by side.
        lengths: Outputs of a block, to choose from.
    """
    size_out, size_in = weights.shape
    step = size_in / size_out
    strides = {(n, round_(n * step)) for n in lengths for round_ in (floor, ceil)}
    bands = [_band(weights, length, stride) for length, stride in sorted(strides)]
    return min(bands, key=lambda band: band.weights.size)


def _band(weights: npt.NDArray[np.float64], length: int, stride: int) -> Band:
    size_out, size_in = weights.shape
    used = weights != 0
    low = used.argmax(1)
    high = size_in - used[:, ::-1].argmax(1)
    starts = np.arange(size_out) // length * stride
    first = min(0, int((low - starts).min()))
    depth = int((high - starts).max()) - first
    blocks = ceil(size_out / length)
    cut = np.zeros((blocks * length, depth), np.float32)
    for row in range(size_out):
        at = low[row] - starts[row] - first
        cut[row, at : at + high[row] - low[row]] = weights[row, low[row] : high[row]]
    return Band(
        weights=cut.reshape(blocks, length, depth),
        stride=stride,
        before=-first,
        after=max(0, (blocks - 1) * stride + first + depth - size_in),
    )


class _Scratch:
    """Buffers of one call in flight; fresh pages for them would double its time.

    They hold a strip of the picture, some blocks of rows: what both passes write and read again
    then stays in a second-level cache.

    Attributes:
        band: float32 [rows, 3 * width], where the inputs of a strip go, ``after`` included.
        windows: Overlapping views of it, one for each block of rows and each part of its columns.
        rows: Where their products go, by block.
        interleaved: float32 [rows of a strip, padded width, 3], the same as a picture.
        planes: Three of float32 [rows of a strip, padded width], where its channels go.
        plane_windows: Overlapping views of them, one for each block of columns and part of rows.
        columns: Where their products go.
        levels: float32 [3, rows of a strip, out_width], the same as planes.
    """

    def __init__(self, rows: Band, columns: Band, width: int, out_width: int) -> None:
        blocks, length, depth = rows.weights.shape
        parts, part = _split(3 * width, length * depth)
        line = parts * part
        most = max(1, (BAND_VALUES // line - depth) // max(rows.stride, 1) + 1)
        at_once = ceil(blocks / ceil(blocks / most))
        self.band = np.zeros(((at_once - 1) * rows.stride + depth, line), np.float32)
        step, item = self.band.strides
        self.windows = as_strided(
            self.band, (at_once, parts, depth, part), (rows.stride * step, part * item, step, item)
        )
        # Rows are as long as the second pass reads: separating the channels of rows without gaps
        # takes a third of the time.
        padded = columns.before + max(width + columns.after, ceil(line / 3))
        resampled = np.zeros((at_once, length, padded, 3), np.float32)
        block, step, _, item = resampled.strides
        self.rows = as_strided(
            resampled[:, :, columns.before :],
            (at_once, parts, length, part),
            (block, part * item, step, item),
        )
        height = at_once * length
        self.interleaved = resampled.reshape(height, padded, 3)

        blocks, length, depth = columns.weights.shape
        parts, part = _split(3 * height, length * depth)
        source = np.zeros((parts * part, padded), np.float32)
        self.planes = list(source[: 3 * height].reshape(3, height, padded))
        step, item = source.strides
        self.plane_windows = as_strided(
            source, (blocks, parts, part, depth), (columns.stride * item, part * step, step, item)
        )
        levels = np.empty((parts, part, blocks, length), np.float32)
        self.columns = levels.transpose(2, 0, 1, 3)
        lines = levels.reshape(parts * part, columns.outputs)[: 3 * height, :out_width]
        self.levels = lines.reshape(3, height, out_width)


def _split(size: int, work: int) -> tuple[int, int]:
    """Return into how many parts of which size ``size`` goes, for products of ``work`` each."""
    parts = ceil(size * work / BLOCK_WORK)
    return parts, ceil(size / parts)


class Resampler:
    """Resample RGB images of one size to another; safe to call from several threads."""

    def __init__(
        self, height: int, width: int, out_height: int, out_width: int, rule: ResizeRule
    ) -> None:
        """Precompute the bands for ``height`` x ``width`` -> ``out_height`` x ``out_width``."""
        self._sizes = height, width, out_height, out_width
        weigh = antialias_weights if rule == 'antialias' else two_tap_weights
        self._rows = banded(weigh(height, out_height), ROW_BLOCKS)
        self._columns = banded(weigh(width, out_width), COLUMN_BLOCKS)
        self._row_weights = self._rows.weights[:, None]
        self._column_weights = np.ascontiguousarray(self._columns.weights.transpose(0, 2, 1))
        self._column_weights = self._column_weights[:, None]
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
        height, width, out_height, out_width = self._sizes
        if (height, width) == (out_height, out_width):
            planes = np.stack(cv2.split(rgb))
            np.multiply(planes, np.float32(2 / 255), out=out)
            np.subtract(out, np.float32(1), out=out)
            return
        scratch = self._borrow()
        lines = rgb.reshape(height, 3 * width)
        at_once, length = len(scratch.windows), self._rows.weights.shape[1]
        for block in range(0, len(self._row_weights), at_once):
            self._resample_rows(lines, block, scratch)
            cv2.split(scratch.interleaved, scratch.planes)
            np.matmul(scratch.plane_windows, self._column_weights, out=scratch.columns)
            strip = out[:, block * length : (block + at_once) * length]
            levels = scratch.levels[:, : strip.shape[1]]
            if whole_levels:
                np.rint(levels, out=levels)
            np.multiply(levels, np.float32(2 / 255), out=strip)
            np.subtract(strip, np.float32(1), out=strip)
        self._idle.append(scratch)

    def _resample_rows(
        self, lines: npt.NDArray[np.generic], block: int, scratch: _Scratch
    ) -> None:
        """Fill ``scratch.rows`` with the strip that begins at a block; what is no row is zero."""
        count = min(len(scratch.windows), len(self._row_weights) - block)
        first = block * self._rows.stride - self._rows.before
        band = scratch.band[: (count - 1) * self._rows.stride + self._rows.weights.shape[2]]
        low, high = max(first, 0), min(first + len(band), len(lines))
        band[: low - first] = band[high - first :] = 0
        band[low - first : high - first, : lines.shape[1]] = lines[low:high]
        weights = self._row_weights[block : block + count]
        np.matmul(weights, scratch.windows[:count], out=scratch.rows[:count])

    def _borrow(self) -> _Scratch:
        try:
            return self._idle.pop()
        except IndexError:
            return _Scratch(self._rows, self._columns, self._sizes[1], self._sizes[3])


@lru_cache(maxsize=16)
def resampler(
    height: int, width: int, out_height: int, out_width: int, rule: ResizeRule
) -> Resampler:
    """Return the resampler of these sizes, built once: a robot has few camera sizes."""
    return Resampler(height, width, out_height, out_width, rule)
