"""Figures from a recording: motion, tracking, seams, and messages sent against received."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pizero_ros.demo.results import GroupResult, JointResult, StreamResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.control.commands import TrajectoryCommand
    from pizero_ros.demo.recording import Recording, SentTrajectory, Series, Status
    from pizero_ros.embodiment.schema import ActionGroup, ActionJoint, Camera, Embodiment

NEVER = -1.0
"""``stream_age_s`` before the first message."""

LARGEST_SLIDE_M = 0.6
SMALLEST_HINGE_RAD = 1.2
"""Messages and embodiments carry no units: a joint with little travel is taken for a slide
(gripper, torso), one with much for a hinge, and nothing is claimed between the two."""


class Window(NamedTuple):
    """A stretch of the robot's time, ns, both ends included."""

    start_ns: int
    end_ns: int

    def cut(self, stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell which stamps lie in it."""
        return (stamps >= self.start_ns) & (stamps <= self.end_ns)


def group_results(
    recording: Recording, embodiment: Embodiment, counts: Mapping[str, Mapping[str, Any]]
) -> tuple[GroupResult, ...]:
    """Return what each group was told, with its controller's ``counts`` (accepted, …)."""
    return tuple(
        _group(recording, group, counts.get(group.name, {})) for group in embodiment.actions
    )


def joint_results(
    recording: Recording, embodiment: Embodiment, window: Window
) -> tuple[JointResult, ...]:
    """Return motion and tracking of every joint and base axis in the window."""
    return tuple(
        _joint(recording, group, joint, window)
        for group in embodiment.actions
        for joint in group.joints
    )


def stream_results(
    embodiment: Embodiment,
    statuses: Sequence[Status],
    counters: Mapping[str, Mapping[str, int]],
    *,
    stamps: Mapping[str, Sequence[int]] | None = None,
    totals: Mapping[str, int] | None = None,
) -> tuple[StreamResult, ...]:
    """Return messages sent and received per input topic.

    Args:
        embodiment: The robot.
        statuses: Everything the policy node said, in order.
        counters: Topic → counters of the policy node's diagnostics.
        stamps: Topic → header stamp of every message that was sent, in ns.
        totals: Topic → number of messages sent, where the policy node was there from the first
            to the last.

    Returns:
        One entry per topic, cameras first.
    """
    cameras = {camera.topic: camera for camera in embodiment.cameras}
    topics = [*cameras, *(source.topic for source in embodiment.state)]
    return tuple(
        _stream(
            topic,
            cameras.get(topic),
            [status for status in statuses if topic in status.streams],
            counters.get(topic, {}),
            None if stamps is None else stamps.get(topic),
            None if totals is None else totals.get(topic, 0),
        )
        for topic in topics
    )


def largest_speed(series: Series, names: Sequence[str], window: Window) -> float | None:
    """Return the largest absolute value of any name in the window, None without samples."""
    speeds = []
    for name in names:
        stamps, values = series.of(name)
        speeds += np.abs(values[window.cut(stamps)]).tolist()
    return max(speeds, default=None)


def _group(recording: Recording, group: ActionGroup, counts: Mapping[str, Any]) -> GroupResult:
    seen = [each for each in recording.trajectories if each.group == group.name]
    arm = group.output == 'joint_trajectory'
    plans = [each for each in seen if each.command is not None and not each.is_hold] if arm else []
    seam, joint = _seam(plans)
    return GroupResult(
        group=group.name,
        output=group.output,
        topic=group.topic,
        sent=recording.sent[group.name],
        accepted=counts.get('accepted', 0),
        rejected=counts.get('rejected', 0),
        rejections=dict(counts.get('rejections', {})),
        holds=sum(each.is_hold for each in seen) if arm else 0,
        points=tuple(len(each.command) for each in plans if each.command is not None),
        seam=seam,
        seam_joint=joint,
    )


def _seam(plans: Sequence[SentTrajectory]) -> tuple[float | None, str]:
    """Return how far successive plans are apart at most, and the joint.

    Everywhere where both speak: the new one fades in from the old one, so that they agree where
    it begins.
    """
    largest, where = None, ''
    commands = [each.command for each in plans if each.command is not None]
    for old, new in pairwise(commands):
        due_ns = new.stamp_ns + new.time_from_start_ns
        both = due_ns <= old.stamp_ns + old.time_from_start_ns[-1]
        if not both.any():
            continue
        apart = np.abs(new.positions[both] - _planned(old, due_ns[both])).max(axis=0)
        if largest is None or apart.max() > largest:
            largest, where = float(apart.max()), new.joint_names[int(apart.argmax())]
    return largest, where


def _planned(command: TrajectoryCommand, at_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return where a plan has its joints at some times, up to its last point: [N, J]."""
    due_s = command.time_from_start_ns * 1e-9
    at_s = (at_ns - command.stamp_ns) * 1e-9
    return np.stack([np.interp(at_s, due_s, column) for column in command.positions.T], axis=1)


def _joint(
    recording: Recording, group: ActionGroup, joint: ActionJoint, window: Window
) -> JointResult:
    of_twist = group.output == 'twist'
    measured = recording.velocities if of_twist else recording.positions
    desired = recording.base_commands if of_twist else recording.desired
    stamps, values = measured.of(joint.name)
    inside = window.cut(stamps)
    stamps, values = stamps[inside], values[inside]
    values_known = values[np.isfinite(values)]
    return JointResult(
        name=joint.name,
        group=group.name,
        unit=joint_unit(joint),
        motion=float(np.ptp(values_known)) if values_known.size else 0.0,
        max_speed=largest_speed(recording.velocities, [joint.name], window),
        rms_error=None if of_twist else _rms(stamps, values, *desired.of(joint.name)),
    )


def joint_unit(joint: ActionJoint) -> str:
    """Return the unit of a joint's value: rad, m, or for the axis of a base rad/s, m/s."""
    if joint.position is None:
        return 'rad/s' if joint.name.startswith('angular.') else 'm/s'
    low, high = joint.position
    if high - low <= LARGEST_SLIDE_M:
        return 'm'
    return 'rad' if high - low >= SMALLEST_HINGE_RAD else 'rad or m'


def _rms(
    stamps: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float64],
) -> float | None:
    """Return the root mean square of commanded minus measured, where both are known."""
    known = np.isfinite(wanted)
    at, wanted = at[known], wanted[known]
    if not len(at) or not len(stamps):
        return None
    both = (stamps >= at[0]) & (stamps <= at[-1]) & np.isfinite(values)
    if not both.any():
        return None
    start = int(at[0])
    errors = np.interp((stamps[both] - start) * 1e-9, (at - start) * 1e-9, wanted) - values[both]
    return float(np.sqrt(np.mean(errors**2)))


def _stream(
    topic: str,
    camera: Camera | None,
    statuses: Sequence[Status],
    counters: Mapping[str, int],
    stamps: Sequence[int] | None,
    total: int | None,
) -> StreamResult:
    sent, received, counted_by = _count(topic, statuses, stamps, total)
    seen = [status for status in statuses if status.streams[topic].age_s != NEVER]
    # Before its first message every stream is missing; that is the start, not a fault.
    shown = Counter(status.streams[topic].fault for status in seen or statuses)
    del shown['']
    return StreamResult(
        topic=topic,
        kind='camera' if camera else 'state',
        slot=camera.slot if camera else '',
        required=camera.required if camera else True,
        sent=sent,
        received=received,
        counted_by=counted_by,
        rate_hz=statuses[-1].streams[topic].rate_hz if statuses else 0.0,
        faults=dict(shown),
        counters=dict(counters),
    )


def _count(
    topic: str, statuses: Sequence[Status], stamps: Sequence[int] | None, total: int | None
) -> tuple[int, int, str]:
    """Count messages sent and received over the same stretch."""
    seen = [status for status in statuses if status.streams[topic].age_s != NEVER]
    if total is not None:
        return total, seen[-1].streams[topic].received if seen else 0, 'total'
    if not seen:
        return 0, 0, 'gaps'
    first, last = seen[0].streams[topic], seen[-1].streams[topic]
    if stamps is None:
        return last.received + last.missing, last.received, 'gaps'
    begin_ns, end_ns = (_newest_ns(status, topic) for status in (seen[0], seen[-1]))
    sent = sum(begin_ns < stamp <= end_ns for stamp in stamps)
    return sent, last.received - first.received, 'stamps'


def _newest_ns(status: Status, topic: str) -> int:
    """Return the newest stamp that the policy node had: its age is exact to the nanosecond."""
    return status.stamp_ns - round(status.streams[topic].age_s * 1e9)
