"""Batches in model space from an ``.npz`` file, as reference implementations write them."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.processing.model_inputs import ModelInputs

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.errors import PizeroError
    from pizero_ros.processing.spec import ModelSpec

Sample = tuple[ModelInputs, npt.NDArray[np.float32]]
"""Inputs and noise of one inference."""

_IMAGE = re.compile(r'images\.(\d+)')
_IMAGE_BOUND = 1.001
"""Images are in [-1, 1]; a resize may overshoot by rounding, 0 … 255 overshoots by more."""


def read_samples(path: Path, model: ModelSpec) -> list[Sample]:
    """Read a batch and take it apart: absent cameras and pad tokens are left out.

    Args:
        path: File with ``images.i`` float32 [B, 3, H, W], ``img_masks.i`` bool [B],
            ``lang_tokens`` int64 [B, L], ``lang_masks`` bool [B, L], ``state`` float32 [B, S] and
            ``noise`` float32 [B, H, A]. ``images.i`` belongs to slot i; trailing slots may be
            left away.
        model: Sizes to hold the arrays against.

    Returns:
        One entry per sample.

    Raises:
        UsageError: The file cannot be read, or an array is missing, misshapen, not finite
            or out of range.
    """
    arrays = _Arrays(path)
    count = arrays.images(len(model.slots))
    state = arrays.take('state', np.float32, (None, model.state_dim))
    batch = len(state)
    shape = (batch, 3, *model.image_size)
    images = [arrays.take(f'images.{i}', np.float32, shape) for i in range(count)]
    present = np.stack(
        [arrays.take(f'img_masks.{i}', np.bool_, (batch,)) for i in range(count)], axis=1
    )
    tokens = arrays.take('lang_tokens', np.int64, (batch, None))
    words = arrays.take('lang_masks', np.bool_, tokens.shape)
    noise = arrays.take('noise', np.float32, (batch, model.horizon, model.action_dim))
    arrays.finite('state', state)
    arrays.finite('noise', noise)
    samples: list[Sample] = []
    for b in range(batch):
        seen = [images[i][b] for i in range(count) if present[b, i]]
        kept = tokens[b][words[b]]
        if not seen:
            raise arrays.fault(f'img_masks.*[{b}]', 'no camera', 'at least one camera present')
        for i in np.flatnonzero(present[b]):
            arrays.image(f'images.{i}[{b}]', images[i][b])
        if not 1 <= len(kept) <= model.prompt.max_tokens:
            expected = f'1 to {model.prompt.max_tokens} that are not pads'
            raise arrays.fault(f'lang_tokens[{b}]', f'{len(kept)} tokens', expected)
        if kept.min() < 0 or kept.max() >= model.vocabulary:
            found = f'ids from {kept.min()} to {kept.max()}'
            raise arrays.fault(f'lang_tokens[{b}]', found, f'ids below {model.vocabulary}')
        samples.append((ModelInputs(np.stack(seen), kept, state[b]), noise[b]))
    return samples


class _Arrays:
    """The arrays of one file, each checked as it is taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._arrays: dict[str, npt.NDArray[Any]] = {
                    name: archive[name] for name in archive.files
                }
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
            found = getattr(error, 'strerror', None) or error
            raise UsageError.at(path, '', found=found, expected='a readable .npz file') from None

    def fault(self, key: str, found: object, expected: str) -> PizeroError:
        """Build the error about one array."""
        return UsageError.at(self._path, key, found=found, expected=expected)

    def images(self, slots: int) -> int:
        """Count the cameras: ``images.0`` … without a gap, no more than the bundle has slots."""
        numbers = sorted(
            int(match[1]) for name in self._arrays if (match := _IMAGE.fullmatch(name))
        )
        if numbers != list(range(len(numbers))) or not 1 <= len(numbers) <= slots:
            found = ', '.join(f'images.{i}' for i in numbers) or 'no images'
            raise self.fault('images.*', found, f'images.0 to at most images.{slots - 1}')
        return len(numbers)

    def take(
        self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        """Return an array of exactly this type and shape; None leaves a size open."""
        array = self._arrays.get(name)
        wanted = ', '.join('any' if size is None else str(size) for size in shape)
        expected = f'{np.dtype(dtype)} [{wanted}]'
        if array is None:
            raise self.fault(name, 'nothing', expected)
        fits = array.ndim == len(shape) and all(
            size in (None, found) for size, found in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits or not len(array):
            raise self.fault(name, f'{array.dtype} {list(array.shape)}', expected)
        return array

    def finite(self, name: str, array: npt.NDArray[np.float32]) -> None:
        """Refuse NaN and infinity."""
        wrong = np.argwhere(~np.isfinite(array))
        if len(wrong):
            place = ', '.join(str(i) for i in wrong[0])
            raise self.fault(f'{name}[{place}]', array[tuple(wrong[0])], 'a finite number')

    def image(self, name: str, image: npt.NDArray[np.float32]) -> None:
        """Refuse an image that is not in [-1, 1]."""
        low, high = float(image.min()), float(image.max())
        if not (low >= -_IMAGE_BOUND and high <= _IMAGE_BOUND):  # Also false for NaN.
            raise self.fault(name, f'values from {low:g} to {high:g}', 'values in [-1, 1]')
