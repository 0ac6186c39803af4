"""A simulated robot and a policy as processes, and an observer that makes the robot fail."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from pizero_ros.msg import ActionChunk, PolicyStatus
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from pizero_ros.demo.installation import environment, executables, free_domain
from pizero_ros.demo.processes import ros_arguments
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.command_types import MESSAGE_TYPES
from pizero_ros.observation.intake import stamp_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Process = subprocess.Popen[bytes]

ROBOT = 'sim_mobile'
HANDS = ('left', 'right')
STILL_S = 0.3
"""A robot whose commands have not changed for so long is at rest."""

RELIABLE = QoSProfile(depth=1000)
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATES = {
    PolicyStatus.STATE_INACTIVE: 'inactive',
    PolicyStatus.STATE_RUNNING: 'running',
    PolicyStatus.STATE_HOLDING: 'holding',
    PolicyStatus.STATE_DRY_RUN: 'dry run',
    PolicyStatus.STATE_FAULT: 'fault',
}


class Commanded(NamedTuple):
    """What the robot's controllers command at one moment, by the robot's clock."""

    stamp_ns: int
    values: tuple[float, ...]


class Rig:
    """Robot, policy and observer in a ROS domain of their own, from ``with`` to the block's end.

    Attributes:
        embodiment: The robot.
        received: Topic → messages, in order.
        arms: Commanded joint positions, in order.
        base: Commanded base velocities, in order.
    """

    def __init__(
        self, folder: Path, bundle: Path, *, staleness: Mapping[str, float] | None = None
    ) -> None:
        """Write the embodiment; ``start_robot`` and ``start_policy`` start the processes.

        Args:
            folder: For the embodiment and the logs.
            bundle: What the policy runs.
            staleness: Limits in place of the robot's own.
        """
        self.path = write_embodiment(folder, staleness)
        self.embodiment = load_embodiment(self.path)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.arms: list[Commanded] = []
        self.base: list[Commanded] = []
        self._bundle = bundle
        self._folder = folder
        self._processes: list[tuple[Process, Path]] = []
        self._policy: tuple[Process, dict[str, object]] | None = None
        self.domain = free_domain()
        self._env = {**environment(), 'ROS_DOMAIN_ID': str(self.domain)}
        self._executables = executables()
        self._changed = threading.Condition()
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=self.domain)
        self._node = Node('fault_rig', context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='fault_rig', daemon=True)
        for group in self.embodiment.actions:
            self.listen(MESSAGE_TYPES[group.message], group.topic)
        self.listen(PolicyStatus, '/policy_node/status', LATCHED)
        self.listen(ActionChunk, '/policy_node/chunk')
        self.listen(DiagnosticArray, '/diagnostics')
        self._subscribe(JointState, '/sim_robot/commanded', self._on_arms)
        self._subscribe(TwistStamped, '/sim_robot/commanded_base', self._on_base)

    def __enter__(self) -> Rig:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process, _log in reversed(self._processes):
            self.stop(process)
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()

    # Processes

    def start_robot(self, **parameters: object) -> Process:
        """Start the simulated robot and wait for what it reports."""
        small = {'width': 64, 'height': 64, 'camera_rate_hz': 15.0}
        process = self._start('sim_robot', {'embodiment': str(self.path), **small, **parameters})
        self.until(lambda: self.arms and self.base, 'the robot')
        return process

    def run_policy(self, *injected: str, **parameters: object) -> Process:
        """Let a policy node with these parameters run, the present one if it has them.

        Args:
            injected: Faults of inference; without any, the robot is in motion when this returns.
            parameters: Of the node.

        Returns:
            Its process.
        """
        wanted = {**parameters, 'fault_injection': list(injected) or ['']}
        if self._policy is None or self._policy[1] != wanted or self._policy[0].poll() is not None:
            if self._policy is not None:
                self.stop(self._policy[0])
            with self._changed:
                self.received['/policy_node/status'].clear()
            self._policy = self.start_policy(**wanted), wanted
        if not injected:
            self.wait_for_motion()
        return self._policy[0]

    def start_policy(self, **parameters: object) -> Process:
        """Start another policy node, by itself up to active unless told otherwise."""
        given = {
            'embodiment': str(self.path),
            'bundle': str(self._bundle),
            'prompt': 'wave',
            'noise': 'continuous',
            'autostart': True,
        }
        return self._start('policy_node', given | parameters)

    def _start(self, name: str, parameters: Mapping[str, object]) -> Process:
        log = self._folder / f'{len(self._processes)}_{name}.log'
        command = [str(self._executables[name]), *ros_arguments(parameters)]
        with log.open('wb') as output:
            process = subprocess.Popen(command, env=self._env, stdout=output, stderr=output)
        self._processes.append((process, log))
        return process

    def log(self, process: Process) -> str:
        """Return what a process has printed."""
        log = next(log for each, log in self._processes if each is process)
        return log.read_text(encoding='utf-8', errors='replace')

    def stop(self, process: Process) -> int:
        """End a process with SIGINT, or harder; return its exit status."""
        for number, limit_s in ((signal.SIGINT, 12.0), (signal.SIGKILL, 4.0)):
            if process.poll() is None:
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(limit_s)
        return process.wait()

    # Faults

    def set_faults(self, *faults: str) -> int:
        """Let the robot have exactly these faults.

        Returns:
            Stamp from which on it has the first of them, robot's clock; 0 for none.
        """
        wanted = Parameter('faults', value=list(faults) or [''])
        request = SetParameters.Request(parameters=[wanted.to_parameter_msg()])
        result = self.call(SetParameters, '/sim_robot/set_parameters', request).results[0]
        if not result.successful:
            raise ValueError(result.reason)
        if not faults:
            return 0
        values = self.until(lambda: self._since(faults[0]), f'the diagnosis of {faults}')
        seconds, nanoseconds = values.removeprefix('since ').split('.')
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    def clear_faults(self) -> str:
        """End all faults of the robot; return what the robot says to it."""
        return str(self.call(Trigger, '/sim_robot/clear_faults', Trigger.Request()).message)

    def _since(self, fault: str) -> str:
        values = self.diagnosis('sim_robot: faults')
        return '' if values is None else {v.key: v.value for v in values.values}.get(fault, '')

    # What the policy says

    @property
    def status(self) -> Any:
        """The latest status, None before the first."""
        statuses = self.received['/policy_node/status']
        return statuses[-1] if statuses else None

    def diagnosis(self, name: str) -> Any:
        """Return the latest diagnostic status of this name, None before the first."""
        for array in reversed(self.received['/diagnostics'][-20:]):
            for status in array.status:
                if status.name == name:
                    return status
        return None

    def wait_for_state(self, state: int, *fragments: str, timeout_s: float = 30.0) -> Any:
        """Wait for a status in this state whose reason has the fragments, and return it."""

        def reached() -> Any:
            status = self.status
            if status is None or status.state != state:
                return None
            return status if all(f in status.reason for f in fragments) else None

        return self.until(reached, f'{STATES[state]} {fragments}', timeout_s)

    def trajectories(self, since: Mapping[str, int]) -> list[Any]:
        """Return the arm trajectories of more than one point (a hold has one) since a mark."""
        topics = [g.topic for g in self.embodiment.actions if g.output == 'joint_trajectory']
        return [
            message
            for topic in topics
            for message in self.received[topic][since.get(topic, 0) :]
            if len(message.points) > 1
        ]

    def mark(self) -> dict[str, int]:
        """Return how many messages of each topic there are."""
        return {topic: len(messages) for topic, messages in self.received.items()}

    # Motion

    def moves(self, sequence: Sequence[Commanded], since_ns: int) -> bool:
        """Tell whether commands of this moment and later differ."""
        later = [sample.values for sample in sequence if sample.stamp_ns >= since_ns]
        return any(one != other for one, other in itertools.pairwise(later))

    def wait_for_motion(self) -> None:
        """Wait until the policy runs, and arms and base move."""
        self.wait_for_state(PolicyStatus.STATE_RUNNING)
        arms, base = self.arms[-1].stamp_ns, self.base[-1].stamp_ns
        self.until(lambda: self.moves(self.arms, arms) and self.moves(self.base, base), 'motion')

    def wait_for_rest(self, timeout_s: float = 30.0) -> tuple[int, int]:
        """Wait until nothing has changed for ``STILL_S``; return since when arms and base rest."""
        rests: tuple[int, int] = self.until(self._at_rest, 'rest', timeout_s)
        return rests

    def _at_rest(self) -> tuple[int, int] | None:
        rests = []
        for sequence in (self.arms, self.base):
            last = sequence[-1]
            moved = next((s for s in reversed(sequence) if s.values != last.values), None)
            rest = sequence[sequence.index(moved) + 1] if moved else sequence[0]
            if last.stamp_ns - rest.stamp_ns < STILL_S * 1e9:
                return None
            if sequence is self.base and np.any(last.values):
                return None
            rests.append(rest.stamp_ns)
        return rests[0], rests[1]

    # Services

    def enable(self, on: bool) -> bool:
        """Ask the policy to send commands, or not to; return whether it will."""
        request = SetBool.Request(data=on)
        return bool(self.call(SetBool, '/policy_node/enable', request).success)

    def wait_for_node(self) -> None:
        """Wait until the policy node answers."""
        self.call(GetState, '/policy_node/get_state', GetState.Request())

    def change_state(self, transition: int) -> bool:
        """Ask the policy for a lifecycle transition."""
        request = ChangeState.Request(transition=Transition(id=transition))
        service = '/policy_node/change_state'
        return bool(self.call(ChangeState, service, request, patience_s=30.0).success)

    def call(self, kind: type, service: str, request: Any, patience_s: float = 3.0) -> Any:
        """Call a service and return its response; call again when none comes in time."""
        client = self._node.create_client(kind, service)
        future = None
        for _ in range(15):
            # A process that has just ended may still be taken for the server.
            if client.wait_for_service(timeout_sec=2.0):
                future = client.call_async(request)
                with suppress(TimeoutError):
                    self.until(future.done, service, patience_s)
                    break
        else:
            raise TimeoutError(f'{service} does not answer{self._last()}')
        self._node.destroy_client(client)
        return future.result()

    # Listening

    def listen(self, kind: type, topic: str, qos: QoSProfile = RELIABLE) -> None:
        """Keep every message of a topic in ``received``."""
        self._subscribe(kind, topic, partial(self._keep, topic), qos)

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        """Wait for a condition on what was received; return its value.

        Raises:
            TimeoutError: If it does not come true, or a process has died.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (value := condition()):
                if time.monotonic() > deadline:
                    raise TimeoutError(f'waited {timeout_s:g} s for {what} in vain{self._last()}')
                self._changed.wait(0.05)
        return value

    def _last(self) -> str:
        status = self.status
        said = '' if status is None else f'; {STATES[status.state]}: {status.reason}'
        tails = [self.log(process)[-1500:] for process, _ in self._processes]
        return '\n'.join([said, *tails])

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[..., None], qos: QoSProfile = RELIABLE
    ) -> None:
        self._node.create_subscription(kind, topic, callback, qos)

    def _keep(self, topic: str, message: Any) -> None:
        with self._changed:
            self.received[topic].append(message)
            self._changed.notify_all()

    def _on_arms(self, message: JointState) -> None:
        with self._changed:
            self.arms.append(Commanded(stamp_ns(message.header.stamp), tuple(message.position)))
            self._changed.notify_all()

    def _on_base(self, message: TwistStamped) -> None:
        twist = message.twist
        values = (twist.linear.x, twist.linear.y, twist.angular.z)
        with self._changed:
            self.base.append(Commanded(stamp_ns(message.header.stamp), values))
            self._changed.notify_all()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()


def write_embodiment(folder: Path, staleness: Mapping[str, float] | None) -> Path:
    """Write the mobile robot with one state topic for each arm, and frequent chunks."""
    content = yaml.safe_load(Path(load_embodiment(ROBOT).source).read_text(encoding='utf-8'))
    joints = content['state'][0].pop('joints')
    sides = {side: [j for j in joints if j['name'].startswith(side)] for side in HANDS}
    sides['torso'] = [j for j in joints if not j['name'].startswith(HANDS)]
    content['state'][:1] = [
        {**content['state'][0], 'topic': f'/{side}/joint_states', 'joints': each}
        for side, each in sides.items()
    ]
    for camera in content['cameras']:
        camera['rate_hz'] = 15
    for group in content['actions']:
        for joint in group['joints']:
            # Random weights do not go on from where a hold left the robot, as a trained policy
            # does; the gate would refuse every chunk.
            joint['max_step'] = 10.0
    content['executed_steps'] = 10
    if staleness:
        content['staleness'] = dict(staleness)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{ROBOT}.yaml'
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
    return path
