"""Joint trajectories straight into the bytes that go over the wire."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.nodes.messages import trajectory_message

_LITTLE_ENDIAN_CDR = b'\0\1\0\0'
"""In front of the message, as plain CDR, which all middlewares send; alignment counts from behind
it."""

_STAMP = len(_LITTLE_ENDIAN_CDR)
_NANO = 1_000_000_000


class SerializedTrajectory:
    """Writes the trajectories of one group as serialised messages.

    A message object is made of hundreds of small objects, each of which is converted under the
    interpreter's lock; here a few arrays are copied.
    """

    def __init__(self, joint_names: tuple[str, ...]) -> None:
        """Write what does not change, and try it on the middleware.

        Args:
            joint_names: Of every trajectory to come.
        """
        self._joint_names = joint_names
        # An empty frame_id, then the names: a string is its length, its bytes and a zero.
        head = bytearray(_LITTLE_ENDIAN_CDR + bytes(8) + struct.pack('<I', 1) + bytes(4))
        head += struct.pack('<I', len(joint_names))
        for name in joint_names:
            word = name.encode() + b'\0'
            head += struct.pack('<I', len(word)) + word
            head += bytes(-len(head) % 4)
        self._head = np.frombuffer(bytes(head), np.uint8)
        # The number of points and that of the first one's positions follow; floats are aligned.
        self._first = len(head) + 8
        self._first += (_STAMP - self._first) % 8
        self._layouts = {moving: _point(len(joint_names), moving) for moving in (False, True)}
        self._understood = all(self._arrives(moving) for moving in (False, True))

    def __call__(self, command: TrajectoryCommand) -> bytes | None:
        """Return a trajectory, serialised.

        Args:
            command: The trajectory.

        Returns:
            What a publisher takes in place of the message; None for other joints, for a
            trajectory without points, and with a middleware that does not read plain CDR.
        """
        if not self._understood or command.joint_names != self._joint_names or not len(command):
            return None
        return self._written(command)

    def _written(self, command: TrajectoryCommand) -> bytes:
        count, joints = command.positions.shape
        layout = self._layouts[command.velocities is not None]
        end = self._first + count * layout.itemsize
        serialized = np.zeros(end, np.uint8)
        serialized[: len(self._head)] = self._head
        data = serialized.data
        np.ndarray(2, '<u4', data, _STAMP)[:] = divmod(command.stamp_ns, _NANO)
        np.ndarray(2, '<u4', data, len(self._head))[:] = count, joints
        points: Any = np.ndarray(count, layout, data, self._first)
        points['positions'] = command.positions
        if command.velocities is not None:
            points['velocities'] = command.velocities
            points['velocity_count'] = joints
        points['sec'], points['nanosec'] = np.divmod(command.time_from_start_ns, _NANO)
        points['next_count'] = joints
        behind_last = layout.itemsize - layout.fields['next_count'][1]
        return serialized[: end - behind_last].tobytes()

    def _arrives(self, moving: bool) -> bool:
        """Tell whether the middleware reads what we write."""
        values = np.arange(2.0 * len(self._joint_names)).reshape(2, -1) + 1
        command = TrajectoryCommand(
            '',
            1_700_000_000_123_456_789,
            self._joint_names,
            values,
            values / 3 if moving else None,
            np.array([20_000_000, 2_000_000_001], np.int64),
        )
        try:
            read = deserialize_message(self._written(command), JointTrajectory)
        except rclpy_implementation.RMWError:
            return False
        return bool(read == trajectory_message(command))


def _point(joints: int, moving: bool) -> Any:
    """Return the layout of a point from its positions to those of the next, velocities or not."""
    values = ('<f8', (joints,))
    gap = [('gap', '<u4')] if moving else []
    return np.dtype(
        [
            ('positions', *values),
            ('velocity_count', '<u4'),
            *gap,
            *([('velocities', *values)] if moving else []),
            ('acceleration_count', '<u4'),
            ('effort_count', '<u4'),
            ('sec', '<i4'),
            ('nanosec', '<u4'),
            ('next_count', '<u4'),
            *(('next_' + name, kind) for name, kind in gap),
        ]
    )
