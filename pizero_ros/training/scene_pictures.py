"""Scenes of one robot for learning to see: rendered once, by several processes, and kept."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.digest import file_digest
from pizero_ros.errors import DatasetError
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.resources import config_dir
from pizero_ros.sim.opengl import gl_backend
from pizero_ros.training.sampling import model_picture
from pizero_ros.training.scene_files import SCHEMA, SceneFiles, SceneShape, write_scenes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.processing.spec import ResizeRule
    from pizero_ros.sim.grounding import Studio

_TOGETHER = 100
"""Scenes of one folder: what is lost where rendering is interrupted, and told as progress."""

_PACKAGE = Path(__file__).parents[1]
_RENDERED_BY = (
    *(f'sim/{name}.py' for name in ('grounding', 'scene', 'staging', 'robot', 'layout')),
    *(f'sim/{name}.py' for name in ('kinematics', 'cameras')),
    *(f'processing/{name}.py' for name in ('resize', 'resample')),
)
"""Modules whose code has a part in a picture."""


class ScenePictures:
    """The scenes of one robot.

    Attributes:
        robot: The robot.
        slots: Its S camera slots.
        objects: Names of the O objects.
        pixels: float32 [N, S, O, 2], in pictures as they were rendered.
        visible: float32 [N, S, O].
        digest: The same for the same objects in the same places.
    """

    def __init__(self, robot: Embodiment, parts: list[SceneFiles]) -> None:
        """Join the scenes of some folders; use ``scene_pictures`` to make them."""
        self.robot = robot
        self.slots = _slots(robot)
        self.objects = parts[0].objects
        self.pixels = np.concatenate([part.pixels for part in parts])
        self.visible = np.concatenate([part.visible for part in parts])
        self.digest = hashlib.sha256(''.join(part.digest for part in parts).encode()).hexdigest()
        self._parts = parts

    def __len__(self) -> int:
        return len(self.pixels)

    def pictures(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the pictures of a scene in the model's size, uint8 [S, h, w, 3].

        Raises:
            DatasetError: If a file has gone, or was cut off.
        """
        part, place = divmod(number, _TOGETHER)
        return self._parts[part].pictures(place)


def scene_pictures(
    robot: Embodiment,
    seeds: range,
    side: int,
    size: tuple[int, int],
    rule: ResizeRule,
    cache: Path,
    processes: int,
    *,
    progress: Callable[[float], None],
    tell: Callable[[str], None],
) -> ScenePictures:
    """Return the scenes of some seeds, from the cache as far as they are there.

    Args:
        robot: A simulated robot.
        seeds: Of the scenes, at least one.
        side: Side of the rendered pictures, px.
        size: Height and width of the model's image.
        rule: How pictures get there.
        cache: Folder of cached samples.
        processes: How many may render.
        progress: Told the share that is done, 0 to 1.
        tell: Told that a damaged folder is made anew.

    Raises:
        DatasetError: If the scenes cannot be written, or a process was killed.
        EmbodimentError: If the robot has no simulation.
        EnvironmentFault: If MuJoCo or OpenGL is missing.
    """
    shape = SceneShape(_slots(robot), size)
    key = _key(robot, side, shape, rule)
    folder = cache / f'scenes-{robot.name}-{key[:16]}'
    found: dict[int, SceneFiles] = {}
    missing: list[range] = []
    for start in range(seeds.start, seeds.stop, _TOGETHER):
        part = range(start, min(start + _TOGETHER, seeds.stop))
        place = folder / _name(part)
        if place.exists():
            try:
                found[start] = SceneFiles(place, key, part, shape)
                continue
            except DatasetError as error:
                tell(f'{place} is made anew: {error}')
        missing.append(part)
    total = len(found) + len(missing)
    progress(len(found) / total)
    if missing:
        job = (robot, side, shape, rule, folder, key)
        for part in _rendered(job, missing, min(processes, len(missing))):
            found[part.start] = SceneFiles(folder / _name(part), key, part, shape)
            progress(len(found) / total)
    return ScenePictures(robot, [found[start] for start in sorted(found)])


Job = tuple['Embodiment', int, SceneShape, 'ResizeRule', Path, str]


def _rendered(job: Job, parts: list[range], processes: int) -> Iterator[range]:
    """Render parts in processes of their own, where an OpenGL context disturbs nobody."""
    spawn = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(processes, spawn, initializer=_begin)
    try:
        waiting = [pool.submit(_render, job, part) for part in parts]
        for done in as_completed(waiting):
            yield done.result()
    except BrokenProcessPool:
        raise DatasetError.at(
            job[4],
            '',
            found='a rendering process that was killed, as the system does when memory runs out',
            expected='it to end by itself',
            remedy='Start again: the scenes that are done stay. `threads: 1` takes one process.',
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_studio: tuple[str, Studio] | None = None
"""Of this process: loading a robot takes as long as dozens of its scenes."""


def _begin() -> None:
    """Prepare a process that renders: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if backend := gl_backend(os.environ):
        os.environ['MUJOCO_GL'] = backend
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _render(job: Job, seeds: range) -> range:
    """Render scenes and write their folder."""
    global _studio
    from pizero_ros.sim.grounding import Studio

    robot, side, shape, rule, folder, key = job
    if _studio is None or _studio[0] != key:
        if _studio is not None:
            _studio[1].close()
        _studio = key, Studio(robot, width=side, height=side)
    truth = _studio[1].take(seeds)
    resize = ResizeWithPad(shape.size, rule)
    pictures = [[model_picture(resize, rgb) for rgb in truth.images[slot]] for slot in shape.slots]
    write_scenes(
        folder / _name(seeds),
        key,
        seeds,
        shape,
        truth.objects,
        np.array(pictures).swapaxes(0, 1),
        np.stack([truth.pixels[slot] for slot in shape.slots], axis=1),
        np.stack([truth.visible[slot] for slot in shape.slots], axis=1),
    )
    return seeds


def _slots(robot: Embodiment) -> tuple[str, ...]:
    return tuple(camera.slot for camera in robot.cameras)


def _name(seeds: range) -> str:
    return f'{seeds.start:07d}-{len(seeds):03d}'


def _key(robot: Embodiment, side: int, shape: SceneShape, rule: ResizeRule) -> str:
    """Return what decides the pictures of a seed, as a key."""
    try:
        renderer = version('mujoco')
    except PackageNotFoundError:
        renderer = 'none'  # The rendering process says what to install.
    files = [_PACKAGE / name for name in _RENDERED_BY]
    files += sorted((config_dir() / 'sim').glob('*.xml'))
    content = {
        'schema': SCHEMA,
        'code': [file_digest(file) for file in files],
        # Where its file lies and what it is described as say nothing about the pictures.
        'robot': asdict(replace(robot, source='', description='')),
        'mujoco': renderer,
        'side': side,
        'size': shape.size,
        'rule': rule,
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
