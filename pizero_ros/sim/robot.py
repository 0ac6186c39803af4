"""A robot in MuJoCo: its model, its physics, its joints by name and its mobile base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import EmbodimentError
from pizero_ros.resources import config_dir
from pizero_ros.sim.cameras import CameraRenderer, Snapshot
from pizero_ros.sim.engine import mujoco

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.embodiment.schema import Camera, Embodiment

BASE_JOINTS = {'linear.x': 'base_x', 'linear.y': 'base_y', 'angular.z': 'base_yaw'}
"""Axis of a twist → planar joint and velocity actuator of the MJCF file."""

_HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)
_SLIDE = int(mujoco.mjtJoint.mjJNT_SLIDE)
_JOINT_EQUALITY = int(mujoco.mjtEq.mjEQ_JOINT)


@dataclass(frozen=True)
class JointReadings:
    """What encoders would report, one value per joint: rad or m, per second, Nm or N."""

    names: tuple[str, ...]
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]
    efforts: npt.NDArray[np.float64]


@dataclass(frozen=True)
class BaseOdometry:
    """Pose since reset (m, rad) and velocity in the base's own frame (m/s, rad/s)."""

    x: float
    y: float
    yaw: float
    linear_x: float
    linear_y: float
    angular_z: float

    @property
    def half_turn(self) -> tuple[float, float]:
        """The z and w of the orientation's quaternion."""
        return math.sin(self.yaw / 2.0), math.cos(self.yaw / 2.0)


def camera_name(camera: Camera) -> str:
    """Return what a camera is called in the MJCF: the namespace of its topic.

    Args:
        camera: For example the one of ``/left_wrist_camera/image_raw``.

    Returns:
        For example ``left_wrist_camera``; slashes inside a namespace become underscores.
    """
    return camera.topic.removesuffix('/compressed').strip('/').rpartition('/')[0].replace('/', '_')


def default_mjcf(embodiment: Embodiment) -> Path:
    """Return the shipped MJCF file of a simulated robot.

    Args:
        embodiment: The robot.

    Returns:
        ``config/sim/<embodiment>.xml``.

    Raises:
        EmbodimentError: If this robot has no simulation.
    """
    folder = config_dir() / 'sim'
    path = folder / f'{embodiment.name}.xml'
    if not path.is_file():
        raise EmbodimentError.at(
            embodiment.source,
            'name',
            found=embodiment.name,
            expected=f'one of {sorted(p.stem for p in folder.glob("sim_*.xml"))}',
            remedy='Only these robots have a simulation; give the MJCF file of another one.',
        )
    return path


