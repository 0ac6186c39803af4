"""Camera pictures for a planner: the newest message of each is kept, decoded when asked for."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from pizero_ros.errors import ObservationError
from pizero_ros.nodes.events import NO_SUBSCRIPTION_EVENTS
from pizero_ros.nodes.raw_image import raw_image
from pizero_ros.observation.cameras import decode_picture

if TYPE_CHECKING:
    from rclpy.node import Node

    from pizero_ros.embodiment.schema import Camera, Embodiment
    from pizero_ros.planner.plan import Rgb

MAX_AGE_S = 1.0
"""Planning takes seconds, so a picture need not be younger; an older one shows what was."""


class PlannerCameras:
    """One subscription for each camera; ``look`` may be called by another thread."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe to the cameras of a robot."""
        self._cameras = embodiment.cameras
        self._newest: dict[str, tuple[float, bytes]] = {}
        for camera in self._cameras:
            node.create_subscription(
                CompressedImage if camera.transport == 'compressed' else Image,
                camera.topic,
                partial(self._keep, camera.topic),
                qos_profile_sensor_data,
                event_callbacks=NO_SUBSCRIPTION_EVENTS,
                raw=True,
            )

    def _keep(self, topic: str, serialized: bytes) -> None:
        self._newest[topic] = (time.monotonic(), serialized)

    def look(self) -> dict[str, Rgb]:
        """Return camera slot → picture, uint8 [H, W, 3] RGB, upright.

        An optional camera without a fresh picture is absent.

        Raises:
            ObservationError: A required one has none, or a picture cannot be decoded.
        """
        pictures, now_s = {}, time.monotonic()
        for camera in self._cameras:
            came_s, serialized = self._newest.get(camera.topic, (float('-inf'), b''))
            if now_s - came_s <= MAX_AGE_S:
                pictures[camera.slot] = decode_picture(camera, _message(camera, serialized))
            elif camera.required:
                raise ObservationError.at(
                    camera.topic,
                    '',
                    found='no picture' if not serialized else f'one {now_s - came_s:.1f} s old',
                    expected=f'one of the last {MAX_AGE_S:g} s, to be shown to the model',
                )
        return pictures


def _message(camera: Camera, serialized: bytes) -> Any:
    if camera.transport == 'raw':
        return raw_image(serialized)
    try:
        return deserialize_message(serialized, CompressedImage)
    except rclpy_implementation.RMWError as error:
        raise ObservationError.at(
            camera.topic, '', found=str(error), expected='a sensor_msgs/msg/CompressedImage'
        ) from None
