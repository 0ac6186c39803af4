"""Pictures of simulated scenes on disk, a folder for each hundred: whole or absent."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.digest import file_digest
from pizero_ros.errors import DatasetError
from pizero_ros.training.cache import not_written
from pizero_ros.training.rows import NpyWriter, read_row

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SCHEMA = 1
PICTURES, PLACES, VALUES = 'pictures.npy', 'places.npz', 'scenes.json'


@dataclass(frozen=True)
class SceneShape:
    """What all scenes of a robot have in common.

    Attributes:
        slots: Its S camera slots, in order.
        size: Height and width of the model's image.
    """

    slots: tuple[str, ...]
    size: tuple[int, int]

    @property
    def row(self) -> np.dtype[np.void]:
        """The pictures of one scene as they lie on disk: uint8 [S, h, w, 3]."""
        return np.dtype(('u1', (len(self.slots), *self.size, 3)))


class SceneFiles:
    """The scenes of one folder.

    Attributes:
        objects: Names of the O objects.
        pixels: float32 [N, S, O, 2]; see ``sim.grounding.GroundTruth``.
        visible: float32 [N, S, O].
        digest: SHA-256 of what is known about the scenes besides their pictures.
    """

    def __init__(self, folder: Path, key: str, seeds: range, shape: SceneShape) -> None:
        """Open what ``write_scenes`` wrote.

        Args:
            folder: Where it lies.
            key: What it must have been made from.
            seeds: Of its scenes.
            shape: Of its pictures.

        Raises:
            DatasetError: It is absent, damaged, or made from something else.
        """
        path = folder / VALUES
        try:
            values = json.loads(path.read_text(encoding='utf-8'))
            self.digest = file_digest(folder / PLACES)
            expected = {
                'schema': SCHEMA,
                'key': key,
                'seeds': [seeds.start, seeds.stop],
                'slots': list(shape.slots),
                'bytes': (folder / PICTURES).stat().st_size,
                'places': self.digest,
            }
            for name, wanted in expected.items():
                if values[name] != wanted:
                    raise DatasetError.at(path, name, found=values[name], expected=str(wanted))
            self.objects = tuple(str(name) for name in values['objects'])
            with np.load(folder / PLACES) as places:
                self.pixels: npt.NDArray[np.float32] = places['pixels']
                self.visible: npt.NDArray[np.float32] = places['visible']
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError.at(
                path,
                '',
                found=f'{type(error).__name__}: {error}',
                expected='the pictures of simulated scenes',
            ) from None
        self._path = folder / PICTURES
        self._row = shape.row

    def __len__(self) -> int:
        return len(self.pixels)

    def pictures(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the pictures of a scene, uint8 [S, h, w, 3], read from disk.

        Raises:
            DatasetError: If the file has gone, or was cut off.
        """
        return read_row(self._path, self._row, number)


def write_scenes(
    folder: Path,
    key: str,
    seeds: range,
    shape: SceneShape,
    objects: tuple[str, ...],
    pictures: npt.NDArray[np.uint8],
    pixels: npt.NDArray[np.float32],
    visible: npt.NDArray[np.float32],
) -> None:
    """Write scenes beside the folder that they end up in; whatever lay there is replaced.

    Args:
        folder: Where the scenes go; its parents are made.
        key: What they are made from.
        seeds: Of the N scenes.
        shape: Of the pictures.
        objects: Names of the O objects.
        pictures: uint8 [N, S, h, w, 3].
        pixels: float32 [N, S, O, 2].
        visible: float32 [N, S, O].

    Raises:
        DatasetError: If it cannot be written.
    """
    beside = folder.with_name(f'.unfinished-{folder.name}-{uuid.uuid4().hex[:8]}')
    try:
        beside.mkdir(parents=True)
        rows = NpyWriter(beside / PICTURES, shape.row)
        for each in pictures:
            rows.append(each)
        rows.finish()
        np.savez(beside / PLACES, pixels=pixels, visible=visible)
        values = {
            'schema': SCHEMA,
            'key': key,
            'seeds': [seeds.start, seeds.stop],
            'slots': shape.slots,
            'objects': objects,
            'bytes': (beside / PICTURES).stat().st_size,
            'places': file_digest(beside / PLACES),
        }
        text = json.dumps(values, indent=1, ensure_ascii=False)
        (beside / VALUES).write_text(f'{text}\n', encoding='utf-8')
        shutil.rmtree(folder, ignore_errors=True)
        try:
            beside.rename(folder)
        except OSError as error:
            # Of two processes that make the same the first one wins.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    except OSError as error:
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