class SimulatedRobot:
    """A robot whose MJCF joints, actuators and cameras bear the embodiment's names.

    An actuator is named after its joint, the planar base joints as ``BASE_JOINTS`` says, and a
    camera as ``camera_name`` says. Use it from one thread.

    Attributes:
        cameras: Slot of the embodiment → name of the camera in the MJCF.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        mjcf: str | Path | None = None,
        *,
        width: int = 224,
        height: int = 224,
    ) -> None:
        """Load the model, check it against the embodiment and park it at the neutral pose.

        Args:
            embodiment: The robot's description.
            mjcf: Model file; by default the shipped one of that name.
            width: Width of rendered pictures in pixels.
            height: Height of rendered pictures in pixels.

        Raises:
            EmbodimentError: If the file cannot be loaded, or lacks a joint, actuator or camera.
        """
        self.embodiment = embodiment
        self.mjcf = Path(mjcf) if mjcf is not None else default_mjcf(embodiment)
        try:
            self.model: Any = mujoco.MjModel.from_xml_path(str(self.mjcf))
        except ValueError as error:
            raise EmbodimentError.at(
                self.mjcf, '', found=error, expected='a MuJoCo model'
            ) from error
        self._data: Any = mujoco.MjData(self.model)
        self._size = (width, height)
        self._renderer: CameraRenderer | None = None
        self._joints = self._scalar_joints()
        self._actuators = {
            self.model.actuator(index).name: index for index in range(self.model.nu)
        }
        self._indices: dict[tuple[str, ...], tuple[npt.NDArray[np.intp], ...]] = {}
        self.cameras = {camera.slot: camera_name(camera) for camera in embodiment.cameras}
        self._check_names()
        self.has_base = any(group.output == 'twist' for group in embodiment.actions)
        self._base_command = np.zeros(3)
        if self.has_base:
            base = tuple(BASE_JOINTS.values())
            self._base_qpos, self._base_dof = self._joint_indices(base)
            self._base_actuators = self._actuator_indices(base)
        self.reset()

    @property
    def time_s(self) -> float:
        """Simulated time since reset."""
        return float(self._data.time)

    @property
    def timestep_s(self) -> float:
        """Duration of one physics step."""
        return float(self.model.opt.timestep)

    @property
    def neutral(self) -> Mapping[str, float]:
        """Joint name → position at reset."""
        return self.embodiment.neutral

    @property
    def data(self) -> Any:
        """The ``mujoco.MjData`` of the physics."""
        return self._data

    def reset(
        self,
        joints: Mapping[str, float] | None = None,
        base: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        time_s: float = 0.0,
    ) -> None:
        """Put the robot somewhere, at rest, with every object where the model has it.

        Args:
            joints: Joint → position, rad or m; the neutral pose where it says nothing.
            base: x, y and yaw of a mobile base, m and rad.
            time_s: Simulated time from then on.
        """
        mujoco.mj_resetData(self.model, self._data)
        self._data.time = time_s
        pose = {**self.neutral, **(joints or {})}
        names = tuple(pose)
        values = np.array([pose[name] for name in names])
        self._data.qpos[self._joint_indices(names)[0]] = values
        self.set_targets(names, values)
        self._base_command[:] = 0.0
        if self.has_base:
            self._data.qpos[self._base_qpos] = base
        self._satisfy_joint_equalities()
        mujoco.mj_forward(self.model, self._data)

    def set_targets(
        self, names: Sequence[str], positions: npt.NDArray[np.float64] | Sequence[float]
    ) -> None:
        """Set where the position servos of these joints shall go, rad or m."""
        self._data.ctrl[self._actuator_indices(tuple(names))] = positions

    def targets(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return where the position servos of these joints are going, rad or m."""
        return np.array(self._data.ctrl[self._actuator_indices(tuple(names))])

    def set_base_velocity(self, linear_x: float, linear_y: float, angular_z: float) -> None:
        """Set the velocity of the base in its own frame, m/s and rad/s."""
        self._base_command[:] = linear_x, linear_y, angular_z

    def step_to(self, time_s: float, control: Callable[[float], None] | None = None) -> None:
        """Advance the physics to the last step that does not pass ``time_s``.

        Args:
            time_s: Simulated time to reach; nothing happens if it has passed.
            control: Called with the simulated time before each step, to set targets.
        """
        # Half a step of slack, so that rounding of the accumulated time never skips a step.
        limit = time_s - 0.5 * self.timestep_s
        while self._data.time < limit:
            if control is not None:
                control(float(self._data.time))
            if self.has_base:
                self._drive_base()
            mujoco.mj_step(self.model, self._data)

    def positions(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the positions of these joints, rad or m."""
        return np.array(self._data.qpos[self._joint_indices(tuple(names))[0]])

    def readings(self, names: Sequence[str]) -> JointReadings:
        """Return positions, velocities and efforts of these joints."""
        key = tuple(names)
        qpos, dof = self._joint_indices(key)
        data = self._data
        return JointReadings(
            key,
            np.array(data.qpos[qpos]),
            np.array(data.qvel[dof]),
            np.array(data.qfrc_actuator[dof]),
        )

    def odometry(self) -> BaseOdometry:
        """Return where the base is and how it moves; only for a robot with a base."""
        x, y, yaw = (float(value) for value in self._data.qpos[self._base_qpos])
        vx, vy, wz = (float(value) for value in self._data.qvel[self._base_dof])
        cos, sin = math.cos(yaw), math.sin(yaw)
        return BaseOdometry(x, y, yaw, cos * vx + sin * vy, cos * vy - sin * vx, wz)

    def snapshot(self) -> Snapshot:
        """Copy what a camera sees now, for a renderer in another thread."""
        return Snapshot(self.time_s, self._data.qpos.copy())

    def render(self, slot: str) -> npt.NDArray[np.uint8]:
        """Render a camera as it sees the present state.

        Args:
            slot: Camera slot of the embodiment.

        Returns:
            uint8 [H, W, 3] RGB. The OpenGL context belongs to the thread of the first call.
        """
        if self._renderer is None:
            self._renderer = CameraRenderer(self.model, *self._size)
        return self._renderer.render(self.cameras[slot], self.snapshot())

    def close(self) -> None:
        """Free the OpenGL context, from the thread that rendered; closing twice is allowed."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _drive_base(self) -> None:
        """Turn the base's own-frame velocity into the world's axes of the planar joints."""
        vx, vy, wz = self._base_command
        yaw = float(self._data.qpos[self._base_qpos[2]])
        cos, sin = math.cos(yaw), math.sin(yaw)
        self._data.ctrl[self._base_actuators] = (cos * vx - sin * vy, sin * vx + cos * vy, wz)

    def _satisfy_joint_equalities(self) -> None:
        """Put coupled joints (the second finger) where their leader says."""
        model, data = self.model, self._data
        for index in range(model.neq):
            if int(model.eq_type[index]) != _JOINT_EQUALITY or model.eq_obj2id[index] < 0:
                continue
            follower = model.jnt_qposadr[model.eq_obj1id[index]]
            leader = model.jnt_qposadr[model.eq_obj2id[index]]
            moved = data.qpos[leader] - model.qpos0[leader]
            polynomial = np.polynomial.Polynomial(model.eq_data[index, :5])
            data.qpos[follower] = model.qpos0[follower] + polynomial(moved)

    def _scalar_joints(self) -> dict[str, int]:
        model = self.model
        return {
            model.joint(index).name: index
            for index in range(model.njnt)
            if int(model.jnt_type[index]) in (_HINGE, _SLIDE)
        }

    def _joint_indices(self, names: tuple[str, ...]) -> tuple[npt.NDArray[np.intp], ...]:
        """Return the addresses of joints in qpos and in qvel."""
        found = self._indices.get(names)
        if found is None:
            joints = [self._joints[name] for name in names]
            found = (
                np.array(self.model.jnt_qposadr[joints], dtype=np.intp),
                np.array(self.model.jnt_dofadr[joints], dtype=np.intp),
            )
            self._indices[names] = found
        return found

    def _actuator_indices(self, names: tuple[str, ...]) -> npt.NDArray[np.intp]:
        key = ('actuators', *names)
        found = self._indices.get(key)
        if found is None:
            found = (np.array([self._actuators[name] for name in names], dtype=np.intp),)
            self._indices[key] = found
        return found[0]

    def _check_names(self) -> None:
        """Refuse a model that lacks something the embodiment names."""
        cameras = {self.model.camera(index).name for index in range(self.model.ncam)}
        for name in self.cameras.values():
            self._require('camera', name, cameras)
        for source in self.embodiment.state:
            for joint in source.joints:
                odometry = source.interface == 'odometry'
                name = BASE_JOINTS.get(joint.name, joint.name) if odometry else joint.name
                self._require('joint', name, self._joints)
        for group in self.embodiment.actions:
            for action in group.joints:
                twist = group.output == 'twist'
                name = BASE_JOINTS.get(action.name, action.name) if twist else action.name
                self._require('actuator', name, self._actuators)
        for name in self.neutral:
            self._require('actuator', name, self._actuators)

    def _require(self, kind: str, name: str, known: Mapping[str, int] | set[str]) -> None:
        if name not in known:
            raise EmbodimentError.at(
                self.mjcf,
                f'{kind} {name}',
                found='nothing of that name',
                expected=f'one of {sorted(known)}',
                remedy=f'{self.embodiment.source} names it.',
            )
