"""The simulated robots, parked."""

from __future__ import annotations

import pytest

from pizero_ros.embodiment.load import load_embodiment

pytest.importorskip('mujoco')

ROBOTS = ('sim_single_arm', 'sim_dual_arm', 'sim_mobile')


@pytest.fixture(params=ROBOTS)
def robot(request):
    from pizero_ros.sim.robot import SimulatedRobot

    robot = SimulatedRobot(load_embodiment(request.param))
    yield robot
    robot.close()


@pytest.fixture
def make_robot():
    """Builds a simulated robot by name and frees it at the end."""
    from pizero_ros.sim.robot import SimulatedRobot

    made = []

    def make(name, **options):
        made.append(SimulatedRobot(load_embodiment(name), **options))
        return made[-1]

    yield make
    for robot in made:
        robot.close()
