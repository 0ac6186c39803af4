"""The policy node beside controllers that are slowed, paused, and silent about it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pizero_ros.msg import PolicyStatus
from std_msgs.msg import Float64

from pizero_ros.control.validation import command_from_message
from pizero_ros.observation.intake import stamp_ns

HOLDING, RUNNING = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_RUNNING
TOPIC = '/speed_scaling_state_broadcaster/speed_scaling'
STEP_NS = 20_000_000


@pytest.fixture
def slowed(robot, start):
    """Give a moving robot whose controllers run at ``percent`` of full speed, None: silence."""
    speed = SimpleNamespace(percent=50.0)
    publisher = robot.node.create_publisher(Float64, TOPIC, 10)

    def send():
        if speed.percent is not None:
            publisher.publish(Float64(data=speed.percent))

    robot._every(0.01, send)

    def scaled(content):
        content['speed_scaling'] = {'topic': TOPIC, 'message': 'float64', 'unit': 'percent'}

    start(change=scaled)
    robot.wait_for_state(RUNNING)
    return speed


def test_trajectories_go_on_from_where_slowed_controllers_are(robot, slowed):
    def in_motion():
        """Trajectories with their chunk, but for chunks that started from rest."""
        sent = [c for c in robot.chunks if c.sent]
        newest = max((stamp_ns(c.header.stamp) for c in sent), default=0)
        pairs = []
        for message in robot.motions():
            stamp = stamp_ns(message.header.stamp)
            if stamp > newest:
                continue  # Its chunk may still be on the way.
            before = [c for c in sent if stamp_ns(c.header.stamp) <= stamp]
            chunk = max(before, key=lambda c: stamp_ns(c.header.stamp), default=None)
            # The way to the controllers' clock and back may round.
            if chunk and abs(stamp_ns(chunk.start) - stamp_ns(chunk.header.stamp)) <= 2:
                pairs.append((message, chunk))
        return pairs

    for message, chunk in robot.until(lambda: len(pairs := in_motion()) >= 3 and pairs):
        command = command_from_message(message)
        # Half of the time since the observation is trajectory time.
        elapsed_ns = stamp_ns(message.header.stamp) - stamp_ns(chunk.header.stamp)
        due = command.time_from_start_ns + elapsed_ns / 2
        steps = np.rint(due / STEP_NS).astype(int)
        np.testing.assert_allclose(due, steps * STEP_NS, atol=2)
        assert steps.tolist() == list(range(steps[0], 50))
        actions = np.asarray(chunk.actions).reshape(chunk.horizon, chunk.width)
        # The seam's fade is over by then.
        np.testing.assert_array_equal(command.positions[-10:], actions[40:, :6])
    policy = robot.until(lambda: robot.diagnosis('policy'))
    values = {pair.key: pair.value for pair in policy.values}
    assert values['speed of the controllers'] == '50.0%'


def test_pause_holds_says_so_and_ends_by_itself(robot, slowed):
    slowed.percent = 0.0
    robot.wait_for_state(HOLDING, f'{TOPIC}: the controllers stand still')
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    # One chunk may have been under way.
    robot.until(lambda: robot.counted('speed_scaling.paused') == 1)
    told, sent = robot.commands(), robot.status.chunks_sent
    statuses = len(robot.received['/policy_node/status'])
    robot.until(lambda: len(robot.received['/policy_node/status']) >= statuses + 2)
    assert robot.commands() == told
    assert (robot.status.state, robot.status.chunks_sent) == (HOLDING, sent)
    moved = len(robot.motions())
    slowed.percent = 100.0
    robot.until(lambda: len(robot.motions()) > moved)
    robot.wait_for_state(RUNNING)
    fresh = robot.motions()[moved]
    assert stamp_ns(fresh.points[0].time_from_start) >= 2 * STEP_NS


def test_speed_that_is_no_longer_told_is_held_and_named(robot, slowed):
    slowed.percent = None
    robot.wait_for_state(HOLDING, f'{TOPIC}: no speed factor for more than 0.5 s')
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    moved = len(robot.motions())
    slowed.percent = 50.0
    robot.until(lambda: len(robot.motions()) > moved)


def test_percent_taken_for_a_fraction_holds_with_the_remedy(robot, start):
    robot._every(0.01, lambda: publisher.publish(Float64(data=100.0)))
    publisher = robot.node.create_publisher(Float64, TOPIC, 10)

    def mistaken(content):
        content['speed_scaling'] = {'topic': TOPIC, 'message': 'float64', 'unit': 'fraction'}

    start(change=mistaken)
    robot.wait_for_state(HOLDING, 'found factor 100, expected 0 to 1; percent needs unit: percent')
    assert robot.motions() == []


def test_required_speed_that_never_came_is_named(robot, start):
    def required(content):
        content['speed_scaling'] = {'topic': TOPIC, 'message': 'float64', 'unit': 'percent'}

    start(change=required)
    robot.wait_for_state(HOLDING, f'{TOPIC}: no message yet')
    assert robot.counted('speed_scaling.missing') == 1
    assert robot.commands() == 0


def test_speed_that_may_be_absent_does_not_hold_the_robot(robot, start):
    def optional(content):
        content['speed_scaling'] = {
            'topic': TOPIC,
            'message': 'float64',
            'unit': 'percent',
            'required': False,
        }

    start(change=optional)
    robot.until(lambda: len(robot.motions()) >= 2)
