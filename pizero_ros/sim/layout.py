"""What the simulated robots can reach: their arms, where cubes may lie, where they may start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pizero_ros.errors import EmbodimentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import Embodiment

CUBES = ('red', 'green', 'blue')
POSTS = ('red', 'green')
TABLE = 'table'
FLOOR = 'floor'
"""Where a robot starts: at the table or, if it can drive, in front of the posts."""

STANDOFF_M = 0.6
"""How far from a post the base is to stop."""

STANDOFF_FROM = (-1.6, 0.0)
"""Where a base comes from that is sent to a post: it is to stop on that side of it."""

BASE_START = (-0.19, 0.0)
"""x and y of the base in the model, from which its joints count."""


@dataclass(frozen=True)
class Arm:
    """One arm of a robot.

    Attributes:
        name: As instructions and results call it.
        prefix: Of its joints and bodies in the model.
        shoulder: x and y of its first axis at the start, m.
    """

    name: str
    prefix: str
    shoulder: tuple[float, float]

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of its six joints, from the shoulder on."""
        return tuple(f'{self.prefix}joint_{k}' for k in range(1, 7))

    @property
    def gripper(self) -> str:
        """Name of its gripper's joint."""
        return f'{self.prefix}gripper_joint'

    @property
    def hand(self) -> str:
        """Name of the body that carries its fingers."""
        return f'{self.prefix}hand'


@dataclass(frozen=True)
class Layout:
    """Arms and workspace of one robot, m.

    Attributes:
        arms: One or two.
        x: Least and greatest x of a cube's centre.
        y: The same for y.
        reach: Least and greatest horizontal distance of a cube from each shoulder.
        clearance: Least horizontal distance of a cube from where an idle hand rests.
        starts: Where it may start.
    """

    arms: tuple[Arm, ...]
    x: tuple[float, float]
    y: tuple[float, float]
    reach: tuple[float, float]
    clearance: float
    starts: tuple[str, ...]

    def arm(self, name: str | None) -> Arm:
        """Return the arm of that name; ``None`` means the only one."""
        return next(arm for arm in self.arms if name in (None, arm.name))


IDLE_REACH = 0.282
"""How far in front of its shoulder the tip of an arm is in the neutral pose, m."""

LAYOUTS: Mapping[str, Layout] = {
    'sim_single_arm': Layout(
        arms=(Arm('arm', '', (0.0, 0.0)),),
        x=(0.24, 0.52),
        y=(-0.28, 0.28),
        reach=(0.27, 0.56),
        clearance=0.0,
        starts=(TABLE,),
    ),
    'sim_dual_arm': Layout(
        arms=(Arm('left', 'left_', (0.0, 0.26)), Arm('right', 'right_', (0.0, -0.26))),
        x=(0.25, 0.48),
        y=(-0.18, 0.18),
        reach=(0.25, 0.57),
        clearance=0.12,
        starts=(TABLE,),
    ),
    'sim_mobile': Layout(
        arms=(Arm('left', 'left_', (-0.20, 0.20)), Arm('right', 'right_', (-0.20, -0.20))),
        x=(0.05, 0.29),
        y=(-0.18, 0.18),
        reach=(0.25, 0.56),
        clearance=0.0,
        starts=(TABLE, FLOOR),
    ),
}
"""Embodiment name → layout."""


def layout_of(embodiment: Embodiment) -> Layout:
    """Return the layout of a simulated robot.

    Raises:
        EmbodimentError: If tasks are not defined for this robot.
    """
    layout = LAYOUTS.get(embodiment.name)
    if layout is None:
        raise EmbodimentError.at(
            embodiment.source,
            'name',
            found=embodiment.name,
            expected=f'one of {", ".join(LAYOUTS)}',
            remedy='Only these robots have tasks in simulation.',
        )
    return layout
