"""A safetensors file: what it lists, and its tensors one at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from pizero_ros.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BLOCK = 1 << 24
"""Values looked at in one go, so that a look at a tensor needs little memory beside it."""


class TensorInfo(NamedTuple):
    """What the header says of one tensor: type as safetensors writes it (``F32``), and shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f'{self.dtype} {list(self.shape)}'

    @property
    def nbytes(self) -> int:
        """Bytes of its values, of a type that is read."""
        return math.prod(self.shape) * (4 if self.dtype == 'F32' else 2)


class TensorFile:
    """A safetensors file of which only the header is read, until a tensor is asked for."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Args:
            path: The file.

        Raises:
            CheckpointError: It cannot be read, is no safetensors file, or its length is not what
                the header says.
        """
        self.path = path
        listing = {}
        with self._opened() as file:
            names: list[str] = file.keys()
            for name in names:
                entry = file.get_slice(name)
                listing[name] = TensorInfo(entry.get_dtype(), tuple(entry.get_shape()))
        self.listing: Mapping[str, TensorInfo] = listing

    def load(self, name: str) -> torch.Tensor:
        """Return one tensor as the file holds it; its memory is the file's, mapped.

        Each has a mapping of its own, which goes with it: one for all would keep every page that
        was ever read, up to the size of the file.

        Raises:
            CheckpointError: It cannot be read.
        """
        with self._opened() as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework='pt') as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise CheckpointError.at(
                self.path,
                '',
                found=str(error) or type(error).__name__,
                expected='a whole safetensors file',
                remedy='It is damaged or was copied in part; fetch it again.',
            ) from None


@dataclass(frozen=True)
class TensorSource:
    """One tensor that can be loaded.

    Attributes:
        file: Where it is.
        name: Its name there.
        info: Its type and shape.
    """

    file: TensorFile
    name: str
    info: TensorInfo

    def load(self) -> torch.Tensor:
        """Return the tensor in the type of the file, float32 or bfloat16, on the CPU."""
        return self.file.load(self.name)


class Weights(Mapping[str, TensorSource]):
    """The policy's weights by ``Pi0``'s parameter names, each to be loaded on its own.

    ``for name, source in weights.items(): use(name, source.load())`` never holds more than one.
    """

    def __init__(self, file: TensorFile, sources: Mapping[str, str]) -> None:
        """Name the tensors of ``file`` anew: ``Pi0``'s name → name in the file."""
        self._sources = {
            name: TensorSource(file, source, file.listing[source])
            for name, source in sources.items()
        }

    def __getitem__(self, name: str) -> TensorSource:
        return self._sources[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def first_not_finite(tensor: torch.Tensor) -> int | None:
    """Return the flat index of the first NaN or infinity, or None."""
    for number, block in enumerate(torch.split(tensor.flatten(), _BLOCK)):
        finite = torch.isfinite(block)
        if not finite.all():
            return number * _BLOCK + int(finite.logical_not().nonzero()[0])
    return None


def not_finite(
    weights: Weights, on_bytes: Callable[[int, int], object] | None = None
) -> dict[str, str]:
    """Look at every value once.

    Args:
        weights: What to look at.
        on_bytes: Told the bytes looked at so far and of the whole, for a progress bar.

    Returns:
        Name in the file → the first value that is not finite, and where.
    """
    wrong = {}
    done, total = 0, sum(source.info.nbytes for source in weights.values())
    for source in weights.values():
        tensor = source.load()
        index = first_not_finite(tensor)
        if index is not None:
            wrong[source.name] = f'{float(tensor.flatten()[index])} at flat index {index}'
        if on_bytes is not None:
            done += tensor.nbytes
            on_bytes(done, total)
    return wrong


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Compare two tensors of one shape without a copy of either."""
    blocks = (torch.split(each.flatten(), _BLOCK) for each in (first, second))
    pairs = zip(*blocks, strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
