"""The scene of the simulated robot: set by seed while it runs, its truth published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pizero_ros.errors import PizeroError
from pizero_ros.nodes.sim_parameters import NO_SCENE
from pizero_ros.sim.layout import LAYOUTS
from pizero_ros.sim.scene import sample_scene
from pizero_ros.sim.staging import Stage
from pizero_ros.sim.truth import TruthReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from rclpy.node import Node

    from pizero_ros.sim.controllers import SimulatedControllers
    from pizero_ros.sim.robot import SimulatedRobot

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SceneControls:
    """Sets scenes and tells the truth about them.

    ``~/reset`` (std_srvs/Trigger) puts everything where the parameters ``scene_seed`` and
    ``scene_start`` say, at rest; time goes on. ``~/scene`` (std_msgs/String) is
    ``sim.truth.Truth`` as JSON, whose ``episode`` counts the resets.
    """

    def __init__(
        self,
        node: Node,
        robot: SimulatedRobot,
        controllers: SimulatedControllers,
        *,
        physics: AbstractContextManager[Any],
        rendering: AbstractContextManager[Any],
        stamp: Callable[[], int],
    ) -> None:
        """Set the first scene, and take over the service.

        Args:
            node: Owner of parameters, service and topic.
            robot: What the scene is around.
            controllers: Told to forget what they were doing.
            physics: Lock of the robot.
            rendering: Lock under which pictures are taken; taken before that of the robot.
            stamp: Brings the physics to now and returns the time stamp of its state; needs the
                lock of the robot.

        Raises:
            PizeroError: If the parameters name no scene.
        """
        self._node = node
        self._robot = robot
        self._controllers = controllers
        self._physics = physics
        self._rendering = rendering
        self._stamp = stamp
        self._stage = Stage(robot)
        self._reader = TruthReader(robot)
        self._seed, self._start, self._episode = NO_SCENE, '', 0
        if self._wanted()[0] != NO_SCENE:
            self._set()
        self._publisher = node.create_publisher(String, '~/scene', LATCHED)
        node.create_service(Trigger, '~/reset', self._on_reset)

    def publish(self) -> None:
        """Publish the truth of now."""
        with self._physics:
            truth = self._reader.read(
                self._stamp(), seed=self._seed, start=self._start, episode=self._episode
            )
        self._publisher.publish(String(data=truth.to_json()))

    def _wanted(self) -> tuple[int, str]:
        seed = int(self._node.get_parameter('scene_seed').value)
        return seed, str(self._node.get_parameter('scene_start').value)

    def _set(self) -> None:
        seed, start = self._wanted()
        scene = None
        if seed != NO_SCENE:
            scene = sample_scene(self._robot.embodiment, seed, start)
        with self._rendering, self._physics:
            self._stage.set(scene, time_s=self._robot.time_s)
            self._controllers.reset()
            self._seed, self._start = seed, start if scene else ''
            self._episode += 1

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._set()
        except PizeroError as error:
            response.success, response.message = False, str(error)
            return response
        self.publish()
        response.success = True
        response.message = f'episode {self._episode}, scene {self._seed} {self._start}'
        return response


def scene_controls(
    node: Node,
    robot: SimulatedRobot,
    controllers: SimulatedControllers,
    *,
    physics: AbstractContextManager[Any],
    rendering: AbstractContextManager[Any],
    stamp: Callable[[], int],
) -> SceneControls | None:
    """Return the scene of a robot that has scenes, ``None`` for a model of somebody else.

    Args:
        node: See ``SceneControls``.
        robot: See there.
        controllers: See there.
        physics: See there.
        rendering: See there.
        stamp: See there.

    Raises:
        PizeroError: If the parameters name a scene that this robot does not have.
    """
    own = robot.embodiment.name in LAYOUTS and not node.get_parameter('mjcf').value
    if own:
        return SceneControls(
            node, robot, controllers, physics=physics, rendering=rendering, stamp=stamp
        )
    if (seed := node.get_parameter('scene_seed').value) != NO_SCENE:
        raise PizeroError.at(
            'sim_robot',
            'scene_seed',
            found=seed,
            expected=f'{NO_SCENE} for a model that is none of {", ".join(LAYOUTS)}',
        )
    return None
