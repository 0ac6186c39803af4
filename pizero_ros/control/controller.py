"""A model of joint_trajectory_controller: position interface, topic input, exact time.

Rules and names follow ros2_controllers at revision 94e74de3 (August 2026), files
``joint_trajectory_controller.cpp`` and ``trajectory.cpp``, and its humble to kilted branches.
Not modelled: accelerations and effort, tolerances, ``cmd_timeout``, speed scaling, wrap-around,
and that the real one commands a sample one update period ahead.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

from pizero_ros.control.spline import Knots
from pizero_ros.control.validation import Rejection, ValidationRules, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pizero_ros.control.commands import TrajectoryCommand

Replacement = Literal['discard', 'blend']
"""``discard``: Humble to Kilted, the old trajectory is forgotten. ``blend``: master after 6.9.0
with ``allow_trajectory_replacement``, the new one is spliced into the old one."""


class JointTrajectoryController:
    """Accepts trajectories and says where the joints are to be.

    ``discard``: a trajectory starts at its stamp (0: at the next sample), whatever was before is
    forgotten, and the way to its first point starts at the measured state or, with
    ``interpolate_from_desired_state``, at the last commanded one. Points before now are skipped.
    Joints that a partial message leaves out hold.

    ``blend``: the same if nothing or a single point is being executed. Otherwise a stamp at or
    before now is *re-anchored at now, nothing is skipped*; the old trajectory is followed until
    a stamp in the future; a bridge point, sampled from the old trajectory, joins the two. Joints
    that a partial message leaves out go on with their old motion.

    Not thread-safe: call it from one thread, with times that do not decrease.

    Attributes:
        joints: Joint names, in the order of every array.
        accepted: Number of accepted messages.
        rejected: Number of rejected messages by reason.
    """

    def __init__(
        self,
        joints: Sequence[str],
        positions: npt.NDArray[np.float64],
        *,
        replacement: Replacement = 'discard',
        interpolate_from_desired_state: bool = True,
        rules: ValidationRules | None = None,
    ) -> None:
        """Activate the controller.

        Args:
            joints: Joint names.
            positions: float64 [J], where the joints are; held until a message arrives.
            replacement: Rule by which a new trajectory replaces the old one.
            interpolate_from_desired_state: ``open_loop_control`` on Humble. The real default is
                False; streams of trajectories need True.
            rules: Validation parameters.
        """
        self.joints = tuple(joints)
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self._replacement = replacement
        self._from_desired = interpolate_from_desired_state
        self._rules = rules or ValidationRules()
        self.reset(positions)

    def reset(self, positions: npt.NDArray[np.float64]) -> None:
        """Activate again at ``positions`` (float64 [J]); counters are kept."""
        if positions.shape != (len(self.joints),):
            msg = f'positions of shape {positions.shape} for {len(self.joints)} joints'
            raise ValueError(msg)
        self._pending: TrajectoryCommand | None = None
        self._message: Knots | None = None
        self._followed: Knots | None = None
        self._last_ns: int | None = None
        self._positions = positions.astype(np.float64)
        self._velocities = np.zeros(len(self.joints))

    def accept(self, command: TrajectoryCommand, now_ns: int) -> Rejection | None:
        """Receive a message; it takes effect at the next sample, and only the latest does.

        Args:
            command: The trajectory.
            now_ns: The controller's clock.

        Returns:
            Why it was refused, None if it was accepted.
        """
        rejection = validate(command, self.joints, now_ns, self._rules)
        if rejection is not None:
            return self.reject(rejection)
        self.accepted += 1
        self._pending = command
        return None

    def reject(self, rejection: Rejection) -> Rejection:
        """Count a message that was refused before it became a command."""
        self.rejected[rejection.reason] += 1
        return rejection

    def sample(
        self, now_ns: int, measured: npt.NDArray[np.float64] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Update the controller.

        Args:
            now_ns: Time of this update.
            measured: float64 [J], where the joints are; needed unless new trajectories start
                from the desired state.

        Returns:
            Commanded positions and velocities, float64 [J] each.
        """
        if self._pending is not None:
            self._install(self._pending, now_ns, measured)
            self._pending = None
        if self._followed is not None:
            self._positions, self._velocities = self._followed.sample(now_ns)
        self._last_ns = now_ns
        return self._positions.copy(), self._velocities.copy()

    @property
    def end_ns(self) -> int | None:
        """When the last point of the trajectory is due, None before the first one."""
        return None if self._message is None else int(self._message.times_ns[-1])

    def _install(
        self,
        command: TrajectoryCommand,
        now_ns: int,
        measured: npt.NDArray[np.float64] | None,
    ) -> None:
        """Replace the trajectory by a pending one."""
        old = self._message
        if self._replacement == 'blend' and old is not None and len(old) > 1:
            message = self._blended(command, old, now_ns)
        else:
            start_ns = command.stamp_ns or now_ns
            still = np.broadcast_to(self._positions, (len(command), len(self.joints)))
            message = self._completed(command, start_ns, still, np.zeros_like(still))
        self._message = message
        before = self._state_before(now_ns, measured)
        if before.times_ns[0] < message.times_ns[0]:
            self._followed = Knots.joined(before, message)
        else:
            self._followed = message

    def _state_before(self, now_ns: int, measured: npt.NDArray[np.float64] | None) -> Knots:
        """Return the state from which the way to the first point starts."""
        if self._from_desired:
            time_ns = now_ns if self._last_ns is None else self._last_ns
            state, velocities = self._positions, self._velocities
        elif measured is None:
            msg = 'the measured positions are needed without interpolate_from_desired_state'
            raise ValueError(msg)
        else:
            time_ns, state, velocities = now_ns, measured, np.zeros_like(measured)
        return Knots.of(np.array([time_ns], np.int64), state[None], velocities[None])

    def _completed(
        self,
        command: TrajectoryCommand,
        start_ns: int,
        positions: npt.NDArray[np.float64],
        velocities: npt.NDArray[np.float64],
    ) -> Knots:
        """Put a command into the controller's joint order; left-out joints take the arguments."""
        columns = [self.joints.index(name) for name in command.joint_names]
        positions = np.array(positions)
        positions[:, columns] = command.positions
        times_ns = start_ns + command.time_from_start_ns
        if command.velocities is None:
            return Knots.of(times_ns, positions, None)
        velocities = np.array(velocities)
        velocities[:, columns] = command.velocities
        return Knots.of(times_ns, positions, velocities)

    def _blended(self, command: TrajectoryCommand, old: Knots, now_ns: int) -> Knots:
        """Splice a command into the old trajectory (``blend_with_active_trajectory``)."""
        followed = self._followed
        if followed is None or self._last_ns is None:
            msg = 'a trajectory is being executed that was never sampled'
            raise ValueError(msg)
        cursor_ns = self._last_ns
        start_ns = cursor_ns + max(command.stamp_ns - now_ns, 0)
        positions = np.zeros((len(command), len(self.joints)))
        velocities = np.zeros_like(positions)
        partial = len(command.joint_names) < len(self.joints)
        if partial:
            for k, due_ns in enumerate(start_ns + command.time_from_start_ns):
                positions[k], velocities[k] = followed.sample(int(due_ns))
        new = self._completed(command, start_ns, positions, velocities)
        parts = [old.where((old.times_ns > cursor_ns) & (old.times_ns < start_ns))]
        if start_ns < new.times_ns[0]:
            bridge, speed = followed.sample(start_ns)
            parts.append(Knots.of(np.array([start_ns], np.int64), bridge[None], speed[None]))
        parts.append(new)
        if partial:
            parts.append(self._rest_of_old(command, old, new))
        # The whole is anchored at this update, where the cursor of the last one was.
        return Knots.joined(*parts).shifted(now_ns - cursor_ns)

    def _rest_of_old(self, command: TrajectoryCommand, old: Knots, new: Knots) -> Knots:
        """Return old points after the new ones, at which the commanded joints hold."""
        rest = old.where(old.times_ns > new.times_ns[-1])
        columns = [self.joints.index(name) for name in command.joint_names]
        positions, velocities = rest.positions.copy(), rest.velocities.copy()
        positions[:, columns] = new.positions[-1, columns]
        velocities[:, columns] = 0.0
        return Knots(rest.times_ns, positions, velocities, rest.has_velocity)
