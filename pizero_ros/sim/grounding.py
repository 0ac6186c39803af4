"""Pictures of random scenes with the place of every object in them, for learning to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.sim.engine import mujoco
from pizero_ros.sim.kinematics import ArmKinematics
from pizero_ros.sim.layout import CUBES, FLOOR, POSTS, TABLE, layout_of
from pizero_ros.sim.robot import BASE_JOINTS, SimulatedRobot
from pizero_ros.sim.scene import sample_scene
from pizero_ros.sim.staging import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.scene import Scene

    Array = npt.NDArray[np.float64]

_FLOOR_SHARE = 0.4
"""Share of the pictures of a robot that drives that are taken in front of the posts."""

_NEAR_SHARE = 0.6
"""Share of the hands that are near a cube; the others are anywhere above the table."""

_SOLVING = 15
_RAYS = ((0.0, 0.0, 0.0), *((x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)))
"""Points of an object, in halves of its size, by which is judged whether it is hidden."""

_INSET = 0.8


@dataclass(frozen=True)
class GroundTruth:
    """N pictures of each camera, and where the objects are in them.

    Attributes:
        seeds: int64 [N], of the scenes.
        objects: Names of the O objects, such as ``red cube``; in this order below.
        images: Slot → uint8 [N, H, W, 3] RGB.
        pixels: Slot → float32 [N, O, 2]: u to the right and v down, px, of the centre of each
            object; NaN behind the camera. Pixel 0 is the centre of the first pixel.
        visible: Slot → float32 [N, O]: share of the object's points that are inside the picture
            and not hidden, 0 to 1.
    """

    seeds: npt.NDArray[np.int64]
    objects: tuple[str, ...]
    images: Mapping[str, npt.NDArray[np.uint8]]
    pixels: Mapping[str, npt.NDArray[np.float32]]
    visible: Mapping[str, npt.NDArray[np.float32]]


def ground_truth_images(
    embodiment: Embodiment, seeds: Sequence[int] | int, *, width: int = 224, height: int = 224
) -> GroundTruth:
    """Render the scenes of some seeds, each with the robot in a pose of its own.

    Args:
        embodiment: A simulated robot.
        seeds: Of the scenes; a seed's pictures are always the same.
        width: Of the pictures, px.
        height: Of the pictures, px.
    """
    studio = Studio(embodiment, width=width, height=height)
    try:
        return studio.take([seeds] if isinstance(seeds, int) else seeds)
    finally:
        studio.close()


class Studio:
    """A robot whose pictures are taken again and again; use and close it in one thread."""

    def __init__(self, embodiment: Embodiment, *, width: int = 224, height: int = 224) -> None:
        """Load the robot.

        Args:
            embodiment: A simulated robot.
            width: Of the pictures, px.
            height: Of the pictures, px.

        Raises:
            EnvironmentFault: If no OpenGL can be had.
        """
        self._embodiment = embodiment
        self._layout = layout_of(embodiment)
        self._robot = SimulatedRobot(embodiment, width=width, height=height)
        self._stage = Stage(self._robot)
        self._size = (width, height)
        model = self._robot.model
        self._arms = {
            arm: ArmKinematics(
                model, arm, np.array([embodiment.neutral[name] for name in arm.joints])
            )
            for arm in self._layout.arms
        }
        drives = FLOOR in self._layout.starts
        names = [f'{colour}_cube' for colour in CUBES]
        names += [f'{colour}_post' for colour in POSTS if drives]
        self.objects = tuple(name.replace('_', ' ') for name in names)
        self._bodies = [int(model.body(name).id) for name in names]
        self._geoms = [int(model.body_geomadr[body]) for body in self._bodies]
        self._hit = np.zeros(1, np.int32)

    def take(self, seeds: Sequence[int]) -> GroundTruth:
        """Take the pictures of some scenes."""
        width, height = self._size
        slots, count = list(self._robot.cameras), len(seeds)
        images = {slot: np.zeros((count, height, width, 3), np.uint8) for slot in slots}
        pixels = {slot: np.zeros((count, len(self.objects), 2), np.float32) for slot in slots}
        visible = {slot: np.zeros((count, len(self.objects)), np.float32) for slot in slots}
        for number, seed in enumerate(seeds):
            self._pose(int(seed))
            for slot in slots:
                images[slot][number] = self._robot.render(slot)
                pixels[slot][number], visible[slot][number] = self._look(slot)
        return GroundTruth(np.array(seeds, np.int64), self.objects, images, pixels, visible)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._robot.close()

    def _pose(self, seed: int) -> None:
        """Put the scene of a seed on the stage, with the hands somewhere."""
        # Part 6 of the seed's generators: scenes and demonstrations use those before it.
        rng = np.random.default_rng([seed, 6])
        floor = FLOOR in self._layout.starts and rng.random() < _FLOOR_SHARE
        scene = sample_scene(self._embodiment, seed, FLOOR if floor else TABLE)
        self._stage.set(scene)
        data, robot = self._robot.data, self._robot
        if floor:
            # Anywhere on the way to the posts.
            share = rng.uniform(0.0, 1.0)
            base = np.array(scene.base) + share * np.array([0.6, 0.0, 0.0])
            base += rng.uniform((-0.05, -0.3, -0.4), (0.05, 0.3, 0.4))
            for name, value in zip(BASE_JOINTS.values(), base.tolist(), strict=True):
                data.joint(name).qpos[0] = value
        else:
            self._move_hands(scene, rng)
        mujoco.mj_forward(robot.model, data)

    def _move_hands(self, scene: Scene, rng: np.random.Generator) -> None:
        """Move every second hand: to a cube, or anywhere above the table."""
        data = self._robot.data
        carriers = [*BASE_JOINTS.values(), 'torso_joint'] if self._robot.has_base else []
        place = np.array([data.joint(name).qpos[0] for name in carriers])
        for arm, solver in self._arms.items():
            if len(self._arms) > 1 and rng.random() < 0.5:
                continue
            if rng.random() < _NEAR_SHARE:
                cube = scene.cubes[str(rng.choice(CUBES))]
                aside = rng.uniform(-0.06, 0.06, 2)
                target = np.array([cube.x, cube.y, 2 * cube.half]) + np.append(
                    aside, rng.uniform(0.0, 0.14)
                )
            else:
                low, high = zip(self._layout.x, self._layout.y, (0.10, 0.30), strict=True)
                target = rng.uniform(low, high)
            joints = np.array([data.joint(name).qpos[0] for name in arm.joints])
            solver.carry(tuple(carriers), place)
            solved = solver.solve(target, joints, _SOLVING)
            for name, value in zip(arm.joints, solved.tolist(), strict=True):
                data.joint(name).qpos[0] = value

    def _look(self, slot: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return pixels [O, 2] and visible shares [O] of the objects in a camera."""
        model, data = self._robot.model, self._robot.data
        camera = int(model.camera(self._robot.cameras[slot]).id)
        at, axes = data.cam_xpos[camera], data.cam_xmat[camera].reshape(3, 3)
        width, height = self._size
        focal = 0.5 * height / np.tan(0.5 * np.deg2rad(float(model.cam_fovy[camera])))

        def project(point: Array) -> Array:
            # The camera looks along its negative z axis, and y is up.
            x, y, z = axes.T @ (point - at)
            if z >= -1e-6:
                return np.full(2, np.nan)
            return np.array([width / 2 - 0.5 - focal * x / z, height / 2 - 0.5 + focal * y / z])

        pixels = np.zeros((len(self.objects), 2), np.float32)
        visible = np.zeros(len(self.objects), np.float32)
        for number, (body, geom) in enumerate(zip(self._bodies, self._geoms, strict=True)):
            centre, turned = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
            pixels[number] = project(centre)
            half = _half(model, geom)
            points = [centre + turned @ (half * _INSET * np.array(ray)) for ray in _RAYS]
            seen = [self._sees(at, axes, point, body, project(point)) for point in points]
            visible[number] = np.mean(seen)
        return pixels, visible

    def _sees(self, at: Array, axes: Array, point: Array, body: int, pixel: Array) -> bool:
        """Tell whether a point of a body is inside the picture, with nothing else before it."""
        inside = (pixel >= -0.5) & (pixel < np.array(self._size) - 0.5)
        if not inside.all():
            return False
        model, data = self._robot.model, self._robot.data
        # What is nearer than the near plane is not drawn: a wrist camera's own mount.
        near = float(model.vis.map.znear * model.stat.extent)
        way = point - at
        start = at + way * min(near / -float(axes[:, 2] @ way), 1.0)
        mujoco.mj_ray(model, data, start, way, None, 1, -1, self._hit, None)
        geom = int(self._hit[0])
        return geom >= 0 and int(model.geom_bodyid[geom]) == body


def _half(model: Any, geom: int) -> Array:
    """Return half the size of a box or of the box around a cylinder, float64 [3]."""
    size: Array = np.array(model.geom_size[geom])
    if int(model.geom_type[geom]) == int(mujoco.mjtGeom.mjGEOM_CYLINDER):
        return np.array([0.7 * size[0], 0.7 * size[0], size[1]])
    return size
