"""The other side of the policy node: a robot that publishes sensors and hears commands."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from array import array
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import rclpy
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from pizero_ros.msg import ActionChunk, PolicyStatus
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool

from pizero_ros.demo.installation import free_domain
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.nodes.policy_node import PolicyNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Nothing that a test sends may reach a robot on the network.
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

WIDTH, HEIGHT = 64, 48
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class Received(NamedTuple):
    """A message and when it came."""

    at_ns: int
    message: Any


def spin(executor: SingleThreadedExecutor, ended: threading.Event) -> threading.Thread:
    def run() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Robot:
    """Sensors, a listener on everything that the policy says, and its lifecycle client.

    Faults are attributes that may be set at any time. ``time_ns`` stamps the messages once it is
    set, and is published as /clock; else the system clock does.
    """

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=free_domain())
        self.node = Node('robot', context=self.context)
        self.received: dict[str, list[Received]] = defaultdict(list)
        self._clients: dict[str, Any] = {}
        self.muted: set[str] = set()
        self.black: set[str] = set()
        self.unstamped: set[str] = set()
        self.encodings: dict[str, str] = {}
        self.absent: set[str] = set()
        self.positions: dict[str, float] = {}
        self.stamped_ns: dict[str, int] = {}
        self.time_ns: int | None = None
        self.embodiment: Any = None
        self.policy: PolicyNode | None = None
        self._closing: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._frames = itertools.count()
        self._picture = np.random.default_rng(0).integers(40, 200, (HEIGHT, WIDTH, 3), np.uint8)
        self._clock = self.node.create_publisher(ClockMessage, '/clock', 10)
        self.listen(Log, '/rosout', LATCHED)
        self.listen(DiagnosticArray, '/diagnostics')
        self.listen(ActionChunk, '/policy_node/chunk')
        self.listen(PolicyStatus, '/policy_node/status', LATCHED)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = spin(self._executor, self._ended)

    # What the robot has

    def heal(self) -> None:
        """End all faults."""
        for faults in (self.muted, self.black, self.unstamped, self.encodings, self.absent):
            faults.clear()
        self.positions |= self.embodiment.neutral

    def wear(self, embodiment: Any) -> None:
        """Publish the sensors of an embodiment, and hear its action topics."""
        self.embodiment = embodiment
        for group in embodiment.actions:
            if group.message in MESSAGE_TYPES:  # else it is an action
                self.listen(MESSAGE_TYPES[group.message], group.topic)
        self.positions |= {joint.name: 0.0 for joint in embodiment.state_joints}
        self.positions |= embodiment.neutral
        for camera in embodiment.cameras:
            publisher = self.node.create_publisher(Image, camera.topic, 10)
            self._every(1 / camera.rate_hz, partial(self._send_image, publisher))
        for source in embodiment.state:
            kind, send = JointState, self._send_joints
            if source.interface == 'odometry':
                kind, send = Odometry, self._send_odometry
            publisher = self.node.create_publisher(kind, source.topic, 10)
            self._every(1 / source.rate_hz, partial(send, publisher, source))

    def set_time(self, time_ns: int) -> None:
        """Publish a time, and stamp what follows with it."""
        self.time_ns = time_ns
        self._clock.publish(ClockMessage(clock=_time(time_ns)))

    def run_clock(self, period_s: float) -> None:
        """Let the published time go on by ``period_s`` in about that time."""
        self._every(period_s, lambda: self.set_time(self.time_ns + round(period_s * 1e9)))

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 100) -> list[Received]:
        def callback(message: Any) -> None:
            with self._changed:
                self.received[topic].append(Received(time.time_ns(), message))
                self._changed.notify_all()

        if topic not in self.received:
            self.node.create_subscription(kind, topic, callback, qos)
        return self.received[topic]

    def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Wait for a condition on what was received; return its value."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f'waited {timeout_s} s in vain; {self.last_words()}'
                self._changed.wait(min(left, 0.05))
        return value

    def forget(self) -> None:
        """Drop what was received so far."""
        with self._changed:
            for messages in self.received.values():
                messages.clear()

    # What the policy said

    def of(self, group: str) -> list[Received]:
        """Everything received for an action group."""
        topic = next(g.topic for g in self.embodiment.actions if g.name == group)
        return self.received[topic]

    def commands(self) -> int:
        """Number of command messages so far."""
        return sum(len(self.received[group.topic]) for group in self.embodiment.actions)

    @property
    def chunks(self) -> list[Any]:
        return [each.message for each in self.received['/policy_node/chunk']]

    @property
    def status(self) -> Any:
        """The latest status, None before the first."""
        statuses = self.received['/policy_node/status']
        return statuses[-1].message if statuses else None

    def motions(self, group: str = 'arm') -> list[Any]:
        """Trajectories of more than one point: a hold has one."""
        return [r.message for r in self.of(group) if len(r.message.points) > 1]

    def logged(self, *fragments: str) -> bool:
        """Tell whether one line of /rosout has all fragments.

        For the robot made last only: rclpy ends the logging of all contexts with any of them.
        """
        lines = [r.message.msg for r in self.received['/rosout']]
        return any(all(fragment in line for fragment in fragments) for line in lines)

    def counted(self, name: str) -> int:
        """How often the latest status says that an intervention happened."""
        counts = dict(
            zip(self.status.intervention_names, self.status.intervention_counts, strict=True)
        )
        return int(counts.get(name, 0))

    def is_silent(self) -> bool:
        """Wait for five more refusals; tell whether no command came meanwhile."""
        told, refused = self.commands(), self.status.observations_refused
        self.until(lambda: self.status.observations_refused >= refused + 5)
        return self.commands() == told

    def last_words(self) -> str:
        lines = [r.message.msg for r in self.received['/rosout'][-5:]]
        status = self.status
        state = None if status is None else (status.state, status.reason)
        return f'status {state}, log {lines}'

    def diagnosis(self, name: str) -> Any:
        """Latest diagnostic status of the policy or of one topic, None before the first."""
        arrays = self.received['/diagnostics']
        if not arrays:
            return None
        return next(s for s in arrays[-1].message.status if s.name == f'policy_node: {name}')

    def wait_for_state(self, state: int, *fragments: str) -> Any:
        """Wait for a status in this state whose reason has the fragments, and return it."""

        def reached() -> Any:
            status = self.status
            if status is None or status.state != state:
                return None
            return status if all(f in status.reason for f in fragments) else None

        return self.until(reached)

    # What the robot asks of the policy

    def run_policy(self, **parameters: Any) -> None:
        """Start an unconfigured policy node in a thread and a DDS participant of its own."""
        context, ended = Context(), threading.Event()
        rclpy.init(context=context, domain_id=self.context.get_domain_id())
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = PolicyNode(context=context, parameter_overrides=overrides)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = spin(executor, ended)

        def close() -> None:
            ended.set()
            thread.join()
            node.hold_and_deactivate()
            executor.shutdown()
            node.destroy_node()
            rclpy.shutdown(context=context)

        self.policy = node
        self._closing.append(close)

    def start(self, embodiment: Path, bundle: Path, **parameters: Any) -> None:
        """Publish an embodiment's sensors, and start a policy node for it up to configured."""
        if self.embodiment is None:
            self.wear(load_embodiment(str(embodiment)))
        given = {'noise': 'continuous', 'prompt': 'wave'} | parameters
        self.run_policy(embodiment=str(embodiment), bundle=str(bundle), **given)
        assert self.configure(), self.last_words()

    def set_parameters(self, **values: Any) -> Any:
        """Set parameters one by one; return the result of the last."""
        wanted = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(parameters=[each.to_parameter_msg() for each in wanted])
        return self.call(SetParameters, 'set_parameters', request).results[-1]

    def call(self, kind: type, service: str, request: Any) -> Any:
        # Kept: a service drops its answer to a client that it has not discovered 100 ms later.
        client = self._clients.get(service)
        if client is None:
            client = self.node.create_client(kind, f'/policy_node/{service}')
            self._clients[service] = client
        assert client.wait_for_service(timeout_sec=20.0), service
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, 'change_state', request).success)

    def configure(self) -> bool:
        return self.change(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> bool:
        return self.change(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        return self.change(Transition.TRANSITION_DEACTIVATE)

    def cleanup(self) -> bool:
        return self.change(Transition.TRANSITION_CLEANUP)

    def enable(self, on: bool) -> Any:
        return self.call(SetBool, 'enable', SetBool.Request(data=on))

    def say(self, prompt: str, qos: QoSProfile | int = 1) -> None:
        """Publish an instruction; a volatile one once somebody listens."""
        publisher = self.node.create_publisher(String, '/policy_node/prompt', qos)
        if qos != LATCHED:
            self.until(publisher.get_subscription_count)
        publisher.publish(String(data=prompt))

    def close(self) -> None:
        self.policy = None
        while self._closing:
            self._closing.pop()()
        # The services of a lifecycle node, and so its DDS participant, live until then.
        gc.collect()
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    # Sensors

    def _every(self, period_s: float, callback: Callable[[], None]) -> None:
        self.node.create_timer(period_s, callback, clock=STEADY)

    def _stamp(self, topic: str) -> Time:
        if topic in self.unstamped:
            return Time()
        stamp_ns = time.time_ns() if self.time_ns is None else self.time_ns
        self.stamped_ns[topic] = stamp_ns
        return _time(stamp_ns)

    def _send_image(self, publisher: Any) -> None:
        topic = publisher.topic_name
        if topic in self.muted:
            return
        picture = self._picture + np.uint8(next(self._frames) % 40)
        if topic in self.black:
            picture = np.zeros_like(picture)
        message = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 3)
        message.encoding = self.encodings.get(topic, 'rgb8')
        message.header.stamp = self._stamp(topic)
        message.data = array('B', picture.tobytes())
        publisher.publish(message)

    def _send_joints(self, publisher: Any, source: Any) -> None:
        if source.topic in self.muted:
            return
        names = [joint.name for joint in source.joints if joint.name not in self.absent]
        message = JointState(name=names, position=[self.positions[name] for name in names])
        message.header.stamp = self._stamp(source.topic)
        publisher.publish(message)

    def _send_odometry(self, publisher: Any, source: Any) -> None:
        if source.topic in self.muted:
            return
        message = Odometry()
        message.header.stamp = self._stamp(source.topic)
        publisher.publish(message)


def _time(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def write_embodiment(
    folder: Path,
    name: str = 'sim_single_arm',
    change: Callable[[dict[str, Any]], object] = lambda content: None,
    *,
    loose: bool = True,
) -> Path:
    """Write a shipped embodiment with a change.

    ``loose`` lifts all limits, so that trajectories are the chunk's numbers exactly, lets streams
    be late, so that a busy machine does not hold the robot, and replaces chunks every 0.2 s.
    """
    content = yaml.safe_load(Path(load_embodiment(name).source).read_text())
    if loose:
        limits = {'image_max_age_s': 0.6, 'state_max_age_s': 0.6, 'max_skew_s': 0.6}
        content['staleness'] = limits
        content['executed_steps'] = 10
        for group in content['actions']:
            for joint in group['joints']:
                joint |= {'velocity': 1000.0, 'max_step': 10.0}
                joint.pop('acceleration', None)
                if 'position' in joint:
                    joint['position'] = [-10.0, 10.0]
    change(content)
    path = folder / f'{name}.yaml'
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope='session')
def embodiment_file() -> Callable[..., Path]:
    """Give the writer of embodiment files."""
    return write_embodiment


@pytest.fixture(scope='module')
def module_robot() -> Iterator[Robot]:
    """Give a robot that a module's tests share, on a DDS domain of its own."""
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture(scope='module')
def configured(
    module_robot: Robot, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Robot:
    """Give a single arm with a configured policy; its side camera is optional."""
    path = write_embodiment(
        tmp_path_factory.mktemp('embodiment'),
        change=lambda content: content['cameras'][2].update(required=False),
    )
    module_robot.start(path, tiny_bundle)
    return module_robot


@pytest.fixture
def moving(configured: Robot) -> Iterator[Robot]:
    """Give that robot in motion, without faults and with nothing received before."""
    configured.heal()
    assert configured.set_parameters(prompt='wave').successful
    configured.forget()
    try:
        assert configured.activate()
        configured.wait_for_state(PolicyStatus.STATE_RUNNING)
        configured.until(lambda: configured.motions() and configured.chunks)
        yield configured
    finally:
        # Whatever went wrong, the next test gets a robot at rest.
        assert configured.deactivate()
    configured.wait_for_state(PolicyStatus.STATE_INACTIVE)


@pytest.fixture
def robot() -> Iterator[Robot]:
    """Give a robot without sensors yet, on a DDS domain of its own."""
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def start(robot: Robot, tiny_bundle: Path, tmp_path: Path) -> Callable[..., Robot]:
    """Give a starter: robot with sensors, policy configured and, unless told otherwise, active."""

    def start(
        name: str = 'sim_single_arm',
        change: Callable[[dict[str, Any]], object] = lambda content: None,
        *,
        loose: bool = True,
        active: bool = True,
        **parameters: Any,
    ) -> Robot:
        path = write_embodiment(tmp_path, name, change, loose=loose)
        robot.start(path, tiny_bundle, **parameters)
        if active:
            assert robot.activate()
        return robot

    return start
