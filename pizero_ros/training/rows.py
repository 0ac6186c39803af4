"""Files of rows: NumPy's own format, written row by row, read one row at a time."""

from __future__ import annotations

import contextlib
import struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_HEADER = 512
"""Bytes before the rows. ``np.load`` takes a header of any length, and one of fixed length can be
written last, when the number of rows is known."""


class NpyWriter:
    """A growing ``.npy`` file of rows of one type."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Begin a file.

        Args:
            path: Where.
            dtype: Of a row; may be a structure, or have a shape.

        Raises:
            OSError: If it cannot be written.
        """
        self._row = dtype
        self.count = 0
        self._file: IO[bytes] = path.open('wb')
        self._file.write(bytes(_HEADER))

    def append(self, row: npt.NDArray[Any]) -> int:
        """Write a row and return its number.

        Raises:
            OSError: If it cannot be written.
        """
        base, shape = self._row.base, self._row.shape
        if row.dtype != base or row.shape != shape:
            msg = f'a row of {row.dtype} {row.shape}, expected {base} {shape}'
            raise ValueError(msg)
        self._file.write(row.tobytes())
        self.count += 1
        return self.count - 1

    def finish(self) -> None:
        """Write the header and close.

        Raises:
            OSError: If it cannot be written.
        """
        descr = np.lib.format.dtype_to_descr(self._row.base)
        shape = (self.count, *self._row.shape)
        text = repr({'descr': descr, 'fortran_order': False, 'shape': shape})
        if len(text) > _HEADER - 11:
            msg = f'a header of {len(text)} characters'
            raise ValueError(msg)
        self._file.seek(0)
        self._file.write(np.lib.format.magic(1, 0) + struct.pack('<H', _HEADER - 10))
        self._file.write(text.ljust(_HEADER - 11).encode('latin1') + b'\n')
        self._file.close()

    def close(self) -> None:
        """Close without a header; harmless when finished."""
        with contextlib.suppress(OSError):
            self._file.close()


def read_row(path: Path, dtype: np.dtype[Any], number: int) -> npt.NDArray[Any]:
    """Return a row of what an ``NpyWriter`` wrote.

    The file is opened for each row: a mapping would keep a descriptor open, and thousands of
    demonstrations are ordinary.

    Raises:
        DatasetError: If the file has gone or was cut off.
    """
    try:
        rows = np.fromfile(path, dtype, 1, offset=_HEADER + number * dtype.itemsize)
    except OSError as error:
        found = error.strerror or str(error)
    else:
        if len(rows) == 1:
            return rows[0]  # type: ignore[no-any-return]
        found = 'the end of the file'
    raise DatasetError.at(
        path,
        '',
        found=found,
        expected=f'row {number}',
        remedy='Start again: a damaged cache is made anew, and training goes on where it was.',
    )
