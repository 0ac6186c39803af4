"""The pictures of one episode of a LeRobot dataset, in the order of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.training.lerobot_layout import damaged, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.training.lerobot_layout import Clip


def of_video(clip: Clip, times_s: Sequence[float], fps: float) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode a video once, from the first wanted picture to the last.

    Args:
        clip: The file, and where the episode begins in it.
        times_s: Time of each frame in the episode, increasing.
        fps: Frames per second; a picture may be half a period away from its frame.

    Yields:
        uint8 [H, W, 3] RGB, one for each of ``times_s``.

    Raises:
        DatasetError: If the file is damaged, or has no picture at a time.
        EnvironmentFault: If PyAV is not installed.
    """
    av = require('av')
    try:
        with av.open(str(clip.file)) as container:
            stream = container.streams.video[0]
            # Decoding has to begin at a key frame, and some encoders round the first time up.
            first_s = clip.start_s + times_s[0] - 1.0 / fps
            container.seek(max(0, int(first_s / stream.time_base)), stream=stream, backward=True)
            pictures = ((f, float(f.pts * stream.time_base)) for f in container.decode(stream))
            frame, at_s = next(pictures)
            for time_s in times_s:
                wanted_s = clip.start_s + time_s
                while at_s < wanted_s - 0.5 / fps:
                    frame, at_s = next(pictures)
                if at_s > wanted_s + 0.5 / fps:
                    raise _no_picture(clip, wanted_s, f'the next one at {at_s:.4f} s')
                yield frame.to_ndarray(format='rgb24')
    except StopIteration:
        raise _no_picture(clip, clip.start_s + times_s[-1], 'the end of the video') from None
    except (OSError, IndexError, av.FFmpegError) as error:
        raise damaged(clip.file, error) from error


def of_images(root: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode the pictures that are in the data file itself, or beside it.

    Args:
        root: The dataset.
        rows: ``bytes``, or a ``path`` if there are none, of each picture.

    Yields:
        uint8 [H, W, 3] RGB.

    Raises:
        DatasetError: If a picture cannot be read.
    """
    for row in rows:
        path = row.get('path')
        try:
            content = row.get('bytes') or (root / str(path)).read_bytes()
        except OSError as error:
            raise damaged(root / str(path), error) from error
        encoded = np.frombuffer(content, np.uint8)
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if picture is None:
            raise DatasetError.at(
                root, str(path), found=f'{len(encoded)} bytes', expected='a picture'
            )
        yield np.ascontiguousarray(picture[..., ::-1])


def _no_picture(clip: Clip, wanted_s: float, found: str) -> Exception:
    return DatasetError.at(
        clip.file,
        '',
        found=found,
        expected=f'a picture at {wanted_s:.4f} s, as the metadata says',
        remedy='The video does not belong to the data, or was cut off.',
    )
