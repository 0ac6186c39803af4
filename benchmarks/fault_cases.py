"""The faults of a robot, and what is stated of each: when it is noticed and how it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pizero_ros.control.following import LAG_NS, PATIENCE_NS
from pizero_ros.observation.pictures import FROZEN_NS, NOISY_PICTURES

if TYPE_CHECKING:
    from pizero_ros.embodiment.schema import Embodiment

HEAD, WRIST = '/head_camera/image_raw', '/left_wrist_camera/image_raw'
LEFT, RIGHT, ODOMETRY = '/left/joint_states', '/right/joint_states', '/base_controller/odom'

Notice = Literal['at once', 'stale', 'picture', 'pictures', 'frozen', 'following', 'counted']
"""By what a fault is noticed: a message, its age, a look at the picture when a chunk is wanted,
several looks, the distance between an arm and its commands, or a counter alone."""


class Case(NamedTuple):
    """One fault.

    Attributes:
        name: For the table.
        fault: Text for ``sim_robot``.
        topic: Topic that is at fault, empty if it is an arm.
        reason: Part of the policy's reason for its hold.
        notice: By what the policy notices it.
    """

    name: str
    fault: str
    topic: str
    reason: str
    notice: Notice

    @property
    def latches(self) -> bool:
        """Whether the robot stays still after the fault has passed, until ``~/enable``."""
        return self.notice == 'following'

    def stated_s(self, embodiment: Embodiment) -> float:
        """Return the time after which it is noticed.

        From the last good message for ``stale``, from the first bad one for ``at once`` and
        pictures; for ``following`` from the moment when the arm is beyond the tolerance.
        """
        ages = {camera.topic: camera.max_age_s for camera in embodiment.cameras}
        ages |= {source.topic: source.max_age_s for source in embodiment.state}
        look_s = embodiment.executed_steps / embodiment.rate_hz
        return {
            'at once': 0.0,
            'counted': 0.0,
            'stale': ages.get(self.topic, 0.0),
            'picture': look_s,
            'pictures': (NOISY_PICTURES + 1) * look_s,
            'frozen': FROZEN_NS * 1e-9 + look_s,
            'following': (LAG_NS + PATIENCE_NS) * 1e-9
            + max(s.max_age_s for s in embodiment.state),
        }[self.notice]


STOPPING = (
    Case('black camera', f'black:{HEAD}', HEAD, 'the picture is black', 'picture'),
    Case('frozen camera', f'frozen:{WRIST}', WRIST, 'the picture stands still', 'frozen'),
    Case('noisy camera', f'noisy:{HEAD}=40', HEAD, 'the picture is mostly noise', 'pictures'),
    Case('dead camera', f'missing:{WRIST}', WRIST, ' old, limit ', 'stale'),
    Case('slow camera', f'slow:{WRIST}=0.5', WRIST, ' old, limit ', 'stale'),
    Case('joint not a number', 'nan:left_joint_3', LEFT, 'joint left_joint_3 is nan', 'at once'),
    Case('joints all -1', f'minus_one:{RIGHT}', RIGHT, 'all exactly -1', 'at once'),
    Case('joint left out', 'missing:left_joint_4', LEFT, 'joint left_joint_4', 'stale'),
    Case('dead arm topic', f'missing:{RIGHT}', RIGHT, ' old, limit ', 'stale'),
    Case('slow joint states', f'slow:{LEFT}=0.5', LEFT, ' old, limit ', 'stale'),
    Case('dead odometry', f'missing:{ODOMETRY}', ODOMETRY, ' old, limit ', 'stale'),
    Case('odometry not a number', 'nan:angular.z', ODOMETRY, 'angular.z is nan', 'at once'),
    Case('stamps 3 s ahead', 'clock_jump=3', LEFT, 'in the future', 'at once'),
    Case('stamps 3 s behind', 'clock_jump=-3', LEFT, ' old, limit ', 'at once'),
    Case('joints stuck', f'stuck:{LEFT}', '', 'left_arm does not follow', 'following'),
    Case('deaf controller', 'deaf:right_arm', '', 'right_arm does not follow', 'following'),
    Case('refusing controller', 'rejecting:right_arm', '', 'right_arm does not', 'following'),
)
"""Faults at which the robot holds."""

COUNTED = (
    Case('one frame in three lost', f'dropped:{HEAD}=0.33', HEAD, 'messages missing', 'counted'),
    Case('noise of 10 grey levels', f'noisy:{WRIST}=10', WRIST, '', 'counted'),
)
"""Faults at which it goes on; the reason is what diagnostics say of the topic, if they do."""
