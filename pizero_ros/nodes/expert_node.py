"""A node that demonstrates: it sees the truth of a scene and moves the robot as policies do."""

from __future__ import annotations

import json
import os
import sys
from array import array
from typing import TYPE_CHECKING, Any

import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.nodes.commands import CommandPublishers
from pizero_ros.nodes.messages import time_message
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.observation.intake import stamp_ns
from pizero_ros.replay.recording import INSTRUCTION
from pizero_ros.sim.opengl import gl_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pizero_ros.sim.experts.demonstrator import Demonstrator, Label
    from pizero_ros.sim.robot import SimulatedRobot
    from pizero_ros.sim.truth import Truth

STATES = QoSProfile(depth=1)
"""The newest is what counts: an expert that is late must not fall further behind."""

LABELS = QoSProfile(depth=1000)

PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ('embodiment', 'sim_single_arm', 'name or file of the robot'),
    ('robot', 'sim_robot', 'name of the node that simulates it'),
    ('task', '', 'what to demonstrate at once, such as touch_red; empty: wait for ~/assignment'),
    ('kind', 'curated', 'how: curated or imperfect'),
)


class ExpertNode(Node):
    """Does the task that it is given, from the scene with the episode that is named on.

    It tells the robot which time it has seen, for one whose time waits for it.

    ``~/assignment`` (std_msgs/String, JSON): ``task``, ``kind``, ``instructions`` (one, or one
    for each step of the task) and ``episode``, the count of resets in the robot's ``~/scene``;
    without a task it stops. ``~/actions``
    (sensor_msgs/JointState): what the expert did at each control step, with its due time as
    stamp, without the noise that it may have added; velocities of a base by the names of its
    axes. ``~/state`` (std_msgs/String, JSON): the episode, the task if it is under way, and what
    the demonstration suffers from.
    """

    def __init__(self) -> None:
        """Subscribe to the robot.

        Raises:
            PizeroError: If the embodiment is wrong, or the robot has no tasks.
        """
        super().__init__('expert_node')
        for name, default, text in PARAMETERS:
            self.declare_parameter(
                name, default, ParameterDescriptor(description=text, read_only=True)
            )
        # MuJoCo chooses its OpenGL when it is imported, so that it is not before main has run.
        from pizero_ros.sim.layout import layout_of
        from pizero_ros.sim.robot import SimulatedRobot
        from pizero_ros.sim.tasks.task import task_named

        self._embodiment = load_embodiment(self._value('embodiment'))
        layout_of(self._embodiment)
        robot = SimulatedRobot(self._embodiment)
        self._model = robot.model
        self._rehearse(robot)
        self._assignment: dict[str, Any] = {}
        if name := self._value('task'):
            task = task_named(self._embodiment, name)
            self._assignment = {
                'task': task.name,
                'kind': self._value('kind'),
                'instructions': [task.instruction],
                'episode': None,
            }
        self._measured: dict[str, float] = {}
        self._truth: Truth | None = None
        self._demonstrator: Demonstrator | None = None
        self._flaw = ''
        self._instructions: list[str] = []
        self._instructed = -1
        self._told = ''
        self._commands = CommandPublishers(
            self,
            self._embodiment,
            goal_failed=lambda *_: None,
            goal_unsent=lambda _: None,
        )
        self._actions = self.create_publisher(JointState, '~/actions', LABELS)
        self._instruction = self.create_publisher(String, INSTRUCTION, LATCHED)
        self._state = self.create_publisher(String, '~/state', LATCHED)
        self._names = [joint.name for joint in self._embodiment.action_joints]
        joints = [s.topic for s in self._embodiment.state if s.interface == 'joint_state']
        for topic in joints:
            self.create_subscription(
                JointState, topic, self._on_joints(ticks=topic == joints[-1]), STATES
            )
        simulator = self._value('robot')
        self._pace = self.create_publisher(Time, f'/{simulator}/pace', 10)
        self.create_subscription(String, f'/{simulator}/scene', self._on_scene, LATCHED)
        self.create_subscription(String, '~/assignment', self._on_assignment, LATCHED)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _rehearse(self, robot: SimulatedRobot) -> None:
        """Plan once for nobody: the first plan takes several times as long as the others."""
        from pizero_ros.sim.experts.demonstrator import Demonstrator
        from pizero_ros.sim.experts.profile import CURATED, perform
        from pizero_ros.sim.tasks.task import tasks_of
        from pizero_ros.sim.truth import TruthReader

        truth = TruthReader(robot).read(0)
        task = tasks_of(self._embodiment)[0]
        performance = perform(self._embodiment, task, CURATED, 0, truth)
        pose = dict(self._embodiment.neutral)
        Demonstrator(self._embodiment, self._model, performance, 0, truth, pose).tick(
            0, truth, pose
        )

    def _on_assignment(self, message: String) -> None:
        try:
            wanted = json.loads(message.data)
            task = wanted.get('task', '')
        except (ValueError, AttributeError):
            self.get_logger().error(f'~/assignment: {message.data[:80]!r} is no JSON object')
            return
        self._assignment = wanted if task else {}
        self._demonstrator = None
        self._tell(wanted.get('episode'))

    def _on_scene(self, message: String) -> None:
        from pizero_ros.sim.truth import truth_from_json

        self._truth = truth_from_json(message.data)

    def _on_joints(self, *, ticks: bool) -> Callable[[JointState], None]:
        def received(message: JointState) -> None:
            self._measured |= zip(message.name, message.position, strict=True)
            if ticks:
                self._tick(stamp_ns(message.header.stamp))
                self._pace.publish(message.header.stamp)

        return received

    def _tick(self, now_ns: int) -> None:
        truth = self._truth
        if truth is None or not self._assignment:
            return
        episode = self._assignment.get('episode')
        # Joint states of before the reset may still be on their way.
        if episode not in (None, truth.episode) or now_ns < truth.stamp_ns - 1_000_000_000:
            return
        if self._demonstrator is None:
            if now_ns < truth.stamp_ns or not self._complete():
                return
            self._begin(now_ns, truth)
        assert self._demonstrator is not None
        commands, labels = self._demonstrator.tick(now_ns, truth, self._measured)
        self._instruct(self._demonstrator.step)
        self._commands.publish(commands)
        for label in labels:
            self._actions.publish(self._action(label))
        self._tell(truth.episode)

    def _instruct(self, step: int) -> None:
        """Publish the instruction of a step when it begins; one for all steps, only once."""
        number = min(step, len(self._instructions) - 1)
        if number != self._instructed:
            self._instructed = number
            self._instruction.publish(String(data=self._instructions[number]))

    def _complete(self) -> bool:
        sensed = {
            joint.name
            for source in self._embodiment.state
            if source.interface == 'joint_state'
            for joint in source.joints
        }
        return sensed <= self._measured.keys()

    def _begin(self, now_ns: int, truth: Truth) -> None:
        from pizero_ros.sim.experts.demonstrator import Demonstrator
        from pizero_ros.sim.experts.profile import perform
        from pizero_ros.sim.tasks.task import task_named

        task = task_named(self._embodiment, self._assignment['task'])
        seed = max(truth.seed, 0)
        performance = perform(self._embodiment, task, self._assignment['kind'], seed, truth)
        self._flaw = performance.flaw
        self._instructions = list(self._assignment.get('instructions') or [task.instruction])
        self._instructed = -1
        self._demonstrator = Demonstrator(
            self._embodiment,
            self._model,
            performance,
            now_ns,
            truth,
            self._measured,
            stepwise=len(self._instructions) > 1,
        )
        self.get_logger().info(f'episode {truth.episode}: {task.name} ({performance.flaw})')

    def _action(self, label: Label) -> JointState:
        message = JointState(name=self._names, position=array('d', label.values.tobytes()))
        message.header.stamp = time_message(label.stamp_ns)
        return message

    def _tell(self, episode: int | None) -> None:
        """Publish the state if it has changed."""
        demonstrator = self._demonstrator
        state = {
            'episode': episode,
            'task': self._assignment.get('task', '') if demonstrator else '',
            'flaw': self._flaw if demonstrator else '',
            'interventions': demonstrator.interventions if demonstrator else {},
        }
        text = json.dumps(state)
        if text != self._told:
            self._told = text
            self._state.publish(String(data=text))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Args:
        args: Command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0 when stopped, 1 on an error.
    """
    if backend := gl_backend(os.environ):
        os.environ['MUJOCO_GL'] = backend
    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: ExpertNode | None = None
    executor = SingleThreadedExecutor()
    try:
        node = ExpertNode()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    except (PizeroError, ParameterException) as error:
        print(f'expert_node: {error}', file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
