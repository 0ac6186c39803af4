"""The cameras of the simulated robot: one thread that renders and publishes in turn."""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import cv2
from builtin_interfaces.msg import Time
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from pizero_ros.nodes.sim_clock import CAMERAS
from pizero_ros.sim.cameras import CameraRenderer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    from rclpy.node import Node

    from pizero_ros.embodiment.schema import Camera
    from pizero_ros.nodes.sim_clock import PacedClock
    from pizero_ros.sim.cameras import Snapshot
    from pizero_ros.sim.faults import RobotFaults
    from pizero_ros.sim.robot import SimulatedRobot


_LOOK_S = 0.0005
"""Between looks whether a picture is due in simulated time, s."""

STAMPS = 100_000
"""Stamps remembered per camera for ``stats_file``: almost an hour at 30 Hz."""


class CameraThread:
    """Renders the cameras one after the other, evenly spread over the frame period.

    MuJoCo renders without the interpreter lock, so that a thread of its own leaves the timing of
    joint states alone; its OpenGL context belongs to it.

    Attributes:
        sent: Topic → number of pictures published.
        skipped: Number of pictures not rendered because the machine was late.
        stamps_ns: Stamps of the pictures published, by topic.
        error: What ended the thread before ``stop``, if anything did.
        rendering: Held while a picture is taken, and by who changes the model.
    """

    def __init__(
        self,
        node: Node,
        robot: SimulatedRobot,
        faults: RobotFaults,
        capture: Callable[[], tuple[Snapshot, int]],
        *,
        size: tuple[int, int],
        rate_hz: float,
        speed: float = 1.0,
        clock: PacedClock | None = None,
    ) -> None:
        """Create the publishers; ``start`` opens the OpenGL context.

        Args:
            node: Owner of the publishers.
            robot: Whose cameras they are.
            faults: What goes wrong with them.
            capture: Returns the present state and its time stamp in ns; called in the thread.
            size: Width and height in pixels.
            rate_hz: Pictures per simulated second of each camera.
            speed: Simulated seconds per second.
            clock: Simulated time that waits for every picture, ``None`` to leave out what comes
                too late.
        """
        self.sent: Counter[str] = Counter()
        self.stamps_ns = {
            camera.topic: deque[int](maxlen=STAMPS) for camera in robot.embodiment.cameras
        }
        self.skipped = 0
        self.error: Exception | None = None
        self.rendering = threading.Lock()
        self._robot = robot
        self._faults = faults
        self._capture = capture
        self._size = size
        self._cameras = robot.embodiment.cameras
        self._clock = clock
        self._interval_s = 1.0 / (rate_hz * max(len(self._cameras), 1) * speed)
        self._interval_ns = round(self._interval_s * speed * 1e9)
        # Best effort, as camera drivers publish.
        self._publishers: dict[str, Any] = {
            camera.topic: node.create_publisher(
                Image if camera.transport == 'raw' else CompressedImage,
                camera.topic,
                qos_profile_sensor_data,
            )
            for camera in self._cameras
        }
        self._opened = threading.Event()
        self._begin = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='cameras')

    def open(self) -> None:
        """Start the thread and wait until it can render.

        Raises:
            EnvironmentFault: If no OpenGL can be had.
        """
        self._thread.start()
        self._opened.wait()
        if self.error is not None:
            raise self.error

    def begin(self) -> None:
        """Let pictures be taken."""
        self._begin.set()

    def close(self) -> None:
        """Stop the thread, which frees its OpenGL context."""
        self._stop.set()
        self._begin.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            renderer = CameraRenderer(self._robot.model, *self._size)
        except Exception as error:
            self.error = error
            return
        finally:
            self._opened.set()
        try:
            self._begin.wait()
            if self._clock is None:
                self._take_pictures(renderer)
            else:
                self._take_every_picture(renderer, self._clock)
        except Exception as error:
            self.error = error
        finally:
            renderer.close()

    def _take_pictures(self, renderer: CameraRenderer) -> None:
        due = time.monotonic()
        turn = 0
        while self._cameras and not self._stop.wait(max(due - time.monotonic(), 0.0)):
            self._take_picture(renderer, self._cameras[turn % len(self._cameras)])
            turn += 1
            due += self._interval_s
            behind = int((time.monotonic() - due) / self._interval_s)
            if behind > len(self._cameras):
                self.skipped += behind
                due += behind * self._interval_s

    def _take_every_picture(self, renderer: CameraRenderer, clock: PacedClock) -> None:
        due_ns, turn = clock.now_ns(), 0
        while self._cameras and not self._stop.is_set():
            if clock.now_ns() < due_ns:
                self._stop.wait(_LOOK_S)
                continue
            self._take_picture(renderer, self._cameras[turn % len(self._cameras)])
            turn += 1
            due_ns += self._interval_ns
            clock.wait_at(CAMERAS, due_ns + 2 * self._interval_ns)

    def _take_picture(self, renderer: CameraRenderer, camera: Camera) -> None:
        with self.rendering:
            snapshot, stamp_ns = self._capture()
            if not self._faults.sends(camera.topic, stamp_ns):
                return
            rgb = renderer.render(self._robot.cameras[camera.slot], snapshot)
        rgb = self._faults.picture(camera.topic, rgb)
        message = _raw(rgb) if camera.transport == 'raw' else _jpeg(rgb)
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        message.header.stamp = Time(sec=sec, nanosec=nanosec)
        message.header.frame_id = f'{self._robot.cameras[camera.slot]}_optical_frame'
        if self._stop.is_set():
            return
        self._publishers[camera.topic].publish(message)
        self.sent[camera.topic] += 1
        self.stamps_ns[camera.topic].append(stamp_ns)


def _raw(rgb: npt.NDArray[np.uint8]) -> Image:
    height, width, channels = rgb.shape
    image = Image(height=height, width=width, encoding='rgb8', step=width * channels)
    # Any other type is checked element by element: 75 ms for a 640x480 picture.
    data = array('B')
    data.frombytes(rgb.data)
    image.data = data
    return image


def _jpeg(rgb: npt.NDArray[np.uint8]) -> CompressedImage:
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return CompressedImage(format='rgb8; jpeg compressed bgr8', data=array('B', encoded.tobytes()))
