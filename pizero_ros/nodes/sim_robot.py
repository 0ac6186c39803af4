"""A simulated robot as a ROS 2 node: physics at wall-clock rate, sensors, controllers."""

from __future__ import annotations

import json
import os
import sys
import threading
from array import array
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.nodes.sim_clock import JOINTS, PEER, PEER_LEAD_NS, PacedClock
from pizero_ros.nodes.sim_controllers import ControllerNodes
from pizero_ros.nodes.sim_faults import FaultControls
from pizero_ros.nodes.sim_parameters import PARAMETERS
from pizero_ros.sim.opengl import gl_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import ActionGroup
    from pizero_ros.sim.cameras import Snapshot

BASE_AXES = ('linear.x', 'linear.y', 'angular.z')
_REPLACEMENTS = ('discard', 'blend')


class SimRobotNode(Node):
    """Publishes what the robot's sensors report and takes what its controllers are told."""

    def __init__(self) -> None:
        """Load the robot and open its cameras; ``begin`` starts the physics.

        Raises:
            PizeroError: If a parameter, the embodiment or its model is wrong, or there is no
                OpenGL.
        """
        super().__init__('sim_robot')
        for name, default, descriptor in PARAMETERS:
            self.declare_parameter(name, default, descriptor)
        # MuJoCo chooses its OpenGL when it is imported, so that it is not before main has run.
        from pizero_ros.nodes.sim_cameras import CameraThread
        from pizero_ros.nodes.sim_scene import scene_controls
        from pizero_ros.sim.controllers import SimulatedControllers
        from pizero_ros.sim.faults import RobotFaults, parse_fault
        from pizero_ros.sim.robot import SimulatedRobot
        from pizero_ros.sim.simulation import Simulation

        self._own_clock = bool(self._value('publish_clock'))
        self._speed = float(self._value('speed'))
        self._pacing = PacedClock(self._speed, waits=bool(self._value('paced')))
        if not self._own_clock and (self._speed != 1.0 or self._pacing.waits):
            raise PizeroError.at(
                'sim_robot',
                'publish_clock',
                found='false',
                expected=f'true with speed {self._speed:g} and paced {self._pacing.waits}',
            )
        self._embodiment = load_embodiment(self._value('embodiment'))
        replacement = self._value('replacement')
        if replacement not in _REPLACEMENTS:
            raise PizeroError.at(
                'sim_robot', 'replacement', found=repr(replacement), expected='discard or blend'
            )
        texts = [text for text in self._value('faults') if text]
        self._faults = RobotFaults(map(parse_fault, texts), self._embodiment, self._value('seed'))
        self._robot = SimulatedRobot(self._embodiment, self._value('mjcf') or None)
        self._controllers = SimulatedControllers(
            self._robot,
            replacement=replacement,
            interpolate_from_desired_state=self._value('interpolate_from_desired_state'),
            faults=self._faults,
        )
        self._simulation = Simulation(
            self._robot,
            self._controllers,
            own_clock=self._own_clock,
            gives_up=not self._pacing.waits,
        )
        # Guards the physics, which the camera thread also brings to the moment of its capture.
        self._lock = threading.Lock()
        self._cameras = CameraThread(
            self,
            self._robot,
            self._faults,
            self._capture,
            size=(self._value('width'), self._value('height')),
            rate_hz=self._value('camera_rate_hz'),
            clock=self._pacing if self._pacing.waits else None,
            speed=self._speed,
        )
        self._scene = scene_controls(
            self,
            self._robot,
            self._controllers,
            physics=self._lock,
            rendering=self._cameras.rendering,
            stamp=self._advance,
        )
        self._cameras.open()
        self._controller_nodes: ControllerNodes | None = None
        self._states_sent: Counter[str] = Counter()

    def begin(self) -> None:
        """Start physics, sensors and controllers now."""
        self._simulation.start(self._wall_ns())
        self._clock_publisher = self.create_publisher(Clock, '/clock', 10)
        self._commanded = self.create_publisher(JointState, '~/commanded', 10)
        self._commanded_base = self.create_publisher(TwistStamped, '~/commanded_base', 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Reliable, as joint_state_broadcaster and the base controllers publish.
        sources = self._embodiment.state
        self._joint_sources = {
            source: self.create_publisher(JointState, source.topic, 10)
            for source in sources
            if source.interface == 'joint_state'
        }
        for source in sources:
            if source.interface == 'odometry':
                publisher = self.create_publisher(Odometry, source.topic, 10)
                publish = partial(self._publish_odometry, source.topic, publisher)
                self._every(source.rate_hz, publish)
        self._controller_nodes = ControllerNodes(
            self,
            self._embodiment,
            self._receive,
            replacement=self._value('replacement'),
            interpolate_from_desired_state=self._value('interpolate_from_desired_state'),
        )
        rate_hz = self._value('joint_state_rate_hz')
        self._joint_gap_ns = round(2e9 / rate_hz)
        self._every(rate_hz, self._publish_joints)
        if self._scene is not None:
            self._every(self._value('scene_rate_hz'), self._scene.publish)
        if self._pacing.waits:
            self.create_subscription(Time, '~/pace', self._on_pace, 10)
        self.create_timer(1.0, self._publish_diagnostics)
        self._fault_controls = FaultControls(
            self,
            self._faults,
            changed=self._faults_changed,
            report=self._publish_diagnostics,
        )
        self._cameras.begin()

    def check(self) -> None:
        """Raise what ended the threads of cameras and controllers, if anything did."""
        controllers = self._controller_nodes
        for error in (self._cameras.error, controllers.error if controllers else None):
            if error is not None:
                raise error

    def close(self) -> None:
        """Stop cameras and controllers, free the OpenGL context; closing twice is allowed."""
        self._cameras.close()
        if self._controller_nodes is not None:
            self._controller_nodes.close()

    def write_stats(self) -> None:
        """Write the counters to ``stats_file``, if one is set."""
        if path := self._value('stats_file'):
            stamps = {topic: list(each) for topic, each in self._cameras.stamps_ns.items()}
            stats = {**self._stats(), 'frame_stamps_ns': stamps}
            Path(path).write_text(json.dumps(stats) + '\n', encoding='utf-8')

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _every(self, rate_hz: float, callback: Callable[[], None]) -> None:
        """Call at a rate of simulated time."""
        callback = self._pacing.regularly(rate_hz, callback)
        self.create_timer(1.0 / (rate_hz * self._speed), callback)

    def _wall_ns(self) -> int:
        """Time that the physics follow: the node's clock, but never the one made here."""
        if self._own_clock:
            return self._pacing.now_ns()
        return int(self.get_clock().now().nanoseconds)

    def _on_pace(self, message: Time) -> None:
        seen_ns = message.sec * 1_000_000_000 + message.nanosec
        self._pacing.wait_at(PEER, seen_ns + PEER_LEAD_NS)

    def _advance(self) -> int:
        """Bring the physics to now; return the time stamp of its state. Needs the lock."""
        self._simulation.advance(self._wall_ns())
        return self._simulation.stamp_ns

    def _faults_changed(self) -> int:
        with self._lock:
            if self._own_clock:
                self._simulation.set_clock_offset(self._faults.clock_offset_ns)
            return self._advance()

    def _reported(self, stamp_ns: int) -> int:
        """Return what a sensor takes for the time; a clock of our own is wrong for everybody."""
        return stamp_ns if self._own_clock else stamp_ns + self._faults.clock_offset_ns

    def _capture(self) -> tuple[Snapshot, int]:
        with self._lock:
            stamp_ns = self._advance()
            return self._robot.snapshot(), self._reported(stamp_ns)

    def _receive(self, group: ActionGroup, message: Any) -> None:
        with self._lock:
            # Without this the controllers' clock could lie before the stamp of the message.
            now_ns = self._advance()
            refused = self._controllers.receive(group.name, message, now_ns)
        if refused is not None:
            self.get_logger().warning(
                f'{group.topic}: refused: {refused}', throttle_duration_sec=1.0
            )

    def _publish_joints(self) -> None:
        with self._lock:
            stamp_ns = self._advance()
            readings = [
                (source, self._robot.readings(tuple(dict.fromkeys(j.name for j in source.joints))))
                for source in self._joint_sources
            ]
            targets = self._robot.targets(self._controllers.joints)
            base = self._controllers.base_velocity
        self._pacing.wait_at(JOINTS, stamp_ns + self._joint_gap_ns)
        stamp = _time(stamp_ns)
        if self._own_clock:
            self._clock_publisher.publish(Clock(clock=stamp))
        for source, reading in readings:
            if not self._faults.sends(source.topic, stamp_ns):
                continue
            positions = self._faults.positions(source.topic, reading.names, reading.positions)
            kept = self._faults.present(reading.names)
            message = JointState(name=[reading.names[place] for place in kept])
            message.position = _doubles(positions[kept])
            message.velocity = _doubles(reading.velocities[kept])
            message.effort = _doubles(reading.efforts[kept])
            message.header.stamp = _time(self._reported(stamp_ns))
            self._joint_sources[source].publish(message)
            self._states_sent[source.topic] += 1
        commanded = JointState(name=self._controllers.joints, position=_doubles(targets))
        commanded.header.stamp = stamp
        self._commanded.publish(commanded)
        if base is not None:
            twist = TwistStamped()
            twist.header.stamp = stamp
            twist.twist.linear.x, twist.twist.linear.y = base['linear.x'], base['linear.y']
            twist.twist.angular.z = base['angular.z']
            self._commanded_base.publish(twist)

    def _publish_odometry(self, topic: str, publisher: Any) -> None:
        with self._lock:
            stamp_ns = self._advance()
            odometry = self._robot.odometry()
        if not self._faults.sends(topic, stamp_ns):
            return
        message = Odometry(child_frame_id='base_link')
        message.header.stamp = _time(self._reported(stamp_ns))
        message.header.frame_id = 'odom'
        pose, twist = message.pose.pose, message.twist.twist
        pose.position.x, pose.position.y = odometry.x, odometry.y
        pose.orientation.z, pose.orientation.w = odometry.half_turn
        speeds = np.array([odometry.linear_x, odometry.linear_y, odometry.angular_z])
        reported = self._faults.positions(topic, BASE_AXES, speeds).tolist()
        twist.linear.x, twist.linear.y, twist.angular.z = reported
        publisher.publish(message)
        self._states_sent[topic] += 1

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray(status=self._statuses())
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _statuses(self) -> list[DiagnosticStatus]:
        stats = self._stats()
        statuses = []
        for name, counts in stats['groups'].items():
            values = {'accepted': counts['accepted'], 'rejected': counts['rejected']}
            values |= {f'rejected.{why}': n for why, n in counts['rejections'].items()}
            statuses.append(_status(name, values, warn=counts['rejected'] > 0))
        late = {'skipped': stats['frames_skipped']}
        statuses.append(_status('cameras', stats['frames_sent'] | late, warn=any(late.values())))
        faults = self._fault_controls.diagnosis()
        statuses.append(_status('faults', faults, warn=bool(faults)))
        ratio = stats['sim_wall_ratio']
        statuses.append(_status('clock', {'sim_wall_ratio': f'{ratio:.4f}'}, warn=ratio < 0.95))
        return statuses

    def _stats(self) -> dict[str, Any]:
        return {
            'embodiment': self._embodiment.name,
            'groups': {
                name: {
                    'accepted': controller.accepted,
                    'rejected': sum(controller.rejected.values()),
                    'rejections': dict(controller.rejected),
                }
                for name, controller in self._controllers.groups.items()
            },
            'frames_sent': {
                c.topic: self._cameras.sent[c.topic] for c in self._embodiment.cameras
            },
            'frames_skipped': self._cameras.skipped,
            'states_sent': {s.topic: self._states_sent[s.topic] for s in self._embodiment.state},
            'sim_time_s': self._robot.time_s,
            'sim_wall_ratio': self._simulation.ratio(self._wall_ns()),
            'faults': [str(fault) for fault in self._faults.faults],
        }


def _time(stamp_ns: int) -> Time:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def _doubles(values: npt.NDArray[np.float64]) -> array[float]:
    return array('d', values.tobytes())


def _status(name: str, values: dict[str, Any], *, warn: bool) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if warn else DiagnosticStatus.OK,
        name=f'sim_robot: {name}',
        hardware_id='simulation',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


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
    node: SimRobotNode | None = None
    executor = SingleThreadedExecutor()
    try:
        node = SimRobotNode()
        executor.add_node(node)
        node.begin()
        node.get_logger().info('running')
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
            node.check()
        node.close()
        node.write_stats()
    except (PizeroError, ParameterException) as error:
        print(f'sim_robot: {error}', file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
