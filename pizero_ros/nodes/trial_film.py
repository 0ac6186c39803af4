"""Keeps a few small pictures of one camera for each second of an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from pizero_ros.errors import ObservationError
from pizero_ros.nodes.raw_image import raw_image
from pizero_ros.observation.images import decode_compressed, decode_image, orient
from pizero_ros.observation.intake import stamp_ns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rclpy.node import Node

    from pizero_ros.embodiment.schema import Camera

RATE_HZ = 8.0
WIDTH = 144
LONGEST = 400
"""Pictures of one episode at most: 50 s."""

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Film:
    """Pictures between ``begin`` and ``end``, upright, at ``RATE_HZ`` of the robot's time."""

    def __init__(self, node: Node, camera: Camera) -> None:
        """Subscribe.

        Args:
            node: Owner of the subscription.
            camera: Of the robot.
        """
        self._camera = camera
        self._frames: list[npt.NDArray[np.uint8]] = []
        self._rolling = False
        self._next_ns = 0
        raw = camera.transport == 'raw'
        take = self._on_raw if raw else self._on_compressed
        kind = Image if raw else CompressedImage
        node.create_subscription(kind, camera.topic, take, _NEWEST, raw=True)

    def begin(self) -> None:
        """Take pictures from now on."""
        self._frames, self._rolling, self._next_ns = [], True, 0

    def end(self) -> list[npt.NDArray[np.uint8]]:
        """Stop; return the pictures, uint8 [height, width, 3] each."""
        self._rolling = False
        frames, self._frames = self._frames, []
        return frames

    def _on_raw(self, serialized: bytes) -> None:
        if self._rolling and len(self._frames) < LONGEST:
            image = raw_image(serialized)
            self._take(image, image.stamp_ns)

    def _on_compressed(self, serialized: bytes) -> None:
        if self._rolling and len(self._frames) < LONGEST:
            image = deserialize_message(serialized, CompressedImage)
            self._take(image, stamp_ns(image.header.stamp))

    def _take(self, image: Any, at_ns: int) -> None:
        if at_ns < self._next_ns:
            return
        self._next_ns = at_ns + round(1e9 / RATE_HZ)
        camera = self._camera
        decode: Any = decode_image if camera.transport == 'raw' else decode_compressed
        try:
            rgb = orient(decode(image, camera.topic), camera.rotation_deg, camera.flip)
        except ObservationError:
            # What the policy makes of such a picture is its own business, and counted there.
            return
        height = max(1, round(rgb.shape[0] * WIDTH / rgb.shape[1]))
        self._frames.append(cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA))
