"""A randomised scene: everything that differs from one episode to the next, by its seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import DatasetError
from pizero_ros.sim.layout import CUBES, FLOOR, IDLE_REACH, POSTS, TABLE, layout_of
from pizero_ros.sim.robot import camera_name
from pizero_ros.sim.seeds import set_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.layout import Layout

    Vector = tuple[float, float, float]

CUBE_HALF_M = 0.022
APART_M = 0.11
"""Least distance between the centres of two cubes."""

_COLOURS: Mapping[str, Vector] = {
    'red': (0.82, 0.16, 0.14),
    'green': (0.18, 0.62, 0.25),
    'blue': (0.14, 0.33, 0.78),
}
_TRIES = 2000


@dataclass(frozen=True)
class Cube:
    """A cube on the table: centre and yaw (m, rad) and half of its edge (m)."""

    x: float
    y: float
    yaw: float
    half: float


@dataclass(frozen=True)
class Light:
    """Which way a light shines, its strength by colour, each relative to the model's."""

    turn: Vector
    strength: Vector


@dataclass(frozen=True)
class CameraShift:
    """How a camera differs from the model's: moved by m and turned by rad in its own axes."""

    moved: Vector
    turned: Vector


@dataclass(frozen=True)
class Scene:
    """Everything that a seed decides.

    Attributes:
        seed: Where it comes from.
        start: ``table`` or ``floor``.
        cubes: Colour → cube.
        posts: Colour → x and y, m; empty for robots that do not drive.
        colours: Colour → red, green and blue shares as they are shown.
        lights: Of the model, in its order.
        ambient: Factor of the light that is everywhere.
        cameras: Name in the model → how it differs.
        joints: Joint → where it starts, rad or m.
        base: x, y and yaw at the start relative to the model's, m and rad.
    """

    seed: int
    start: str
    cubes: Mapping[str, Cube]
    posts: Mapping[str, tuple[float, float]]
    colours: Mapping[str, Vector]
    lights: tuple[Light, ...]
    ambient: float
    cameras: Mapping[str, CameraShift]
    joints: Mapping[str, float]
    base: Vector


def sample_scene(embodiment: Embodiment, seed: int, start: str = TABLE) -> Scene:
    """Draw the scene of a seed; the same for the same robot, seed and start.

    Args:
        embodiment: A simulated robot.
        seed: See ``seeds.SEEDS``.
        start: Where the robot begins.

    Raises:
        DatasetError: If the seed belongs to no set, or the robot cannot start there.
    """
    set_of(seed)
    layout = layout_of(embodiment)
    if start not in layout.starts:
        raise DatasetError.at(
            'scene', 'start', found=repr(start), expected=' or '.join(layout.starts)
        )
    # One generator for each part, so that a change of one leaves the others as they were.
    place, look, eye, pose = (np.random.default_rng([seed, part]) for part in range(4))
    drives = FLOOR in layout.starts
    return Scene(
        seed=seed,
        start=start,
        cubes=_cubes(layout, place),
        posts=_posts(place) if drives else {},
        colours={name: _colour(rgb, look) for name, rgb in _COLOURS.items()},
        lights=tuple(_light(look) for _ in range(2)),
        ambient=float(look.uniform(0.75, 1.25)),
        cameras={
            name: _shift(eye, mounted='wrist' in name)
            for name in sorted(camera_name(camera) for camera in embodiment.cameras)
        },
        joints=_joints(embodiment, pose),
        base=_base(start, pose) if drives else (0.0, 0.0, 0.0),
    )


def _cubes(layout: Layout, rng: np.random.Generator) -> dict[str, Cube]:
    """Place the cubes apart from each other, each within reach of every arm."""
    for _ in range(_TRIES):
        at = rng.uniform((layout.x[0], layout.y[0]), (layout.x[1], layout.y[1]), (len(CUBES), 2))
        apart = min(float(np.hypot(*(at[i] - at[j]))) for i in range(len(at)) for j in range(i))
        if apart >= APART_M and all(_reachable(layout, point) for point in at):
            return {
                colour: Cube(
                    float(x),
                    float(y),
                    float(rng.uniform(-np.pi / 4, np.pi / 4)),
                    float(CUBE_HALF_M * rng.uniform(0.9, 1.12)),
                )
                for colour, (x, y) in zip(CUBES, at, strict=True)
            }
    msg = f'no place for {len(CUBES)} cubes in {layout}'
    raise ValueError(msg)


def _reachable(layout: Layout, point: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    least, greatest = layout.reach
    for arm in layout.arms:
        if not least <= np.hypot(*(point - arm.shoulder)) <= greatest:
            return False
        idle = (arm.shoulder[0] + IDLE_REACH, arm.shoulder[1])
        if np.hypot(*(point - idle)) < layout.clearance:
            return False
    return True


def _posts(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """One post to the left and one to the right of where the base comes from."""
    sides = rng.permutation([1.0, -1.0])
    return {
        colour: (float(rng.uniform(-0.5, -0.3)), float(side * rng.uniform(0.45, 0.65)))
        for colour, side in zip(POSTS, sides, strict=True)
    }


def _colour(rgb: Vector, rng: np.random.Generator) -> Vector:
    shade, mixed = rng.uniform(0.85, 1.12), rng.uniform(-0.05, 0.05, 3)
    r, g, b = np.clip(np.array(rgb) * shade + mixed, 0.0, 1.0).tolist()
    return r, g, b


def _light(rng: np.random.Generator) -> Light:
    x, y = rng.uniform(-0.35, 0.35, 2).tolist()
    r, g, b = (rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)).tolist()
    return Light((x, y, 0.0), (r, g, b))


def _shift(rng: np.random.Generator, *, mounted: bool) -> CameraShift:
    """Cameras on stands are knocked more than those that are screwed to a wrist."""
    metres, radians = (0.002, 0.01) if mounted else (0.012, 0.02)
    x, y, z = rng.uniform(-metres, metres, 3).tolist()
    a, b, c = rng.uniform(-radians, radians, 3).tolist()
    return CameraShift((x, y, z), (a, b, c))


def _joints(embodiment: Embodiment, rng: np.random.Generator) -> dict[str, float]:
    """Vary the neutral pose: rad for arms, mm for grippers, cm for a torso."""
    joints = {}
    for name, neutral in embodiment.neutral.items():
        spread = 0.008 if 'gripper' in name else 0.02 if 'torso' in name else 0.12
        joints[name] = float(neutral + rng.uniform(-spread, spread))
    return joints


def _base(start: str, rng: np.random.Generator) -> Vector:
    if start == FLOOR:
        low, high = (-1.56, -0.2, -0.2), (-1.31, 0.2, 0.2)
    else:
        low, high = (-0.02, -0.02, -0.04), (0.02, 0.02, 0.04)
    x, y, yaw = rng.uniform(low, high).tolist()
    return x, y, yaw
