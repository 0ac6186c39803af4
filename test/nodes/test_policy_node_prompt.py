"""The instruction: by parameter, by a volatile and by a latched topic, and when it is unusable."""

from __future__ import annotations

from pizero_ros.msg import PolicyStatus
from rclpy.qos import DurabilityPolicy, QoSProfile

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def follows(robot, prompt):
    robot.until(lambda: any(c.prompt == prompt and c.sent for c in robot.chunks))
    robot.until(lambda: robot.status.prompt == prompt)


def test_prompt_parameter_may_change_in_motion(moving):
    epoch = moving.chunks[-1].epoch
    result = moving.set_parameters(prompt='stack the blocks')
    assert result.successful
    follows(moving, 'stack the blocks')
    assert moving.chunks[-1].epoch == epoch + 1


def test_prompt_comes_by_a_volatile_topic(moving):
    moving.say('open the drawer')
    follows(moving, 'open the drawer')


def test_prompt_latched_before_the_node_came_is_heard(robot, start):
    robot.say('fold the towel', LATCHED)
    start(prompt='')
    follows(robot, 'fold the towel')


def test_no_motion_without_a_prompt(start):
    robot = start(prompt='')
    status = robot.wait_for_state(PolicyStatus.STATE_HOLDING, 'prompt')
    assert 'an instruction' in status.reason
    assert robot.is_silent()
    assert robot.motions() == []
    assert robot.diagnosis('policy').level == b'\1'


def test_too_long_prompt_holds_and_a_good_one_moves_again(moving):
    moving.say('x' * 1000)
    moving.wait_for_state(PolicyStatus.STATE_HOLDING, 'prompt', '64')
    moving.until(lambda: len(moving.of('arm')[-1].message.points) == 1)
    assert moving.counted('observation.prompt') >= 1
    assert moving.is_silent()

    moving.say('wave again')
    follows(moving, 'wave again')
    moving.wait_for_state(PolicyStatus.STATE_RUNNING)


def test_the_same_prompt_again_interrupts_nothing(moving):
    epoch = moving.chunks[-1].epoch
    moving.say('wave')
    count = len(moving.chunks)
    moving.until(lambda: len(moving.chunks) >= count + 2)
    assert moving.chunks[-1].epoch == epoch


def test_other_parameters_are_refused_on_a_configured_node(start):
    robot = start()

    def refused(**values):
        result = robot.set_parameters(**values)
        return not result.successful and 'clean up first' in result.reason

    assert refused(bundle='/elsewhere')
    assert refused(embodiment='ur5e')
    assert refused(executed_steps=10)
    assert robot.deactivate()
    assert refused(bundle='/elsewhere')
    assert robot.cleanup()
    assert robot.set_parameters(bundle='/elsewhere').successful
    assert not robot.configure()
    robot.until(lambda: robot.logged('/elsewhere', 'a bundle folder'))

    result = robot.set_parameters(threads=-1)
    assert (result.successful, 'threads' in result.reason) == (False, True)
    result = robot.set_parameters(executed_steps='five')
    # In rclpy's own words, which differ between distributions.
    assert (result.successful, 'type' in result.reason.lower()) == (False, True)
