"""One measured run: cameras and the policy node as processes, and an observer of their topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from latency_figures import (
    NANO,
    frames,
    newest_frame,
    phases,
    seen_from_outside,
    stamp_of,
    timer_lateness,
)
from pizero_ros.msg import ActionChunk, PolicyStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.embodiment.load import load_embodiment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PUBLISHER = Path(__file__).with_name('camera_publisher.py')
START_TIMEOUT_S = 60.0
SETTLED = 2
"""Status messages with every camera present before the measurement begins: discovery is over."""


@dataclass(frozen=True)
class Plan:
    """What to start.

    Attributes:
        embodiment: The file that both processes read.
        bundle: What the policy node runs.
        width: Of the pictures.
        height: Of the pictures.
        timing: Of the cameras: ``free``, ``together`` or ``trigger`` (``camera_publisher.Robot``).
        seconds: Length of the measurement, after discovery.
        executed_steps: Steps between two inferences.
        domain: ROS domain of this run.
        folder: For logs and for what the cameras report.
        profile: Fast DDS profile of both processes, ``None`` for Fast DDS's own defaults.
        parameters: Others of the policy node, by name.
    """

    embodiment: Path
    bundle: Path
    width: int
    height: int
    timing: str
    seconds: float
    executed_steps: int
    domain: int
    folder: Path
    profile: Path | None
    parameters: Mapping[str, str]


class Observer:
    """Hears what the policy node says, in a ROS domain of its own."""

    def __init__(self, plan: Plan) -> None:
        """Subscribe to status, diagnostics, chunks and trajectories."""
        embodiment = load_embodiment(plan.embodiment)
        self.cameras = [camera.topic for camera in embodiment.cameras]
        self.statuses: list[PolicyStatus] = []
        self.chunks: list[ActionChunk] = []
        self.trajectories: list[tuple[int, JointTrajectory]] = []
        self.diagnostics: DiagnosticArray | None = None
        self._context = Context()
        rclpy.init(context=self._context, domain_id=plan.domain)
        self._node = Node('benchmark_observer', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        reliable = QoSProfile(depth=100)
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        listen = self._node.create_subscription
        listen(PolicyStatus, '/policy_node/status', self.statuses.append, latched)
        listen(ActionChunk, '/policy_node/chunk', self.chunks.append, reliable)
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable)
        arm = next(g for g in embodiment.actions if g.output == 'joint_trajectory')
        listen(JointTrajectory, arm.topic, self._on_trajectory, reliable)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        self.trajectories.append((time.time_ns(), message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics = message

    def spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Take messages in until ``condition``; return whether it came true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.1)
        return condition()

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


class Cpu:
    """Processor time of some processes, and of the whole machine, since its creation."""

    def __init__(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        """Start counting."""
        self._pids = {name: process.pid for name, process in processes.items()}
        self._pids['observer'] = os.getpid()
        self._start = self._read()

    def _read(self) -> tuple[float, float, dict[str, float]]:
        tick = os.sysconf('SC_CLK_TCK')
        own = {}
        for name, pid in self._pids.items():
            fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
            own[name] = (int(fields[11]) + int(fields[12])) / tick
        line = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:]
        busy = (sum(map(int, line)) - int(line[3]) - int(line[4])) / tick
        return time.monotonic(), busy, own

    def cores(self) -> dict[str, float]:
        """Return cores used by each process, and by ``others``, on average since the start."""
        now, busy, own = self._read()
        then, busy_then, own_then = self._start
        used = {name: (own[name] - own_then[name]) / (now - then) for name in own}
        used['others'] = max((busy - busy_then) / (now - then) - sum(used.values()), 0.0)
        return used


def measure(plan: Plan) -> dict[str, Any]:
    """Start both processes, wait for discovery, observe, stop them, and return the figures.

    Raises:
        RuntimeError: If the node does not start, or does not see every camera.
    """
    with ExitStack() as stack:
        observer = Observer(plan)
        stack.callback(observer.close)
        processes = _start(plan, stack)
        settled = _settled(observer.statuses, observer.cameras)
        ended = processes['policy_node'].poll
        observer.spin_until(
            lambda: len(settled()) > SETTLED or ended() is not None, START_TIMEOUT_S
        )
        if len(settled()) <= SETTLED:
            msg = f'the node ended, or did not see every camera within {START_TIMEOUT_S:.0f} s'
            raise RuntimeError(_with_log(msg, plan))
        first = observer.statuses[-1]
        cpu, load = Cpu(processes), os.getloadavg()[0]
        end = stamp_of(first.header) + round(plan.seconds * NANO)
        observer.spin_until(
            lambda: stamp_of(observer.statuses[-1].header) >= end, plan.seconds + START_TIMEOUT_S
        )
        last = observer.statuses[-1]
        if last.state == PolicyStatus.STATE_FAULT:
            raise RuntimeError(_with_log(last.reason, plan))
        cores, load = cpu.cores(), max(load, os.getloadavg()[0])
        for name in ('policy_node', 'cameras'):
            processes[name].send_signal(signal.SIGTERM)
            if processes[name].wait(20) != 0:
                msg = f'{name} ended with {processes[name].returncode}'
                raise RuntimeError(_with_log(msg, plan, name))
    window = stamp_of(first.header), stamp_of(last.header)
    report = json.loads((plan.folder / 'cameras.json').read_text())
    seconds = (window[1] - window[0]) / NANO
    during = [s for s in observer.statuses if window[0] <= stamp_of(s.header) <= window[1]]
    inside = [c for c in observer.chunks if window[0] < stamp_of(c.header) <= window[1]]
    counted = {
        topic: frames(during, topic, report['stamps_ns'][topic]) for topic in observer.cameras
    }
    received = sum(each['received'] for each in counted.values())
    return {
        'seconds': seconds,
        'load_1min': load,
        'cores': cores,
        'publisher_late_ms': report['late_s'] * 1e3,
        'frames': counted,
        'cpu_ms_per_frame': 1e3 * cores['policy_node'] * seconds / max(received, 1),
        'chunks': len(inside),
        'chunks_per_s': len(inside) / seconds,
        'trajectories': last.chunks_sent - first.chunks_sent,
        'observations_refused': last.observations_refused - first.observations_refused,
        'latency_ms': phases(last) | seen_from_outside(inside, observer.trajectories),
        'timer_late_ms': timer_lateness(observer.diagnostics),
    }


def _start(plan: Plan, stack: ExitStack) -> dict[str, subprocess.Popen[bytes]]:
    """Start the node and the cameras; ``stack`` ends those that still run when it unwinds."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(plan.domain)}
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        environment.pop(name, None)
        if plan.profile is not None:
            environment[name] = str(plan.profile)
    parameters = {
        'embodiment': plan.embodiment,
        'bundle': plan.bundle,
        'prompt': 'stack the blocks',
        'executed_steps': plan.executed_steps,
        'noise': 'gaussian',  # what trained policies get
        'autostart': 'true',
        **plan.parameters,
    }
    node = Path(get_package_prefix('pizero_ros')) / 'lib/pizero_ros/policy_node'
    given = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    commands: dict[str, list[str | Path]] = {
        'policy_node': [node, '--ros-args', *given],
        'cameras': [
            *(sys.executable, PUBLISHER, plan.embodiment, '--out', plan.folder / 'cameras.json'),
            *('--width', str(plan.width), '--height', str(plan.height)),
            *('--timing', plan.timing),
        ],
    }
    processes = {}
    for name, command in commands.items():
        log = stack.enter_context((plan.folder / f'{name}.log').open('wb'))
        processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        stack.callback(_end, processes[name])
    return processes


def _with_log(message: str, plan: Plan, name: str = 'policy_node') -> str:
    log = (plan.folder / f'{name}.log').read_text(errors='replace')
    return f'{message}\n{log[-2000:]}'


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _settled(statuses: list[PolicyStatus], cameras: list[str]) -> Callable[[], list[PolicyStatus]]:
    """Return a function that lists the status messages in which every camera has delivered."""

    def settled() -> list[PolicyStatus]:
        return [s for s in statuses if all(newest_frame(s, topic)[0] for topic in cameras)]

    return settled
