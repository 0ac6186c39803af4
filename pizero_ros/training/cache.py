"""Samples of one demonstration on disk: a folder that is complete or absent."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.digest import file_digest
from pizero_ros.errors import DatasetError, PizeroError
from pizero_ros.training.example import Example
from pizero_ros.training.rows import NpyWriter, read_row

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SCHEMA = 1
"""Of the folder; another one is written anew."""

VALUES = 'episode.json'
SAMPLES = 'samples.npy'


@dataclass(frozen=True)
class Shape:
    """What all samples of a demonstration have in common.

    Attributes:
        embodiment: Name of the robot.
        slots: Camera slots, in order.
        image_size: Height and width of each picture.
        mapped: bool [vector_dim], where the state has a value.
        horizon: Actions of a sample.
        width: Values of an action.
    """

    embodiment: str
    slots: tuple[str, ...]
    image_size: tuple[int, int]
    mapped: tuple[bool, ...]
    horizon: int
    width: int

    @property
    def record(self) -> np.dtype[np.void]:
        """One sample as it lies on disk; ``pictures`` holds a number per slot, -1 for none."""
        return np.dtype(
            [
                ('observed_ns', '<i8'),
                ('prompt', '<i4'),
                ('pictures', '<i4', (len(self.slots),)),
                ('state', '<f8', (len(self.mapped),)),
                ('actions', '<f8', (self.horizon, self.width)),
                ('valid', '?', (self.horizon,)),
            ]
        )


class CachedEpisode:
    """The samples of one demonstration; any thread may read, and no file stays open."""

    def __init__(self, folder: Path, key: str) -> None:
        """Open what an ``EpisodeWriter`` finished.

        Args:
            folder: Where it lies.
            key: What it must have been made from.

        Raises:
            DatasetError: It is absent, damaged, of another schema, or made from something else.
        """
        path = folder / VALUES
        try:
            values = json.loads(path.read_text(encoding='utf-8'))
            for name, expected in (('schema', SCHEMA), ('key', key)):
                if values[name] != expected:
                    raise DatasetError.at(path, name, found=values[name], expected=str(expected))
            self.shape = Shape(
                values['embodiment'],
                tuple(values['slots']),
                (values['image_size'][0], values['image_size'][1]),
                tuple(values['mapped']),
                values['horizon'],
                values['width'],
            )
            self.origin = str(values['origin'])
            self.prompts = tuple(str(each) for each in values['prompts'])
            self.left_out = {str(why): int(n) for why, n in values['left_out'].items()}
            self._count = int(values['samples'])
            for name, size in values['sizes'].items():
                if (folder / name).stat().st_size != size:
                    raise DatasetError.at(
                        folder / name,
                        'size',
                        found=f'{(folder / name).stat().st_size} bytes',
                        expected=str(size),
                    )
            self.digest = file_digest(folder / SAMPLES)
            if self.digest != values['sha256']:
                raise DatasetError.at(
                    folder / SAMPLES, 'sha256', found=self.digest, expected=values['sha256']
                )
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DatasetError.at(
                path,
                '',
                found=f'{type(error).__name__}: {error}',
                expected='the samples of a demonstration',
            ) from None
        self.folder = folder
        self.key = key
        self._mapped = np.array(self.shape.mapped)
        self._mapped.flags.writeable = False

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Example:
        """Return a sample; its pictures are read when somebody looks at them.

        Raises:
            DatasetError: If the folder has gone, or a file was cut off.
        """
        if not 0 <= number < self._count:
            msg = f'sample {number} of {self._count}'
            raise IndexError(msg)
        row = read_row(self.folder / SAMPLES, self.shape.record, number)
        slots = {
            slot: int(picture)
            for slot, picture in zip(self.shape.slots, row['pictures'], strict=True)
            if picture >= 0
        }
        return Example(
            embodiment=self.shape.embodiment,
            prompt=self.prompts[int(row['prompt'])],
            images=_Pictures(self.folder, self.shape.image_size, slots),
            state=row['state'],
            state_mapped=self._mapped,
            actions=row['actions'],
            actions_valid=row['valid'],
            name=f'{self.origin} at {row["observed_ns"]} ns',
        )

    def samples(self) -> npt.NDArray[np.void]:
        """Return all samples without their pictures, as ``Shape.record`` [len], read-only."""
        return np.load(self.folder / SAMPLES, mmap_mode='r')  # type: ignore[no-any-return]


class _Pictures(Mapping[str, 'npt.NDArray[np.uint8]']):
    """Slot → picture, read from disk each time."""

    def __init__(self, folder: Path, size: tuple[int, int], numbers: dict[str, int]) -> None:
        self._folder = folder
        self._dtype = np.dtype(('u1', (*size, 3)))
        self._numbers = numbers

    def __getitem__(self, slot: str) -> npt.NDArray[np.uint8]:
        number = self._numbers[slot]
        return read_row(self._folder / _pictures_file(slot), self._dtype, number)

    def __contains__(self, slot: object) -> bool:
        return slot in self._numbers  # The default would read the picture to find out.

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class EpisodeWriter:
    """Writes samples and pictures as they come, beside the folder that they end up in."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        """Begin.

        Args:
            folder: Where the finished demonstration will be; its parents are made.
            shape: Of its samples.

        Raises:
            DatasetError: If nothing can be written there.
        """
        self.folder = folder
        self.shape = shape
        self._beside = folder.with_name(f'.unfinished-{folder.name}-{uuid.uuid4().hex[:8]}')
        self._prompts: dict[str, int] = {}
        with self._guarded():
            self._beside.mkdir(parents=True)
            self._samples = NpyWriter(self._beside / SAMPLES, shape.record)
            picture = np.dtype(('u1', (*shape.image_size, 3)))
            self._pictures = {
                slot: NpyWriter(self._beside / _pictures_file(slot), picture)
                for slot in shape.slots
            }

    def picture(self, slot: str, rgb: npt.NDArray[np.uint8]) -> int:
        """Keep a picture, uint8 [h, w, 3], and return its number.

        Raises:
            DatasetError: If it cannot be written.
        """
        with self._guarded():
            return self._pictures[slot].append(rgb)

    def sample(
        self,
        observed_ns: int,
        prompt: str,
        pictures: Mapping[str, int],
        state: npt.NDArray[np.float64],
        actions: npt.NDArray[np.float64],
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Keep a sample.

        Args:
            observed_ns: Stamp of its observation.
            prompt: Instruction.
            pictures: Slot → number that ``picture`` returned.
            state: float64 [vector_dim].
            actions: float64 [H, width].
            valid: bool [H].

        Raises:
            DatasetError: If it cannot be written.
        """
        row = np.zeros((), self.shape.record)
        row['observed_ns'] = observed_ns
        row['prompt'] = self._prompts.setdefault(prompt, len(self._prompts))
        row['pictures'] = [pictures.get(slot, -1) for slot in self.shape.slots]
        row['state'], row['actions'], row['valid'] = state, actions, valid
        with self._guarded():
            self._samples.append(row)

    def finish(self, key: str, origin: str, left_out: Mapping[str, int]) -> CachedEpisode:
        """Make the folder complete; whatever lay there before is replaced.

        Args:
            key: What the samples were made from.
            origin: Its name for people.
            left_out: Why a recorded step is no sample → how many.

        Raises:
            DatasetError: If it cannot be written.
        """
        with self._guarded():
            for file in (self._samples, *self._pictures.values()):
                file.finish()
            values = {
                'schema': SCHEMA,
                'key': key,
                'origin': origin,
                'embodiment': self.shape.embodiment,
                'slots': self.shape.slots,
                'image_size': self.shape.image_size,
                'mapped': self.shape.mapped,
                'horizon': self.shape.horizon,
                'width': self.shape.width,
                'prompts': list(self._prompts),
                'samples': self._samples.count,
                'left_out': dict(left_out),
                'sizes': {path.name: path.stat().st_size for path in self._beside.iterdir()},
                'sha256': file_digest(self._beside / SAMPLES),
            }
            text = json.dumps(values, ensure_ascii=False, indent=1)
            (self._beside / VALUES).write_text(f'{text}\n', encoding='utf-8')
            self._put_in_place(key)
        return CachedEpisode(self.folder, key)

    def abandon(self) -> None:
        """Remove what was written; harmless when finished."""
        for file in (self._samples, *self._pictures.values()):
            file.close()
        shutil.rmtree(self._beside, ignore_errors=True)

    def _put_in_place(self, key: str) -> None:
        """Replace what is no good; of several processes the first one wins."""
        try:
            CachedEpisode(self.folder, key)
        except DatasetError:
            shutil.rmtree(self.folder, ignore_errors=True)
            try:
                self._beside.rename(self.folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        shutil.rmtree(self._beside, ignore_errors=True)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            shutil.rmtree(self._beside, ignore_errors=True)
            raise not_written(self.folder, error) from error


def not_written(folder: Path, error: OSError) -> PizeroError:
    """Return the error for samples that cannot be written."""
    return DatasetError.at(
        folder,
        '',
        found=f'{type(error).__name__}: {error}',
        expected='room to write the samples of a demonstration',
        remedy='Free some space, or name another folder for the cache; nothing half was left.',
    )


def _pictures_file(slot: str) -> str:
    return f'pictures-{slot}.npy'
