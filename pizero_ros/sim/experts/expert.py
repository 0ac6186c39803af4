"""An expert: from the truth of a scene to the next chunk of actions, at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pizero_ros.sim.experts.legs import Drive, Pause, Reach
from pizero_ros.sim.experts.motion import PACE, BaseMotion, follow
from pizero_ros.sim.kinematics import ArmKinematics
from pizero_ros.sim.layout import BASE_START, layout_of
from pizero_ros.sim.robot import BASE_JOINTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.experts.legs import Leg
    from pizero_ros.sim.experts.motion import Pace
    from pizero_ros.sim.truth import Truth

    Array = npt.NDArray[np.float64]

_ASTRAY_RAD = 0.15
"""A joint this far from where it was sent is where the expert goes on from."""

_FIRST_ITERATIONS = 12
_FACING_M = 0.15
"""Nearer to its goal than this a base no longer turns to the post."""


@dataclass(frozen=True)
class _ArmMotion:
    """Commanded angles and speeds, float64 [6] each; the angles of the goal; the gripper."""

    joints: Array
    speeds: Array
    goal: Array
    gripper: float


@dataclass(frozen=True)
class _State:
    """Where the expert is in its demonstration: all that the next step depends on."""

    arms: Mapping[str, _ArmMotion]
    base: BaseMotion
    leg: int = 0
    elapsed_s: float = 0.0
    held_s: float = 0.0


class Plan(NamedTuple):
    """What an expert does from now on.

    Attributes:
        actions: float64 [H, action width], robot vector; row k belongs to now + k / rate.
        labelled: bool [H], whether a policy shall learn the row.
        legs: int64 [H], number of the leg to which the row belongs.
        astray: Whether an arm is not where it was sent, so that the first row leaps.
    """

    actions: Array
    labelled: npt.NDArray[np.bool_]
    legs: npt.NDArray[np.int64]
    astray: bool


class Expert:
    """Goes through legs, reacting to where objects, base and arms really are.

    ``plan`` may be called at any time; ``advance`` says how much of it was executed.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        model: Any,
        legs: Sequence[Leg],
        truth: Truth,
        measured: Mapping[str, float],
        *,
        pace: Pace = PACE,
    ) -> None:
        """Begin where the robot is.

        Args:
            embodiment: A simulated robot.
            model: Its ``mujoco.MjModel``; not changed.
            legs: What to do; the last one is never left.
            truth: Of now.
            measured: Joint → raw position of now.
            pace: How fast.
        """
        self._embodiment = embodiment
        self._layout = layout_of(embodiment)
        self._legs = tuple(legs)
        self._pace = pace
        self._step_s = 1.0 / embodiment.rate_hz
        self._neutral = {
            arm.name: np.array([embodiment.neutral[name] for name in arm.joints])
            for arm in self._layout.arms
        }
        self._arms = {
            arm.name: ArmKinematics(model, arm, self._neutral[arm.name])
            for arm in self._layout.arms
        }
        carriers = {'torso_joint'} & set(embodiment.neutral)
        self._carriers = (*(BASE_JOINTS.values() if truth.base else ()), *sorted(carriers))
        self._still = {name: measured[name] for name in carriers}
        state = {
            arm.name: _ArmMotion(
                np.array([measured[name] for name in arm.joints]),
                np.zeros(6),
                np.array([measured[name] for name in arm.joints]),
                self._gripper(self._legs[0], arm.name),
            )
            for arm in self._layout.arms
        }
        self._state = _State(state, BaseMotion(truth.base or (0.0, 0.0, 0.0)))
        self._ahead: list[_State] = []

    @property
    def leg(self) -> Leg:
        """What is being done now."""
        return self._legs[self._state.leg]

    def plan(self, truth: Truth, measured: Mapping[str, float]) -> Plan:
        """Return the next chunk.

        Args:
            truth: Of now.
            measured: Joint → raw position of now.
        """
        state, astray = self._anchored(truth, measured)
        self._ahead = []
        count = self._embodiment.horizon
        for _ in range(count):
            self._ahead.append(state)
            state = self._next(state, truth)
        self._ahead.append(state)
        rows = [self._row(each) for each in self._ahead[:count]]
        legs = [each.leg for each in self._ahead[:count]]
        labelled = [self._legs[leg].labelled for leg in legs]
        return Plan(np.array(rows), np.array(labelled), np.array(legs), astray)

    def advance(self, steps: int) -> None:
        """Note that so many steps of the last plan have been executed, 0 to the horizon."""
        self._state = self._ahead[steps]

    def _anchored(self, truth: Truth, measured: Mapping[str, float]) -> tuple[_State, bool]:
        """Return the state as it really is: the base always, arms if they have gone astray."""
        arms, astray = dict(self._state.arms), False
        for arm in self._layout.arms:
            there = np.array([measured[name] for name in arm.joints])
            if np.abs(there - arms[arm.name].joints).max() > _ASTRAY_RAD:
                arms[arm.name] = replace(arms[arm.name], joints=there, speeds=np.zeros(6))
                astray = True
        base = self._state.base
        if truth.base is not None:
            base = BaseMotion(truth.base, base.velocity)
        return replace(self._state, arms=arms, base=base), astray

    def _next(self, state: _State, truth: Truth) -> _State:
        """Take one step of the leg, and look whether the next one has begun."""
        leg = self._legs[state.leg]
        base, arms, within = state.base, dict(state.arms), False
        if isinstance(leg, Drive):
            target = leg.target(truth)
            base, within = self._drive(leg, base, target, truth)
        else:
            base = base.driven(np.array(base.pose[:2]), base.pose[2], self._pace, self._step_s)
        moving = leg.arm if isinstance(leg, Reach) else None
        for name in arms:
            if isinstance(leg, Pause):
                arms[name] = self._stop(arms[name])
            elif name == moving and isinstance(leg, Reach):
                arms[name], within = self._reach(leg, arms[name], state, truth)
            else:
                arms[name] = self._rest(name, arms[name])
        within |= isinstance(leg, Pause)
        held_s = state.held_s + self._step_s if within else 0.0
        elapsed_s = state.elapsed_s + self._step_s
        after = _State(arms, base, state.leg, elapsed_s, held_s)
        limit_s = math.inf if isinstance(leg, Pause) else leg.limit_s
        over = (within and held_s >= leg.hold_s) or elapsed_s >= limit_s
        if over and state.leg + 1 < len(self._legs):
            return replace(after, leg=state.leg + 1, elapsed_s=0.0, held_s=0.0)
        return after

    def _reach(
        self, leg: Reach, arm: _ArmMotion, state: _State, truth: Truth
    ) -> tuple[_ArmMotion, bool]:
        solver = self._arms[leg.arm]
        solver.carry(self._carriers, self._carried(state.base, truth))
        tip = solver.tip(arm.joints)
        wanted = leg.goal(tip, truth)
        iterations = _FIRST_ITERATIONS if state.elapsed_s == 0.0 else 1
        goal = solver.solve(wanted, arm.goal, iterations)
        joints, speeds = follow(arm.joints, arm.speeds, goal, self._pace.joints, self._step_s)
        within = float(np.linalg.norm(tip - leg.target(truth))) < leg.tolerance
        return _ArmMotion(joints, speeds, goal, self._gripper(leg, leg.arm)), within

    def _rest(self, name: str, arm: _ArmMotion) -> _ArmMotion:
        """Go to the neutral posture, which is out of the way."""
        goal = self._neutral[name]
        joints, speeds = follow(arm.joints, arm.speeds, goal, self._pace.joints, self._step_s)
        return replace(
            arm, joints=joints, speeds=speeds, goal=goal, gripper=self._gripper(None, name)
        )

    def _gripper(self, leg: Leg | None, name: str) -> float:
        """Return the opening of a hand in a leg: neutral where the leg does not say."""
        if isinstance(leg, Reach) and leg.arm == name and leg.gripper is not None:
            return leg.gripper
        return self._embodiment.neutral[self._layout.arm(name).gripper]

    def _stop(self, arm: _ArmMotion) -> _ArmMotion:
        joints, speeds = follow(
            arm.joints, arm.speeds, arm.joints, self._pace.joints, self._step_s
        )
        return replace(arm, joints=joints, speeds=speeds)

    def _drive(
        self, leg: Drive, base: BaseMotion, target: Array, truth: Truth
    ) -> tuple[BaseMotion, bool]:
        post = np.array(truth.posts[leg.colour])
        away = float(np.hypot(*(target - base.pose[:2])))
        x, y = (post - base.pose[:2]).tolist()
        heading = math.atan2(y, x) if away > _FACING_M else base.pose[2]
        moved = base.driven(target, heading, self._pace, self._step_s)
        return moved, away < leg.tolerance

    def _carried(self, base: BaseMotion, truth: Truth) -> Array:
        """Return the raw positions of the joints that carry the arms."""
        x, y, yaw = base.pose
        place = [x - BASE_START[0], y - BASE_START[1], yaw] if truth.base else []
        return np.array([*place, *self._still.values()])

    def _row(self, state: _State) -> Array:
        """Return the robot vector of a state."""
        raw = dict(self._still)
        for arm in self._layout.arms:
            motion = state.arms[arm.name]
            raw |= dict(zip(arm.joints, motion.joints.tolist(), strict=True))
            raw[arm.gripper] = motion.gripper
        raw |= dict(zip(BASE_JOINTS, state.base.twist.tolist(), strict=True))
        row = np.zeros(self._embodiment.action_width)
        for joint in self._embodiment.action_joints:
            row[joint.index] = joint.sign * joint.scale * raw[joint.name] + joint.offset
        return row
