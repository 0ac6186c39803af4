"""The inference thread: waits until a chunk is wanted, takes a fresh observation, infers, commits.

No ROS in here: the node gives a clock and takes what comes out through two callbacks.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pizero_ros.errors import PizeroError, PromptError
from pizero_ros.nodes.thread_settings import pin
from pizero_ros.observation.fresh import FrameSet
from pizero_ros.observation.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pizero_ros.control.commander import Commander
    from pizero_ros.control.commands import Command
    from pizero_ros.control.decision import Decision
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.assembler import ObservationAssembler
    from pizero_ros.observation.observation import Frame, Observation
    from pizero_ros.policy.chunk import ActionChunk
    from pizero_ros.policy.predictor import ChunkPredictor


@dataclass(frozen=True)
class Outcome:
    """One finished inference, after its commands were published.

    Attributes:
        observation: What it answered to.
        chunk: The chunk.
        decision: What the commander made of it.
        observed_at_ns: When the observation was taken, node clock.
        sent: Whether its trajectories went to the controllers: accepted, and no dry run.
        durations_s: The chunk's phases plus ``ros`` (newest stamp to the start of preprocessing),
            ``resize`` (its part in which pictures were resized), ``publish``,
            ``stamp_to_command``, ``overhead`` (that minus observe and denoise) and ``ros_only``
            (that minus all that a chunk takes without ROS: resize and the chunk's phases).
    """

    observation: Observation
    chunk: ActionChunk
    decision: Decision
    observed_at_ns: int
    sent: bool
    durations_s: Mapping[str, float]


class _Measured(Mapping[str, float]):
    """Joint name → raw position, looked up if somebody asks: a group under way need not."""

    def __init__(self, assembler: ObservationAssembler) -> None:
        self._assembler = assembler

    @cached_property
    def _positions(self) -> Mapping[str, float]:
        return self._assembler.measured()

    def __getitem__(self, name: str) -> float:
        return self._positions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


class PolicyLoop:
    """Runs inference in a thread of its own, beside the executor.

    The thread that receives frames calls ``frame_arrived``, that of the executor ``wake``,
    ``start`` and ``stop``; the callbacks run in the inference thread.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        assembler: ObservationAssembler,
        predictor: ChunkPredictor,
        commander: Commander,
        *,
        now_ns: Callable[[], int],
        prompt: Callable[[], str],
        publish: Callable[[Iterable[Command]], bool],
        finished: Callable[[Outcome], None],
        refused: Callable[[str, str], None],
        failed: Callable[[Exception], None],
        cpus: Sequence[int] = (),
    ) -> None:
        """Build the loop.

        Args:
            embodiment: The robot.
            assembler: Gathers observations.
            predictor: Predicts chunks; used by this thread only.
            commander: Judges them.
            now_ns: The node's clock.
            prompt: The instruction in force.
            publish: Publishes commands, and says whether it did.
            finished: Called after each inference, whatever became of its chunk.
            refused: Called with kind and text when an observation was not fit for inference.
            failed: Called when inference raised what is nobody's input; the loop ends.
            cpus: CPUs of the inference thread; none for those of the process.
        """
        self._assembler = assembler
        self._predictor = predictor
        self._commander = commander
        self._now_ns = now_ns
        self._prompt = prompt
        self._publish = publish
        self._finished = finished
        self._refused = refused
        self._failed = failed
        self._cpus = cpus
        self._period_s = 1.0 / embodiment.rate_hz
        self._frames = FrameSet(embodiment)
        self._slots = {camera.topic: camera.slot for camera in embodiment.cameras}
        self._changed = threading.Condition()
        self._running = False
        self._awaiting_frames = False
        self._preparing = False
        self._arrived: deque[Frame] = deque()
        self._resized: list[tuple[int, float]] = []
        self._sequence = 0
        self._inferring_since_s: float | None = None
        self._thread: threading.Thread | None = None
        compressed = any(camera.transport == 'compressed' for camera in embodiment.cameras)
        self._helper_count = min(2, (os.cpu_count() or 1) - 1) if compressed else 0
        self._helpers: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Start the thread; chunks are numbered from 0."""
        self._sequence = 0
        self._running = True
        if self._helper_count:
            self._helpers = ThreadPoolExecutor(self._helper_count, 'pizero_helper')
        self._thread = threading.Thread(target=self._run, name='pizero_inference', daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the thread after the inference under way.

        Returns:
            Whether it has ended in time.
        """
        self._running = False
        self.wake()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        if self._helpers is not None:
            self._helpers.shutdown(wait=False, cancel_futures=True)
        return thread is None or not thread.is_alive()

    @property
    def _stopped(self) -> bool:
        return not self._running

    @property
    def inferring_s(self) -> float:
        """How long the inference under way has taken so far, 0 while there is none."""
        since_s = self._inferring_since_s
        return 0.0 if since_s is None else time.perf_counter() - since_s

    def wake(self) -> None:
        """Look again whether something is to be done: data, prompt or time have changed."""
        with self._changed:
            self._changed.notify_all()

    def frame_arrived(self, frame: Frame) -> None:
        """Note a camera frame; while one is awaited, its resize starts at once elsewhere.

        The inference thread, which has nothing else to do then, resizes. Helpers take what
        arrives while it is busy, if there is anything to decode: that takes milliseconds outside
        the interpreter's lock, whereas resizing is short calls, over which threads only compete.
        """
        if not self._awaiting_frames:
            return
        self._arrived.append(frame)
        if self._preparing and self._helpers is not None:
            with suppress(RuntimeError):  # `stop` has shut them down meanwhile.
                self._helpers.submit(self._prepare_apart)
        else:
            self.wake()

    def _prepare_apart(self) -> None:
        """Resize ahead of time; a frame that cannot be decoded is reported by the observation."""
        if (frame := self._next_arrived()) is not None:
            with suppress(PizeroError):
                self._predictor.inputs.prepare_image(frame)

    def _prepare_next(self) -> None:
        """Do the same where the model reads it, unless a newer frame has come meanwhile."""
        if (frame := self._next_arrived()) is None:
            return
        for topic, held in self._assembler.frames().items():
            if held is frame:
                with suppress(PizeroError):
                    frame.rgb()
                    start = time.perf_counter()
                    self._predictor.inputs.prepare_slot(self._slots[topic], frame)
                    self._resized.append((self._now_ns(), time.perf_counter() - start))

    def _next_arrived(self) -> Frame | None:
        """Take the oldest frame that waits; another thread may have been quicker."""
        try:
            return self._arrived.popleft()
        except IndexError:
            return None

    def _prepare_others(self) -> None:
        """Do for the frames that are resized already what is left before the last one comes."""
        held = self._assembler.frames()
        for topic, frame in held.items():
            with suppress(PizeroError):
                if frame.has(self._predictor.inputs.resize):
                    self._assembler.prepare(topic, frame)
        self._predictor.inputs.prepare_stack({self._slots[t]: f for t, f in held.items()})

    def _run(self) -> None:
        try:
            pin(self._cpus)
            while self._running:
                if not self._commander.wants_inference(self._now_ns()):
                    self._wait(self._period_s)
                    continue
                self._infer()
        except Exception as error:  # a thread must not die unnoticed: the robot holds instead
            self._running = False
            self._commander.fail()
            self._failed(error)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            if self._running:
                self._changed.wait(seconds)

    def _await_frames(self) -> None:
        """Wait for the next frames of all live cameras, for a bounded time."""
        stamps_ns = self._assembler.newest_stamps()
        since_ns = self._frames.newest(stamps_ns)
        deadline = time.monotonic() + self._frames.longest_wait_ns * 1e-9
        staying = self._frames.staying(stamps_ns)
        held = self._assembler.frames().items()
        self._resized.clear()
        self._arrived.clear()
        self._arrived.extend(frame for topic, frame in held if topic in staying)
        self._awaiting_frames = True
        prepared = False
        try:
            while self._running:
                if self._arrived:
                    self._preparing = True
                    self._prepare_next()
                    self._preparing = prepared = False
                    continue
                left = deadline - time.monotonic()
                if left <= 0 or self._frames.complete(self._assembler.newest_stamps(), since_ns):
                    return
                if not prepared:
                    self._prepare_others()
                    prepared = True
                    continue
                with self._changed:
                    if self._running and not self._arrived:
                        self._changed.wait(left)
        finally:
            self._awaiting_frames = False

    def _infer(self) -> None:
        request = self._commander.begin(self._now_ns())
        self._await_frames()
        if not self._running:
            self._commander.fail()
            return
        observed_at_ns = self._now_ns()
        looked = time.perf_counter()
        observed = self._assembler.observe(observed_at_ns, self._prompt())
        if isinstance(observed, Refusal):
            self._refuse(observed.reasons[0].kind, str(observed))
            return
        started = self._inferring_since_s = time.perf_counter()
        try:
            chunk = self._predictor(
                observed,
                sequence=self._sequence,
                epoch=request.epoch,
                leftover=request.leftover(self._commander.controller_ns(observed.stamp_ns)),
            )
        except PromptError as error:
            self._refuse('prompt', str(error))
            return
        except PizeroError as error:
            self._refuse('input', str(error))
            return
        finally:
            self._inferring_since_s = None
        inferred = time.perf_counter()
        if self._stopped:
            # Perhaps this inference was given up, and others command the robot by now.
            self._commander.fail()
            return
        self._sequence += 1
        with self._commander.in_order():
            measured = _Measured(self._assembler)
            decision = self._commander.accept(chunk, self._now_ns(), measured)
            published = self._publish(decision.commands)
        done = time.perf_counter()
        ros = (observed_at_ns - observed.stamp_ns) * 1e-9 + started - looked
        total = ros + done - started
        resize, phases = self._resized_since(observed.stamp_ns), chunk.durations_s
        overhead = total - phases['observe'] - phases['denoise']
        durations = {
            'ros': ros,
            'resize': resize,
            **phases,
            'publish': done - inferred,
            'stamp_to_command': total,
            'overhead': overhead,
            'ros_only': overhead - resize - phases['preprocess'] - phases['postprocess'],
        }
        sent = published and decision.reason == 'accepted'
        self._finished(Outcome(observed, chunk, decision, observed_at_ns, sent, durations))

    def _resized_since(self, stamp_ns: int) -> float:
        """Return the time after a stamp in which this thread resized pictures, seconds."""
        after = ((seconds, (end_ns - stamp_ns) * 1e-9) for end_ns, seconds in self._resized)
        return sum(min(seconds, max(0.0, since)) for seconds, since in after)

    def _refuse(self, kind: str, text: str) -> None:
        """Hold, tell the node, and leave the sensors a control period to come back."""
        with self._commander.in_order():
            measured = self._assembler.measured()
            self._publish(self._commander.refuse(kind, text, self._now_ns(), measured))
        self._refused(kind, text)
        self._wait(self._period_s)
