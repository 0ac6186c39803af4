"""What a robot is: the frozen values behind one embodiment YAML file (schema 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
VECTOR_DIM = 18
"""Width of the robot vector: the largest robot of the π0 paper has 18 values."""

Transport = Literal['raw', 'compressed']
Flip = Literal['none', 'horizontal', 'vertical']
StampSource = Literal['header', 'receive']
StateInterface = Literal['joint_state', 'odometry']
StateField = Literal['position', 'velocity', 'effort']
OutputKind = Literal['joint_trajectory', 'twist', 'gripper']
TwistMessage = Literal['twist', 'twist_stamped']
GripperMessage = Literal[
    'joint_trajectory', 'float64_multi_array', 'gripper_command', 'parallel_gripper_command'
]
GroupMessage = Literal[
    'joint_trajectory',
    'twist',
    'twist_stamped',
    'float64_multi_array',
    'gripper_command',
    'parallel_gripper_command',
]
SpeedMessage = Literal['float64', 'controller_state']
SpeedUnit = Literal['fraction', 'percent']
JointUnit = Literal['rad', 'm', '1']
"""Of a position; ``1`` for a share, such as a gripper that goes from 0 to 1."""


GRIPPER_ACTIONS: tuple[GroupMessage, ...] = ('gripper_command', 'parallel_gripper_command')
"""Wire types that are actions of ``control_msgs``: ``topic`` is the name of the action."""

TWIST_AXES = ('linear.x', 'linear.y', 'linear.z', 'angular.x', 'angular.y', 'angular.z')
"""Names that joints of a ``twist`` group and of an ``odometry`` source may have (REP 103)."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera stream and the bundle slot that it feeds.

    ``rotation_deg`` (0, 90, 180 or 270, clockwise) is applied first, ``flip`` second.
    ``topic`` is the full topic name, ``…/compressed`` included for compressed transport.
    ``rate_hz`` is the nominal rate, from which missing frames are counted.
    """

    slot: str
    topic: str
    transport: Transport
    required: bool
    rotation_deg: int
    flip: Flip
    stamp: StampSource
    max_age_s: float
    rate_hz: float


@dataclass(frozen=True, slots=True)
class StateJoint:
    """One value of the state: ``vector[index] = sign * scale * raw + offset``.

    ``name`` is the joint's name in the message (an axis of ``TWIST_AXES`` for odometry).
    ``range`` bounds the raw value that the sensor can possibly report, ``None`` if unknown.
    """

    name: str
    index: int
    field: StateField
    scale: float
    offset: float
    sign: int
    range: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class StateSource:
    """One topic that carries part of the state."""

    topic: str
    interface: StateInterface
    stamp: StampSource
    max_age_s: float
    rate_hz: float
    joints: tuple[StateJoint, ...]


@dataclass(frozen=True, slots=True)
class ActionJoint:
    """One value of the action: ``raw = (vector[index] - offset) / (sign * scale)``.

    The mapping is the exact inverse of a state joint with the same numbers. Limits are on the
    raw value, in the unit of the controller (rad, m, m/s, rad/s):
    ``position`` [lower, upper] (``None`` for the axes of a twist), ``velocity`` largest speed (for
    a twist axis the largest absolute command), ``acceleration`` or ``None``, ``max_step`` largest
    distance between the current command and the first waypoint of a new trajectory.
    ``unit`` is for people who read figures; a twist axis has ``m/s`` or ``rad/s``.
    """

    name: str
    index: int
    scale: float
    offset: float
    sign: int
    position: tuple[float, float] | None
    velocity: float
    acceleration: float | None
    max_step: float
    unit: str = 'rad'


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a base may be: [lower, upper] of x and y [m] in the frame of an odometry topic."""

    topic: str
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ActionGroup:
    """Joints that one controller moves, and how they are told.

    ``message`` is the wire type: a ``GripperMessage`` for grippers, a ``TwistMessage`` for a
    base, ``joint_trajectory`` for arms. ``deadband`` is the change of a gripper goal below which
    nothing is sent, in the gripper's raw unit. ``velocities`` sends waypoint velocities too.
    ``max_effort`` goes with the goals of ``GRIPPER_ACTIONS``, in N or Nm, ``None`` to leave it to
    the controller.
    ``workspace`` bounds a base, ``None`` for no bound.
    """

    name: str
    output: OutputKind
    topic: str
    message: GroupMessage
    frame_id: str
    joints: tuple[ActionJoint, ...]
    velocities: bool
    deadband: float
    workspace: Workspace | None = None
    max_effort: float | None = None


@dataclass(frozen=True, slots=True)
class SpeedScaling:
    """Where the controllers say how fast they run.

    ``float64`` is a ``std_msgs/Float64`` in ``unit``; ``controller_state`` a
    ``control_msgs/JointTrajectoryControllerState``, a fraction always. Unless it is ``required``,
    the robot moves at full speed until the first factor comes. After that the robot is held
    whenever none has come for ``max_age_s``.
    """

    topic: str
    message: SpeedMessage
    unit: SpeedUnit
    required: bool
    max_age_s: float


@dataclass(frozen=True, slots=True)
class Embodiment:
    """A robot as the runtime sees it.

    ``source`` is the file it was read from. ``rate_hz`` is the action rate, ``horizon`` the number
    of actions in a chunk, ``executed_steps`` how many of them are executed per inference,
    ``published_steps`` how many are published (the longest blind motion), ``lead_steps`` how far
    after now the first published waypoint lies. ``max_skew_s`` bounds newest minus oldest stamp
    of an observation. ``neutral`` maps joint name to raw position: where a person would park the
    robot, and the centre of random bundles' statistics. ``speed_scaling`` is ``None`` for a robot
    whose controllers always run at full speed.
    """

    name: str
    description: str
    source: str
    rate_hz: float
    horizon: int
    executed_steps: int
    published_steps: int
    lead_steps: int
    vector_dim: int
    cameras: tuple[Camera, ...]
    state: tuple[StateSource, ...]
    actions: tuple[ActionGroup, ...]
    max_skew_s: float
    neutral: Mapping[str, float]
    speed_scaling: SpeedScaling | None = None

    @property
    def state_width(self) -> int:
        """Number of leading values of the robot vector that the state uses."""
        return 1 + max(joint.index for source in self.state for joint in source.joints)

    @property
    def action_width(self) -> int:
        """Number of leading values of the robot vector that the actions use."""
        return 1 + max(joint.index for group in self.actions for joint in group.joints)

    @property
    def state_joints(self) -> tuple[StateJoint, ...]:
        """Every state joint, in the order of the file."""
        return tuple(joint for source in self.state for joint in source.joints)

    @property
    def action_joints(self) -> tuple[ActionJoint, ...]:
        """Every action joint, in the order of the file."""
        return tuple(joint for group in self.actions for joint in group.joints)
