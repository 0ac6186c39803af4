"""Whatever arrives, what leaves respects every limit: more than 100,000 hostile chunks.

Each test drives the real commander, scheduler and safety gate (and the real assembler, in the
last one) with chunks, clocks, speeds and calls drawn from a seeded generator, and judges every
command by rules of its own and by two models of the controller. A failure says robot, mode, seed
and chunk; the same test id repeats it.
"""

from __future__ import annotations

import zlib

import hostile_robots
import hostile_run
import pytest
from hostile_sensors import SensorDrive

MODES = ('open_loop', 'async', 'rtc', 'rtc_prefix', 'ensemble')
ARMS = (
    'plain', 'accelerating', 'cubic', 'cubic_accelerating', 'narrow', 'slow_rate', 'leaping',
    'no_lead', 'wide', 'two_arms',
)  # fmt: skip
BASES = ('holonomic', 'differential', 'fenced')
GRIPPERS = ('one', 'eager', 'two')
WHOLE = ('mobile', 'scaled', 'scaled_required')
FADES = (0, 8)

ARM_CHUNKS, BASE_CHUNKS, GRIPPER_CHUNKS = 320, 2000, 1800
FENCED_CHUNKS, WHOLE_CHUNKS, SENSED_CHUNKS = 1200, 260, 800
"""Chunks in each run. They are few where a chunk is expensive."""


def drive(table, name, mode, count, **options):
    """Drive a robot in a mode; the seed comes from what is driven."""
    seed = zlib.crc32(f'{name} {mode} {options}'.encode())
    if table == 'SENSED':
        options['build'] = SensorDrive
    robot = hostile_run.drive(
        getattr(hostile_robots, table)[name](),
        count,
        seed,
        mode=mode.removesuffix('_prefix'),
        trained_prefix=mode == 'rtc_prefix',
        **options,
    )
    assert robot.chunks >= count
    assert robot.reasons['accepted'] >= 0.2 * count, 'hardly anything moved'
    return robot


def test_they_are_more_than_a_hundred_thousand():
    of_a_mode = (
        len(FADES) * len(ARMS) * ARM_CHUNKS
        + len(BASES) * BASE_CHUNKS
        + len(GRIPPERS) * GRIPPER_CHUNKS
        + FENCED_CHUNKS
        + len(WHOLE) * WHOLE_CHUNKS
        + SENSED_CHUNKS
    )
    assert len(MODES) * of_a_mode >= 100_000


@pytest.mark.parametrize('fade', FADES)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', ARMS)
def test_trajectories_keep_to_every_limit(name, mode, fade):
    robot = drive('ARMS', name, mode, ARM_CHUNKS, fade=fade)
    # A stop in between ends with what is sent afterwards; each message was accepted, and twice.
    for arm in robot.arms.values():
        for model in arm.models:
            assert model.accepted > 0.2 * ARM_CHUNKS
            assert not model.rejected


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', BASES)
def test_twists_keep_to_speeds_ramps_and_time_outs(name, mode):
    drive('BASES', name, mode, BASE_CHUNKS)


@pytest.mark.parametrize('mode', MODES)
def test_a_base_that_knows_where_it_is_never_leaves_its_workspace(mode):
    robot = drive('BASES', 'fenced', mode, FENCED_CHUNKS, honest=True)
    assert robot.bases['base'].outside_m <= 1e-9
    assert robot.commander.status().interventions['base', 'workspace'] > 50


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', GRIPPERS)
def test_gripper_goals_are_within_limits_and_changes(name, mode):
    drive('GRIPPERS', name, mode, GRIPPER_CHUNKS)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', WHOLE)
def test_whole_robots_at_any_speed_of_their_controllers(name, mode):
    drive('WHOLE', name, mode, WHOLE_CHUNKS)


@pytest.mark.parametrize('mode', MODES)
def test_sensors_that_fail_in_every_way(mode):
    robot = drive('SENSED', 'sensed', mode, SENSED_CHUNKS)
    assert robot.observations > 0.5 * SENSED_CHUNKS
    assert sum(robot.refusals.values()) > 20
    assert len(robot.refusals) >= 6
    assert robot.resets > 3
