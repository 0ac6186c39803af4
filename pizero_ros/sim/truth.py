"""What is true in the simulation and a task is judged by, as values and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.errors import ObservationError
from pizero_ros.sim.layout import (
    BASE_START,
    CUBES,
    POSTS,
    STANDOFF_FROM,
    STANDOFF_M,
    layout_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.sim.robot import SimulatedRobot

Point = tuple[float, float, float]

TIP_M = 0.152
"""Distance of the fingertips from the origin of the hand, along its x axis."""


@dataclass(frozen=True)
class CubePose:
    """Where a cube is: centre [m], rotation as a quaternion (w, x, y, z), half of its edge [m]."""

    position: Point
    quaternion: tuple[float, float, float, float]
    half: float

    @property
    def top(self) -> float:
        """Height of its top while it lies flat, m."""
        return self.position[2] + self.half

    def distance(self, point: Point) -> float:
        """Return how far a point is from the surface, m; 0 inside."""
        w, x, y, z = self.quaternion
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        local = rotation.T @ (np.array(point) - self.position)
        return float(np.linalg.norm(np.maximum(np.abs(local) - self.half, 0.0)))


@dataclass(frozen=True)
class Truth:
    """The state of a scene at one moment.

    Attributes:
        stamp_ns: When, on the robot's clock.
        seed: Of the scene, -1 for the one of the model.
        start: Where the robot began, empty for the model's scene.
        episode: How often the scene has been set.
        cubes: Colour → pose.
        posts: Colour → x and y of the post, m.
        standoffs: Colour → x and y where a base that was sent to the post is to stop.
        tips: Arm → where its fingertips are, m.
        contacts: Arm and colour of each cube that its hand or fingers touch.
        base: x, y and yaw of the base in the world, m and rad; ``None`` without one.
    """

    stamp_ns: int
    seed: int
    start: str
    episode: int
    cubes: Mapping[str, CubePose]
    posts: Mapping[str, tuple[float, float]]
    standoffs: Mapping[str, tuple[float, float]]
    tips: Mapping[str, Point]
    contacts: tuple[tuple[str, str], ...]
    base: Point | None

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


def truth_from_json(text: str) -> Truth:
    """Read what ``Truth.to_json`` wrote.

    Raises:
        ObservationError: If it is something else.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        found['cubes'] = {
            colour: CubePose(tuple(cube['position']), tuple(cube['quaternion']), cube['half'])
            for colour, cube in found['cubes'].items()
        }
        for key in ('posts', 'standoffs', 'tips'):
            found[key] = {name: tuple(value) for name, value in found[key].items()}
        found['contacts'] = tuple((arm, colour) for arm, colour in found['contacts'])
        found['base'] = None if found['base'] is None else tuple(found['base'])
        return Truth(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ObservationError.at(
            'scene', '', found=f'{error!r} in {text[:80]!r}', expected='the truth of a scene'
        ) from None


class TruthReader:
    """Reads the truth from the physics of a robot; call it from the thread of the physics."""

    def __init__(self, robot: SimulatedRobot) -> None:
        """Look up what there is in the model."""
        self._robot = robot
        self._layout = layout_of(robot.embodiment)
        model = robot.model
        self._cubes = {colour: _body(model, f'{colour}_cube') for colour in CUBES}
        self._posts = {
            colour: _body(model, f'{colour}_post') for colour in POSTS if robot.has_base
        }
        self._hands = {arm.name: _body(model, arm.hand) for arm in self._layout.arms}
        colour_of = {body: colour for colour, body in self._cubes.items()}
        self._colour_of_geom: dict[int, str] = {}
        self._arm_of_geom: dict[int, str] = {}
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if body in colour_of:
                self._colour_of_geom[geom] = colour_of[body]
            for arm, hand in self._hands.items():
                if hand in (body, int(model.body_parentid[body])):
                    self._arm_of_geom[geom] = arm

    def read(self, stamp_ns: int, *, seed: int = -1, start: str = '', episode: int = 0) -> Truth:
        """Return the truth of now.

        Args:
            stamp_ns: Time stamp of the state.
            seed: Of the scene.
            start: Of the scene.
            episode: How often the scene has been set.
        """
        model, data = self._robot.model, self._robot.data
        posts = {colour: _pair(model.body_pos[body][:2]) for colour, body in self._posts.items()}
        odometry = self._robot.odometry() if self._robot.has_base else None
        return Truth(
            stamp_ns=stamp_ns,
            seed=seed,
            start=start,
            episode=episode,
            cubes={
                colour: CubePose(
                    _point(data.xpos[body]),
                    (*_point(data.xquat[body][:3]), float(data.xquat[body][3])),
                    float(model.geom_size[model.body_geomadr[body]][0]),
                )
                for colour, body in self._cubes.items()
            },
            posts=posts,
            standoffs={colour: _standoff(post) for colour, post in posts.items()},
            tips={
                arm: _point(data.xpos[body] + TIP_M * data.xmat[body].reshape(3, 3)[:, 0])
                for arm, body in self._hands.items()
            },
            contacts=self._contacts(),
            base=(
                None
                if odometry is None
                else (BASE_START[0] + odometry.x, BASE_START[1] + odometry.y, odometry.yaw)
            ),
        )

    def _contacts(self) -> tuple[tuple[str, str], ...]:
        found = set()
        for first, second in self._robot.data.contact.geom.tolist():
            for hand, cube in ((first, second), (second, first)):
                if hand in self._arm_of_geom and cube in self._colour_of_geom:
                    found.add((self._arm_of_geom[hand], self._colour_of_geom[cube]))
        return tuple(sorted(found))


def _standoff(post: tuple[float, float]) -> tuple[float, float]:
    away = np.array(STANDOFF_FROM) - post
    return _pair(post + STANDOFF_M * away / np.linalg.norm(away))


def _body(model: Any, name: str) -> int:
    return int(model.body(name).id)


def _pair(values: Any) -> tuple[float, float]:
    x, y = (float(value) for value in values)
    return x, y


def _point(values: Any) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
