"""Cameras and joint states of a robot that is not there: real messages at exact rates.

Started by ``ros_latency.py``. Pictures are rendered before the first one is sent, so that this
process costs what drivers cost and not what rendering costs; and they are serialised, because a
driver in C++ has no Python message that would have to be converted.
"""

from __future__ import annotations

import argparse
import heapq
import json
import struct
import sys
import time
from array import array
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.signals import stop_on_signals

if TYPE_CHECKING:
    import threading

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment

PICTURES = 6
"""Different pictures per camera, sent in turn."""

TIMINGS = ('free', 'together', 'trigger')
"""How the cameras relate: see ``Robot``."""

CAMERA_DRIFT = 0.01
"""Each free camera is this much slower than the one before, so that within a few seconds they
meet each other in every phase."""

DRIFT = 1.003
"""Joint states are this much faster than nominal, as no two clocks agree: within four seconds
they meet the pictures in every phase, instead of in the one that the start happened to give."""


def pictures(seed: int, width: int, height: int) -> list[npt.NDArray[np.uint8]]:
    """Return uint8 [height, width, 3] pictures: a moving gradient under sensor noise."""
    generator = np.random.default_rng(seed)
    x, y = np.linspace(40, 200, width), np.linspace(0, 40, height)
    plain = np.add.outer(y, x)[..., None] + np.array([0.0, 5.0, 10.0])
    made = []
    for k in range(PICTURES):
        noisy = np.roll(plain, k * width // PICTURES, axis=1)
        noisy = noisy + generator.normal(0, 3, (height, width, 3))
        made.append(noisy.clip(0, 255).astype(np.uint8))
    return made


def message_of(rgb: npt.NDArray[np.uint8], transport: str) -> Image | CompressedImage:
    """Return a picture as its message; only an ``array`` is not checked element by element."""
    if transport == 'compressed':
        _, data = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return CompressedImage(
            format='rgb8; jpeg compressed bgr8', data=array('B', data.tobytes())
        )
    height, width, channels = rgb.shape
    message = Image(height=height, width=width, encoding='rgb8', step=channels * width)
    message.data = array('B', rgb.tobytes())
    return message


class Serialised:
    """A message with a header, as bytes whose stamp is filled in when it is sent."""

    def __init__(self, message: Image | CompressedImage) -> None:
        """Serialise."""
        little = b'\x00\x01'
        raw = serialize_message(message)
        if raw[:2] != little:
            msg = f'CDR that begins with {raw[:4].hex()} instead of {little.hex()}'
            raise RuntimeError(msg)
        # Four bytes say how it is encoded, then comes the stamp, first of all in the header.
        self._before, self._behind = raw[:4], raw[12:]

    def at(self, stamp_ns: int) -> bytes:
        """Return the message of a moment."""
        stamp = struct.pack('<iI', *divmod(stamp_ns, 1_000_000_000))
        return b''.join((self._before, stamp, self._behind))


class Robot:
    """Publishes until told to stop and remembers the stamp of everything that it sent.

    ``free`` cameras run on clocks of their own, as cameras without a common trigger do. With
    ``together`` all send in the same moment, one after the other, each picture stamped when its
    driver has it, just before it is sent: the worst that they can do to the node. ``trigger`` is
    the same with one stamp for all, as cameras on one trigger have: the last picture is then as
    old as it took to send the others.
    """

    def __init__(
        self, node: Node, embodiment: Embodiment, size: tuple[int, int], timing: str
    ) -> None:
        """Create the publishers and render the pictures of ``size``, width and height."""
        self.sent: dict[str, list[int]] = {}
        self.late_s = 0.0
        self._timing = timing
        self._cameras: list[tuple[list[int], Any, list[Serialised]]] = []
        for seed, camera in enumerate(embodiment.cameras):
            kind = Image if camera.transport == 'raw' else CompressedImage
            publisher = node.create_publisher(kind, camera.topic, qos_profile_sensor_data)
            ready = [
                Serialised(message_of(rgb, camera.transport)) for rgb in pictures(seed, *size)
            ]
            self._cameras.append((self.sent.setdefault(camera.topic, []), publisher, ready))
        self._states = []
        for source in embodiment.state:
            names = [joint.name for joint in source.joints]
            positions = array('d', [embodiment.neutral[name] for name in names])
            publisher = node.create_publisher(JointState, source.topic, qos_profile_sensor_data)
            self._states.append((publisher, JointState(name=names, position=positions)))
        self._camera_period_s = 1.0 / embodiment.cameras[0].rate_hz
        self._state_period_s = 1.0 / (embodiment.state[0].rate_hz * DRIFT)

    def run(self, stop: threading.Event) -> None:
        """Send both kinds of message when they are due, on one thread."""
        start = time.monotonic()
        due = [(start, 0, self._state_period_s, self._report_joints)]
        period = self._camera_period_s
        if self._timing == 'free':
            for k, camera in enumerate(self._cameras):
                own = period * (1 + k * CAMERA_DRIFT)
                due.append((start, k + 1, own, partial(self._take_pictures, [camera])))
        else:
            due.append((start, 1, period, partial(self._take_pictures, self._cameras)))
        while not stop.is_set():
            moment, kind, period, act = due[0]
            wait = moment - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.late_s = max(self.late_s, -wait)
            act()
            # A late machine sends late, never less: frames sent are what the count is about.
            heapq.heapreplace(due, (moment + period, kind, period, act))

    def _take_pictures(self, cameras: list[tuple[list[int], Any, list[Serialised]]]) -> None:
        stamp_ns = time.time_ns()
        for stamps, publisher, ready in cameras:
            if self._timing != 'trigger':
                stamp_ns = time.time_ns()
            publisher.publish(ready[len(stamps) % PICTURES].at(stamp_ns))
            stamps.append(stamp_ns)

    def _report_joints(self) -> None:
        sec, nanosec = divmod(time.time_ns(), 1_000_000_000)
        stamp = Time(sec=sec, nanosec=nanosec)
        for publisher, message in self._states:
            message.header.stamp = stamp
            publisher.publish(message)


def main() -> int:
    """Publish until SIGTERM or SIGINT, then write what was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('embodiment', help='embodiment file')
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--timing', choices=TIMINGS, default='free')
    parser.add_argument('--out', type=Path, required=True, help='JSON of the stamps sent')
    arguments = parser.parse_args()
    stop = stop_on_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node('benchmark_cameras')
    embodiment = load_embodiment(Path(arguments.embodiment))
    size = arguments.width, arguments.height
    robot = Robot(node, embodiment, size, arguments.timing)
    robot.run(stop)
    arguments.out.write_text(json.dumps({'stamps_ns': robot.sent, 'late_s': robot.late_s}))
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
