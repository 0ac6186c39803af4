"""One raw observation from an ``.npz`` file: pictures, state and prompt as a robot has them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.embodiment.schema import VECTOR_DIM
from pizero_ros.observation.observation import Frame, Observation

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.errors import PizeroError
    from pizero_ros.processing.resize import ResizeWithPad
    from pizero_ros.processing.spec import ModelSpec

_IMAGE = 'image.'
_OTHERS = ('state', 'prompt', 'noise')
_ROUNDING = 1e-6
"""How far a picture in [0, 1] may leave it: what float32 rounding does to a level of 255."""


class RawObservation(NamedTuple):
    """An observation, and the noise [H, A] of its one inference."""

    observation: Observation
    noise: npt.NDArray[np.float32]


def read_observation(
    path: Path, model: ModelSpec, state_widths: range, resize: ResizeWithPad
) -> RawObservation:
    """Read and check a file.

    Args:
        path: File with ``image.<slot>`` uint8 [H, W, 3] or float32 [3, H, W] in [0, 1], ``state``
            float32 or float64 [S], ``prompt`` a string and ``noise`` float32 [H, A].
        model: Sizes and slots to hold the arrays against.
        state_widths: How many state values the robot may have.
        resize: Makes the model's image of a picture with fractional grey levels.

    Returns:
        The observation, stamped 0, and the noise.

    Raises:
        UsageError: The file cannot be read, or an array is missing, unknown, misshapen, not
            finite or out of range.
        ObservationError: A picture is too elongated for the model.
    """
    arrays = _load(path)
    slots = [f'{_IMAGE}{slot}' for slot in model.slots]
    for name in arrays:
        # A misspelt slot would be a missing camera, and nobody would know.
        if name not in slots and name not in _OTHERS:
            expected = f'one of {", ".join((*slots, *_OTHERS))}'
            raise UsageError.at(path, name, found='an unknown array', expected=expected)
    frames = {
        slot: _frame(path, name, arrays[name], resize)
        for slot, name in zip(model.slots, slots, strict=True)
        if name in arrays
    }
    if not frames:
        raise UsageError.at(
            path, '', found='no image', expected=f'at least one of {", ".join(slots)}'
        )
    noise = _take(path, arrays, 'noise', (np.float32,), (model.horizon, model.action_dim))
    reported = arrays.get('state', np.empty(0))
    # An absent state, or one of the wrong width, fails on the width that is expected.
    width = len(reported) if reported.ndim == 1 and len(reported) in state_widths else None
    width = state_widths[-1] if width is None else width
    state = np.zeros(max(width, VECTOR_DIM))
    state[:width] = _take(path, arrays, 'state', (np.float32, np.float64), (width,))
    observation = Observation(
        stamp_ns=0,
        oldest_ns=0,
        images=frames,
        state=state,
        state_mapped=np.arange(len(state)) < width,
        prompt=_prompt(path, arrays),
    )
    return RawObservation(observation, noise)


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        found = getattr(error, 'strerror', None) or error
        raise UsageError.at(path, '', found=found, expected='a readable .npz file') from None


def _take(
    path: Path,
    arrays: dict[str, npt.NDArray[Any]],
    name: str,
    dtypes: tuple[type[np.generic], ...],
    shape: tuple[int, ...],
) -> npt.NDArray[Any]:
    """Return an array of exactly this shape and one of these types, all of it finite."""
    array = arrays.get(name)
    kinds = ' or '.join(str(np.dtype(dtype)) for dtype in dtypes)
    expected = f'{kinds} {list(shape)}'
    if array is None:
        raise UsageError.at(path, name, found='nothing', expected=expected)
    if array.dtype not in dtypes or array.shape != shape:
        raise _misshapen(path, name, array, expected)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = ', '.join(str(i) for i in wrong[0])
        found = array[tuple(wrong[0])]
        raise UsageError.at(path, f'{name}[{place}]', found=found, expected='a finite number')
    return array


def _frame(path: Path, name: str, image: npt.NDArray[Any], resize: ResizeWithPad) -> Frame:
    expected = 'uint8 [H, W, 3] or float32 [3, H, W]'
    if image.ndim != 3 or not image.size:
        raise _misshapen(path, name, image, expected)
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return Frame.of(image)
    if image.dtype != np.float32 or image.shape[0] != 3:
        raise _misshapen(path, name, image, expected)
    low, high = float(image.min()), float(image.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # Also false for NaN.
        raise UsageError.at(
            path, name, found=f'values from {low:g} to {high:g}', expected='values in [0, 1]'
        )
    levels = np.ascontiguousarray(image.transpose(1, 2, 0)).clip(0, 1) * np.float32(255)
    frame = Frame.of(np.rint(levels).astype(np.uint8))
    # The pipeline asks the frame for the model's image under this key, and finds it made already.
    frame.derived(resize, lambda _: resize.of_levels(levels))
    return frame


def _prompt(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> str:
    array = arrays.get('prompt')
    if array is None or array.dtype.kind != 'U' or array.shape != ():
        found = 'nothing' if array is None else f'{array.dtype} {list(array.shape)}'
        raise UsageError.at(path, 'prompt', found=found, expected='one string')
    return str(array[()])


def _misshapen(path: Path, name: str, array: npt.NDArray[Any], expected: str) -> PizeroError:
    found = f'{array.dtype} {list(array.shape)}'
    return UsageError.at(path, name, found=found, expected=expected)
