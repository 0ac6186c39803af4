"""The policy node: sensors in, trajectories out, as a lifecycle node.

configure loads the bundle, checks it against the embodiment and warms it up; activate starts
inference and publishing; deactivate holds the robot, then stops. SIGINT and SIGTERM hold, then
exit 0. With ``autostart`` the first two happen at once, and if one fails the process ends with
exit code 1.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool

from pizero_ros.control.commander import Commander
from pizero_ros.control.latch import Latch
from pizero_ros.control.modes import make_scheduler
from pizero_ros.control.seam import SeamFade
from pizero_ros.control.supervision import Supervisor
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import PizeroError
from pizero_ros.nodes import parameters
from pizero_ros.nodes.commands import CommandPublishers
from pizero_ros.nodes.control_messages import require_control_msgs
from pizero_ros.nodes.fault_injection import parse_injection
from pizero_ros.nodes.lifecycle import RobustLifecycleNode, reported
from pizero_ros.nodes.loading import load_predictor
from pizero_ros.nodes.policy_loop import PolicyLoop
from pizero_ros.nodes.receiving import Receiver
from pizero_ros.nodes.reporter import LATCHED, Doing, Reporter
from pizero_ros.nodes.sensors import Sensors
from pizero_ros.nodes.signals import stop_on_signals
from pizero_ros.nodes.speed_input import SpeedInput
from pizero_ros.nodes.thread_settings import call_pinned, go_first
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.policy.memory import naming_memory
from pizero_ros.policy.noise import make_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pizero_ros.control.commands import Command
    from pizero_ros.observation.observation import Frame
    from pizero_ros.policy.noise import NoiseSource

Owned = TypeVar('Owned')

STATUS_PERIOD_S = 1.0

FLUSH_S = 1.0
"""How long the last hold may take to the controllers before its publishers are removed."""


class PolicyNode(RobustLifecycleNode):
    """See the module's docstring; parameters are in ``parameters.DECLARATIONS``."""

    def __init__(self, **options: object) -> None:
        """Declare the parameters; nothing is loaded before configure."""
        super().__init__('policy_node', **options)
        parameters.declare(self)
        self._prompt = ''
        self._enabled = True
        self._active = False
        self._fault = ''
        self.failed_to_start = False
        self._loop: PolicyLoop | None = None
        self._entities: list[tuple[Callable[[Any], object], Any]] = []
        self.add_on_set_parameters_callback(self._on_parameters)
        if self.get_parameter('autostart').value:
            self._autostart = self.create_timer(
                0.0, self._start_by_itself, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )

    # Lifecycle

    @reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, check, warm up, subscribe."""
        try:
            with naming_memory(Path(self.get_parameter('bundle').value)):
                self._configure()
        except PizeroError as error:
            self.get_logger().error(str(error))
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    @reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start inference; the robot moves from the first chunk that passes the safety gate."""
        result = super().on_activate(state)
        self._fault = ''
        self._reporter.start()
        self._commander.reset()
        self._supervisor.start(self._reporter.tally, self._now_ns())
        self._active = True
        self._predictor.noise = self._new_noise()
        self._loop = self._new_loop()
        self._loop.start()
        mode = '' if self._enabled else ' (dry run: nothing is sent until ~/enable)'
        self.get_logger().info(f'active on {self._embodiment.name}{mode}')
        self._publish_status()
        return result

    @reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold, then stop."""
        self._halt()
        self._publish_status()
        return super().on_deactivate(state)

    @reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the bundle and all interfaces."""
        self._release()
        return super().on_cleanup(state)

    @reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold if active, release everything."""
        self._halt()
        self._release()
        return super().on_shutdown(state)

    @reported
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold if active, release everything, and allow a new configure."""
        self._halt()
        self._release()
        super().on_error(state)
        return TransitionCallbackReturn.SUCCESS

    def hold_and_deactivate(self) -> None:
        """Leave the robot holding, whatever the state: called before the process ends."""
        if self._active:
            self.trigger_deactivate()
        if self._entities:
            self._commands.flush(FLUSH_S)

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart)
        self.failed_to_start = not (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def _configure(self) -> None:
        chosen = parameters.read(self)
        injected = parse_injection(chosen.fault_injection, self.get_fully_qualified_name())
        if injected:
            self.get_logger().warning(f'FAULT INJECTION, not for a robot at work: {injected}')
        unscaled = load_embodiment(chosen.embodiment)
        embodiment = parameters.override(unscaled, chosen)
        require_control_msgs(embodiment)
        self._embodiment = embodiment
        self._injected = injected
        self._cpus, self._priority = chosen.cpu_affinity, chosen.realtime_priority
        go_first(self._priority)  # The thread that configures is the executor's.
        self._predictor = call_pinned(
            self._cpus, lambda: load_predictor(chosen, embodiment, self.get_logger(), injected)
        )
        self._noise_kind, self._noise_seed = chosen.noise, chosen.noise_seed
        self._assembler = ObservationAssembler(embodiment)
        trained_prefix = chosen.rtc_prefix_is_trained
        self._commander = Commander(
            embodiment,
            make_scheduler(chosen.scheduling, embodiment, trained_prefix=trained_prefix),
            base_timeout_ns=round(chosen.base_timeout_s * 1e9) or None,
            fade=SeamFade(chosen.seam_fade_steps),
        )
        self._prompt = chosen.prompt
        self._enabled = not chosen.dry_run
        self._latch = Latch(chosen.latch)
        if chosen.replay:
            self.get_logger().warning('replay: nobody watches whether the arms follow')
        self._supervisor = Supervisor(
            unscaled,
            self._assembler,
            self._commander,
            self._latch,
            inference_timeout_s=chosen.inference_timeout_s,
            replay=chosen.replay,
            publish=self._publish,
            because=lambda kind, text: self._reporter.because(kind, text),
        )
        self._create_interfaces()

    def _create_interfaces(self) -> None:
        embodiment = self._embodiment
        self._own(
            Sensors(
                self,
                embodiment,
                self._assembler,
                now_ns=self._now_ns,
                frame_arrived=self._frame_arrived,
                located=lambda topic, pose: self._commander.locate(topic, pose),
                receiver=Receiver(self, self._priority),
            ),
            lambda sensors: sensors.destroy(),
        )
        if embodiment.speed_scaling is not None:
            self._own(
                SpeedInput(self, embodiment.speed_scaling, self._on_speed),
                lambda speed: speed.destroy(),
            )
        # A latched subscription does not hear a volatile publisher (ros2 topic pub), and a
        # volatile one misses what was latched before it came.
        for qos in (LATCHED, QoSProfile(depth=1)):
            self._own(
                self.create_subscription(String, '~/prompt', self._on_prompt, qos),
                self.destroy_subscription,
            )
        self._commands = CommandPublishers(
            self,
            embodiment,
            goal_failed=self._on_goal_failed,
            goal_unsent=lambda group: self._commander.resend(group),
        )
        self._own(self._commands, _destroy_flushed)
        self._reporter = Reporter(
            self,
            embodiment,
            self._assembler,
            self._commander,
            self._latch,
            self._supervisor,
            provider=self._predictor.policy.provider,
            injected=self._injected,
            now_ns=self._now_ns,
        )
        self._own(self._reporter, lambda reporter: reporter.destroy())
        self._own(self.create_service(SetBool, '~/enable', self._on_enable), self.destroy_service)
        self._timer = self._own(
            self.create_timer(1.0 / embodiment.rate_hz, self._on_tick), self.destroy_timer
        )
        # Health is reported also while a simulated clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._own(
            self.create_timer(STATUS_PERIOD_S, self._publish_status, clock=steady),
            self.destroy_timer,
        )

    def _new_noise(self) -> NoiseSource:
        """Start the noise anew with each activation, so that a run can be repeated."""
        return make_noise(
            self._noise_kind,
            self._noise_seed,
            self._embodiment.rate_hz,
            untrained=self._predictor.untrained,
        )

    def _new_loop(self) -> PolicyLoop:
        return PolicyLoop(
            self._embodiment,
            self._assembler,
            self._predictor,
            self._commander,
            now_ns=self._now_ns,
            prompt=lambda: self._prompt,
            publish=self._publish,
            finished=lambda outcome: self._reporter.finished(outcome),
            refused=lambda kind, text: self._reporter.refused(kind, text),
            failed=self._on_failed,
            cpus=self._cpus,
        )

    def _frame_arrived(self, frame: Frame) -> None:
        loop = self._loop  # The executor's thread may end it meanwhile.
        if loop is not None:
            loop.frame_arrived(frame)

    # Prompt, enable, parameters

    def _on_prompt(self, message: String) -> None:
        self._set_prompt(message.data)

    def _set_prompt(self, prompt: str) -> None:
        """Follow another instruction: the inference under way is discarded."""
        if prompt == self._prompt:
            return
        self._prompt = prompt
        self.get_logger().info(f'prompt: {prompt!r}')
        if self._active:
            self._commander.advance_epoch()
            self._wake()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self._enabled or self._latch.reason:
            if self._active:
                with self._commander.in_order():
                    if not request.data:
                        self._publish(
                            self._commander.stop(self._now_ns(), self._assembler.measured())
                        )
                    self._enabled = request.data
                    self._commander.reset()
                    self._latch.release(self._commander.status())
                    self._reporter.forget_reason()
                self._wake()
            self._enabled = request.data
            self._publish_status()
        response.success = not (request.data and self._fault)
        if not response.success:
            response.message = f'deactivate and activate first: {self._fault}'
        elif not self._enabled:
            response.message = 'dry run: nothing is sent'
        else:
            response.message = 'commands are sent' + ('' if self._active else ' once active')
        self.get_logger().info(response.message)
        return response

    def _on_parameters(self, changed: list[rclpy.Parameter]) -> SetParametersResult:
        """Only the prompt may change on a configured node; the rest waits for a new configure."""
        for parameter in changed:
            if self._entities and parameter.name in parameters.NAMES - {'prompt'}:
                return SetParametersResult(
                    successful=False,
                    reason=f'{parameter.name} is read at configure: deactivate and clean up first',
                )
        for parameter in changed:
            if parameter.name == 'prompt':
                self._set_prompt(str(parameter.value))
        return SetParametersResult(successful=True)

    # Control

    def _on_tick(self) -> None:
        """Stream what is due, and stop a robot whose sensors have gone."""
        if not self._active:
            return
        inferring_s = 0.0 if self._loop is None else self._loop.inferring_s
        now_ns, until_next_ns = self._now_ns(), self._timer.time_until_next_call()
        self._reporter.lateness.tick(now_ns, until_next_ns, inferring=inferring_s > 0.0)
        self._supervisor.tick(now_ns, enabled=self._enabled, inferring_s=inferring_s)
        self._reporter.publish_change(self._doing())

    def _on_speed(self, factor: float) -> None:
        self._commander.scale_speed(factor, self._now_ns())

    def _on_goal_failed(self, group: str, reason: str, text: str) -> None:
        self._commander.note(group, reason, text)
        self._reporter.warn(f'{group}.{reason}', f'{group}.{reason}: {text}')

    def _publish(self, commands: Iterable[Command]) -> bool:
        sending = self._enabled and self._active
        if sending:
            self._commands.publish(commands)
        return sending

    def _on_failed(self, error: Exception) -> None:
        """Hold for good: whatever raised may raise again with the robot in motion."""
        self._fault = f'{type(error).__name__}: {error}'
        self.get_logger().fatal(f'inference failed, holding until re-activated: {self._fault}')
        with self._commander.in_order():
            self._publish(self._commander.stop(self._now_ns(), self._assembler.measured()))
        self._publish_status()

    def _halt(self) -> None:
        """Stop inference and leave the robot holding, its base at rest."""
        if not self._active:
            return
        with self._commander.in_order():
            self._publish(self._commander.stop(self._now_ns(), self._assembler.measured()))
            self._active = False
        loop, self._loop = self._loop, None
        if loop is not None and not loop.stop():
            self.get_logger().error('an inference did not end within 10 s')
        self.get_logger().info('holding' if self._enabled else 'stopped; nothing was being sent')

    # Plumbing

    def _publish_status(self) -> None:
        self._reporter.publish_status(self._doing())

    def _doing(self) -> Doing:
        return Doing(self._active, self._enabled, self._prompt, self._fault)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.wake()

    def _own(self, entity: Owned, destroy: Callable[[Owned], object]) -> Owned:
        """Keep an interface until cleanup."""
        self._entities.append((destroy, entity))
        return entity

    def _release(self) -> None:
        for destroy, entity in reversed(self._entities):
            destroy(entity)
        self._entities.clear()
        with contextlib.suppress(AttributeError):
            del self._predictor  # Its sessions hold the weights: on a GPU, most of its memory.


def _destroy_flushed(commands: CommandPublishers) -> None:
    commands.flush(FLUSH_S)
    commands.destroy()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and leave the robot holding.

    Args:
        args: Command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0 when stopped, 1 if a parameter is wrong or ``autostart`` failed.
    """
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stopping = stop_on_signals()
    try:
        node = PolicyNode()
    except ParameterException as error:
        print(f'policy_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not (stopping.is_set() or node.failed_to_start):
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.hold_and_deactivate()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return int(node.failed_to_start)


if __name__ == '__main__':
    sys.exit(main())
