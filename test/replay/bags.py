"""Recordings for tests: a small robot's demonstration, written as recorders write them."""

from __future__ import annotations

import cv2
import numpy as np
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

START_NS = 1_700_000_000_000_000_000
RATE_HZ = 20
PERIOD_NS = 1_000_000_000 // RATE_HZ
JOINTS = ('shoulder', 'elbow', 'finger')

EMBODIMENT = f"""
schema: 1
name: small
description: two joints on one topic, a finger on another, a raw and a compressed camera
rate_hz: {RATE_HZ}
horizon: 10
executed_steps: 5
cameras:
  - {{slot: base_0_rgb, topic: /front/image_raw, rate_hz: {RATE_HZ}}}
  - slot: left_wrist_0_rgb
    topic: /wrist/image_raw/compressed
    transport: compressed
    rate_hz: {RATE_HZ}
    required: false
state:
  - topic: /arm/joint_states
    interface: joint_state
    rate_hz: {RATE_HZ}
    joints:
      - {{name: shoulder, index: 0, range: [-3.0, 3.0]}}
      - {{name: elbow, index: 1, range: [-3.0, 3.0]}}
  - topic: /finger/joint_states
    interface: joint_state
    rate_hz: {RATE_HZ}
    joints:
      - {{name: finger, index: 2, range: [-0.01, 0.05], scale: 10.0}}
actions:
  - group: arm
    output: joint_trajectory
    topic: /arm_controller/joint_trajectory
    joints:
      - {{name: shoulder, index: 0, position: [-2.0, 2.0], velocity: 3.0, max_step: 0.5}}
      - {{name: elbow, index: 1, position: [-2.0, 2.0], velocity: 3.0, max_step: 0.5}}
  - group: gripper
    output: gripper
    topic: /gripper_controller/commands
    message: float64_multi_array
    deadband: 0.001
    joints:
      - name: finger
        index: 2
        scale: 10.0
        position: [0.0, 0.04]
        unit: m
        velocity: 0.1
        max_step: 0.04
neutral: {{shoulder: 0.0, elbow: 0.5, finger: 0.02}}
"""

STORE = get_typestore(Stores.ROS2_JAZZY)


def write_embodiment(folder, **changes):
    """Write the robot's file; ``changes`` replace top-level keys."""
    content = yaml.safe_load(EMBODIMENT) | changes
    path = folder / 'small.yaml'
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def measured(step):
    """Where the joints are at a step, float [3]."""
    time = step / RATE_HZ
    return np.array([np.sin(time), 0.5 * np.cos(time), 0.04 if step % 40 < 20 else 0.01])


def commanded(step):
    """What the demonstrator commands at a step: a little ahead."""
    return measured(step + 2)


def picture(step, height=48, width=64):
    """What a camera shows at a step: a block before a plain wall, a little further each time."""
    rows, columns = np.mgrid[0:height, 0:width]
    wall = (60 + 2 * rows + columns).astype(np.uint8)
    wall[10:20, (step % 50) : (step % 50) + 10] = 200 - step % 7
    return np.repeat(wall[..., None], 3, axis=2)


class Types:
    """Message classes of a distribution."""

    def __init__(self, store=STORE):
        self.store = store
        self._t = store.types

    def header(self, time_ns):
        stamp = self._t['builtin_interfaces/msg/Time'](*divmod(time_ns, 1_000_000_000))
        return self._t['std_msgs/msg/Header'](stamp=stamp, frame_id='')

    def joints(self, time_ns, names, positions):
        empty = np.empty(0)
        return self._t['sensor_msgs/msg/JointState'](
            header=self.header(time_ns),
            name=list(names),
            position=np.asarray(positions, np.float64),
            velocity=empty,
            effort=empty,
        )

    def image(self, time_ns, rgb):
        return self._t['sensor_msgs/msg/Image'](
            header=self.header(time_ns),
            height=rgb.shape[0],
            width=rgb.shape[1],
            encoding='rgb8',
            is_bigendian=0,
            step=3 * rgb.shape[1],
            data=rgb.reshape(-1),
        )

    def compressed(self, time_ns, rgb):
        _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return self._t['sensor_msgs/msg/CompressedImage'](
            header=self.header(time_ns), format='jpeg', data=encoded.reshape(-1)
        )

    def text(self, data):
        return self._t['std_msgs/msg/String'](data=data)

    def values(self, values):
        layout = self._t['std_msgs/msg/MultiArrayLayout'](dim=[], data_offset=0)
        return self._t['std_msgs/msg/Float64MultiArray'](
            layout=layout, data=np.asarray(values, np.float64)
        )

    def trajectory(self, time_ns, names, positions, tfs_ns):
        point = self._t['trajectory_msgs/msg/JointTrajectoryPoint']
        duration = self._t['builtin_interfaces/msg/Duration']
        empty = np.empty(0)
        return self._t['trajectory_msgs/msg/JointTrajectory'](
            header=self.header(time_ns),
            joint_names=list(names),
            points=[
                point(
                    positions=np.ascontiguousarray(each, np.float64),
                    velocities=empty,
                    accelerations=empty,
                    effort=empty,
                    time_from_start=duration(*divmod(due, 1_000_000_000)),
                )
                for each, due in zip(positions, tfs_ns, strict=True)
            ],
        )


def demonstration(steps=60, types=None, *, skip=(), instruction='pick the cube'):
    """Yield (topic, type name, time, message) of a demonstration, in order."""
    types = types or Types()
    if instruction:
        yield '/instruction', 'std_msgs/msg/String', START_NS, types.text(instruction)
    for step in range(steps):
        now_ns = START_NS + step * PERIOD_NS
        at, told = measured(step), commanded(step)
        for topic, kind, message in (
            ('/arm/joint_states', 'JointState', types.joints(now_ns, JOINTS[:2], at[:2])),
            ('/finger/joint_states', 'JointState', types.joints(now_ns, JOINTS[2:], at[2:])),
            ('/demo/action', 'JointState', types.joints(now_ns, JOINTS, told)),
            ('/front/image_raw', 'Image', types.image(now_ns, picture(step))),
            (
                '/wrist/image_raw/compressed',
                'CompressedImage',
                types.compressed(now_ns, picture(step + 1000)),
            ),
        ):
            if topic not in skip:
                yield topic, f'sensor_msgs/msg/{kind}', now_ns, message


def write(
    path, messages, *, store=STORE, storage=StoragePlugin.SQLITE3, compression=None, pad=b''
):
    """Write messages as a rosbag2 folder; ``pad`` is appended to every payload."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression is not None:
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, msgtype, time_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=store)
            raw = bytes(store.serialize_cdr(message, msgtype)) + pad
            writer.write(connections[topic], time_ns, raw)
    return path
