"""Puts a scene on the stage of a simulated robot: objects, light, cameras and the robot itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.sim.engine import mujoco

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.sim.robot import SimulatedRobot
    from pizero_ros.sim.scene import Scene

_TABLE_GAP_M = 0.0005
"""How far above the table a cube is put down."""


class Stage:
    """Changes a robot's model to a scene, and back to how it was loaded.

    The model is shared with whoever renders it: nobody may do so meanwhile.
    """

    def __init__(self, robot: SimulatedRobot) -> None:
        """Remember the model as it is."""
        self._robot = robot
        model = robot.model
        self._cam_pos = model.cam_pos.copy()
        self._cam_quat = model.cam_quat.copy()
        self._light_dir = model.light_dir.copy()
        self._light_diffuse = model.light_diffuse.copy()
        self._ambient = np.array(model.vis.headlight.ambient)
        self._mat_rgba = model.mat_rgba.copy()
        self._geom_size = model.geom_size.copy()
        self._geom_rbound = model.geom_rbound.copy()
        self._geom_aabb = model.geom_aabb.copy()
        self._body_pos = model.body_pos.copy()

    def set(self, scene: Scene | None, *, time_s: float = 0.0) -> None:
        """Put a scene on the stage; everything is at rest then.

        Args:
            scene: ``None`` for the model as it was loaded, with the robot in its neutral pose.
            time_s: Simulated time from then on.
        """
        self._restore()
        if scene is None:
            self._robot.reset(time_s=time_s)
            return
        self._light(scene)
        self._cameras(scene)
        model = self._robot.model
        for colour, rgb in scene.colours.items():
            model.mat_rgba[model.material(colour).id, :3] = rgb
        for colour, (x, y) in scene.posts.items():
            model.body_pos[model.body(f'{colour}_post').id, :2] = x, y
        for colour, cube in scene.cubes.items():
            geom = int(model.body(f'{colour}_cube').geomadr[0])
            model.geom_size[geom] = cube.half
            model.geom_rbound[geom] = cube.half * np.sqrt(3.0)
            model.geom_aabb[geom, 3:] = cube.half
        self._robot.reset(scene.joints, scene.base, time_s=time_s)
        for colour, cube in scene.cubes.items():
            self._robot.data.joint(f'{colour}_cube').qpos[:] = (
                cube.x,
                cube.y,
                cube.half + _TABLE_GAP_M,
                np.cos(cube.yaw / 2.0),
                0.0,
                0.0,
                np.sin(cube.yaw / 2.0),
            )
        mujoco.mj_forward(model, self._robot.data)

    def _restore(self) -> None:
        model = self._robot.model
        model.cam_pos[:], model.cam_quat[:] = self._cam_pos, self._cam_quat
        model.light_dir[:], model.light_diffuse[:] = self._light_dir, self._light_diffuse
        model.vis.headlight.ambient[:] = self._ambient
        model.mat_rgba[:] = self._mat_rgba
        model.geom_size[:], model.geom_rbound[:] = self._geom_size, self._geom_rbound
        model.geom_aabb[:] = self._geom_aabb
        model.body_pos[:] = self._body_pos

    def _light(self, scene: Scene) -> None:
        model = self._robot.model
        for number, light in enumerate(scene.lights):
            direction = self._light_dir[number] + light.turn
            model.light_dir[number] = direction / np.linalg.norm(direction)
            model.light_diffuse[number] = self._light_diffuse[number] * light.strength
        model.vis.headlight.ambient[:] = self._ambient * scene.ambient

    def _cameras(self, scene: Scene) -> None:
        model = self._robot.model
        for name, shift in scene.cameras.items():
            camera = model.camera(name).id
            quaternion = self._cam_quat[camera]
            model.cam_pos[camera] = self._cam_pos[camera] + _rotated(quaternion, shift.moved)
            model.cam_quat[camera] = _turned(quaternion, shift.turned)


def _rotated(quaternion: Any, vector: Any) -> npt.NDArray[np.float64]:
    found = np.zeros(3)
    mujoco.mju_rotVecQuat(found, np.array(vector), quaternion)
    return found


def _turned(quaternion: Any, rotation: Any) -> npt.NDArray[np.float64]:
    """Return a quaternion turned by a rotation vector in its own axes."""
    angle = float(np.linalg.norm(rotation))
    step, found = np.zeros(4), np.zeros(4)
    axis = np.array(rotation) / angle if angle else np.array([1.0, 0.0, 0.0])
    mujoco.mju_axisAngle2Quat(step, axis, angle)
    mujoco.mju_mulQuat(found, quaternion, step)
    return found
